// Requests to the server; an error has the sentence of its answer.

const POLL_SECONDS = 0.4;
const MOST_FAILURES = 10; // polls in a row before a job is given up

async function answered(response) {
  if (response.ok) return response.status === 204 ? null : response.json();
  let sentence = `The server answered ${response.status}.`;
  try {
    sentence = (await response.json()).error ?? sentence;
  } catch {
    // no JSON: a refusal before the application was reached
  }
  throw Object.assign(new Error(sentence), { status: response.status });
}

async function sent(path, options) {
  try {
    return await fetch(path, options);
  } catch {
    throw new Error('The program that serves this page cannot be reached: is n2n app still running?');
  }
}

export async function get(path) {
  return answered(await sent(path));
}

export async function post(path, content = {}) {
  return answered(await sent(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(content),
  }));
}

export async function upload(path, file) {
  const separator = path.includes('?') ? '&' : '?';
  return answered(await sent(`${path}${separator}name=${encodeURIComponent(file.name)}`, {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    body: file,
  }));
}

export async function remove(path) {
  return answered(await sent(path, { method: 'DELETE' }));
}

// Jobs that are waited for, by id; one loop asks for all of them.
const awaited = new Map();
let polling = false;

async function poll() {
  if (polling) return;
  polling = true;
  let failures = 0;
  while (awaited.size) {
    await new Promise((resume) => { setTimeout(resume, POLL_SECONDS * 1000); });
    let jobs;
    try {
      jobs = new Map((await get('/api/jobs')).map((job) => [job.id, job]));
      failures = 0;
    } catch (error) {
      failures += 1;
      if (failures < MOST_FAILURES) continue;
      for (const { reject } of awaited.values()) reject(error);
      awaited.clear();
      break;
    }
    for (const [id, { resolve, reject, onChange }] of [...awaited]) {
      const job = jobs.get(id);
      if (!job) {
        awaited.delete(id);
        reject(new Error('This job is lost: n2n app was started anew.'));
      } else {
        onChange(job);
        if (!['waiting', 'running'].includes(job.state)) {
          awaited.delete(id);
          resolve(job);
        }
      }
    }
  }
  polling = false;
}

// Waits for the end of a job; tells `onChange` how far it is.
export function ended(job, onChange = () => {}) {
  onChange(job);
  return new Promise((resolve, reject) => {
    awaited.set(job.id, { resolve, reject, onChange });
    poll();
  });
}

// Names of runs may hold what has a meaning in addresses.
export function escaped(name) {
  return name.split('/').map(encodeURIComponent).join('/');
}

export function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

// Makes an element; strings become text, never HTML.
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children);
  return made;
}

export function table(head, rows) {
  return element('div', { class: 'wide' }, element('table', {},
    element('thead', {}, element('tr', {},
      ...head.map((words) => element('th', { scope: 'col' }, words)))),
    element('tbody', {}, ...rows.map((row) => element('tr', {},
      ...row.map((words) => element('td', {}, words)))))));
}

const message = document.getElementById('message');

// Shows a sentence at the top until the next one; an error unless `said`.
export function say(sentence, said = false) {
  message.textContent = sentence;
  message.hidden = !sentence;
  message.classList.toggle('said', said);
  if (sentence) message.scrollIntoView({ block: 'nearest' });
}

// Keeps the keyboard where it was while `change` makes elements anew; they need the same ids.
export function keepingFocus(change) {
  const { id } = document.activeElement ?? {};
  change();
  if (id && document.activeElement?.id !== id) document.getElementById(id)?.focus();
}

// Runs what a button does, and shows its error.
export async function tried(action) {
  say('');
  try {
    return await action();
  } catch (error) {
    say(error.message);
    return null;
  }
}

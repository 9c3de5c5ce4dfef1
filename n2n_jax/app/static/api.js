// Requests to the server; an error has the sentence of its answer.

const POLL_SECONDS = 0.3;

async function answered(response) {
  if (response.ok) return response.status === 204 ? null : response.json();
  let sentence = `The server answered ${response.status}.`;
  try {
    sentence = (await response.json()).error ?? sentence;
  } catch {
    // no JSON: a refusal before the application was reached
  }
  throw new Error(sentence);
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

// Waits for the end of a job; tells `onChange` how far it is.
export async function ended(job, onChange = () => {}) {
  while (['waiting', 'running'].includes(job.state)) {
    onChange(job);
    await new Promise((resume) => { setTimeout(resume, POLL_SECONDS * 1000); });
    job = await get(`/api/jobs/${job.id}`);
  }
  onChange(job);
  return job;
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

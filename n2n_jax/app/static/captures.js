// Checks the captures of a folder, and trains on them.

import { element, ended, escaped, get, keepingFocus, post, say, tried } from './api.js';
import { listModels, useModel } from './app.js';

const by = (id) => document.getElementById(id);
const POLL_SECONDS = 3;
const SVG = 'http://www.w3.org/2000/svg';

let timer = null;

export async function showCaptures() {
  await tried(async () => {
    const { folder, folders } = await get('/api/captures');
    by('folder').textContent = folder;
    const chosen = by('captures-folder').value;
    by('captures-folder').replaceChildren(...Object.entries(folders).map(
      ([name, count]) => element('option', { value: name }, `${name} (${count} files)`),
    ));
    if (!Object.keys(folders).length) {
      by('captures-folder').append(element('option', { value: '' }, 'no folder with images yet'));
    }
    if (chosen in folders) by('captures-folder').value = chosen;
    const models = await listModels();
    const start = by('start-from').value;
    by('start-from').replaceChildren(element('option', { value: '' }, 'random weights'),
      ...models.map(({ name }) => element('option', { value: name }, name)));
    by('start-from').value = models.some(({ name }) => name === start) ? start : '';
    await showTrainings();
  });
}

function order() {
  const captures = by('captures-folder').value;
  if (!captures) throw new Error('No folder with images is chosen.');
  return { captures, pattern: by('pattern').value, single: by('single').checked };
}

async function check(result) {
  by('audit-report').hidden = true;
  const job = await ended(await post('/api/audits', order()), (each) => {
    result.textContent = each.before ? `${each.before} jobs are before it.` : 'Checking …';
  });
  if (job.state !== 'done') throw new Error(job.error || 'Canceled.');
  const words = ['Fine.', 'Fit for training, with warnings.', 'Not fit for training as they are.'];
  result.textContent = `${words[job.result.status] ?? ''} The report is below.`;
  by('audit-report').src = `/api/audits/${job.id}`;
  by('audit-report').hidden = false;
}

// Draws the points [step, value] of a curve.
function curve(words, points) {
  const [width, height, margin] = [480, 180, 40];
  const values = points.map(([, value]) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const last = points[points.length - 1][0] || 1;
  const place = ([step, value]) => [
    margin + (width - margin - 8) * step / last,
    8 + (height - 30) * (1 - (value - low) / (high - low || 1)),
  ].map((number) => number.toFixed(1)).join(',');
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  svg.setAttribute('class', 'curve');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', `${words} from ${values[0].toPrecision(4)} to `
    + `${values[values.length - 1].toPrecision(4)} at step ${last}`);
  const line = document.createElementNS(SVG, 'polyline');
  line.setAttribute('points', points.map(place).join(' '));
  svg.append(line);
  for (const [x, y, text] of [[0, 16, high.toPrecision(3)], [0, height - 24, low.toPrecision(3)],
    [margin, height - 4, `step 0 to ${last}`]]) {
    const label = document.createElementNS(SVG, 'text');
    label.setAttribute('x', x);
    label.setAttribute('y', y);
    label.textContent = text;
    svg.append(label);
  }
  return element('figure', {}, svg, element('figcaption', {}, words));
}

// Tables of scores by run; they stay until the page is loaded again.
const scores = new Map();

const scoring = new Set();

async function score(run) {
  scoring.add(run.name);
  await showTrainings();
  try {
    const job = await ended(await post(`/api/trainings/${escaped(run.name)}/score`));
    if (job.state !== 'done') throw new Error(job.error || 'Canceled.');
    scores.set(run.name, job.result.table);
  } finally {
    scoring.delete(run.name);
    await showTrainings();
  }
}

// The server makes this HTML itself, from numbers and escaped names.
function scoreTable(run) {
  const made = element('div', { class: 'scores' });
  made.innerHTML = scores.get(run.name);
  return made;
}

function card(run) {
  const act = (what) => tried(async () => {
    await post(`/api/trainings/${escaped(run.name)}/${what}`);
    await showTrainings();
  });
  const button = (what) => ({ type: 'button', id: `${what} ${run.name}` });
  const busy = ['starting', 'training'].includes(run.state);
  const figures = Object.entries(run.curves).filter(([, points]) => points.length > 1)
    .map(([words, points]) => curve(words, points));
  const lines = run.log.trim().split(/[\r\n]+/);
  const newest = lines[lines.length - 1] ?? '';
  return element('article', { class: 'card', 'data-run': run.name },
    element('h2', {}, `${run.name}: ${run.state}`),
    element('p', { class: 'soft' }, run.error || newest),
    element('div', { class: 'row' },
      ...(busy ? [element('button', { ...button('stop'), onclick: () => act('stop') }, 'Stop')] : []),
      ...(run.state === 'stopped' || run.state === 'failed'
        ? [element('button', { ...button('resume'), onclick: () => act('resume') }, 'Resume')] : []),
      ...(run.curves.loss ? [
        element('a', { class: 'button', target: '_blank', href: `/api/runs/${escaped(run.name)}/report` },
          'Report, with scores'),
        element('button', { ...button('use'), onclick: () => useModel(run.name) }, 'Denoise with it'),
        element('button', {
          ...button('score'), disabled: scoring.has(run.name), onclick: () => tried(() => score(run)),
        }, scoring.has(run.name) ? 'Scoring …' : 'Score'),
      ] : [])),
    ...(scores.has(run.name) ? [scoreTable(run)] : []),
    element('div', { class: 'cards' }, ...figures),
    ...(run.preview ? [element('img', {
      class: 'preview', src: `/api/previews/${escaped(run.preview)}`, alt: `What ${run.name} makes of captures`,
    })] : []),
    element('details', {}, element('summary', {}, 'Log'), element('pre', {}, run.log)));
}

async function showTrainings() {
  const runs = await get('/api/trainings');
  const open = new Set([...document.querySelectorAll('#trainings details[open]')]
    .map((each) => each.closest('article').dataset.run));
  keepingFocus(() => by('trainings').replaceChildren(...runs.map(card)));
  for (const each of document.querySelectorAll('#trainings article')) {
    each.querySelector('details').open = open.has(each.dataset.run);
  }
  askAgain(runs.some(({ state }) => ['starting', 'training'].includes(state)));
}

function askAgain(needed) {
  clearTimeout(timer);
  if (!needed) return;
  timer = setTimeout(() => {
    if (by('captures').hidden || document.hidden) return; // until they are shown again
    showTrainings().catch((error) => { say(error.message); askAgain(true); });
  }, POLL_SECONDS * 1000);
}

export function setUpCaptures() {
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && !by('captures').hidden) tried(showTrainings);
  });
  by('check').addEventListener('submit', (event) => {
    event.preventDefault();
    const result = event.target.querySelector('.result');
    tried(() => check(result)).then((done) => { if (done === null) result.replaceChildren(); });
  });
  by('train').addEventListener('submit', (event) => {
    event.preventDefault();
    tried(async () => {
      await post('/api/trainings', {
        ...order(),
        name: by('run-name').value,
        minutes: Number(by('minutes').value),
        start: by('start-from').value,
        fix: [...document.querySelectorAll('[name=fix]:checked')].map(({ value }) => value).join(','),
      });
      await showTrainings();
    });
  });
  by('keep').addEventListener('click', () => tried(async () => {
    const { captures } = await post('/api/captures', { name: by('keep-name').value });
    await showCaptures();
    by('captures-folder').value = captures;
    say(`Kept in ${captures}.`, true);
  }));
}

// The page: its sections, and the first of them, Denoise.

import {
  duration, element, ended, get, keepingFocus, post, remove, say, tried, upload,
} from './api.js';
import { setUpCaptures, showCaptures } from './captures.js';
import { setUpCompare, showCompared } from './compare.js';
import { showRuns } from './runs.js';
import { Viewer } from './viewer.js';

const by = (id) => document.getElementById(id);

export const page = { pictures: [], selected: null, jobs: new Map(), uploading: 0 };

const IN_PROGRESS = 'Denoising is in progress: upload a new image when it has finished, or cancel '
  + 'it.';

const viewer = new Viewer(by('canvas'), (shown) => {
  by('zoom').textContent = `${Math.round(shown.scale * 100)} %`;
  if (document.activeElement !== by('split')) by('split').value = shown.split * 100;
});

function isBusy() {
  return page.jobs.size > 0;
}

// ---- sections

const SECTIONS = {
  denoise: () => viewer.resize(),
  compare: showCompared,
  captures: showCaptures,
  runs: showRuns,
};

function showSection(name) {
  for (const section of Object.keys(SECTIONS)) by(section).hidden = section !== name;
  for (const button of document.querySelectorAll('nav button')) {
    if (button.dataset.section === name) button.setAttribute('aria-current', 'page');
    else button.removeAttribute('aria-current');
  }
  say('');
  SECTIONS[name]();
}

// ---- uploads

async function addFiles(files) {
  if (isBusy()) {
    say(IN_PROGRESS);
    return;
  }
  say('');
  const errors = [];
  page.uploading += 1;
  for (const [number, file] of [...files].entries()) {
    by('facts').textContent = files.length > 1
      ? `Loading ${file.name}, ${number + 1} of ${files.length} …` : `Loading ${file.name} …`;
    try {
      const picture = await upload('/api/pictures', file);
      picture.version = 0;
      page.pictures.push(picture);
      page.selected = picture;
      render();
    } catch (error) {
      errors.push(error.message);
    }
  }
  page.uploading -= 1;
  render();
  if (errors.length) say(errors.join(' '));
}

function setUpUploads() {
  by('files').addEventListener('change', (event) => {
    const files = [...event.target.files];
    event.target.value = ''; // so that the same file can be chosen again
    addFiles(files);
  });
  const drop = by('drop');
  for (const name of ['dragover', 'dragleave', 'drop']) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle('over', name === 'dragover');
      if (name === 'drop' && event.dataTransfer.files.length) {
        showSection('denoise');
        addFiles(event.dataTransfer.files);
      }
    });
  }
  document.addEventListener('paste', (event) => {
    const files = [...event.clipboardData.files];
    if (files.length) addFiles(files);
  });
}

// ---- what is shown

function bytes(count) {
  return count < 1e6 ? `${Math.ceil(count / 1e3)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

function facts(picture) {
  const kinds = { 1: 'gray', 3: 'color' };
  const size = picture.sizes.length > 1
    ? 'several sizes' : `${picture.width}×${picture.height} pixels`;
  const parts = [
    element('p', {}, element('strong', {}, picture.name), ': ', [
      size,
      kinds[picture.channels] ?? `${picture.channels} channels`,
      picture.type,
      picture.images > 1 ? `${picture.images} images` : '',
      picture.extra ? 'with alpha or other extra channels, which are kept' : '',
      bytes(picture.bytes),
    ].filter(Boolean).join(', '), '.'),
    element('p', {}, `Looks like ${picture.noise}. `, picture.model
      ? `Model ${picture.model} suits it. ${picture.doubt}` : 'It would be left as it is.'),
  ];
  by('facts').replaceChildren(...parts);
}

function render() {
  keepingFocus(renderList);
  renderSelected();
}

function renderList() {
  by('pictures').replaceChildren(...page.pictures.map((picture) => {
    const job = page.jobs.get(picture.id);
    let state = picture.result ? 'denoised' : '';
    if (job) state = job.state === 'running' ? `${Math.round(job.share * 100)} %` : 'waits';
    return element('li', {},
      element('button', {
        type: 'button',
        class: 'pick',
        id: `pick-${picture.id}`,
        'aria-pressed': String(picture === page.selected),
        onclick: () => { page.selected = picture; render(); },
      }, picture.name, ' ', element('span', { class: 'soft' }, state)),
      element('button', {
        type: 'button',
        class: 'remove',
        id: `remove-${picture.id}`,
        'aria-label': `Remove ${picture.name}`,
        onclick: () => tried(() => forget(picture)),
      }, '×'));
  }));
}

function renderSelected() {
  const picture = page.selected;
  if (viewer.mode === 'error' && !picture?.has_clean) {
    viewer.setMode('slider');
    document.querySelector('input[value=slider]').checked = true;
  }
  by('canvas').hidden = by('tools').hidden = !picture;
  by('start-all').hidden = page.pictures.length < 2;
  by('save-all').hidden = page.pictures.filter((each) => each.result).length < 2;
  by('cancel').hidden = !isBusy();
  by('save').hidden = !picture?.result;
  by('split-row').hidden = !picture?.result || viewer.mode !== 'slider';
  by('error-mode').hidden = !picture?.has_clean;
  by('made-by').textContent = picture?.made_by ?? '';
  if (!picture) {
    by('facts').replaceChildren();
    viewer.clear();
    return;
  }
  facts(picture);
  by('page-of').hidden = picture.images < 2;
  by('page').max = picture.images;
  by('page').value = Math.min(by('page').value, picture.images);
  by('canvas').setAttribute('aria-label', `${picture.name}${picture.result
    ? ', before and after' : ''}. Arrow keys move, + and - zoom, 0 fits, 1 shows single pixels, `
    + '[ and ] move the border.');
  if (picture.result) by('save').href = `/api/pictures/${picture.id}/result`;
  const index = by('page').value - 1;
  const [width, height] = picture.sizes[picture.sizes.length > 1 ? index : 0];
  viewer.resize();
  viewer.show({ ...picture, width, height, hasResult: Boolean(picture.result) }, index);
}

async function forget(picture) {
  try {
    await remove(`/api/pictures/${picture.id}`);
  } catch (error) {
    if (error.status !== 404) throw error; // it is gone already, as after a restart
  }
  page.pictures = page.pictures.filter((each) => each !== picture);
  if (page.selected === picture) page.selected = page.pictures.at(-1) ?? null;
  render();
}

export async function refresh(picture) {
  Object.assign(picture, await get(`/api/pictures/${picture.id}`));
  picture.version += 1;
  render();
}

// ---- denoising

function progress(job, picture) {
  by('progress').hidden = false;
  const bar = by('bar');
  if (job.state === 'waiting') {
    bar.removeAttribute('value');
    const before = ['starts', 'waits for one job'][job.before] ?? `waits for ${job.before} jobs`;
    by('progress-text').textContent = `${picture.name}: ${before}.`;
  } else {
    bar.value = job.share;
    const left = job.seconds_left === null ? '' : `, ${duration(job.seconds_left)} left`;
    by('progress-text').textContent = `${picture.name}: ${Math.round(job.share * 100)} %${left}`;
  }
}

let canceling = false; // what waits to be submitted is not any more

async function denoise(picture) {
  if (canceling) return;
  const body = {
    model: by('model').value,
    strength: by('strength').value / 100,
    tta: by('tta').checked,
  };
  try {
    await followed(picture, await post(`/api/pictures/${picture.id}/denoise`, body));
  } catch (error) {
    throw error.message.startsWith(picture.name) ? error
      : new Error(`${picture.name}: ${error.message}`);
  }
}

async function followed(picture, submitted) {
  let job = submitted;
  page.jobs.set(picture.id, job);
  if (canceling) await remove(`/api/jobs/${job.id}`);
  render();
  try {
    job = await ended(job, (each) => {
      const changed = page.jobs.get(picture.id)?.state !== each.state;
      page.jobs.set(picture.id, each);
      if (changed) render();
      if (each.state === 'running' || picture === page.selected) progress(each, picture);
    });
  } finally {
    page.jobs.delete(picture.id);
    if (!isBusy()) by('progress').hidden = true;
    render();
  }
  if (job.state === 'done') {
    await refresh(picture);
    by('canvas').scrollIntoView({ block: 'nearest' }); // on a phone it is far below
  }
  if (job.state === 'canceled') say(`${picture.name}: canceled.`, true);
  if (job.state === 'failed') throw new Error(job.error);
}

async function denoiseAll(pictures) {
  if (!pictures.length) throw new Error('No image is loaded: choose or drop one first.');
  if (isBusy()) throw new Error('Denoising is in progress.');
  canceling = false;
  const results = await Promise.allSettled(pictures.map(denoise));
  const errors = results.filter((each) => each.status === 'rejected');
  if (errors.length) throw new Error(errors.map((each) => each.reason.message).join(' '));
}

async function cancel() {
  canceling = true;
  await Promise.all([...page.jobs.values()].map((job) => remove(`/api/jobs/${job.id}`)));
}

// Goes on with what was under way when the page was loaded again, or in another tab.
async function followJobs() {
  const jobs = await get('/api/jobs');
  for (const job of jobs) {
    const picture = page.pictures.find((each) => each.id === job.picture);
    if (picture && job.kind === 'denoise' && ['waiting', 'running'].includes(job.state)) {
      tried(() => followed(picture, job));
    }
  }
}

function setUpDenoise() {
  by('how').addEventListener('submit', (event) => {
    event.preventDefault();
    tried(() => denoiseAll(page.selected ? [page.selected] : []));
  });
  by('start-all').addEventListener('click', () => tried(() => denoiseAll(page.pictures)));
  by('cancel').addEventListener('click', () => tried(cancel));
  by('strength').addEventListener('input', (event) => {
    by('strength-text').value = `${event.target.value} %`;
  });
  window.addEventListener('beforeunload', (event) => {
    if (!isBusy() && !page.uploading) return;
    event.preventDefault(); // the browser asks in its own words
    event.returnValue = 'Denoising is in progress.';
  });
}

function setUpViewer() {
  for (const radio of document.querySelectorAll('input[name=mode]')) {
    radio.addEventListener('change', () => { viewer.setMode(radio.value); render(); });
  }
  by('fit').addEventListener('click', () => viewer.fit());
  by('one').addEventListener('click', () => viewer.zoomTo(1));
  by('in').addEventListener('click', () => viewer.zoomTo(viewer.scale * 1.25));
  by('out').addEventListener('click', () => viewer.zoomTo(viewer.scale / 1.25));
  by('split').addEventListener('input', (event) => viewer.setSplit(event.target.value / 100));
  by('page').addEventListener('change', (event) => {
    const { max, value } = event.target;
    event.target.value = Math.min(max, Math.max(1, Math.round(value) || 1));
    render();
  });
}

export async function listModels() {
  const models = await get('/api/models');
  const select = by('model');
  const chosen = select.value;
  select.replaceChildren(
    element('option', { value: '' }, 'Chosen for each picture'),
    ...models.map((model) => element('option', { value: model.name, title: model.summary },
      model.kind === 'run' ? `${model.name} (your run)` : model.name)),
  );
  select.value = models.some((model) => model.name === chosen) ? chosen : '';
  return models;
}

export function useModel(name) {
  listModels().then(() => {
    by('model').value = name;
    showSection('denoise');
  });
}

async function start() {
  for (const button of document.querySelectorAll('nav button')) {
    button.addEventListener('click', () => showSection(button.dataset.section));
  }
  setUpUploads();
  setUpDenoise();
  setUpViewer();
  setUpCompare();
  setUpCaptures();
  await listModels();
  page.pictures = (await get('/api/pictures')).map((picture) => ({ ...picture, version: 0 }));
  page.selected = page.pictures.at(-1) ?? null;
  render();
  await followJobs();
  document.body.dataset.ready = 'yes';
}

tried(start);

// Compares the selected picture: with an original, with a second capture, under known noise.

import { element, ended, post, table, tried, upload } from './api.js';
import { page, refresh } from './app.js';

const by = (id) => document.getElementById(id);

// Which picture, in which version, the results are of.
let shownFor = '';

export function showCompared() {
  const picture = page.selected;
  const now = picture ? `${picture.id} ${picture.made_by} ${picture.result}` : '';
  if (now !== shownFor) {
    for (const result of document.querySelectorAll('#compare .result')) result.replaceChildren();
  }
  shownFor = now;
  by('compared').textContent = picture
    ? `${picture.name}${picture.result ? ' and its denoised version' : ', which is not denoised yet'}.`
    : 'No image is loaded: load one first, under Denoise.';
  by('taken').textContent = picture?.has_clean ? 'Takes the clean original that you gave'
    : 'Takes the loaded picture for clean';
}

function selected() {
  if (!page.selected) throw new Error('No image is loaded: load one first, under Denoise.');
  return page.selected;
}

const decibels = (value) => (value === null ? '∞' : value.toFixed(2));
const NAMES = { noisy: 'as it is', denoised: 'denoised' };

async function withOriginal(file, result) {
  const picture = selected();
  const scores = await upload(`/api/pictures/${picture.id}/original`, file);
  const rows = Object.entries(scores).map(([which, score]) => [
    NAMES[which],
    decibels(score.psnr),
    score.ssim === null ? 'too small' : score.ssim.toFixed(4),
    score.mse.toExponential(2),
  ]);
  result.replaceChildren(table(['', 'PSNR, dB', 'SSIM', 'MSE'], rows),
    element('p', { class: 'soft' }, 'Values in [0, 1]; of the first image. The view under Denoise '
      + 'can show the error now.'));
  await refresh(picture);
  showCompared();
}

async function withCapture(file, result) {
  const picture = selected();
  const model = encodeURIComponent(by('model').value);
  const job = await ended(
    await upload(`/api/pictures/${picture.id}/capture?model=${model}`, file),
    (each) => { result.textContent = each.before ? `${each.before} jobs are before it.` : 'Looking …'; },
  );
  if (job.state !== 'done') throw new Error(job.error || 'Canceled.');
  const { verdict, findings, estimates } = job.result;
  const rows = estimates.map(({ method, psnr, interval }) => [
    method,
    psnr === null ? 'not measurable' : psnr.toFixed(2),
    interval && interval[0] !== null ? `${decibels(interval[0])} to ${decibels(interval[1])}` : '',
  ]);
  result.replaceChildren(
    table(['', 'estimated PSNR, dB', '95 % interval'], rows),
    element('p', {}, 'The audit of the two captures: ',
      element('strong', { class: verdict.toLowerCase() }, verdict), '.'),
    element('details', {}, element('summary', {}, 'Findings'), element('pre', {}, findings)),
  );
}

async function withNoise(noise, result) {
  const picture = selected();
  let job = await post(`/api/pictures/${picture.id}/trial`, { noise });
  job = await ended(job, (each) => {
    result.textContent = each.before ? `${each.before} jobs are before it.`
      : `${Math.round(each.share * 100)} %`;
  });
  if (job.state !== 'done') throw new Error(job.error || 'Canceled.');
  const rows = job.result.slice(1).map(({ method, psnr, ssim }) => [
    method, decibels(psnr), ssim === null ? '' : ssim.toFixed(4),
  ]);
  result.replaceChildren(
    table(['', 'PSNR, dB', 'SSIM'], rows),
    element('div', { class: 'strip', tabindex: '0', role: 'region', 'aria-label': 'Results' },
      ...job.result.map(({ method }, number) => element('figure', {},
        element('img', { src: `/api/jobs/${job.id}/${number}.png`, alt: `${method}, middle` }),
        element('figcaption', {}, method)))),
  );
}

function onFile(id, action) {
  by(id).addEventListener('change', (event) => {
    const file = event.target.files[0];
    event.target.value = '';
    const result = event.target.closest('form').querySelector('.result');
    if (file) tried(() => action(file, result)).then((done) => { if (done === null) result.replaceChildren(); });
  });
}

export function setUpCompare() {
  onFile('original', withOriginal);
  onFile('second', withCapture);
  by('with-noise').addEventListener('submit', (event) => {
    event.preventDefault();
    const result = event.target.querySelector('.result');
    tried(() => withNoise(by('noise').value, result))
      .then((done) => { if (done === null) result.replaceChildren(); });
  });
}

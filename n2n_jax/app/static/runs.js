// Lists the runs and tables of the folder, and shows their reports.

import { element, escaped, get, tried } from './api.js';

const by = (id) => document.getElementById(id);

function show(address, saved) {
  by('report').src = address;
  by('report').hidden = false;
  by('report-link').hidden = !saved;
  if (saved) by('save-report').href = saved;
}

export async function showRuns() {
  await tried(async () => {
    const { runs, tables } = await get('/api/runs');
    by('run-list').replaceChildren(...runs.map(({ name, state }) => element('li', {},
      element('button', {
        type: 'button',
        onclick: () => show(`/api/runs/${escaped(name)}/report`, `/api/runs/${escaped(name)}/report?save=true`),
      }, name, ' ', element('span', { class: 'soft' }, state)))));
    by('table-list').replaceChildren(...tables.map((name) => element('li', {},
      element('button', { type: 'button', onclick: () => show(`/api/tables/${escaped(name)}`, '') }, name))));
    if (!runs.length) by('run-list').append(element('li', { class: 'soft' }, 'None in this folder.'));
    if (!tables.length) by('table-list').append(element('li', { class: 'soft' }, 'None in this folder.'));
  });
}

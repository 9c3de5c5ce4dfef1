"""`n2n bench run`: a tiny table is interrupted, extended, split and read again."""

import dataclasses
import errno
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import random_weights
from command_line import n2n
from scipy import stats
from tiny_table import tiny_table

from n2n_jax import corruptions, models
from n2n_jax.bench import tables
from n2n_jax.bench.tables import cells as cells_module
from n2n_jax.bench.tables import page, places, records, results, runner
from n2n_jax.bench.tables.cells import cells
from n2n_jax.bench.tables.places import Places
from n2n_jax.bench.tables.table import Arm
from n2n_jax.evaluate import baselines, metrics
from n2n_jax.images import image_io
from n2n_jax.runtime import user_code
from n2n_jax.runtime.config import Config, changed
from n2n_jax.runtime.errors import UserError
from n2n_jax.train import loss_choice, losses, optimizers

ROOT = Path(__file__).parents[2]
STEPS = 8  # with a checkpoint in the middle, after which the second run is killed


@pytest.fixture
def use(monkeypatch, steps_shared):
    """Adds a table."""

    def add(table):
        monkeypatch.setitem(tables.REGISTRY, table.name, table)
        return table

    return add


def bench(*arguments):
    return n2n('bench', *arguments)


def table_of(folder):
    """The table's JSON, less what differs from run to run."""
    content = json.loads((folder / 'tiny-quick.json').read_text())
    for cell in content['cells']:
        del cell['seconds'], cell['seconds_per_megapixel'], cell['run']
        for score in cell['scores']:
            del score['row']['seconds']
    return content


def leaves(content, path=()):
    """The values of nested content by their places."""
    if isinstance(content, (dict, list)):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        return {key: x for k, v in items for key, x in leaves(v, (*path, k)).items()}
    return {path: content}


def times(folder):
    return {file.name: file.stat().st_mtime_ns for file in (folder / 'cells').iterdir()}


def check_numbers(folder):
    """The page has the numbers of the runs."""
    rows = {}
    for file in (folder / 'runs').glob('*/results.json'):
        (row,) = json.loads(file.read_text())
        config = json.loads((file.parent / 'config.json').read_text())['config']
        rows[config['noise']['target'], config['seed']] = row['metrics']['psnr']['out']
    clean, noisy = ((rows[target, 0] + rows[target, 1]) / 2 for target in ('clean', 'same'))
    page = (folder / 'tiny-quick.md').read_text()
    assert f'| clean | **{clean:.2f}** (20.00) |' in page
    assert f'| noisy | **{noisy:.2f}** |' in page
    assert f'| noisy | clean | leaves | **{noisy - clean:+.2f}** (' in page
    assert (folder / 'tiny-quick.png').read_bytes().startswith(b'\x89PNG')
    # The worst and the best image: noisy, of both arms, and clean, in details of 160 pixels.
    rows, columns, _ = image_io.read_image(folder / 'tiny-quick-pictures.png').pixels.shape
    assert (rows // 160, columns // 160) == (2, 4)
    record = records.read_all(folder, folder / 'none.json')
    assert {one.parameters for one in record.values()} == {443}
    assert {one.crops for one in record.values()} == {4 * STEPS}
    assert all('command' not in one.run for one in record.values())  # no paths of this machine


# --- The tables of the papers ---------------------------------------------------------------------


@pytest.mark.parametrize('name', tables.REGISTRY)
def test_every_cell_of_every_table_can_be_run(name):
    """As far as that can be told without training: all names, options and values are valid."""
    table = tables.REGISTRY[name]
    assert set(table.budgets) == {'quick', 'cpu', 'full'}
    targets = set()
    for budget in table.budgets:
        found = list(cells(table, budget, 1, lambda arm: arm.rates[0]))
        assert len(found) > 2
        for cell in found:
            config = cell.config
            if cell.arm.method:
                assert cell.arm.method.partition(':')[0] in baselines.REGISTRY
                continue
            if config.imports:
                user_code.resolved(Places().located(config))
            models.check_settings(config.model)
            corruptions.parse(config.noise.input)
            losses.make(config.optim.loss.replace('auto', 'l2'))
            if config.target_spec != 'clean':
                targets.add((config.optim.loss, config.target_spec))
            optimizers.make(config)
            metrics.parse_list(config.eval.metrics)
            assert cells_module.asked(config.eval)
    for loss, target in targets:
        if loss == 'auto':
            loss_choice.choose(loss, corruptions.parse(target))


def test_no_table_trains_or_searches_on_what_it_is_scored_on():
    for table, budget in itertools.product(tables.REGISTRY.values(), ('cpu', 'full')):
        for cell in cells(table, budget, 1, lambda arm: arm.rates[0]):
            sets = cell.config.eval.sets
            if cell.searched is not None:
                assert sets == cells_module.SEARCH_SET
                continue
            assert cells_module.SEARCH_SET not in sets
            assert places.BSDS500 not in sets
            assert cell.config.data.train not in sets


def test_the_list_names_every_table_with_its_question(capsys):
    assert bench('list') == 0
    text = capsys.readouterr().out
    for table in tables.REGISTRY.values():
        assert f'{table.name}\n    {table.question}' in text
    for name in tables.REGISTRY:
        assert bench('show', name, '-o', '/no/such/folder') == 0
        assert tables.REGISTRY[name].title in capsys.readouterr().out


def test_a_table_refuses_arms_that_are_not_there():
    with pytest.raises(ValueError, match='no arm clean'):
        tiny_table(arms=(Arm('noisy', control='clean'),))
    with pytest.raises(ValueError, match='two arms of the same name'):
        tiny_table(arms=(Arm('noisy'), Arm('noisy')))


# --- Running a table ------------------------------------------------------------------------------


def saved_steps(folder):
    return [path for path in folder.glob('runs/*/checkpoints/*') if path.name.isdigit()]


def killed_in_its_second_cell(folder):
    """Runs the table in a process that ends by SIGKILL."""
    process = subprocess.Popen(
        [sys.executable, '-m', 'tests.tiny_table', str(STEPS), str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 300
    while len({saved.parent for saved in saved_steps(folder)}) < 2:
        assert time.monotonic() < deadline
        if process.poll() is not None:
            pytest.fail(process.communicate()[0])
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_a_killed_and_split_table_is_the_same_table(use, tmp_path, capsys):
    use(tiny_table(steps=STEPS))
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    killed_in_its_second_cell(whole)
    first = times(whole)
    assert len(first) == 1
    assert bench('run', 'tiny', '-o', whole) == 0
    said = capsys.readouterr().err
    assert 'tiny: 1 of 2 cells to do. Now: noisy, seed 0' in said
    assert 'Resumed at step' in said
    assert said.splitlines()[-1] == str(whole / 'tiny-quick.md')
    assert first.items() <= times(whole).items()  # nothing was run twice

    # Two processes, one after the other, share the cells and come to the same table.
    for share in ('2/2', '1/2'):
        assert bench('run', 'tiny', '-o', parts, '--cells', share) == 0
        incomplete = '**Not complete**: 1 of 2 cells' in (parts / 'tiny-quick.md').read_text()
        assert incomplete == (share == '2/2')
    # Close, not equal: the process that was killed had one device, this one has eight.
    assert leaves(table_of(parts)) == pytest.approx(leaves(table_of(whole)), abs=1e-3)


def test_a_table_is_extended_copied_and_shown(use, tmp_path, capsys):
    use(tiny_table(steps=STEPS))
    whole = tmp_path / 'whole'
    assert bench('run', 'tiny', '-o', whole) == 0
    first = times(whole)
    assert bench('run', 'tiny', '-o', whole, '--seeds', '2') == 0
    assert first.items() <= times(whole).items()  # nothing was run twice
    check_numbers(whole)

    # The JSON alone is enough to show the table, and to go on.
    copied = tmp_path / 'copied'
    copied.mkdir()
    (copied / 'tiny-quick.json').write_bytes((whole / 'tiny-quick.json').read_bytes())
    capsys.readouterr()
    assert bench('show', 'tiny', '-o', copied, '--seeds', '2') == 0
    page = (whole / 'tiny-quick.md').read_text()
    assert page.count('![Tiny](tiny-quick') == 2  # the plot and the pictures
    without = re.sub(r'!\[Tiny\].*\n\n', '', page)
    assert capsys.readouterr().out.strip() == without.strip()
    assert bench('run', 'tiny', '-o', copied, '--seeds', '2') == 0
    assert not (copied / 'runs').exists()
    # Fewer seeds drop nothing of what only that file has.
    assert bench('run', 'tiny', '-o', copied, '--seeds', '1') == 0
    assert len(table_of(copied)['cells']) == 4


@pytest.mark.slow
def test_ctrl_c_leaves_a_table_to_go_on_with(use, tmp_path, monkeypatch, capsys):
    use(tiny_table())
    train, started = runner.loop.train, []

    def interrupted(config, path):
        started.append(path)
        return False if len(started) == 2 else train(config, path)

    monkeypatch.setattr(runner.loop, 'train', interrupted)
    assert bench('run', 'tiny', '-o', tmp_path) == 130
    assert '1 of 2 cells are done' in capsys.readouterr().err
    assert bench('run', 'tiny', '-o', tmp_path) == 0
    assert len(started) == 3

    # Another set is scored without training again.
    use(tiny_table(**{'eval.sets': 'other=dead_leaves:3'}))
    assert bench('run', 'tiny', '-o', tmp_path) == 0
    assert len(started) == 3
    for file in (tmp_path / 'cells').iterdir():
        scores = json.loads(file.read_text())['scores']
        assert [len(score['images']) for score in scores] == [2, 3]


def test_a_cell_that_fails_is_listed_and_does_not_stop_the_rest(use, tmp_path, capsys):
    arms = (
        Arm('perceptual', changes={'optim.loss': 'vgg', 'optim.loss_weights': places.file('vgg')}),
        Arm('BM3D', method='bm3d'),
        Arm('noisy'),
    )
    use(tiny_table(arms=arms))
    assert bench('run', 'tiny', '-o', tmp_path, '--file', 'vgg=/no/such/file') == 1
    said = capsys.readouterr().err
    assert 'Failed: perceptual, seed 0: --file vgg=/no/such/file: there is no such file.' in said
    assert 'Traceback' not in said
    page = (tmp_path / 'tiny-quick.md').read_text()
    assert '* Failed: perceptual, seed 0: ' in page
    assert '| noisy | **' in page
    assert bench('run', 'tiny', '-o', tmp_path) == 1
    assert 'needs weights of a VGG-16' in capsys.readouterr().err


def test_a_missing_package_of_a_method_is_named(use, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(baselines.bm3d.BM3D, 'installed', classmethod(lambda cls: False))
    use(tiny_table(arms=(Arm('BM3D', method='bm3d'), Arm('noisy'))))
    assert bench('run', 'tiny', '-o', tmp_path) == 1
    assert "pip install 'n2n_jax[baselines]'" in capsys.readouterr().err
    assert '| noisy | **' in (tmp_path / 'tiny-quick.md').read_text()


def test_a_run_that_diverges_is_a_result(use, tmp_path):
    arms = (Arm('wild', changes={'optim.learning_rate': 1e30}), Arm('noisy'))
    use(tiny_table(arms=arms, steps=8))
    assert bench('run', 'tiny', '-o', tmp_path) == 0
    assert '| wild | diverged |' in (tmp_path / 'tiny-quick.md').read_text()
    before = times(tmp_path)
    assert bench('run', 'tiny', '-o', tmp_path) == 0  # and is not run again
    assert times(tmp_path) == before


def test_a_classical_method_is_scored_once_for_all_seeds_and_tables(use, tmp_path):
    arms = (Arm('3x3', method='median:size=3'), Arm('5x5', method='median:5', control='3x3'))
    use(tiny_table(arms=arms))
    assert bench('run', 'tiny', '-o', tmp_path, '--seeds', '2') == 0
    assert len(times(tmp_path)) == 2
    assert '| 5x5 | 3x3 | leaves | **' in (tmp_path / 'tiny-quick.md').read_text()
    # Another noise is added to its record.
    use(tiny_table(arms=arms[:1], **{'eval.noise': 'gaussian:50'}))
    assert bench('run', 'tiny', '-o', tmp_path) == 0
    file = max((tmp_path / 'cells').iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert [s['asked']['noise'] for s in json.loads(file.read_text())['scores']] == [
        'gaussian:25', 'gaussian:50',
    ]  # fmt: skip


@pytest.mark.slow
def test_learning_rates_are_searched_and_shared(use, tmp_path, monkeypatch):
    monkeypatch.setattr(cells_module, 'SEARCH_SET', 'search=dead_leaves:1')
    arms = (
        Arm('noisy', rates=(1e-6, 1e-2)),
        Arm('clean', changes={'noise.target': 'clean'}, rate_of='noisy', control='noisy'),
    )
    table = use(tiny_table(arms=arms, steps=6))
    assert [cell.searched for cell in cells(table, 'quick', 1, lambda _: None)] == [1e-6, 1e-2]
    assert [arm.name for arm in cells_module.waiting(table, 'quick', lambda _: None)] == [
        'noisy', 'clean',
    ]  # fmt: skip
    assert bench('run', 'tiny', '-o', tmp_path) == 0
    page = (tmp_path / 'tiny-quick.md').read_text()
    assert '| noisy | 0.01 | 6 |' in page
    header, _, row = page.partition('## Learning rates')[2].split('\n')[2:5]
    assert header == '| arm | 1e-06 | 0.01 |'
    low, high = (float(cell) for cell in row.split('|')[2:4])
    assert row.startswith('| noisy |')
    assert low < high
    assert '| clean | 0.01 | 6 |' in page
    assert len(times(tmp_path)) == 3  # the best search run is the run of seed 0


def test_cells_of_another_commit_are_not_mixed(use, tmp_path, capsys):
    use(tiny_table())
    assert bench('run', 'tiny', '-o', tmp_path) == 0
    file = next((tmp_path / 'cells').iterdir())
    content = json.loads(file.read_text())
    content['run']['commit'] = 'feedbeef0123'
    file.write_text(json.dumps(content))
    before = times(tmp_path)
    capsys.readouterr()
    assert bench('run', 'tiny', '-o', tmp_path) == 2
    said = capsys.readouterr().err
    assert '1 of feedbeef0123' in said
    assert '--any-commit' in said
    assert times(tmp_path) == before
    assert bench('run', 'tiny', '-o', tmp_path, '--any-commit') == 0
    assert 'feedbeef0123 (1 cells)' in (tmp_path / 'tiny-quick.md').read_text()


def test_cells_that_were_scored_on_other_images_are_not_compared(use, tmp_path, capsys):
    use(
        tiny_table(
            arms=(Arm('3x3', method='median:3'), Arm('5x5', method='median:5', control='3x3'))
        )
    )
    assert bench('run', 'tiny', '-o', tmp_path) == 0
    file = next((tmp_path / 'cells').iterdir())
    content = json.loads(file.read_text())
    content['scores'][0]['row']['images_sha256'] = 'others'
    file.write_text(json.dumps(content))
    capsys.readouterr()
    assert bench('run', 'tiny', '-o', tmp_path) == 2
    said = capsys.readouterr().err
    assert 'different images of leaves' in said
    assert '3x3' in said


def test_cells_with_other_weights_of_the_same_name_are_not_compared(
    use, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(places, 'FILES', {'weights': 'weights of a test'})
    table = tiny_table(
        arms=(Arm('3x3', method='median:3'), Arm('5x5', method='median:5', control='3x3')),
        **{'eval.metric_weights': places.file('weights')},
    )
    use(table)
    path = tmp_path / 'a.npz'
    path.write_bytes(b'one')
    arguments = ['run', 'tiny', '-o', tmp_path / 'table', '--file', f'weights={path}']
    assert bench(*arguments) == 0
    next((tmp_path / 'table' / 'cells').iterdir()).unlink()
    (tmp_path / 'table' / 'tiny-quick.json').unlink()
    path.write_bytes(b'other')
    capsys.readouterr()
    assert bench(*arguments) == 2
    assert 'with different files as weights (SHA-256' in capsys.readouterr().err


def test_a_full_disk_stops_the_table_and_loses_nothing(use, tmp_path, monkeypatch, capsys):
    use(tiny_table())
    write, written = records.write, []

    def full(folder, record):
        if written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
        written.append(record)
        write(folder, record)

    monkeypatch.setattr(records, 'write', full)
    assert bench('run', 'tiny', '-o', tmp_path) == 1
    said = capsys.readouterr().err
    assert 'No space left on device' in said
    assert 'Traceback' not in said
    monkeypatch.setattr(records, 'write', write)
    monkeypatch.setattr(runner.loop, 'train', lambda *_: pytest.fail('trained again'))
    assert bench('run', 'tiny', '-o', tmp_path) == 0


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['run', 'noise2nois'], "Did you mean 'noise2noise'"),
        (['run', 'tiny', '--budget', 'gpu'], "tiny has no budget 'gpu'"),
        (['run', 'tiny', '--seeds', '0'], '--seeds 0: must be at least 1'),
        (['run', 'tiny', '--cells', '3/2'], '--cells 3/2: write I/N'),
        (['run', 'tiny', '--cells', 'all'], '--cells all: write I/N'),
        (['run', 'tiny', '--file', 'vgg'], '--file vgg: write NAME=PATH'),
        (['run', 'tiny', '--file', 'vg=x.npz'], "Did you mean 'vgg'"),
    ],
)
def test_bad_input_gets_a_sentence(use, tmp_path, capsys, arguments, words):
    use(tiny_table())
    assert bench(*arguments, '-o', tmp_path / 'new') == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()


def test_a_damaged_record_is_named(use, tmp_path, capsys):
    use(tiny_table())
    (tmp_path / 'cells').mkdir()
    (tmp_path / 'cells' / 'mine.json').write_text('{"key": "mine"}')
    assert bench('run', 'tiny', '-o', tmp_path) == 2
    assert 'mine.json is damaged: move it away' in capsys.readouterr().err


def test_the_defect_of_existing_code_is_the_one_that_was_found():
    """In 8 bits that wrap, 250 becomes 158 in the mean; where nothing wraps, the mean is right."""
    user_code.resolved(Places().located(changed(Config(), {'imports': places.file('defects')})))
    noise = corruptions.parse('wrapping_poisson')
    clean_BHWC = jnp.broadcast_to(jnp.array([100, 250, 0]) / 255, (1, 100, 100, 3))
    image_BHWC = 255 * noise.sample(jax.random.key(0), clean_BHWC).image_BHWC
    # Counts above 255 lose 256.
    wrapped = 250 - 256 * stats.poisson.sf(255, 250)
    assert wrapped == pytest.approx(158, abs=1)
    means = image_BHWC.mean(axis=(0, 1, 2))
    np.testing.assert_allclose(means, [100, wrapped, 0], atol=4 * 130 / 100)
    assert means[2] == 0


# --- Where things lie -----------------------------------------------------------------------------


def test_folders_take_the_place_of_data_sets_and_change_no_identity(tmp_path):
    for folder in ('bsds500/train', 'bsds500/test', 'bsds500/val', 'kodak24'):
        (tmp_path / folder).mkdir(parents=True)
    config = changed(
        Config(),
        {
            'data.train': places.BSDS500,
            'eval.sets': f'kodak24*10={places.KODAK24},photos',
            'optim.loss_weights': places.file('vgg'),
        },
    )
    (tmp_path / 'vgg.npz').touch()
    located = Places(tmp_path, {'vgg': tmp_path / 'vgg.npz'}).located(config)
    assert located.data.train == f'folder:{tmp_path}/bsds500/train,folder:{tmp_path}/bsds500/test'
    assert located.eval.sets == f'kodak24*10=folder:{tmp_path}/kodak24,photos'
    assert located.optim.loss_weights == str(tmp_path / 'vgg.npz')
    assert Places(None, {'vgg': tmp_path / 'vgg.npz'}).located(config).data == config.data
    with pytest.raises(UserError, match=r'set14 is missing.*n2n prepare'):
        Places(tmp_path).located(changed(Config(), {'eval.sets': f's={places.SET14}'}))
    with pytest.raises(UserError, match=r'give --file vgg=PATH'):
        Places(tmp_path).located(config)


def test_cells_are_told_apart_by_what_changes_weights():
    table = tiny_table()
    keys = {cell.key for cell in cells(table, 'quick', 2, lambda _: None)}
    assert len(keys) == 4
    scored_elsewhere = tiny_table(**{'eval.sets': 'photos', 'eval.replicas': 3})
    assert {cell.key for cell in cells(scored_elsewhere, 'quick', 2, lambda _: None)} == keys
    longer = tiny_table(steps=5)
    assert not {cell.key for cell in cells(longer, 'quick', 2, lambda _: None)} & keys


def test_numbers_of_cells_do_not_depend_on_learning_rates():
    arms = (Arm('first', rates=(1e-3, 1e-2)), Arm('second'))
    table = tiny_table(arms=arms)
    without = {cell.title: cell.index for cell in cells(table, 'quick', 2, lambda _: None)}
    with_rates = {cell.title: cell.index for cell in cells(table, 'quick', 2, lambda _: 1e-2)}
    assert without.items() < with_rates.items()
    assert sorted(with_rates.values()) == list(range(6))


def test_most_seeds_is_heeded():
    table = tiny_table(arms=(Arm('long', most_seeds=1), Arm('short')))
    seeds = [(cell.arm.name, cell.seed) for cell in cells(table, 'quick', 3, lambda _: None)]
    assert seeds == [('long', 0), ('short', 0), ('short', 1), ('short', 2)]


@pytest.mark.slow
@pytest.mark.parametrize('name', tables.REGISTRY)
def test_the_quick_budget_of_every_table_runs(use, tmp_path, name, monkeypatch):
    """With two steps instead of hundreds."""
    table = tables.REGISTRY[name]
    shortened = {'optim.warmup_steps': 0, 'eval.max_images': 1, 'eval.every': 0}
    quick = dataclasses.replace(
        table.budgets['quick'],
        changes={**table.budgets['quick'].changes, 'train.steps': 2, **shortened},
    )
    arms = tuple(dataclasses.replace(arm, by_budget={}) for arm in table.arms)
    use(dataclasses.replace(table, arms=arms, budgets={'quick': quick}))
    np.savez(tmp_path / 'vgg.npz', **random_weights.vgg16())
    np.savez(tmp_path / 'lpips.npz', **random_weights.lpips_alex())
    files = [f'--file={file}={tmp_path / file}.npz' for file in ('vgg', 'lpips')]
    assert bench('run', name, '-o', tmp_path / 'tables', *files) == 0
    page = (tmp_path / 'tables' / f'{name}-quick.md').read_text()
    assert 'Not complete' not in page


# --- What is published ----------------------------------------------------------------------------

PUBLISHED = sorted((ROOT / 'docs' / 'results' / 'tables').glob('*.json'))


@pytest.mark.parametrize('file', PUBLISHED, ids=lambda file: file.stem)
def test_a_published_page_has_the_numbers_of_its_json(file):
    content = json.loads(file.read_text())
    table, budget = tables.REGISTRY[content['table']], content['budget']
    made = runner.Runner(
        table, budget, content['seeds'], file.parent, places=Places(), any_commit=True
    )
    outcome = made.outcome()
    assert outcome.complete == content['complete']
    images = sorted(file.parent.glob(f'{file.stem}*.png'), key=lambda path: len(path.name))
    found = results.results(table, outcome.cells, outcome.records)
    written = page.markdown(table, budget, outcome, found, images=images)
    assert file.with_suffix('.md').read_text() == written

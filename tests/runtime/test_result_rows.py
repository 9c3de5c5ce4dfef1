"""Rows of results.json: none is lost to another one, nor to a damaged file."""

import json
from pathlib import Path

import pytest

from n2n_jax.evaluate import metrics, results_table
from n2n_jax.runtime import json_files, result_rows
from n2n_jax.runtime.atomic_files import write_text
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.workdir import Workdir


def row_of(
    step=4, noise='gaussian:25', protocol='seed 0', images=('a', 'b'), psnr=30.0, ssim=0.8, **values
):
    return {
        'step': step, 'set': 'photos', 'noise': noise,
        'metrics': {'psnr': {'in': 20.0, 'out': psnr}, 'ssim': {'in': 0.3, 'out': ssim}},
        'ci95': [29.0, 31.0], 'n': len(images),
        'protocol': protocol, 'id': result_rows.row_id('photos', noise, protocol, images),
        **values,
    }  # fmt: skip


def early(row):
    """The row as early versions wrote it."""
    scores = row['metrics']
    flat = {name: score['out'] for name, score in scores.items()}
    flat |= {f'{name}_input': score['in'] for name, score in scores.items()}
    return {key: value for key, value in row.items() if key not in ('id', 'metrics')} | flat


def add(workdir, *rows):
    """As an evaluation does."""
    for row in rows:
        content = {**row, 'seconds': 1.0, 'num_rows': len(rows), 'images': [{'image': 'a'}]}
        write_text(workdir.scores_file(row), json_files.dumps(content))
    workdir.add_rows(list(rows), table=results_table.markdown)


def psnr_of(row):
    return row['metrics']['psnr']['out']


def test_a_quick_look_at_two_images_keeps_the_table_of_all(tmp_path):
    workdir = Workdir(tmp_path)
    whole, quick = row_of(images='abcdef'), row_of(images='ab', psnr=28.0)
    add(workdir, whole)
    add(workdir, quick)
    assert sorted(row['n'] for row in workdir.rows()) == [2, 6]
    assert len(list(workdir.evaluation_folder(4).glob('*.json'))) == 2
    table = (tmp_path / 'results.md').read_text()
    assert '| 6 | 20.00 | **30.00**' in table
    assert '| 2 | 20.00 | **28.00**' in table


def test_another_evaluation_seed_is_another_row_and_the_table_says_which(tmp_path):
    workdir = Workdir(tmp_path)
    add(workdir, row_of(protocol='seed 0'))
    add(workdir, row_of(protocol='seed 1', psnr=30.1))
    table = (tmp_path / 'results.md').read_text()
    lines = [line for line in table.splitlines() if 'gaussian:25' in line]
    numbers = {line.split('**')[1]: line.split('|')[-2].strip() for line in lines}
    for psnr, seed in (('30.00', 0), ('30.10', 1)):
        assert f'Protocol {numbers[psnr]}: seed {seed}.' in table


def test_other_images_under_the_same_set_name_are_told_apart_by_an_id(tmp_path):
    workdir = Workdir(tmp_path)
    first, second = row_of(images='ab'), row_of(images='cd')
    add(workdir, first)
    add(workdir, second)
    table = (tmp_path / 'results.md').read_text()
    assert f'| {first["id"]} |' in table
    assert f'| {second["id"]} |' in table
    assert workdir.scores_file(first) != workdir.scores_file(second)


def test_the_same_evaluation_again_is_one_row(tmp_path):
    workdir = Workdir(tmp_path)
    add(workdir, row_of(psnr=1.0))
    add(workdir, row_of(images='ba', psnr=2.0))  # in another order
    (row,) = workdir.rows()
    assert psnr_of(row) == 2.0
    assert 'seconds' not in row  # a resumed run has the results.json of an undisturbed one


def test_names_that_look_alike_as_files_do_not_share_one(tmp_path):
    workdir = Workdir(tmp_path)
    a, b = row_of(noise='gaussian:25'), row_of(noise='gaussian_25')
    assert workdir.scores_file(a) != workdir.scores_file(b)


def test_rows_of_an_early_version_are_read_and_stay(tmp_path):
    workdir = Workdir(tmp_path)
    old = early(row_of(psnr=29.0))
    write_text(tmp_path / 'results.json', json.dumps([old]))
    assert workdir.scores_file(old).name == 'photos_gaussian_25.json'
    assert workdir.rows()[0]['metrics'] == row_of(psnr=29.0)['metrics']
    add(workdir, row_of())
    assert [psnr_of(row) for row in workdir.rows()] == [29.0, 30.0]
    (line,) = [
        line for line in (tmp_path / 'results.md').read_text().splitlines() if '**29.00**' in line
    ]
    assert '20.00 | **29.00** (29.00 to 31.00) | +9.00 | 0.3000 | 0.8000 |' in line


def test_both_kinds_of_psnr_of_an_early_row_have_the_same_input():
    row = {'psnr': 30.0, 'psnr_float': 30.1, 'psnr_input': 20.0, 'mse': 1e-3, 'mse_input': 1e-2}
    assert result_rows.upgraded(row)['metrics'] == {
        'psnr': {'in': 20.0, 'out': 30.0},
        'psnr_float': {'in': 20.0, 'out': 30.1},
        'mse': {'in': 1e-2, 'out': 1e-3},
    }


def test_estimates_stay_as_they_are():
    row = {'psnr_estimate': None, 'psnr_estimate_input': 20.0, 'ci95': [40.0, None]}
    assert result_rows.upgraded(row) == row


def test_the_published_rows_of_early_versions_are_read():
    def rows_in(content):
        if isinstance(content, dict) and {'psnr_input', 'protocol'} <= content.keys():
            return [content]
        parts = content.values() if isinstance(content, dict) else content
        return [r for part in parts if isinstance(part, dict | list) for r in rows_in(part)]

    file = Path(__file__).parents[2] / 'docs/results/unet_gauss_bsds_17min.json'
    rows = rows_in(json_files.loads(file.read_bytes()))
    table = results_table.markdown([result_rows.upgraded(row) for row in rows])
    assert rows
    for row in rows:
        assert f'{row["psnr_input"]:.2f} | **{row["psnr"]:.2f}**' in table


@pytest.mark.parametrize('as_it_was', [dict, early])
def test_an_exact_image_is_printed_as_exact(as_it_was, tmp_path):
    row = as_it_was(row_of(psnr=float('inf'), ci95=[31.0, float('inf')]))
    write_text(tmp_path / 'results.json', json_files.dumps([row]))
    rows = Workdir(tmp_path).rows()
    assert '**exact** (31.00 to exact) |  |' in results_table.markdown(rows)
    rows[0].pop('id', None)
    assert json.loads(json_files.dumps(rows))[0]['metrics']['psnr'] == {
        'in': 20.0, 'out': None, 'not_finite': {'out': 'Infinity'}
    }  # fmt: skip


def test_null_in_the_rows_of_the_first_versions_is_exact():
    row = result_rows.upgraded({**early(row_of()), 'psnr': None, 'ci95': [31.0, None]})
    assert '**exact** (31.00 to exact) |  |' in results_table.markdown([row])


@pytest.mark.parametrize('as_it_was', [dict, early])
def test_a_network_whose_output_overflows_is_not_printed_as_exact(as_it_was, tmp_path):
    nan = float('nan')
    row = as_it_was(row_of(psnr=nan, ssim=nan, ci95=[nan, nan]))
    write_text(tmp_path / 'results.json', json_files.dumps([row]))
    table = results_table.markdown(Workdir(tmp_path).rows())
    assert '**NaN** (NaN to NaN) |  |' in table
    assert 'exact' not in table
    assert metrics.PSNR.text(float('-inf')) == 'NaN'


def test_rows_by_other_metrics_stand_in_one_table_with_those_by_fewer():
    more = row_of(step=6)
    scores = {'lpips:alex': {'in': 0.5, 'out': 0.25}, 'of a later version': {'in': 1, 'out': 2}}
    more['metrics'] |= scores
    table = results_table.markdown([row_of(), more])
    assert '| SSIM in | SSIM out | LPIPS in | LPIPS out |' in table
    assert '| 0.3000 | 0.8000 |  |  |' in table
    assert '| 0.3000 | 0.8000 | 0.5000 | 0.2500 |' in table
    assert 'LPIPS: smaller is better; output clamped and rounded to 8 bits.' in table
    assert 'better' not in results_table.markdown([row_of()])


@pytest.mark.parametrize(
    'text',
    [
        '5',
        '[1]',
        '[{}]',
        '{}',
        '[{"step": "2"}]',
        '[{',
        '[{"step": 2, "set": "a", "noise": "b", "protocol": "c", "n": 1, "metrics": {"psnr": 5}}]',
        '[' * 100_000,
    ],
)
def test_damaged_results_are_named_and_come_back_once_moved_away(text, tmp_path):
    workdir = Workdir(tmp_path)
    add(workdir, row_of(step=2), row_of(step=2, noise='poisson:30'))
    add(workdir, row_of(step=4))
    before = workdir.rows()
    (tmp_path / 'results.json').write_text(text)
    with pytest.raises(UserError, match=r'results\.json is damaged.* move it away.*evaluation'):
        workdir.rows()
    with pytest.raises(UserError, match='damaged'):
        workdir.add_rows([row_of(step=6)])
    (tmp_path / 'results.json').unlink()
    assert workdir.rows() == before
    workdir.add_rows([row_of(step=6)])
    assert [row['step'] for row in workdir.rows()] == [2, 2, 4, 6]


def test_an_evaluation_that_was_cut_short_is_not_taken_for_a_whole_one(tmp_path, caplog):
    workdir = Workdir(tmp_path)
    add(workdir, row_of(step=2), row_of(step=2, noise='poisson:30'))
    add(workdir, row_of(step=4))
    (tmp_path / 'results.json').unlink()
    workdir.scores_file(row_of(step=2)).unlink()  # killed between the two
    (workdir.evaluation_folder(4) / 'notes.json').write_text('{"mine": 1}')
    assert [row['step'] for row in workdir.rows()] == [4]
    assert 'notes.json is not a file of scores' in caplog.text


@pytest.mark.parametrize('key', ['realizations', 'realisations'])
def test_the_table_says_that_the_noise_was_fixed_in_rows_of_early_versions_too(key):
    assert 'Trained on 2 fixed noisy versions' in results_table.markdown([row_of(**{key: 2})])

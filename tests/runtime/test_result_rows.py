"""Rows of results.json: none is lost to another one, nor to a damaged file."""

import json

import pytest

from n2n_jax.runtime import json_files, result_rows
from n2n_jax.runtime.atomic_files import write_text
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.workdir import Workdir


def row_of(step=4, noise='gaussian:25', protocol='seed 0', images=('a', 'b'), **values):
    return {
        'step': step, 'set': 'photos', 'noise': noise, 'psnr': 30.0, 'psnr_input': 20.0,
        'ssim': 0.8, 'ssim_input': 0.3, 'ci95': [29.0, 31.0], 'n': len(images),
        'protocol': protocol, 'id': result_rows.row_id('photos', noise, protocol, images),
        **values,
    }  # fmt: skip


def add(workdir, *rows):
    """As an evaluation does."""
    for row in rows:
        content = {**row, 'seconds': 1.0, 'num_rows': len(rows), 'images': [{'image': 'a'}]}
        write_text(workdir.scores_file(row), json_files.dumps(content))
    workdir.add_rows(list(rows))


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
    assert row['psnr'] == 2.0
    assert 'seconds' not in row  # a resumed run has the results.json of an undisturbed one


def test_names_that_look_alike_as_files_do_not_share_one(tmp_path):
    workdir = Workdir(tmp_path)
    a, b = row_of(noise='gaussian:25'), row_of(noise='gaussian_25')
    assert workdir.scores_file(a) != workdir.scores_file(b)


def test_rows_of_an_early_version_are_read_and_stay(tmp_path):
    workdir = Workdir(tmp_path)
    old = {key: value for key, value in row_of(psnr=29.0).items() if key != 'id'}
    write_text(tmp_path / 'results.json', json.dumps([old]))
    assert workdir.scores_file(old).name == 'photos_gaussian_25.json'
    add(workdir, row_of())
    assert [row['psnr'] for row in workdir.rows()] == [29.0, 30.0]


def test_an_exact_image_is_printed_as_exact():
    rows = json.loads(json_files.dumps([row_of(psnr=float('inf'), ci95=[31.0, float('inf')])]))
    assert '**exact** (31.00 to exact) |  |' in result_rows.markdown_table(rows)


def test_a_network_whose_output_overflows_is_not_printed_as_exact():
    nan = float('nan')
    row = row_of(psnr=nan, ssim=nan, ci95=[nan, nan])
    for rows in ([row], json.loads(json_files.dumps([row]))):
        table = result_rows.markdown_table(rows)
        assert '**NaN** (NaN to NaN) |  |' in table
        assert 'exact' not in table
    assert result_rows.decibels(float('-inf')) == 'NaN'


@pytest.mark.parametrize('text', ['5', '[1]', '[{}]', '{}', '[{"step": "2"}]', '[{', '[' * 100_000])
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
    assert 'Trained on 2 fixed noisy versions' in result_rows.markdown_table([row_of(**{key: 2})])

"""What is denoised into which file: names of outputs, and places that are refused."""

import json
from pathlib import Path

import pytest
import tifffile
from small_files import pixels

from n2n_jax.captures.grouping import find_scenes
from n2n_jax.denoise.jobs import Output, jobs_of_files, jobs_of_scenes
from n2n_jax.runtime.errors import UserError


def test_nothing_is_written_outside_of_the_folder_that_was_named(tmp_path):
    for name in ('a', 'b'):
        tifffile.imwrite(tmp_path / f'{name}.tif', pixels(9, 9))
    for scene in ('../escaped', str(tmp_path / 'absolute'), 'x/../../y', ''):
        (tmp_path / 'm.json').write_text(json.dumps({scene: ['a.tif', 'b.tif']}))
        with pytest.raises(UserError, match='is not a valid scene name'):
            find_scenes([tmp_path / 'm.json'])
    out, far = tmp_path / 'out', tmp_path / 'far'
    out.mkdir()
    far.mkdir()
    (tmp_path / 'in' / 'deep').mkdir(parents=True)
    tifffile.imwrite(tmp_path / 'in' / 'deep' / 'a.tif', pixels(9, 9))
    for link, target in (
        (out / 'deep', far),
        (out / 'deep' / 'a.tif', far / 'there.tif'),
        (out / 'deep' / 'a.tif', far / 'gone.tif'),
    ):
        (far / 'there.tif').write_text('')
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(target)
        with pytest.raises(UserError, match='would be written outside -o'):
            jobs_of_files([tmp_path / 'in'], out)
        link.unlink()
    (tmp_path / 'linked').symlink_to(far)  # but -o itself may be a link
    (job,) = jobs_of_files([tmp_path / 'in'], tmp_path / 'linked')
    assert job.target == tmp_path / 'linked' / 'deep' / 'a.tif'


def test_a_name_with_a_trailing_slash_is_a_folder(tmp_path):
    inputs = [tmp_path / 'a.tif', tmp_path / 'b.tif']
    for path in inputs:
        tifffile.imwrite(path, pixels(9, 9))
    for given in (inputs, inputs[:1]):
        for name in ('run1.0', 'x.tif'):
            jobs = jobs_of_files(given, Output(tmp_path / name, is_folder=True))
            assert [job.target for job in jobs] == [tmp_path / name / file.name for file in given]
    jobs = jobs_of_files(inputs, tmp_path / 'run1.0')  # .0 is no suffix of an image file
    assert [job.target.parent.name for job in jobs] == ['run1.0'] * 2
    with pytest.raises(UserError, match=r'is the name of an image .* several .* Write .*x.tif/'):
        jobs_of_files(inputs, tmp_path / 'x.tif')
    with pytest.raises(UserError, match=r'run1.0 cannot be written: .* write .*run1.0/ for a'):
        jobs_of_files(inputs[:1], tmp_path / 'run1.0')


@pytest.mark.parametrize(
    ('source', 'target', 'words'),
    [
        ('a.tif', 'a.npy', r'only .npy and .npz files can be written as .npy. .* ends in .tif.'),
        ('a.png', 'a.npz', r'can be written as .npz. Choose a name that ends in .png or .tif'),
        ('a.npy', 'a.exr', r'only .exr files can be written as .exr. .* ends in .npy or .tif'),
    ],
)
def test_formats_that_cannot_be_converted_are_refused_before_the_model_is_loaded(
    source, target, words, tmp_path
):
    (tmp_path / source).write_text('')
    with pytest.raises(UserError, match=words):
        jobs_of_files([tmp_path / source], tmp_path / target)


def test_spread_and_output_of_one_name_clash(tmp_path):
    for name in ('a.tif', 'a_spread.tif'):
        tifffile.imwrite(tmp_path / name, pixels(9, 9))
    with pytest.raises(UserError, match='both be written to'):
        jobs_of_files([tmp_path], tmp_path.parent / 'out', maps=['spread'])


def test_outputs_do_not_go_into_a_linked_scene_folder(tmp_path):
    far, given = tmp_path / 'far', tmp_path / 'cells'
    (far / 'deep').mkdir(parents=True)
    for name in ('1.tif', '2.tif'):
        tifffile.imwrite(far / 'deep' / name, pixels(9, 9))
    given.mkdir()
    (given / 's1').symlink_to(far)
    for output in (far, far / 'out', far / 'deep' / 'out'):
        with pytest.raises(UserError, match=r'is inside .*/cells/s1'):
            jobs_of_files([given], output)
        with pytest.raises(UserError, match=r'is inside .*/cells/s1'):
            jobs_of_scenes(find_scenes([given]), [given], Output(output, True))
    assert len(jobs_of_files([given], tmp_path / 'out')) == 2


@pytest.mark.parametrize(
    ('name', 'want'),
    [
        ('photo.tif', 'photo_denoised.tif'),
        ('my.photo.tif', 'my.photo_denoised.tif'),
        ('cells.OME.tif', 'cells_denoised.OME.tif'),
    ],
)
def test_without_an_output_the_result_is_beside_the_file(tmp_path, name, want):
    tifffile.imwrite(tmp_path / name, pixels(9, 9))
    (job,) = jobs_of_files([tmp_path / name], None, maps=['spread'])
    assert job.target == tmp_path / want
    assert job.maps['spread'].parent == tmp_path


def test_without_an_output_a_folder_gets_a_folder_beside_it(tmp_path, monkeypatch):
    (tmp_path / 'in' / 'deep').mkdir(parents=True)
    tifffile.imwrite(tmp_path / 'in' / 'deep' / 'a.tif', pixels(9, 9))
    tifffile.imwrite(tmp_path / 'b.tif', pixels(9, 9))
    jobs = jobs_of_files([tmp_path / 'in', tmp_path / 'b.tif'], None)
    assert [job.target for job in jobs] == [
        tmp_path / 'in_denoised' / 'deep' / 'a.tif',
        tmp_path / 'b_denoised.tif',
    ]
    monkeypatch.chdir(tmp_path / 'in')
    (job,) = jobs_of_files([Path('.')], None)
    assert job.target == tmp_path.resolve() / 'in_denoised' / 'deep' / 'a.tif'
    with pytest.raises(UserError, match='would both be written'):
        jobs_of_files([tmp_path / 'b.tif', tmp_path / 'b.tif'], None)

"""Options shared by commands, and the checks made before a command starts."""

import argparse
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from n2n_jax.captures import scene_captures
from n2n_jax.captures.grouping import find_scenes
from n2n_jax.cli import options
from n2n_jax.runtime.errors import UserError


def check(file, *, force=False):
    options.check_free(file, '--json', argparse.Namespace(force=force))


def test_a_file_that_can_be_written_is_fine(tmp_path):
    check(None)
    check(tmp_path / 'new.json')
    check(tmp_path / 'no' / 'such' / 'folder' / 'new.json')  # made when it is written
    assert not list(tmp_path.iterdir())


def test_a_file_that_exists_needs_force(tmp_path):
    (tmp_path / 'old.json').write_text('{}')
    with pytest.raises(UserError, match=r'old.json exists: choose another --json, or .* --force'):
        check(tmp_path / 'old.json')
    check(tmp_path / 'old.json', force=True)


def test_a_file_that_cannot_be_written_is_an_error_before_the_work(tmp_path, monkeypatch):
    with pytest.raises(UserError, match='is a folder: --json needs the name of a file'):
        check(tmp_path, force=True)
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='x.json cannot be written: choose another --json'):
        check(tmp_path / 'file' / 'x.json')
    # Root may write anywhere, so the answer of the operating system is faked.
    monkeypatch.setattr(os, 'access', lambda folder, mode: folder != tmp_path)
    for file in (tmp_path / 'x.json', tmp_path / 'new' / 'x.json'):
        with pytest.raises(UserError, match='x.json cannot be written'):
            check(file)


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    options.add_captures(parser)
    return scene_captures.find(options.captures(parser.parse_args(arguments)))


def test_paths_are_taken_as_they_are_with_spaces_and_commas(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (' a1.tif', 'a2.tif', 'b, c.tif', ' cells /c_1.tif', ' cells /c_2.tif'):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b'')
        tifffile.imwrite(tmp_path / 'x.tif', np.zeros((8, 8), np.uint8))
        (tmp_path / 'x.tif').rename(file)
    for given, found in (
        ([' a1.tif', 'a2.tif'], [' a1.tif', 'a2.tif']),
        ([' cells '], [' cells /c_1.tif', ' cells /c_2.tif']),
        (['b, c.tif', 'a2.tif'], ['b, c.tif', 'a2.tif']),
    ):
        (scene,) = parsed(*given)
        assert [str(capture.path) for capture in scene.captures] == found


def test_a_broken_link_needs_force_too(tmp_path):
    (tmp_path / 'x.json').symlink_to(tmp_path / 'nowhere')
    with pytest.raises(UserError, match=r'x.json exists'):
        check(tmp_path / 'x.json')


def test_outputs_with_a_trailing_slash_are_folders():
    for text, is_folder in (('run1.0/', True), ('a/.', True), ('a.tif', False), ('a', False)):
        assert options.output(text) == (Path(text), is_folder)


def test_names_of_run_folders_must_be_utf_8():
    assert options.run_folder('runs/é') == Path('runs/é')
    with pytest.raises(argparse.ArgumentTypeError, match=r'caf\\xe9: checkpoints cannot be'):
        options.run_folder('runs/caf\udce9')
    with pytest.raises(argparse.ArgumentTypeError, match='zero byte'):
        options.path('a\0')


def test_reports_never_overwrite_captures(tmp_path):
    np.save(tmp_path / 's.npy', np.zeros((2, 8, 8), np.uint8))
    scenes = find_scenes([tmp_path / 's.npy'])
    options.check_report_files([None, tmp_path / 'a.json', tmp_path / 'a.html'], scenes)
    with pytest.raises(UserError, match='s.npy is one of the captures'):
        options.check_report_files([tmp_path / 'x' / '..' / 's.npy'], scenes)
    with pytest.raises(UserError, match='a.json is named twice'):
        options.check_report_files([tmp_path / 'a.json', tmp_path / 'a.json'], scenes)

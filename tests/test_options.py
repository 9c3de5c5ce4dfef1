"""What commands look at before they start."""

import argparse
import os

import numpy as np
import pytest

from n2n_jax.commands import options
from n2n_jax.data.captures import find_scenes
from n2n_jax.errors import UserError


def check(file, *, force=False):
    options.check_free(file, '--json', argparse.Namespace(force=force))


def test_a_file_that_can_be_written_is_fine(tmp_path):
    check(None)
    check(tmp_path / 'new.json')
    check(tmp_path / 'no' / 'such' / 'folder' / 'new.json')  # made when it is written
    assert not list(tmp_path.iterdir())


def test_a_file_that_exists_needs_force(tmp_path):
    (tmp_path / 'old.json').write_text('{}')
    with pytest.raises(UserError, match=r'old.json exists: choose another --json, or give --force'):
        check(tmp_path / 'old.json')
    check(tmp_path / 'old.json', force=True)


def test_what_cannot_be_written_is_said_before_the_work(tmp_path, monkeypatch):
    with pytest.raises(UserError, match='is a folder: give --json the name of a file'):
        check(tmp_path, force=True)
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='x.json cannot be written: choose another --json'):
        check(tmp_path / 'file' / 'x.json')
    # Root may write anywhere, so the answer of the system is made up.
    monkeypatch.setattr(os, 'access', lambda folder, mode: folder != tmp_path)
    for file in (tmp_path / 'x.json', tmp_path / 'new' / 'x.json'):
        with pytest.raises(UserError, match='x.json cannot be written'):
            check(file)


def test_captures_are_no_place_for_reports(tmp_path):
    np.save(tmp_path / 's.npy', np.zeros((2, 8, 8), np.uint8))
    scenes = find_scenes([tmp_path / 's.npy'])
    options.check_no_input([None, tmp_path / 'a.json', tmp_path / 'a.html'], scenes)
    with pytest.raises(UserError, match='s.npy is a capture itself'):
        options.check_no_input([tmp_path / 'x' / '..' / 's.npy'], scenes)
    with pytest.raises(UserError, match='a.json is named twice'):
        options.check_no_input([tmp_path / 'a.json', tmp_path / 'a.json'], scenes)

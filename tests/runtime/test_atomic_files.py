"""Files are written completely or not at all."""

import os

import pytest

from n2n_jax.runtime.atomic_files import write_text


@pytest.mark.parametrize(('mask', 'mode'), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_files_of_a_private_run_are_private(mask, mode, tmp_path):
    before = os.umask(mask)
    try:
        write_text(tmp_path / 'results.json', '[]')
        write_text(tmp_path / 'results.json', '[1]')  # and stay so
    finally:
        os.umask(before)
    assert (tmp_path / 'results.json').stat().st_mode & 0o777 == mode
    assert [path.name for path in tmp_path.iterdir()] == ['results.json']


def test_what_cannot_be_written_leaves_the_file_before_it(tmp_path, monkeypatch):
    write_text(tmp_path / 'a', 'old')

    def fail(*arguments):
        raise OSError(28, 'No space left on device', '.a.tmp')

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(OSError, match="No space left on device: '.*/a'"):
        write_text(tmp_path / 'a', 'new')
    assert [path.name for path in tmp_path.iterdir()] == ['a']
    assert (tmp_path / 'a').read_text() == 'old'

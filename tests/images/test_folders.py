"""Folder listing: links, loops, pipes and broken links."""

import os

import pytest

from n2n_jax.images.folders import files_below, why_no_file


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('')


def found(folder):
    return [path.relative_to(folder).as_posix() for path in files_below(folder, {'.png'})]


def test_files_are_in_natural_order_and_hidden_ones_are_skipped(tmp_path):
    touch(*(tmp_path / name for name in ('a10/x.png', 'a2/x.PNG', 'b.png', 'b.txt')))
    touch(tmp_path / '.hidden.png', tmp_path / '.folder' / 'x.png')
    assert found(tmp_path) == ['a2/x.PNG', 'a10/x.png', 'b.png']


def test_folders_that_are_links_are_searched_like_others(tmp_path, caplog):
    touch(tmp_path / 'far' / 's1' / 'deep' / 'x.png', tmp_path / 'cells' / 's2' / 'y.png')
    (tmp_path / 'cells' / 's1').symlink_to(tmp_path / 'far' / 's1')
    assert found(tmp_path / 'cells') == ['s1/deep/x.png', 's2/y.png']
    (tmp_path / 'linked').symlink_to(tmp_path / 'cells')
    assert found(tmp_path / 'linked') == ['s1/deep/x.png', 's2/y.png']
    assert not caplog.records


def test_links_that_form_loops_are_skipped_with_a_warning(tmp_path, caplog):
    touch(tmp_path / 'a' / 'x.png', tmp_path / 'other.png')
    (tmp_path / 'a' / 'itself').symlink_to(tmp_path / 'a')
    (tmp_path / 'a' / 'above').symlink_to(tmp_path)
    (tmp_path / 'a' / 'b').mkdir()
    (tmp_path / 'a' / 'again').symlink_to(tmp_path / 'a' / 'b')
    assert found(tmp_path / 'a') == ['x.png']
    words = sorted(record.getMessage() for record in caplog.records)
    assert len(words) == 3
    assert f'Skipping {tmp_path}/a/above: it links to a folder that contains it' in words[0]
    assert f'Skipping {tmp_path}/a/again: it is the same folder as {tmp_path}/a/b' in words[1]
    assert f'Skipping {tmp_path}/a/itself' in words[2]


def test_a_chain_of_folders_with_two_links_each_is_searched_once(tmp_path):
    for k in range(40):  # 2^40 paths lead to the last
        touch(tmp_path / 'far' / str(k) / 'x.png')
    for k in range(39):
        for name in ('l', 'r'):
            (tmp_path / 'far' / str(k) / name).symlink_to(tmp_path / 'far' / str(k + 1))
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in' / 'first').symlink_to(tmp_path / 'far' / '0')
    assert len(found(tmp_path / 'in')) == 40


def test_an_unreadable_folder_is_skipped_with_a_warning(tmp_path, caplog, monkeypatch):
    touch(tmp_path / 'locked' / 'x.png', tmp_path / 'y.png')
    real = os.scandir

    def scandir(path):  # faked, as root may read everything
        if os.fspath(path).endswith('locked'):
            raise PermissionError(13, 'Permission denied', path)
        return real(path)

    monkeypatch.setattr(os, 'scandir', scandir)
    assert found(tmp_path) == ['y.png']
    assert 'locked: Permission denied' in caplog.text


def test_pipes_and_broken_links_are_not_files(tmp_path):
    os.mkfifo(tmp_path / 'pipe.png')
    (tmp_path / 'gone.png').symlink_to(tmp_path / 'nowhere')
    (tmp_path / 'device.png').symlink_to('/dev/zero')
    touch(tmp_path / 'file.png')
    assert why_no_file(tmp_path / 'file.png') == ''
    for name, words in (
        ('pipe.png', 'a pipe'),
        ('device.png', 'a device'),
        ('gone.png', 'a broken link'),
        ('missing.png', 'no such file'),
        ('', 'it is a folder'),
    ):
        assert words in why_no_file(tmp_path / name)


@pytest.mark.parametrize('name', ['a\0b', 'x' * 5000])
def test_impossible_names_are_not_files(name, tmp_path):
    assert why_no_file(tmp_path / name) == 'no such file'


def test_a_folder_that_two_links_lead_to_is_searched_once_with_a_warning(tmp_path, caplog):
    touch(tmp_path / 'data' / 'sub' / 'a.png', tmp_path / 'data' / 'b.png')
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in' / 'a').symlink_to(tmp_path / 'data' / 'sub')
    (tmp_path / 'in' / 'z').symlink_to(tmp_path / 'data')
    assert found(tmp_path / 'in') == ['a/a.png', 'z/b.png']
    (record,) = caplog.records
    assert 'z/sub: it is the same folder as' in record.getMessage()

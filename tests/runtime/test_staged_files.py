"""Outputs that appear whole, together, and over nobody else's."""

import errno
import os

import pytest

from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.staged_files import ExistsError, staged


def write(places, text='new'):
    for place in places.values():
        place.write_text(text)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_appear_together_when_all_are_done(tmp_path):
    targets = [tmp_path / 'out' / name for name in ('a.tif', 'a_error.tif')]
    with staged(targets, overwrite=False) as places:
        assert [place.suffix for place in places.values()] == ['.tif', '.tif']
        write(places)
        assert not any(target.exists() for target in targets)
    assert names(tmp_path / 'out') == ['a.tif', 'a_error.tif']


@pytest.mark.parametrize('error', [KeyboardInterrupt, ValueError])
def test_nothing_is_left_of_what_was_not_finished(error, tmp_path):
    (tmp_path / 'b.tif').write_text('old')

    def work():
        with staged([tmp_path / 'a.tif', tmp_path / 'b.tif'], overwrite=True) as places:
            write(places)
            raise error

    with pytest.raises(error):
        work()
    assert names(tmp_path) == ['b.tif']
    assert (tmp_path / 'b.tif').read_text() == 'old'


@pytest.mark.parametrize('has_links', [True, False])
def test_what_another_program_wrote_meanwhile_is_not_overwritten(has_links, tmp_path, monkeypatch):
    def no_links(*paths):
        raise OSError(errno.EPERM, 'Operation not permitted')

    if not has_links:  # as on FAT
        monkeypatch.setattr(os, 'link', no_links)
    targets = [tmp_path / 'a.tif', tmp_path / 'b.tif']

    def work():
        with staged(targets, overwrite=False) as places:
            write(places)
            (tmp_path / 'b.tif').write_text("another's")

    with pytest.raises(ExistsError, match=r'b.tif was written by another program meanwhile'):
        work()
    assert names(tmp_path) == ['b.tif']  # the first is not left alone
    assert (tmp_path / 'b.tif').read_text() == "another's"
    with staged([tmp_path / 'c.tif'], overwrite=False) as places:
        write(places)
    assert (tmp_path / 'c.tif').read_text() == 'new'
    assert names(tmp_path) == ['b.tif', 'c.tif']


def test_links_count_as_files_and_stay_links(tmp_path):
    (tmp_path / 'far').mkdir()
    for name in ('there.png', 'dangling.png'):
        (tmp_path / name).symlink_to(tmp_path / 'far' / name)
    (tmp_path / 'far' / 'there.png').write_text('old')
    for name in ('there.png', 'dangling.png'):
        with pytest.raises(ExistsError), staged([tmp_path / name], overwrite=False):
            pass
        with staged([tmp_path / name], overwrite=True) as places:
            write(places)
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / 'far' / name).read_text() == 'new'
    assert names(tmp_path / 'far') == ['dangling.png', 'there.png']


def test_permissions_follow_the_umask_and_those_of_a_file_that_is_replaced(tmp_path):
    before = os.umask(0o077)
    try:
        with staged([tmp_path / 'a.png'], overwrite=False) as places:
            write(places)
        assert (tmp_path / 'a.png').stat().st_mode & 0o777 == 0o600
        (tmp_path / 'a.png').chmod(0o644)
        with staged([tmp_path / 'a.png'], overwrite=True) as places:
            write(places)
        assert (tmp_path / 'a.png').stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)


def test_names_that_cannot_be_are_told_before_the_work(tmp_path):
    (tmp_path / 'file').write_text('')
    (tmp_path / 'folder.png').mkdir()
    (tmp_path / 'loop').symlink_to(tmp_path / 'loop')
    for name, words in (
        ('file/a.png', 'a file has the name of its folder'),
        ('folder.png', 'it is a folder'),
        (f'{"x" * 300}.png', 'File name too long'),
        ('a\0.png', 'null byte'),
        ('loop/a.png', 'cannot be written'),
    ):
        with pytest.raises(UserError, match=words), staged([tmp_path / name], overwrite=True):
            raise AssertionError('the work was begun')


def test_errors_name_the_target_not_what_is_written_in_its_place(tmp_path):
    target = tmp_path / 'a.png'
    with (
        pytest.raises(UserError, match=r'/a.png cannot hold this'),
        staged([target], overwrite=False) as places,
    ):
        raise UserError(f'{places[target]} cannot hold this.')


@pytest.mark.parametrize('overwrite', [True, False])
def test_a_disk_that_fails_between_two_files_is_told_as_it_is(overwrite, tmp_path, monkeypatch):
    real = os.replace

    def replace(source, target):
        if os.path.basename(target) == 'b.tif':
            raise OSError(errno.ENOSPC, 'No space left on device')
        real(source, target)

    def no_links(*paths):
        raise OSError(errno.EPERM, 'Operation not permitted')

    monkeypatch.setattr(os, 'replace', replace)
    monkeypatch.setattr(os, 'link', no_links)  # as on FAT
    words = r'Written before it: .*a\.tif\.' if overwrite else r'Nothing was changed\.'
    targets = [tmp_path / 'a.tif', tmp_path / 'b.tif']
    with (
        pytest.raises(
            UserError, match=f'b.tif cannot be written: No space left on device. {words}'
        ),
        staged(targets, overwrite=overwrite) as places,
    ):
        write(places)
    assert names(tmp_path) == (['a.tif'] if overwrite else [])

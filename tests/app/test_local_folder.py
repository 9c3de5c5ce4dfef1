"""Nothing outside the folder of the page can be named."""

import os

import pytest

from n2n_jax.app.local_folder import LocalFolder, OutsideFolderError


@pytest.fixture
def folder(tmp_path):
    inside = tmp_path / 'inside'
    (inside / 'cells').mkdir(parents=True)
    (inside / 'cells' / 'a.png').write_bytes(b'')
    (tmp_path / 'secret').mkdir()
    (tmp_path / 'secret' / 'b.png').write_bytes(b'')
    return LocalFolder(inside)


@pytest.mark.parametrize(
    'given',
    ['../secret', 'cells/../../secret', '/etc', '../inside/../secret', 'no such', 'a\0b', '~',
     'cells/a.png/x', '../secret/b.png'],
)  # fmt: skip
def test_paths_that_lead_out_are_refused(folder, given):
    with pytest.raises(OutsideFolderError, match='is not in the folder of this page'):
        folder.inside(given)


@pytest.mark.skipif(os.name == 'nt', reason='links need rights there')
def test_links_that_lead_out_are_refused(folder):
    (folder.path / 'link').symlink_to(folder.path.parent / 'secret')
    (folder.path / 'loop').symlink_to(folder.path / 'loop')
    for name in ('link', 'link/b.png', 'loop'):
        with pytest.raises(OutsideFolderError):
            folder.inside(name)
    (folder.path / 'runs').symlink_to(folder.path.parent / 'secret')
    with pytest.raises(OutsideFolderError):
        folder.named('runs', 'mine')
    assert list(folder.with_images()) == ['cells']  # links are not followed
    (folder.path / 'cells' / 'far.png').symlink_to(folder.path.parent / 'secret' / 'b.png')
    with pytest.raises(OutsideFolderError, match=r'holds a link that leads out .* far.png'):
        folder.without_links_out('cells')
    (folder.path / 'cells' / 'far.png').unlink()
    assert folder.without_links_out('cells') == folder.path / 'cells'
    (folder.path / 'near').symlink_to(folder.path / 'cells')
    assert folder.inside('near') == folder.path / 'cells'


@pytest.mark.parametrize('name', ['', '..', '.hidden', 'a/b', 'a\\b', '-rf', 'a.', 'a ', 'x' * 200])
def test_names_of_new_folders_are_plain(folder, name):
    with pytest.raises(OutsideFolderError):
        folder.named('runs', name)


def test_what_is_there_is_listed(folder):
    for run in ('runs/b', 'runs/a'):
        (folder.path / run / 'evaluation').mkdir(parents=True)
        (folder.path / run / 'config.json').write_text('{}')
        (folder.path / run / 'parameters.txt').write_text('')
        (folder.path / run / 'evaluation' / 'x.png').write_bytes(b'')
    (folder.path / 'cells' / 'config.json').write_text('{}')  # of another program
    (folder.path / 'table.md').write_text('| a |\n')
    (folder.path / 'table.json').write_text('[]')
    (folder.path / 'notes.md').write_text('')
    assert [folder.name_of(path) for path in folder.runs()] == ['runs/a', 'runs/b']
    assert folder.with_images() == {'cells': 1}
    assert [folder.name_of(path) for path in folder.tables()] == ['table.md']
    assert folder.inside('cells') == folder.path / 'cells'
    assert folder.named('runs', 'my cells 2') == folder.path / 'runs' / 'my cells 2'

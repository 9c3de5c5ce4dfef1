"""Python files of the user that a run imports and keeps."""

import dataclasses
import json
import logging

import pytest
from tiny import tiny_config

from n2n_jax import UserError, models
from n2n_jax.data import sources
from n2n_jax.runtime import choices, config_file, config_flags, user_code
from n2n_jax.runtime.checkpoint import Checkpoints
from n2n_jax.runtime.config import to_saved
from n2n_jax.runtime.config_identity import config_hash
from n2n_jax.runtime.workdir import Workdir
from n2n_jax.train import planning

NETWORK = """
import dataclasses
from n2n_jax import models

@dataclasses.dataclass
class Mine:
    out_channels: int
    width: int = {width}
    stride = 1

models.REGISTRY['{name}'] = Mine
"""


@pytest.fixture
def own(tmp_path):
    """Writes mine.py, or another file, and returns its path."""

    def write(text='', *, file='mine.py', name='mine', width=8):
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text or NETWORK.format(name=name, width=width))
        return path

    return write


def config_of(*paths, **changes):
    return tiny_config(imports=','.join(map(str, paths)), **changes)


def run_of(path, *files):
    """The folder of a run that has imported these files."""
    config = user_code.resolved(config_of(*files))
    workdir = Workdir(path)
    with workdir.claimed(config):
        (path / 'checkpoints' / '4').mkdir(parents=True)
    user_code.forget()
    return workdir


def open_run(workdir):
    user_code.run_kept(workdir.config(), workdir.path)


def test_a_file_of_ones_own_adds_a_network_with_its_options(own):
    assert 'mine' not in models.REGISTRY
    user_code.resolved(config_of(own()))
    made = choices.make('model.name', 'mine:width=5', models.REGISTRY, settings={'out_channels': 1})
    assert made.width == 5
    with pytest.raises(UserError, match="Did you mean 'mine'"):
        choices.find('model.name', 'mime', models.REGISTRY)


def test_the_same_file_twice_is_harmless(own):
    files = own(), own(file='elsewhere/mine.py')
    first, again = (user_code.resolved(config_of(file)) for file in files)
    assert first == again == user_code.resolved(first)
    assert first == user_code.resolved(config_of(*files))


@pytest.mark.parametrize(
    ('line', 'said'),
    [
        ("models.REGISTRY['unet'] = Mine", "n2n_jax has one of that name"),
        ("models.REGISTRY.update(unet=Mine)", "n2n_jax has one of that name"),
        ("models.REGISTRY['my net'] = Mine", 'write a name of lower-case letters'),
        ("models.REGISTRY['other'] = Mine(3)", 'must be a dataclass'),
        ("models.REGISTRY['other'] = lambda: Mine(3)", 'must be a dataclass'),
        ("corruptions.REGISTRY['other'] = corruptions.REGISTRY['text']", "own name is 'text'"),
        ("corruptions.REGISTRY['other'] = Mine", 'must be an instance of Corruption'),
        ("sources.REGISTRY['other'] = 3", 'must be a function'),
        ('1 / 0', r' failed \(line 13, ZeroDivisionError'),
        ('raise SystemExit(3)', r' failed \(line 13, SystemExit: 3'),
        ('def', r' failed \(SyntaxError.*line 13'),
    ],
)  # fmt: skip
def test_a_file_with_a_mistake_is_refused_and_adds_nothing(line, said, own):
    imported = 'from n2n_jax import corruptions; from n2n_jax.data import sources'
    before = dict(models.REGISTRY)
    with pytest.raises(UserError, match=rf'(?s)mine\.py.*{said}'):
        user_code.resolved(
            config_of(own(f'{imported}\n{NETWORK.format(name="mine", width=8)}{line}\n'))
        )
    assert dict(models.REGISTRY) == before
    user_code.resolved(config_of(own()))  # mended


def test_a_file_that_is_not_there_or_no_python_is_named(own, tmp_path):
    with pytest.raises(UserError, match=r"nothing\.py: there is no such file in '/"):
        user_code.resolved(config_of('nothing.py'))
    with pytest.raises(UserError, match=r'is not a Python file'):
        user_code.resolved(config_of(own(file='mine.txt')))
    other = own(file='other/mine.py', name='other')
    with pytest.raises(UserError, match=r'two files called mine\.py'):
        user_code.resolved(config_of(own(), other))


def test_the_config_file_of_a_run_starts_another_with_its_code(own, tmp_path):
    file = own()
    first = run_of(tmp_path / 'first', file)
    (first.path / 'config.py').write_text(config_file.source(first.config()))
    file.unlink()
    flags = ['--config', f'{first.path}/config.py', '--workdir', f'{tmp_path}/second']
    config, path, _ = config_flags.parse(flags, '')
    assert user_code.resolved(config, path) == first.config()
    assert 'mine' in models.REGISTRY
    (first.path / 'imports' / 'mine.py').write_text('print()')
    user_code.forget()
    config, path, _ = config_flags.parse(flags, '')
    with pytest.raises(UserError, match=r'mine\.py cannot be read'):
        user_code.resolved(config, path)


def test_a_run_keeps_its_code_which_may_be_deleted(own, tmp_path, caplog):
    file = own()
    workdir = run_of(tmp_path / 'run', file)
    file.unlink()
    caplog.set_level(logging.INFO, 'n2n_jax')
    open_run(workdir)
    assert 'mine' in models.REGISTRY
    assert f'Running {workdir.path}/imports/mine.py' in caplog.text
    open_run(workdir)
    assert caplog.text.count('Running') == 1
    user_code.forget()
    again = user_code.resolved(config_of(file), workdir.path)  # the same command resumes it
    assert again == workdir.config()
    workdir.check(again)
    assert caplog.text.count('Running') == 2
    user_code.forget()
    assert user_code.resolved(again, workdir.path) == again  # as config.py of the run names it
    user_code.forget()
    with pytest.raises(UserError, match='write the path of a file'):
        user_code.resolved(again)


def test_changed_code_is_another_run(own, tmp_path):
    workdir = run_of(tmp_path / 'run', own())
    changed = user_code.resolved(config_of(own(width=9)), workdir.path)
    with pytest.raises(UserError, match=r'mine\.py was changed .* changed code means another run'):
        workdir.check(changed)
    with pytest.raises(UserError, match='differs in: imports'):
        workdir.check(tiny_config())


def test_the_path_of_the_file_does_not_count(own, tmp_path):
    workdir = run_of(tmp_path / 'run', own())
    moved = user_code.resolved(config_of(own(file='elsewhere/mine.py')))
    workdir.check(moved)
    assert config_hash(moved) == config_hash(workdir.config())


def test_the_hash_of_a_config_is_that_of_its_code(own):
    plain = config_hash(tiny_config())
    hashes = {plain}
    for width in (8, 9):
        hashes.add(config_hash(user_code.resolved(config_of(own(width=width)))))
        user_code.forget()
    assert len(hashes) == 3


def test_two_runs_with_other_code_of_the_same_name_are_not_mixed_up(own, tmp_path):
    first = run_of(tmp_path / 'first', own())
    other = run_of(tmp_path / 'other', own(width=9))
    open_run(first)
    with pytest.raises(UserError, match=r"other/imports/mine\.py .*'mine'.*first/imports/mine\.py"):
        open_run(other)
    assert models.REGISTRY['mine'](3).width == 8
    user_code.forget()
    open_run(other)
    assert models.REGISTRY['mine'](3).width == 9


def test_a_copy_that_was_edited_or_lost_is_refused(own, tmp_path):
    workdir = run_of(tmp_path / 'run', own())
    copy = workdir.path / 'imports' / 'mine.py'
    copy.write_text(copy.read_text() + '\n')
    with pytest.raises(UserError, match=r'imports/mine\.py was changed since'):
        open_run(workdir)
    copy.unlink()
    with pytest.raises(UserError, match=r'imports/mine\.py cannot be read'):
        open_run(workdir)


def test_evaluating_with_a_changed_original_uses_the_code_of_the_run(own, tmp_path, caplog):
    file = own()
    workdir = run_of(tmp_path / 'run', file)
    own(width=9)
    added = own(file='more.py', name='more')
    caplog.set_level(logging.INFO, 'n2n_jax')
    open_run(workdir)
    user_code.run_others(config_of(file, added), workdir.config())
    assert f'{file} was changed' in caplog.text
    assert models.REGISTRY['mine'](3).width == 8
    assert 'more' in models.REGISTRY


def test_a_run_that_was_stopped_between_its_code_and_its_config_starts_again(own, tmp_path):
    config = user_code.resolved(config_of(own()))
    workdir = Workdir(tmp_path / 'run')
    user_code.keep(config, workdir.path)
    (workdir.path / 'imports' / '.mine.py.01234567.tmp').write_text('half')
    with workdir.claimed(config):
        pass
    assert [path.name for path in (workdir.path / 'imports').iterdir()] == ['mine.py']
    assert workdir.config() == config


def test_files_of_others_in_a_folder_called_imports_are_left_alone(own, tmp_path):
    config = user_code.resolved(config_of(own()))
    (tmp_path / 'run' / 'imports').mkdir(parents=True)
    (tmp_path / 'run' / 'imports' / 'mine.py').write_text('precious')
    with pytest.raises(UserError, match='not empty'), Workdir(tmp_path / 'run').claimed(config):
        pass
    assert (tmp_path / 'run' / 'imports' / 'mine.py').read_text() == 'precious'


def test_a_source_of_ones_own_is_told_from_a_path_with_a_comma(own, image_folder):
    text = (
        'from n2n_jax.data import sources\n'
        "sources.REGISTRY['again'] = lambda path, skip: sources.open_source(f'folder:{path}')\n"
    )
    spec = f'folder:{image_folder},again:{image_folder}'
    with pytest.raises(UserError):
        sources.open_source(spec)
    user_code.resolved(config_of(own(text)))
    assert len(sources.open_source(spec).names) == 10


def test_fine_tuning_takes_the_code_of_the_first_run_along(own, tmp_path, monkeypatch):
    workdir = run_of(tmp_path / 'run', own())
    config = workdir.config()
    model = dataclasses.replace(config.model, name='mine')
    with Checkpoints(workdir.path, keep=1) as checkpoints:
        checkpoints.save(5, {}, to_saved(dataclasses.replace(config, model=model)))

    class Reached(Exception):
        pass

    def load(planned):
        assert planned.model.name == 'mine'
        assert planned.imports == f'{config.imports},{more}'
        raise Reached

    more = user_code.resolved(config_of(own(file='more.py', name='more'))).imports
    monkeypatch.setattr(planning, 'load', load)
    options = planning.Options(
        init_from=str(workdir.path), imports=str(tmp_path / 'more.py'), steps=2
    )
    with pytest.raises(Reached):
        planning.plan(dataclasses.replace(config.captures, paths='somewhere'), options)


def test_the_config_of_a_run_names_its_files_by_their_content(own, tmp_path):
    workdir = run_of(tmp_path / 'run', own())
    saved = json.loads((workdir.path / 'config.json').read_text())['config']
    name, _, digest = saved['imports'].partition('@')
    assert (name, len(digest)) == ('mine.py', 16)

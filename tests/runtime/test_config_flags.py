"""The config file and the flags of `python -m n2n_jax.main`, as people write them."""

import itertools
import sys
from pathlib import Path

import pytest

from n2n_jax.runtime import config_flags, config_table
from n2n_jax.runtime.config import ModelConfig, fields
from n2n_jax.runtime.errors import UserError

CONFIG = str(Path(__file__).parents[2] / 'configs' / 'unet_gauss.py')


@pytest.fixture(autouse=True)
def _sys_path(monkeypatch):
    """What a config file adds to it is gone after the test."""
    monkeypatch.setattr(sys, 'path', [*sys.path])


def parse(*words, config=CONFIG):
    return config_flags.parse(['--config', str(config), '--workdir', 'run', *words], 'What it is.')


def write(folder, *lines):
    text = 'from n2n_jax import Config, to_config_dict\n\n\ndef get_config(variant="none"):\n'
    file = folder / 'configs' / 'mine.py'
    file.parent.mkdir(exist_ok=True)
    file.write_text(text + ''.join(f'    {line}\n' for line in lines))
    return file


ONE_BY_ONE = [
    ['--config', f'{CONFIG}:quick'],
    ['--workdir=run'],
    ['--config.data.crop', '32'],
    ['--config.optim.learning_rate=1e-4'],
]


@pytest.mark.parametrize('order', list(itertools.permutations(ONE_BY_ONE)))
def test_flags_stand_in_any_order_and_with_or_without_an_equals_sign(order):
    config, workdir, mode = config_flags.parse([word for words in order for word in words], '')
    assert (config.data.crop, config.optim.learning_rate, config.data.train) == (
        32, 1e-4, 'dead_leaves:200',
    )  # fmt: skip
    assert (workdir, mode) == (Path('run'), 'train')


@pytest.mark.parametrize(
    ('words', 'key', 'value'),
    [
        (['--config.train.tensorboard=False'], 'tensorboard', False),
        (['--config.train.tensorboard', 'false'], 'tensorboard', False),
        (['--noconfig.train.tensorboard'], 'tensorboard', False),
        (['--noconfig.train.tensorboard', '--config.train.tensorboard'], 'tensorboard', True),
        (['--config.train.tensorboard', '--config.train.steps=60'], 'tensorboard', True),
        (['-config.train.steps=60'], 'steps', 60),
        (['--config.train.steps=60', '--config.train.steps', '70'], 'steps', 70),
        (['--config.train.steps', '10_000'], 'steps', 10_000),
        (['--config.train.distributed='], 'distributed', ''),
        (['--config.train.distributed=a:1,2,0'], 'distributed', 'a:1,2,0'),
    ],
)
def test_a_value_is_read_as_the_type_of_its_key(words, key, value):
    found = getattr(parse(*words).config.train, key)
    assert (found, type(found)) == (value, type(value))


def test_values_may_be_negative():
    model = parse('--config.model.black', '-1e-3', '--config.model.center', '-0.1,.2').config.model
    assert (model.black, model.center) == (-1e-3, '-0.1,.2')


def test_every_key_can_be_set_on_the_command_line():
    for key, its_field in fields():
        config = parse(f'--config.{key}={its_field.default}').config
        section, _, name = key.rpartition('.')
        value = getattr(getattr(config, section) if section else config, name)
        assert value == its_field.default


def test_the_first_name_of_noise_realizations_is_understood():
    assert parse('--config.noise.realisations=3').config.noise.realizations == 3
    words = ['--config.noise.realizations=3', '--config.noise.realisations=4']
    assert parse(*words).config.noise.realizations == 4


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--config.trian.steps=5'], "Unknown config key 'trian.steps'. Did you mean 'train.ste"),
        (['--config.trian.steps', '5'], "Unknown config key 'trian.steps'"),
        (['--config.train=5'], "Unknown config key 'train'"),
        (['--config.train.steps=many'], "'train.steps' takes a whole number, not 'many'"),
        (['--config.train.steps=1.5'], "'train.steps' takes a whole number, not '1.5'"),
        (
            ['--config.optim.ema_decay=x'],
            "'optim.ema_decay' takes a number, not 'x' .default: 0.99",
        ),
        (['--config.optim.clip_norm=nan'], 'optim.clip_norm=nan is invalid'),
        (['--config.train.tensorboard=5'], "'train.tensorboard' takes True or False, not '5'"),
        (['--config.train.steps'], 'config.train.steps: expected one argument. See --help'),
        (['--wrokdir=x'], "Unknown flag '--wrokdir'. Did you mean 'workdir'"),
        (['--mode=score'], "Argument --mode: invalid choice: 'score'"),
        (['train'], "Unknown argument 'train': write --config FILE --workdir DIR"),
        (['--workdir='], '--workdir is missing'),
        (['--config='], '--config is missing'),
        (['--config', 'gone.py:quick'], "There is no config file 'gone.py'"),
        (['--config', f'{CONFIG}:quik'], "Unknown variant ':quik'. Did you mean 'quick'"),
    ],
)
def test_what_is_wrong_with_a_flag_is_said(words, message):
    with pytest.raises(UserError, match=message):
        parse(*words)


def test_the_last_of_several_config_files_is_the_one_that_counts(tmp_path):
    broken = tmp_path / 'broken.py'
    broken.write_text('1 / 0')
    assert parse('--config', f'{CONFIG}:clean', config=broken).config.noise.target == 'clean'


def test_the_config_file_is_run_once(tmp_path, capsys):
    file = write(tmp_path, 'print("called")', 'return to_config_dict(Config())')
    file.write_text(f'print("run")\n{file.read_text()}')
    parse('--config.data.crop=32', config=file)
    assert capsys.readouterr().out == 'run\ncalled\n'


def test_a_config_file_may_import_the_one_beside_it(tmp_path):
    write(tmp_path, 'config = to_config_dict(Config())', 'config.data.crop = 16', 'return config')
    file = tmp_path / 'configs' / 'derived.py'
    file.write_text(
        'from n2n_jax.runtime.config_file import load\n'
        'def get_config():\n'
        f'    return load({str(tmp_path / "configs" / "mine.py")!r})\n'
    )
    assert parse(config=file).config.data.crop == 16


def test_what_stands_behind_the_colon_is_the_variant(tmp_path):
    file = write(tmp_path, 'config = to_config_dict(Config())',
                 'config.model.init_from = variant', 'return config')  # fmt: skip
    for text, variant in ((':a:b,c', 'a:b,c'), (':', ''), ('', 'none')):
        assert parse(config=f'{file}{text}').config.model.init_from == variant


def test_what_a_config_file_derives_from_a_key_follows_the_command_line(tmp_path):
    line = 'config.eval.every = config.train.get_ref("steps") // 2'
    file = write(tmp_path, 'config = to_config_dict(Config())', line, 'return config')
    assert parse('--config.train.steps=600', config=file).config.eval.every == 300


def test_a_config_file_may_return_a_plain_dictionary(tmp_path):
    file = write(tmp_path, 'return {"data": {"crop": 16}, "noise": {"realisations": 2}}')
    config = parse('--config.train.steps=600', config=file).config
    assert (config.data.crop, config.noise.realizations, config.train.steps) == (16, 2, 600)


@pytest.mark.parametrize('line', ['from n2n_jax.gone import Config', 'from n2n_jax import Confg'])
def test_a_config_file_of_another_version_is_told_what_to_write(tmp_path, line):
    file = tmp_path / 'config.py'
    file.write_text(f'{line}\n\n\ndef get_config():\n    return None\n')
    with pytest.raises(UserError, match="another version .*'from n2n_jax import Config"):
        parse(config=file)


def test_a_config_file_that_imports_what_is_not_installed_is_no_config_file(tmp_path):
    file = tmp_path / 'config.py'
    file.write_text('import not_there\n')
    with pytest.raises(UserError, match='is not a config file .*ModuleNotFoundError'):
        parse(config=file)


@pytest.mark.parametrize(
    ('lines', 'message'),
    [
        (['config = to_config_dict(Config())', 'config.trian.steps = 3'],
         r"mine.py: get_config\(\) failed .line 6, AttributeError: .*trian"),
        (['config = to_config_dict(Config())', 'config.data.crop = "big"'],
         r"mine.py: get_config\(\) failed .line 6, TypeError: "),
        (['config = to_config_dict(Config())', 'config.noise.realisations = 3'],
         '(?s)line 6, AttributeError: .*realizations'),
        (['config = to_config_dict(Config())', 'config.optim.ramp_down = 0.5'],
         "line 6, config key 'optim.ramp_down' is gone: .* optim.schedule=ramp_down:0.7"),
        (['config = to_config_dict(Config())',
          'config.update_from_flattened_dict({"model.norm": "batch"})'],
         'line 6, .* model.name=resnet50:norm=batch'),
        (['config = to_config_dict(Config())'], "returns None, which is not a config: end it"),
        (['return {"dat": {"crop": 3}}'], "Unknown config key 'dat'. Did you mean 'data'"),
        (['return {"data": 3}'], "'data' is a section"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_config_file_is_said_with_its_line(tmp_path, lines, message):
    with pytest.raises(UserError, match=message):
        parse(config=write(tmp_path, *lines))


def test_the_help_does_without_docstrings(monkeypatch):
    """As with `python -OO`."""
    monkeypatch.setattr(ModelConfig, '__doc__', None)
    assert 'model: model\n' in config_table.help_text(80)

"""Configs: every file parses, and what is wrong is refused with a sentence."""

import dataclasses
import hashlib
import importlib
import json
from pathlib import Path

import pytest
from tiny import tiny_config

from n2n_jax import corruptions, models
from n2n_jax.runtime import config as config_lib
from n2n_jax.runtime import config_flags
from n2n_jax.runtime.config import Config, from_config_dict, from_saved, to_config_dict, to_saved
from n2n_jax.runtime.config_identity import changes_on_resume, config_hash
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.workdir import Workdir
from n2n_jax.train import losses, optimizers
from n2n_jax.train.optimizers.adam import Adam
from n2n_jax.train.run_checks import check_new
from n2n_jax.train.tasks import make_task

NAMES = sorted(path.stem for path in (Path(__file__).parents[2] / 'configs').glob('*.py'))


@pytest.mark.parametrize('variant', ['', 'quick', 'clean', 'quick,clean'])
@pytest.mark.parametrize('name', NAMES)
def test_every_config_file_describes_a_possible_run(name, variant):
    config = from_config_dict(importlib.import_module(f'configs.{name}').get_config(variant))
    task = make_task(config)
    assert (task.target_corruptor is None) == ('clean' in variant)
    assert config.data.crop % models.build(config.model).network.stride == 0
    assert corruptions.parse(config.eval.noise)
    assert ('dead_leaves' in config.data.train) == ('quick' in variant)
    if name != 'default':
        model, _, noise = name.rpartition('_')
        assert config.model.name.partition(':')[0].startswith(model)
        assert noise[:5] in config.noise.input


def test_the_ten_experiments_and_those_of_other_networks_are_there():
    kinds = ('bernoulli', 'gauss', 'impulse', 'poisson', 'text')
    want = {'default'} | {f'{model}_{kind}' for model in ('resnet50', 'unet') for kind in kinds}
    others = {'dncnn', 'drunet', 'red30', 'rednet', 'resnet34', 'resunet', 'resunet_epfl', 'nafnet'}
    assert set(NAMES) == want | {f'{model}_gauss' for model in others}


def test_a_config_survives_json():
    config = tiny_config(**{'noise.input': 'poisson:30'})
    assert from_config_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config


@pytest.mark.parametrize(
    ('changes', 'word'),
    [
        ({'train.steps': 0}, 'write 1 or more'),
        ({'data.batch_size': -1}, 'write 1 or more'),
        ({'model.channels': 2}, '1 for gray images or 3 for color'),
        ({'optim.learning_rate': 0.0}, 'above 0'),
        ({'optim.clip_norm': float('nan')}, 'write 0 or more'),
        ({'optim.clip_norm': float('inf')}, 'write 0 or more, and a finite number.'),
        ({'optim.learning_rate': float('nan')}, 'above 0'),
        ({'optim.ema_decay': float('nan')}, '0 or more and below 1, and a finite'),
        ({'captures.held_out': float('nan')}, 'above 0 and below 1, and a finite'),
        ({'captures.held_out': 1.0}, 'write above 0 and below 1.'),
        ({'model.black': float('nan')}, 'write a finite number'),
        ({'model.white': float('-inf')}, 'write a finite number'),
        ({'optim.accumulate': 3}, 'equal parts'),
        ({'seed': 2**63}, f'write between 0 and {2**63 - 1}.'),
        ({'model.channels': 9}, 'write between 1 and 8.'),
        ({'optim.warmup_steps': 4}, 'fewer'),
    ],
)
def test_impossible_values_are_refused(changes, word):
    with pytest.raises(UserError, match='.') as caught:
        tiny_config(**changes)
    assert word in str(caught.value)
    assert next(iter(changes)) in str(caught.value)


NUMBERS = [key for key, its_field in config_lib.fields() if its_field.type is float]


@pytest.mark.parametrize('bad', ['NaN', 'Infinity', '-Infinity'])
@pytest.mark.parametrize('key', NUMBERS)
def test_no_number_of_a_config_may_be_nan_or_infinite(key, bad):
    with pytest.raises(UserError, match=f'^{key}={float(bad)} is invalid: .*finite number'):
        tiny_config(**{key: float(bad)})
    section, name = key.split('.')
    with pytest.raises(UserError, match=f'^{key}={float(bad)} is invalid: .*finite number'):
        from_config_dict(json.loads(f'{{"{section}": {{"{name}": {bad}}}}}'))


def test_every_key_has_help_and_a_possible_default():
    assert {key for key, _ in config_lib.fields()} == set(config_lib.flatten(Config()))
    for key, its_field in config_lib.fields():
        words = its_field.metadata['help']
        assert words, key
        assert not words.endswith('.'), key
        assert len(words) < 220, key
    from_config_dict(to_config_dict(Config()))


def test_the_help_names_every_network_and_loss():
    words = {key: its_field.metadata['help'] for key, its_field in config_lib.fields()}
    for key, registry in (('model.name', models.REGISTRY), ('optim.loss', losses.REGISTRY)):
        assert all(name in words[key] for name in registry if name != 'tiny')


def test_a_run_of_a_config_that_is_refused_today_can_still_be_read():
    values = dataclasses.asdict(tiny_config())
    values['optim']['clip_norm'] = float('inf')
    with pytest.raises(UserError, match='clip_norm'):
        from_config_dict(values)
    assert from_saved({'version': 2, 'config': values}).optim.clip_norm == float('inf')


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'model.name': 'unet:norm=batch'}, "'unet' has no option 'norm'"),
        ({'model.name': 'tiny:norm=layer'}, 'choose from none, batch'),
        ({'model.remat': True}, 'model.remat=True does not apply to model.name=tiny'),
        ({'model.dtype': 'bfloat16'}, 'write model.dtype=float32'),
        ({'model.encoder_weights': 'x.npz'}, 'such as model.name=resnet50:norm=batch, not tiny'),
        (
            {'model.name': 'tiny:norm=batch', 'optim.accumulate': 4},
            'each part of a batch separately',
        ),
    ],
)
def test_options_that_would_be_ignored_or_misread_start_no_run(changes, words):
    with pytest.raises(UserError, match=words):
        check_new(tiny_config(**changes))


def test_options_that_go_together_start_a_run():
    for changes in (
        {'model.name': 'unet'},
        {'model.name': 'resnet50:norm=batch', 'model.encoder_weights': 'x.npz'},
        {'model.name': 'resnet50:norm=group', 'optim.accumulate': 4},
        {'optim.accumulate': 4},
    ):
        check_new(tiny_config(**changes))


def test_unknown_keys_and_wrong_types_are_refused():
    values = to_config_dict(Config()).to_dict()
    values['data']['corp'] = 64
    with pytest.raises(UserError, match=r"Unknown config key 'data.corp'. Did you mean 'crop'\?"):
        from_config_dict(values)
    values = to_config_dict(Config()).to_dict()
    values['data']['crop'] = '64'
    with pytest.raises(UserError, match=r"'data.crop' takes a whole number, not '64'"):
        from_config_dict(values)
    values['data'] = 64
    with pytest.raises(UserError, match="'data' is a section"):
        from_config_dict(values)


def test_the_unknown_variant_and_loss_are_refused():
    from configs import default

    with pytest.raises(UserError, match="Did you mean 'quick'"):
        default.get_config('quik')
    with pytest.raises(UserError, match="Did you mean 'masked_l2'"):
        make_task(tiny_config(**{'optim.loss': 'masked_l2_'}))
    with pytest.raises(UserError, match="Did you mean 'unet'"):
        models.build(config_lib.ModelConfig(name='unett'))


def test_only_what_enters_the_weights_keeps_a_run_from_resuming():
    config = tiny_config()
    assert not changes_on_resume(config, tiny_config(**{'eval.every': 7, 'train.log_every': 9}))
    changes = changes_on_resume(config, tiny_config(**{'train.steps': 9, 'data.crop': 8}))
    assert changes == {'data.crop': (16, 8), 'train.steps': (4, 9)}


def as_first_written(config):
    """A config as early versions saved it: noise.realizations has its first name."""
    values = dataclasses.asdict(config)
    values['model']['norm'] = 'none'
    del values['optim']['name'], values['optim']['schedule']
    values['optim'].update(b1=0.9, b2=0.99, eps=1e-8, ramp_down=0.7)
    values['noise']['realisations'] = values['noise'].pop('realizations')
    return values


def test_a_run_that_was_saved_with_noise_realisations_resumes_with_its_hash(tmp_path):
    config = tiny_config(**{'noise.realizations': 3})
    workdir = Workdir(tmp_path / 'run')
    with workdir.claimed(config):
        pass
    (workdir.path / 'checkpoints' / '4').mkdir(parents=True)
    content = {'config': as_first_written(config), 'provenance': {}}
    (workdir.path / 'config.json').write_text(json.dumps(content))
    assert workdir.config() == config
    workdir.check(config)
    with pytest.raises(UserError, match=r'noise.realizations \(3 there, 2 here\)'):
        workdir.check(tiny_config(**{'noise.realizations': 2}))


def test_a_renamed_key_is_hashed_under_its_first_name():
    config = tiny_config(**{'noise.realizations': 3})
    sections = dataclasses.asdict(config)
    sections['noise']['realisations'] = sections['noise'].pop('realizations')
    flat = {
        f'{section}.{key}': value
        for section, values in sections.items()
        if section not in ('seed', 'imports', 'eval')
        for key, value in values.items()
    }
    for key in ('log_every', 'checkpoint_every', 'keep_checkpoints', 'patience', 'patience_from',
                'profile_steps', 'tensorboard', 'distributed'):  # fmt: skip
        del flat[f'train.{key}']
    # Younger than published hashes.
    for key in ('model.remat', 'model.planes', 'model.noise_map', 'optim.pyramid',
                'optim.skip_above', 'data.mix', 'data.max_images'):  # fmt: skip
        del flat[key]
    expected = hashlib.sha256(json.dumps(flat, sort_keys=True).encode()).hexdigest()
    assert config_hash(config) == expected


@pytest.mark.parametrize(
    ('name', 'norm', 'today'),
    [
        ('resnet50', 'batch', 'resnet50:norm=batch'),
        ('resnet50', 'none', 'resnet50'),
        ('unet', 'group', 'unet'),  # which ignored it
    ],
)
def test_the_norm_of_an_early_run_becomes_an_option_of_its_network(name, norm, today):
    values = as_first_written(tiny_config())
    values['model'].update(name=name, norm=norm)
    assert from_saved({'config': values}).model.name == today
    with pytest.raises(UserError, match=r"'model.norm' is gone: .* model.name=resnet50:norm=b"):
        from_config_dict(values)
    with pytest.raises(UserError, match="'model.norm' is gone"):
        config_flags.parse(['--config', 'x.py', '--workdir', 'x', '--config.model.norm=batch'], '')


def test_the_constants_of_adam_of_an_early_run_become_its_options():
    values = as_first_written(tiny_config())
    assert from_saved({'config': values}).optim == tiny_config().optim
    values['optim'].update(b1=0.5, eps=1e-6, ramp_down=0.25)
    optim = from_saved({'config': values}).optim
    assert (optim.name, optim.schedule) == ('adam:b1=0.5,eps=1e-06', 'ramp_down:0.25')
    assert optimizers.make(dataclasses.replace(tiny_config(), optim=optim)) == Adam(0.5, 0.99, 1e-6)


def test_a_run_of_a_later_version_says_so(tmp_path):
    with pytest.raises(UserError, match='saved by a later version of n2n_jax'):
        from_saved({**to_saved(tiny_config()), 'version': 99})


def test_a_key_is_not_set_under_both_of_its_names():
    values = dataclasses.asdict(tiny_config())
    values['noise']['realisations'] = 3
    with pytest.raises(UserError, match="'noise.realisations' is now called 'noise.realizations'"):
        from_config_dict(values)

"""`n2n find-rate`: the curve of a range test, and what is suggested from it."""

import json
import types

import jax.numpy as jnp
import numpy as np
import pytest
from command_line import n2n
from small_runs import interrupted_before
from tiny import tiny_config

from n2n_jax import models
from n2n_jax.cli import find_rate
from n2n_jax.data.feeds import DeviceFeed
from n2n_jax.runtime import user_code
from n2n_jax.runtime.errors import UserError
from n2n_jax.train import rate_finder, schedules
from n2n_jax.train.rate_finder import COMPLETE, NOT_FINITE, ROSE, Measured, suggest

RATES_N = np.logspace(-6, 0, 200)


def measured(losses_N, ended=COMPLETE):
    return Measured(RATES_N[: len(losses_N)], np.asarray(losses_N), ended)


MADE = measured(np.linspace(2, 1, 200))


def curve(*, falls_at, rises_at):
    """A loss that falls from 2 to 1 around one rate, and rises from another on."""
    log_N = np.log10(RATES_N)
    fall_N = 1 / (1 + np.exp(6 * (log_N - np.log10(falls_at))))
    return 1 + fall_N + np.maximum(0, log_N - np.log10(rises_at)) ** 2 * 5


@pytest.mark.parametrize('noise', [0.0, 0.3])
def test_the_rate_is_a_tenth_of_that_at_which_the_loss_rises(noise):
    noise_N = np.exp(noise * np.random.default_rng(0).normal(size=200))
    found = suggest(measured(noise_N * curve(falls_at=1e-4, rises_at=1e-2)))
    assert 7e-3 < found.turn < 3e-2
    assert found.recommended == pytest.approx(found.turn / 10, rel=0.05)
    if not noise:
        assert found.steepest == pytest.approx(1e-4, rel=0.2)


def test_the_rate_for_a_quadratic_trains_it():
    curvature, x = 40.0, 1.0
    losses = []
    for rate in RATES_N:
        losses.append(1 + curvature * x**2 / 2)
        x -= rate * curvature * x
    found = suggest(measured(losses))
    assert RATES_N[0] < found.recommended < 2 / curvature  # above, it diverges
    x = 1.0
    for _ in range(400):
        x -= found.recommended * curvature * x
    assert abs(x) < 1e-3


@pytest.mark.parametrize(
    ('losses_N', 'recommended', 'words'),
    [
        (np.ones(200), None, 'neither falls nor rises at rates of 1e-06 to 1'),
        (np.ones(5), None, '5 losses are too few for a suggestion. Start at a smaller --low.'),
        (np.linspace(2, 1, 200), 0.1, 'does not rise up to 1: a larger --high'),
        (curve(falls_at=1e-9, rises_at=2e-6), 1e-6, 'below --low: start at a smaller rate'),
    ],
)
def test_curves_that_say_little_are_told_of(losses_N, recommended, words):
    found = suggest(measured(losses_N))
    assert found.recommended == recommended
    assert words in ' '.join(found.sentences)


def test_a_test_changes_the_schedule_of_the_config_and_nothing_that_is_trained():
    config = tiny_config(**{'optim.name': 'sgd', 'optim.warmup_steps': 2, 'optim.skip_above': 5.0})
    found = rate_finder.config_of_test(config, 1e-5, 10.0, 50)
    assert (found.model, found.data, found.noise) == (config.model, config.data, config.noise)
    assert (found.optim.name, found.optim.skip_above, found.train.steps) == ('sgd', 0, 50)
    rate = schedules.learning_rate(schedules.shape_of(found), schedules.make_schedule(found))
    assert [float(rate(step)) for step in (0, 25, 50)] == pytest.approx([1e-5, 1e-2, 10], rel=1e-3)


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [((0.0, 1.0, 50), '--low 0'), ((1.0, 0.1, 50), '--high 0.1'), ((1e-6, 1.0, 3), '--steps 3')],
)
def test_rates_and_steps_that_make_no_test_are_refused(arguments, words):
    with pytest.raises(UserError, match=words):
        rate_finder.config_of_test(tiny_config(), *arguments)


@pytest.mark.parametrize(
    ('losses', 'norms', 'num', 'ended'),
    [
        ([1.0] * 30, None, 30, COMPLETE),
        ([1.0] * 25 + [np.nan] * 5, None, 25, NOT_FINITE),
        # What follows in the same dispatch is of the same weights and the same rate.
        ([1.0] * 30, [1.0] * 22 + [np.inf] * 8, 22, NOT_FINITE),
        # The running mean passes 4 at the first loss of 40.
        ([1.0] * 20 + [40.0] * 10, None, 21, ROSE),
        ([0.01] + [1.0] * 29, None, 30, COMPLETE),  # one lucky batch at the start is no measure
    ],
)
def test_a_test_ends_when_the_loss_has_risen_or_is_not_finite(
    losses, norms, num, ended, monkeypatch
):
    monkeypatch.setattr(rate_finder, 'first_state', lambda config, layout: None)

    def dispatch(state, constants, steps):
        del state, constants
        made = {'loss': jnp.array(losses)[steps], 'learning_rate': jnp.ones(len(steps))}
        return None, {**made, 'grad_norm': jnp.array(norms or [1.0] * 30)[steps]}

    prepared = types.SimpleNamespace(
        config=tiny_config(**{'train.steps': 30}),
        layout=None,
        per_dispatch=7,
        feed=types.SimpleNamespace(
            constants=None, inputs=lambda first, num_steps: first + jnp.arange(num_steps)
        ),
        step_of=lambda num_steps: dispatch,
    )
    found = rate_finder.measure(prepared, show=lambda *_: None, stopped=lambda: False)
    assert (len(found.losses_N), found.ended) == (num, ended)


def config_file(tmp_path, image_folder):
    file = tmp_path / 'config.py'
    file.write_text(
        'from n2n_jax import Config, to_config_dict\n'
        'def get_config(variant=""):\n'
        '    config = to_config_dict(Config())\n'
        '    config.model.name = "tiny"\n'
        '    config.data.crop = 16\n'
        '    config.noise.input = "gaussian:25"\n'
        f'    config.data.train = "folder:{image_folder}"\n'
        '    return config\n'
    )
    return file


@pytest.mark.slow
def test_the_command_suggests_a_rate_between_its_limits_and_keeps_what_it_saw(
    tmp_path, image_folder, capsys, steps_shared
):
    arguments = (
        'find-rate', config_file(tmp_path, image_folder), '-o', tmp_path / 'out', '--low', '1e-5',
        '--high', '10', '--steps', '60', '--config.optim.ema_decay=0',
    )  # fmt: skip
    assert n2n(*arguments) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[-2:] == [str(tmp_path / 'out' / name) for name in ('rate.json', 'rate.png')]
    found = json.loads((tmp_path / 'out' / 'rate.json').read_text())
    assert f'--config.optim.learning_rate={found["recommended"]:g}' in said[-3]
    assert 1e-5 <= found['recommended'] <= 10
    assert found['learning_rates'][0] == pytest.approx(1e-5, rel=1e-3)
    assert len(found['losses']) == len(found['smoothed']) == len(found['learning_rates'])
    assert found['config']['optim']['ema_decay'] == 0
    assert (tmp_path / 'out' / 'rate.png').read_bytes().startswith(b'\x89PNG')
    assert n2n(*arguments) == 2
    assert 'rate.json exists' in capsys.readouterr().err
    # Ctrl-C: what there is by then is kept too.
    with interrupted_before(30, DeviceFeed):
        assert n2n(*arguments, '--force') == 130
    stopped = json.loads((tmp_path / 'out' / 'rate.json').read_text())
    assert stopped['ended'] == 'interrupted'
    assert len(stopped['losses']) == 31
    np.testing.assert_allclose(stopped['losses'], found['losses'][:31], rtol=1e-6)


def test_a_rate_is_found_for_code_of_ones_own(tmp_path, image_folder, monkeypatch, capsys):
    (tmp_path / 'mine.py').write_text(
        'from n2n_jax import models\nmodels.REGISTRY["mine"] = models.REGISTRY["tiny"]\n'
    )
    configs = []
    monkeypatch.setattr(find_rate, '_measured', lambda config: configs.append(config) or MADE)
    arguments = 'find-rate', config_file(tmp_path, image_folder), '-o', tmp_path / 'out', '--force'
    assert n2n(*arguments, f'--config.imports={tmp_path}/mine.py', '--config.model.name=mine') == 0
    assert models.build(configs[0].model).channels == 3
    # As RUN/config.py names it; the copy is in the run.
    copy = tmp_path / 'imports' / 'mine.py'
    copy.parent.mkdir()
    (tmp_path / 'mine.py').rename(copy)
    user_code.forget()
    assert (
        n2n(*arguments, f'--config.imports={configs[0].imports}', '--config.model.name=mine') == 0
    )
    assert 'mine' in models.REGISTRY, capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['missing.py'], "There is no config file 'missing.py'."),
        (['config.py', '--config.optim.name=adm'], "Did you mean 'adam'?"),
        (
            ['config.py', '--config.optim.nam=adam'],
            "Unknown config key 'optim.nam'. Did you mean 'optim.name'?",
        ),
        (['config.py', '--stps', '3'], 'unrecognized arguments: --stps 3'),
        (['config.py', '--low', '2'], '--low 2 and --high 1'),
    ],
)
def test_wrong_commands_end_in_a_sentence(
    arguments, words, tmp_path, image_folder, capsys, monkeypatch
):
    config_file(tmp_path, image_folder)
    monkeypatch.chdir(tmp_path)
    assert n2n('find-rate', *arguments) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / 'find_rate').exists()

"""Stopping early: what counts as a gain, and that a resumed run stops where another one does."""

import dataclasses

import numpy as np
import pytest
from small_runs import captures_config, done, interrupted_before, write_captures
from tiny import tiny_config

from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.cli import n2n as cli
from n2n_jax.evaluate import held_out_captures, without_clean
from n2n_jax.runtime.checkpoint import Checkpoints, open_for_reading
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.workdir import Workdir
from n2n_jax.train import loop
from n2n_jax.train.early_stopping import better, without_gain, worse_than_its_input

pytestmark = pytest.mark.usefixtures('steps_shared')


def row(step, psnr=None, *, mse=None, error=1e-5):
    mse = 10 ** (-psnr / 10) if mse is None and psnr is not None else mse
    return {'step': step, 'psnr_estimate': psnr, 'mse_estimate': mse, 'mse_error': error}


def rows(*estimates):
    return [row(10 * (i + 1), psnr) for i, psnr in enumerate(estimates)]


def test_weights_that_wipe_out_a_dim_channel_are_not_the_best():
    rng = np.random.default_rng(0)
    wave = np.sin(np.arange(64) / 9)[:, None, None]
    clean_HWC = np.concatenate([0.5 + 0.3 * wave, 0.02 * (0.5 + 0.3 * wave)], -1)
    clean_HWC = np.broadcast_to(clean_HWC, (64, 64, 2))
    x = clean_HWC + rng.normal(0, 1, (4, 64, 64, 2)) * [0.05, 0.001]
    model = ModelConfig(
        name='tiny', channels=2, noise='0.05,0.001', center='0.5,0.01', contrast='0.6,0.012'
    )
    evaluator = held_out_captures.CaptureEvaluator(model, [SceneCaptures('s', np.float32(x))])
    found = []
    for wiped in (False, True):

        def restore(_, noisy_BHWC, wiped=wiped):
            # A little better in the bright channel, and nothing left of the dim one.
            off = np.array([0.019 if wiped else 0.02, 0.0])
            dim = np.where([False, wiped], 0.01 - clean_HWC, 0.0)
            return (clean_HWC + off + dim)[None]

        evaluator._apply = restore
        found.append(evaluator({}, len(found) + 1).rows[0])
    good, bad = found
    assert bad['mse_estimate'] < good['mse_estimate']  # with one peak for both channels
    assert not better(bad, good)
    assert without_gain(found) == (1, 1)
    assert worse_than_its_input(bad)
    assert not worse_than_its_input(good)
    # Of an older run one estimate is known.
    older = {key: value for key, value in good.items() if 'in_noise' not in key}
    assert better(bad, older)


@pytest.mark.parametrize(
    ('estimates', 'want'),
    [
        ([], (0, 0)),
        ([30.0], (0, 10)),
        ([30.0, 29.0, 28.0], (2, 10)),
        ([30.0, 29.0, 31.0, 30.9], (1, 30)),
        ([30.0, 30.01, 30.015], (2, 10)),  # differences that mean nothing
        ([30.0, 30.01, 30.019, 30.03], (0, 40)),  # a slow rise that adds up
        ([30.0, None, 31.0], (0, 30)),  # what has no estimate is no gain, and no reason to stop
        ([None, None], (0, 0)),
    ],
)
def test_evaluations_without_a_gain_are_counted(estimates, want):
    assert without_gain(rows(*estimates)) == want


def test_an_error_too_small_to_measure_does_not_end_a_run():
    strong = [row(10, 40.0), *(row(step, mse=-1e-6) for step in (20, 30, 40, 50))]
    assert without_gain(strong) == (0, 20)
    # Not best for ever: a smaller error still counts as a gain, a larger one never ends the run.
    assert without_gain([*strong, row(60, mse=-3e-6)]) == (0, 60)
    assert not better(row(60, 41.0), strong[-1])
    assert better(row(60, mse=-3e-6), strong[-1])


def test_nothing_measured_never_wins_over_what_was():
    for nothing in (row(20), row(20, mse=float('nan')), {'step': 20, 'psnr_estimate': 50.0}):
        assert not better(nothing, row(10, 30.0))
        assert better(row(10, 30.0), nothing)


def test_where_nothing_can_ever_be_measured_the_first_weights_are_not_kept_for_good():
    for nothing in (row(20), row(20, mse=float('nan')), {'step': 20, 'psnr_estimate': 50.0}):
        assert better(nothing, row(10))


def test_of_strong_denoisers_the_best_is_shipped_though_no_psnr_can_be_told():
    """Two captures of small strips, 20 dB gain: a third of the estimates are negative."""
    wins, negative = 0, 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        noise = rng.normal(0, 0.1, (2, 51, 96, 1))
        error = rng.normal(0, 0.01, noise.shape)
        evaluations = []
        for factor in (1.3, 1.0):  # the later step is the better one
            maps = without_clean.error_maps(factor * error, noise)
            patches = [without_clean.patch_sums(maps.mean(axis=0))]
            evaluations.append(without_clean.estimate_psnr(patches, mean_of='mse').as_dict())
        negative += evaluations[1]['psnr_estimate'] is None
        wins += better(evaluations[1], evaluations[0])
    assert negative > 8
    assert wins > 36


def config_of(folder, **changes):
    write_captures(folder / 'x.npy')
    return captures_config(folder / 'x.npy', **{'train.patience': 2, **changes})


@pytest.fixture
def worse_from_step_4(monkeypatch):
    """Estimates that rise up to step 4 and fall from there."""
    real = held_out_captures.CaptureEvaluator.__call__

    def call(self, variables, step):
        report = real(self, variables, step)
        report.rows[0] |= row(step, 20.0 - abs(step - 4))
        return report

    monkeypatch.setattr(held_out_captures.CaptureEvaluator, '__call__', call)


def test_a_run_that_gets_worse_stops_and_ships_its_best(tmp_path, worse_from_step_4, caplog):
    config = config_of(tmp_path)
    caplog.set_level('INFO')
    assert loop.train(config, tmp_path / 'run')
    content = done(tmp_path / 'run')
    assert content['step'] == 8
    assert content['ended'] == 'no gain in 2 evaluations since step 4'
    assert 'Stopped early at step 8 of 20: no gain in 2 evaluations since step 4.' in caplog.text
    with open_for_reading(tmp_path / 'run') as checkpoints:
        assert checkpoints.last_step == 4
    # The same command has nothing to do.
    assert loop.train(config, tmp_path / 'run')
    assert done(tmp_path / 'run')['weights_sha256'] == content['weights_sha256']
    assert [row['step'] for row in Workdir(tmp_path / 'run').rows()] == [2, 4, 6, 8]


@pytest.mark.parametrize('step', [pytest.param(5, marks=pytest.mark.slow), 8])
def test_interrupted_and_resumed_stops_where_an_undisturbed_run_does(
    step, tmp_path, worse_from_step_4
):
    config = config_of(tmp_path)
    assert loop.train(config, tmp_path / 'straight')
    with interrupted_before(step - 1):
        assert not loop.train(config, tmp_path / 'stopped')
    assert loop.train(config, tmp_path / 'stopped')
    for name in ('step', 'ended', 'weights_sha256'):
        assert done(tmp_path / 'stopped')[name] == done(tmp_path / 'straight')[name]


@pytest.mark.slow
def test_without_patience_it_goes_on_as_if_it_had_never_stopped(tmp_path, worse_from_step_4):
    config = config_of(tmp_path)
    patient = dataclasses.replace(config, train=dataclasses.replace(config.train, patience=0))
    assert loop.train(config, tmp_path / 'run')
    assert loop.train(patient, tmp_path / 'run')
    assert loop.train(patient, tmp_path / 'straight')
    assert done(tmp_path / 'run')['step'] == 20
    assert done(tmp_path / 'run')['ended'] == 'all steps done'
    assert done(tmp_path / 'run')['weights_sha256'] == done(tmp_path / 'straight')['weights_sha256']


@pytest.mark.slow
def test_the_command_stops_after_five_and_takes_another_number_later(
    tmp_path, worse_from_step_4, capsys
):
    config_of(tmp_path)
    options = ['--workdir', str(tmp_path / 'run'), '--steps', '20', '--model', 'tiny']
    command = ['train', str(tmp_path / 'x.npy'), *options]
    cli.main(command)
    assert done(tmp_path / 'run')['step'] == 4 + 5 * 2  # ten evaluations make a run
    assert 'Stopped early at step 14 of 20' in capsys.readouterr().err
    cli.main([*command, '--patience', '0'])
    assert done(tmp_path / 'run')['ended'] == 'all steps done'
    assert 'The weights of step 4 have the lowest estimated error' in capsys.readouterr().err


def test_a_run_that_goes_on_is_not_done(tmp_path, worse_from_step_4):
    config = config_of(tmp_path)
    assert loop.train(config, tmp_path / 'run')
    patient = dataclasses.replace(config, train=dataclasses.replace(config.train, patience=0))
    with interrupted_before(8):
        assert not loop.train(patient, tmp_path / 'run')
    assert not Workdir(tmp_path / 'run').done
    with Checkpoints(tmp_path / 'run') as checkpoints:
        assert checkpoints.last_step == 9


def test_patience_needs_evaluated_captures():
    for changes in ({}, {'captures.paths': 'x', 'eval.in_loop': False}):
        with pytest.raises(UserError, match=r'train.patience=3 needs two or more .* write 0'):
            tiny_config(**{'train.patience': 3, **changes})

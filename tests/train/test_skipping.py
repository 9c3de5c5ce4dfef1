"""Steps whose loss is far above the recent ones are skipped."""

import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_runs import done, interrupted_before
from test_step import setup
from tiny import tiny_config

from n2n_jax.data.feeds import DeviceFeed
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.progress import ProgressLine
from n2n_jax.train import loop, restore, skipping
from n2n_jax.train import step as steps
from n2n_jax.train.curves import JsonlWriter
from n2n_jax.train.tasks import SyntheticNoise
from n2n_jax.train.training_log import TrainingLog

CHANGES = {'optim.skip_above': 5.0, 'model.name': 'tiny:norm=batch', 'train.steps': 12}


@pytest.fixture(autouse=True)
def _small_window(monkeypatch):
    monkeypatch.setattr(skipping, 'WINDOW', 8)  # half full after 4 steps


def poison(monkeypatch, *bad_steps):
    """Makes the targets of some steps huge."""
    real = SyntheticNoise.pair

    def pair(self, batch, now):
        made = real(self, batch, now)
        bad = jnp.isin(now.step, jnp.array(bad_steps))
        return made._replace(target_BHWC=made.target_BHWC + jnp.where(bad, 1e3, 0.0))

    monkeypatch.setattr(SyntheticNoise, 'pair', pair)


def learned(state):
    return jax.device_get([getattr(state, name) for name in ('variables', 'ema', 'opt_state')])


def equal(a, b):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


def test_a_poisoned_batch_leaves_the_weights_exactly_as_they_were(monkeypatch):
    poison(monkeypatch, 2, 6)
    state, train_step, feed = setup(tiny_config(**CHANGES))
    skipped, same, rates = [], [], []
    for step in range(8):
        before = learned(state)
        state, metrics = train_step(state, feed.constants, feed.inputs(step, 1))
        skipped.append(int(metrics['skipped'][0]))
        rates.append(float(metrics['learning_rate'][0]))
        same.append(equal(before, learned(state)))
    # That of step 2 is not skipped: three losses are no measure yet.
    assert skipped == [0, 0, 0, 0, 0, 0, 1, 0]
    assert same == [False] * 6 + [True, False]
    assert int(state.step) == 8
    assert int(state.recent.num_skipped) == 1
    assert rates[6] == rates[7]  # the optimizer has not moved on, and the log says its true rate


def test_gradients_of_a_skipped_step_that_are_not_finite_do_no_harm(monkeypatch):
    real = steps._make_gradients

    def infinite(*arguments):
        gradients = real(*arguments)

        def found(*arguments):
            loss, rest, grads = gradients(*arguments)
            return loss, rest, jax.tree.map(lambda g: jnp.where(loss > 1e3, jnp.inf, g), grads)

        return found

    monkeypatch.setattr(steps, '_make_gradients', infinite)
    poison(monkeypatch, 6)
    state, train_step, feed = setup(tiny_config(**CHANGES))
    state, metrics = train_step(state, feed.constants, feed.inputs(0, 8))
    assert not np.isfinite(metrics['grad_norm'][6])
    assert not bool(state.failed)
    assert int(state.step) == 8


def test_losses_that_stay_high_are_learned_from_again():
    recent = skipping.start()
    found = []
    for loss in [1.0] * 8 + [100.0] * 8:
        skipped, recent = skipping.judge(recent, jnp.float32(loss), above=5.0)
        found.append(bool(skipped))
    # The median of four old and four new losses is 50.5.
    assert found == [False] * 8 + [True] * 4 + [False] * 4
    assert not skipping.judge(recent, jnp.float32(jnp.inf), above=5.0)[0]  # ends the run instead


@pytest.mark.slow
def test_one_device_and_eight_skip_the_same_steps(monkeypatch):
    poison(monkeypatch, 5, 6)
    found = []
    for num_devices in (1, 8):
        state, train_step, feed = setup(tiny_config(**CHANGES), num_devices)
        state, metrics = train_step(state, feed.constants, feed.inputs(0, 8))
        found.append(jax.device_get((metrics, state.variables)))
    np.testing.assert_array_equal(found[0][0]['skipped'], [0, 0, 0, 0, 0, 1, 1, 0])
    np.testing.assert_array_equal(found[1][0]['skipped'], found[0][0]['skipped'])
    np.testing.assert_allclose(found[0][0]['loss'], found[1][0]['loss'], rtol=1e-5)


@pytest.mark.slow
def test_a_resumed_run_skips_as_an_undisturbed_one_and_counts_all(
    image_folder, tmp_path, monkeypatch, caplog, steps_shared
):
    caplog.set_level('INFO')
    poison(monkeypatch, 5, 8, 9)
    config = tiny_config(
        **{**CHANGES, 'data.train': f'folder:{image_folder}', 'eval.in_loop': False,
           'eval.every': 0}
    )  # fmt: skip
    assert loop.train(config, tmp_path / 'straight')
    with interrupted_before(6, DeviceFeed):
        assert not loop.train(config, tmp_path / 'stopped')
    assert loop.train(config, tmp_path / 'stopped')
    ends = [done(tmp_path / name) for name in ('straight', 'stopped')]
    assert ends[0]['weights_sha256'] == ends[1]['weights_sha256']
    assert [end['skipped_steps'] for end in ends] == [3, 3]
    text = (tmp_path / 'stopped' / 'metrics.jsonl').read_text()
    curve = {line['step']: line for line in map(json.loads, text.splitlines())}
    assert {step: line['skipped'] for step, line in curve.items()} == {
        2: 0, 4: 0, 6: 1, 8: 0, 10: 2, 12: 0
    }  # fmt: skip
    assert curve[6]['loss'] < 10 < curve[10]['loss']  # that of a step that was used, if any was
    assert 'Up to step 10 skipped 2 steps' in caplog.text
    assert 'The run skipped 3 steps of 12' in caplog.text


def test_skipped_steps_are_counted_and_are_not_in_the_means(tmp_path):
    stream = io.StringIO()
    writer = JsonlWriter(tmp_path / 'metrics.jsonl', first_step=0)
    log = TrainingLog(tiny_config(**CHANGES), [writer], ProgressLine('step', 10, stream=stream))
    losses, norms = jnp.array([1.0, 1e6, 3.0, 1e6]), jnp.array([1.0, jnp.inf, 1.0, 1.0])
    log.add({'loss': losses, 'grad_norm': norms, 'skipped': jnp.array([0.0, 1.0, 0.0, 1.0])})
    log.end_interval(4)
    assert log.write()
    line = json.loads((tmp_path / 'metrics.jsonl').read_text())
    assert (line['loss'], line['grad_norm'], line['skipped']) == (2.0, 1.0, 2)
    log.progress.show(4, log._details)
    assert 'skipped 2 steps' in stream.getvalue()


def test_ordinary_runs_have_the_checkpoints_they_had():
    state = jax.eval_shape(lambda: steps.init_state(tiny_config()))
    assert state.recent is None
    assert set(restore.items(state)['optimizer']) == {'step', 'opt_state'}


def test_a_limit_that_skips_half_of_all_steps_is_refused():
    with pytest.raises(UserError, match=r'skip_above=0.5 would skip half .* such as 5'):
        tiny_config(**{'optim.skip_above': 0.5})

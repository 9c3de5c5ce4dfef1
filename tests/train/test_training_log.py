"""Curves: their means, and when they are written."""

import io
import json

import jax.numpy as jnp
import pytest
from tiny import tiny_config

from n2n_jax.data.feeds import DeviceFeed
from n2n_jax.runtime.progress import ProgressLine
from n2n_jax.train import loop
from n2n_jax.train.curves import JsonlWriter
from n2n_jax.train.training_log import TrainingLog


def log_of(tmp_path):
    writer = JsonlWriter(tmp_path / 'metrics.jsonl', first_step=0)
    progress = ProgressLine('step', 10, stream=io.StringIO())
    return TrainingLog(tiny_config(), [writer], progress)


def lines(folder):
    return [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]


def test_an_interval_is_the_mean_of_all_its_steps(tmp_path):
    log = log_of(tmp_path)
    log.add({'loss': jnp.array([1.0, 2.0])})
    log.add({'loss': jnp.array([6.0])})
    log.end_interval(3)
    log.add({'loss': jnp.array([100.0])})  # of the next one
    assert log.write()
    (line,) = lines(tmp_path)
    assert (line['step'], line['loss']) == (3, 3.0)
    assert log.write()  # nothing more has ended
    assert len(lines(tmp_path)) == 1


@pytest.mark.parametrize('bad', [jnp.nan, jnp.inf])
def test_a_loss_that_is_not_finite_is_told_and_not_written(tmp_path, bad):
    log = log_of(tmp_path)
    log.add({'loss': jnp.array([1.0]), 'grad_norm': jnp.array([bad])})
    log.end_interval(1)
    assert not log.write()
    assert not (tmp_path / 'metrics.jsonl').exists()


def test_the_device_has_its_next_steps_before_the_loss_of_the_last_ones_is_read(
    image_folder, tmp_path, monkeypatch
):
    events = []
    inputs, write = DeviceFeed.inputs, JsonlWriter.write_scalars

    def fetched(self, step, num_steps):
        events.append(f'batch {step}')
        return inputs(self, step, num_steps)

    def written(self, step, scalars):
        if 'loss' in scalars:
            events.append(f'log {step}')
        write(self, step, scalars)

    monkeypatch.setattr(DeviceFeed, 'inputs', fetched)
    monkeypatch.setattr(JsonlWriter, 'write_scalars', written)
    config = tiny_config(
        **{
            'data.train': f'folder:{image_folder}', 'data.feed': 'device', 'train.log_every': 1,
            'train.checkpoint_every': 100, 'eval.in_loop': False, 'eval.every': 0,
        }
    )  # fmt: skip
    assert loop.train(config, tmp_path / 'run')
    wanted = ['batch 0', 'batch 1', 'log 1', 'batch 2', 'log 2', 'batch 3', 'log 3', 'log 4']
    assert events[: len(wanted)] == wanted

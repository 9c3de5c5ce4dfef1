"""Runs that are small, stopped and looked at, for the tests of this folder."""

import contextlib
import json
import signal

import numpy as np
import pytest
from tiny import tiny_config

from n2n_jax.data.feeds.capture_feed import CaptureFeed


def write_captures(path, *, mean=100, seed=0):
    """Writes three captures of a scene, noise around a mean."""
    rng = np.random.default_rng(seed)
    np.save(path, rng.normal(mean, 20, (3, 40, 48)).astype(np.float32))


def captures_config(path, **changes):
    """A run of 20 steps on captures, evaluated and saved every other step."""
    return tiny_config(
        **{
            'captures.paths': str(path), 'model.channels': 1, 'train.steps': 20,
            'eval.every': 2, 'train.checkpoint_every': 2, **changes,
        }
    )  # fmt: skip


@contextlib.contextmanager
def interrupted_before(step, feed=CaptureFeed):
    """Presses Ctrl-C when the inputs of `step` (from 0) are asked for."""
    real = feed.inputs

    def interrupted(self, first, num_steps):
        if first == step:
            signal.raise_signal(signal.SIGINT)
        return real(self, first, num_steps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feed, 'inputs', interrupted)
        yield


def done(run):
    """What a complete run says of itself."""
    return json.loads((run / 'DONE.json').read_text())

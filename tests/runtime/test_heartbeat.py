"""Long work shows that it is alive."""

import time

import pytest

from n2n_jax.runtime.heartbeat import heartbeat


def test_work_that_says_nothing_for_long_is_not_silent(caplog):
    caplog.set_level('INFO')
    with heartbeat('Compiling', every=0.02):
        deadline = time.monotonic() + 20
        while len(caplog.records) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert caplog.messages[:2] == ['Compiling.', 'Compiling: 0 s']
    told = len(caplog.records)
    time.sleep(0.1)
    assert len(caplog.records) == told


def test_it_ends_with_an_error_too():
    with pytest.raises(ValueError, match='broken'), heartbeat('Reading', every=0.01):
        raise ValueError('broken')

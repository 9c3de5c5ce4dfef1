"""Training throughput, measured with a fake clock."""

import jax.numpy as jnp
import pytest

from n2n_jax.train.throughput import Throughput


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Unfinished:
    """An array that is still being computed."""

    def is_ready(self):
        return False


def test_pauses_do_not_count_and_an_interval_starts_afresh():
    clock = Clock()
    throughput = Throughput(clock)
    for seconds in (1.0, 3.0):
        with throughput.fetching([]):
            pass
        clock.now += seconds
    with throughput.pause():
        clock.now += 50.0
    assert throughput.finish(16)['images_per_second'] == pytest.approx(16 / 4)
    with throughput.fetching([]):
        clock.now += 2.0
    assert throughput.finish(8)['images_per_second'] == pytest.approx(8 / 2)


def test_only_a_device_without_work_waits_for_data():
    clock = Clock()
    throughput = Throughput(clock)
    for previous in (Unfinished(), jnp.zeros(())):
        with throughput.fetching([{'loss': previous}]):
            clock.now += 1.0
        clock.now += 1.0
    assert throughput.finish(8)['data_wait'] == pytest.approx(0.25)


def test_a_wait_of_the_loop_for_its_own_log_is_not_one_for_data():
    clock = Clock()
    throughput = Throughput(clock)
    with throughput.fetching([]):
        clock.now += 1.0
    clock.now += 1.0
    assert throughput.finish(8)['data_wait'] == 0

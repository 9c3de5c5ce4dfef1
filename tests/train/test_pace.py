"""A run with a time limit ends in time: on a clock of our own."""

import pytest
from tiny import tiny_config

from n2n_jax.train.pace import Pace


class Clock:
    now = 50.0

    def __call__(self):
        return self.now


def test_a_machine_that_becomes_slower_ends_in_time_all_the_same():
    clock = Clock()
    kept = Pace(360, 10, clock=clock)
    kept.start()
    num_steps = 800  # of 0.4 s, as they were timed; they take twice as long
    step = 0
    while step < num_steps:
        clock.now += 0.8 * 80
        step = min(step + 80, num_steps)
        num_steps = kept.steps(step, num_steps)
    assert num_steps < 460
    assert clock.now - 50 + 10 == pytest.approx(360, rel=0.15)


def test_a_machine_that_becomes_quicker_does_more_steps_with_as_many_evaluations():
    clock = Clock()
    kept = Pace(360, 10, clock=clock)
    kept.start()
    clock.now += 0.2 * 160
    config = tiny_config(**{'train.steps': 800, 'eval.every': 80, 'train.checkpoint_every': 80})
    changed = kept.replanned(config, 160)
    assert changed.train.steps == pytest.approx(1730, abs=20)
    assert changed.eval.every == changed.train.checkpoint_every == pytest.approx(173, abs=2)
    assert kept.replanned(config, 700) is config
    clock.now += 0.6 * 160
    shorter = kept.replanned(config, 160)
    assert shorter.train.steps < 800
    assert shorter.eval.every == 80


def test_a_plan_that_holds_is_left_alone_and_none_is_changed_late():
    clock = Clock()
    kept = Pace(360, 10, clock=clock)
    assert kept.steps(100, 800) == 800  # not begun
    kept.start()
    clock.now += 0.43 * 160
    assert kept.steps(160, 800) == 800
    assert kept.steps(500, 800) == 800  # late
    assert kept.steps(0, 800) == 800  # before the first step
    assert Pace(360, 10, multiple=10, clock=clock).steps(160, 800) == 800


def test_programs_that_are_compiled_once_do_not_make_the_machine_slow():
    clock = Clock()
    kept = Pace(360, 10, evaluation=4, clock=clock)
    kept.start()
    clock.now += 0.4 * 80
    with kept.evaluating():
        clock.now += 4 + 30  # scenes of other sizes are compiled
    wanted = kept.steps(80, 800)
    assert wanted == pytest.approx(80 + (360 - 10 - 66) / 0.45, rel=0.03)
    with kept.evaluating():
        clock.now += 34  # a machine that is slow
    assert kept.steps(80, 800) < wanted - 100

"""How a run divides its time, and that it keeps to it: on a clock of our own."""

import pytest
from tiny import tiny_config

from n2n_jax.train import pace
from n2n_jax.train.pace import Pace, Timing


@pytest.mark.parametrize('minutes', [2, 6, 20])
@pytest.mark.parametrize('step', [0.01, 0.4, 3.5])
@pytest.mark.parametrize('region', [0.0, 0.02, 2.0, 9.0])
def test_minutes_are_for_steps_evaluations_and_intervals(minutes, step, region):
    timing = Timing(step, region, compiling=5.0 if region else 0.0)
    found = pace.divide(60 * minutes, timing, num_regions=40)
    total = found.steps * step + found.evaluations * found.regions * region + found.after
    assert total <= 60 * minutes
    assert found.total == pytest.approx(60 * minutes, rel=0.05)
    if region:
        assert 3 <= found.evaluations <= 10
        assert 1 <= found.regions <= 40
        spent = found.evaluations * found.regions * region
        assert spent <= pace.EVALUATING * 60 * minutes or found.regions == 1
    assert found.every * found.evaluations >= found.steps


def test_evaluations_of_large_captures_take_a_small_share():
    # As long as 285 s for all of 10 megapixels, beside steps of 3.5 s: ten took eight times as long
    # as all the rest.
    found = pace.divide(360, Timing(3.5, 285 / 60, compiling=5.0), num_regions=60)
    assert found.evaluations * found.regions * 285 / 60 < 0.2 * 360
    assert 70 < found.steps < 103


def test_on_a_device_that_takes_ten_steps_at_a_time_all_are_multiples():
    found = pace.divide(60, Timing(0.011, 0.1, 3.0), num_regions=9, multiple=10)
    assert found.steps % 10 == found.every % 10 == 0
    assert found.steps > 1000


def test_a_time_too_short_for_anything_is_said_before_the_first_step():
    timing = Timing(3.5, 5.0, 20.0)
    found = pace.divide(6, timing, num_regions=9)
    assert found.steps == found.evaluations == 3
    words = ' '.join(sentence for _, sentence in pace.in_words(found, timing, 6))
    assert 'Plan: 3 steps of 3.5 s, 3 evaluations of 5.0 s' in words
    assert '0.1 minutes are too few: the shortest run on these captures takes 1.4 min' in words
    few = pace.divide(360, timing, num_regions=9)
    words = ' '.join(sentence for _, sentence in pace.in_words(few, timing, 360))
    assert '6.0 min in all, until ' in words
    assert 'steps are few: expect a better model with --minutes' in words


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

"""How a run divides its time between steps and evaluations."""

import pytest

from n2n_jax.train import time_division
from n2n_jax.train.time_division import Timing


@pytest.mark.parametrize('minutes', [2, 6, 20])
@pytest.mark.parametrize('step', [0.01, 0.4, 3.5])
@pytest.mark.parametrize('region', [0.0, 0.02, 2.0, 9.0])
def test_minutes_are_for_steps_evaluations_and_intervals(minutes, step, region):
    timing = Timing(step, region, compiling=5.0 if region else 0.0)
    found = time_division.divide(60 * minutes, timing, num_regions=40)
    total = found.steps * step + found.evaluations * found.regions * region + found.after
    assert total <= 60 * minutes
    assert found.total == pytest.approx(60 * minutes, rel=0.05)
    if region:
        assert 3 <= found.evaluations <= 10
        assert 1 <= found.regions <= 40
        spent = found.evaluations * found.regions * region
        assert spent <= time_division.EVALUATING * 60 * minutes or found.regions == 1
    assert found.every * found.evaluations >= found.steps


def test_evaluations_of_large_captures_take_a_small_share():
    # As long as 285 s for all of 10 megapixels, beside steps of 3.5 s: ten took eight times as long
    # as all the rest.
    found = time_division.divide(360, Timing(3.5, 285 / 60, compiling=5.0), num_regions=60)
    assert found.evaluations * found.regions * 285 / 60 < 0.2 * 360
    assert 70 < found.steps < 103


def test_on_a_device_that_takes_ten_steps_at_a_time_all_are_multiples():
    found = time_division.divide(60, Timing(0.011, 0.1, 3.0), num_regions=9, multiple=10)
    assert found.steps % 10 == found.every % 10 == 0
    assert found.steps > 1000


def test_a_time_too_short_for_anything_is_said_before_the_first_step():
    timing = Timing(3.5, 5.0, 20.0)
    found = time_division.divide(6, timing, num_regions=9)
    assert found.steps == found.evaluations == 3
    words = ' '.join(sentence for _, sentence in time_division.in_words(found, timing, 6))
    assert 'Plan: 3 steps of 3.5 s, 3 evaluations of 5.0 s' in words
    assert '0.1 minutes are too few: the shortest run on these captures takes 1.4 min' in words
    few = time_division.divide(360, timing, num_regions=9)
    words = ' '.join(sentence for _, sentence in time_division.in_words(few, timing, 360))
    assert '6.0 min in all, until ' in words
    assert 'steps are few: expect a better model with --minutes' in words

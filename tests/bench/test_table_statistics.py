"""Intervals and tests of tables: against simulation, scipy and worked examples."""

import math

import numpy as np
import pytest
from scipy import stats

from n2n_jax.bench.tables import statistics
from n2n_jax.bench.tables.statistics import Spread


def test_the_spread_over_seeds_is_pooled_over_arms():
    a, b = np.array([30.0, 30.2, 30.4]), np.array([28.0, 28.1])
    spread = statistics.pooled([a, b, np.array([31.0])])
    want = math.sqrt((2 * a.var(ddof=1) + b.var(ddof=1)) / 3)
    assert spread.sd == pytest.approx(want)
    assert spread.degrees == 3
    alone = statistics.pooled([a])
    low, high = stats.t.interval(0.95, 2, a.mean(), a.std(ddof=1) / math.sqrt(3))
    assert alone.half_width(3) == pytest.approx((high - low) / 2)


def test_one_seed_has_no_spread_and_keeps_the_interval_over_images():
    spread = statistics.pooled([np.array([30.0]), np.array([29.0])])
    assert math.isnan(spread.sd)
    found = statistics.estimate(np.array([[1.0, 2.0, 3.0, 6.0]]), spread)
    assert found.mean == 3.0
    assert math.isnan(found.over_seeds[0])
    assert found.over_both == found.over_images
    assert (found.seeds, found.images) == (1, 4)


def test_an_arm_that_diverged_does_not_spoil_the_spread():
    spread = statistics.pooled([np.array([30.0, 30.2]), np.array([-np.inf, 20.0])])
    assert spread.sd == pytest.approx(np.std([30.0, 30.2], ddof=1))


def test_both_intervals_together_are_wider_than_each():
    rng = np.random.default_rng(0)
    found = statistics.estimate(rng.normal(30, 1, (3, 24)), Spread(0.3, 4))
    widths = [high - low for low, high in (found.over_images, found.over_seeds, found.over_both)]
    assert widths[2] > max(widths[:2])
    assert widths[2] == pytest.approx(math.hypot(*widths[:2]), rel=0.02)


def test_the_interval_over_both_covers_the_truth():
    """Images of sd 1 and seeds of sd 0.2: 95 % of the intervals hold the mean of both."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        image_I, seed_AS = rng.normal(0, 1, 40), rng.normal(0, 0.2, (6, 3))
        arms = [image_I + seed_S[:, None] for seed_S in seed_AS]
        spread = statistics.pooled([arm_SI.mean(axis=1) for arm_SI in arms])
        low, high = statistics.estimate(arms[0], spread).over_both
        held += low <= 0 <= high
    assert 0.92 <= held / 400 <= 0.98


def test_the_interval_of_a_difference_covers_the_truth_though_arms_share_a_control():
    """Two seeds, which all arms share; the control's own deviation is in every difference."""
    rng = np.random.default_rng(2)
    controls = dict.fromkeys(range(1, 6), 0)
    held = 0
    for _ in range(600):
        seed_S = rng.normal(0, 0.3, 2)
        runs_AS = seed_S + rng.normal(0, 0.2, (6, 2))
        means = {arm: dict(enumerate(runs_S)) for arm, runs_S in enumerate(runs_AS)}
        half = statistics.spreads_of_differences(means, controls)[3].half_width(2)
        held += abs(np.mean(runs_AS[3] - runs_AS[0])) <= half
    assert 0.925 <= held / 600 <= 0.975


def test_the_spread_of_one_difference_is_that_of_its_seeds():
    means = {'one': {0: 30.1, 1: 30.4, 2: 30.2}, 'control': {0: 30.0, 1: 30.1, 2: 30.3}}
    found = statistics.spreads_of_differences(means, {'one': 'control'})
    assert found['one'].sd == pytest.approx(np.std([0.1, 0.3, -0.1], ddof=1))
    assert found['one'].degrees == 2
    # An arm of one seed takes the spread of the others, but adds nothing to it.
    more = statistics.spreads_of_differences(
        {**means, 'once': {0: 31.0}}, {'one': 'control', 'once': 'control'}
    )
    assert more['once'] == more['one'] == found['one']


def test_an_arm_that_scatters_wildly_does_not_widen_the_intervals_of_the_others():
    tame = {name: {0: 30.0 + k, 1: 30.05 + k} for k, name in enumerate('abcde')}
    means = {**tame, 'wild': {0: 20.0, 1: 29.0}}
    assert statistics.spreads(means)['a'] == statistics.spreads(tame)['a']
    assert statistics.spreads(means)['wild'].sd == pytest.approx(np.std([20, 29], ddof=1))
    controls = dict.fromkeys('bcde', 'a') | {'wild': 'a'}
    found = statistics.spreads_of_differences(means, controls)
    assert found['b'] == statistics.spreads_of_differences(tame, controls)['b']
    assert found['wild'].sd > 6
    assert found['wild'].degrees == 1


def test_differences_are_taken_seed_by_seed():
    one = {0: np.full(4, 1.0), 1: np.full(4, 2.0), 3: np.full(4, 3.0)}
    other = {1: np.full(4, 0.5), 3: np.full(4, 0.0), 4: np.full(4, 9.0)}
    differences = statistics.paired(one, other)
    assert {seed: x_I.tolist() for seed, x_I in differences.items()} == {
        1: [1.5] * 4,
        3: [3.0] * 4,
    }
    method = {statistics.NO_SEED: np.full(4, 1.0)}
    assert {seed: x_I[0] for seed, x_I in statistics.paired(one, method).items()} == {
        0: 0, 1: 1, 3: 2,
    }  # fmt: skip
    assert {seed: x_I[0] for seed, x_I in statistics.paired(method, one).items()} == {
        0: 0, 1: -1, 3: -2,
    }  # fmt: skip


def test_methods_without_seed_have_no_spread_over_seeds():
    images_I = np.array([1.0, 2.0, 4.0])
    scores = {
        'trained': {0: images_I, 1: images_I + 1},
        'bm3d': {statistics.NO_SEED: images_I},
        'tv': {statistics.NO_SEED: images_I - 1},
    }
    found = statistics.compared(scores, {'tv': 'bm3d', 'trained': 'bm3d'}, lambda key: 'column')
    assert math.isnan(found.means['bm3d'].over_seeds[0])
    assert math.isnan(found.differences['tv'].over_seeds[0])
    assert found.differences['tv'].mean == -1
    assert found.differences['trained'].seeds == 2
    assert not math.isnan(found.differences['trained'].over_seeds[0])


def test_entries_without_a_common_seed_are_not_compared():
    scores = {'one': {0: np.ones(3)}, 'other': {1: np.ones(3)}}
    assert not statistics.compared(scores, {'one': 'other'}, lambda key: 0).differences


def test_p_values_are_those_of_scipy_and_holm():
    differences_I = np.array([0.1, 0.2, -0.05, 0.3, 0.25, 0.4])
    assert statistics.wilcoxon(differences_I) == stats.wilcoxon(differences_I).pvalue
    assert statistics.wilcoxon(np.zeros(6)) == 1
    # Holm 1979: the smallest times 4, the next times 3, ...; never falling, never above 1.
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]
    assert statistics.holm([]) == []

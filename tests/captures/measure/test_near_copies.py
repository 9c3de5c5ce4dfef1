"""Captures that are the same image saved twice."""

import numpy as np
import pytest

from n2n_jax.captures.measure import near_copies
from n2n_jax.captures.measure.noise_model import mean_squares


@pytest.mark.parametrize('num', [2, 3, 4, 5, 10, 11])
def test_medians_of_others_match_direct_computation(num):
    for seed in range(20):
        values = np.random.default_rng(seed).integers(0, 8, num).astype(float)
        wanted = [np.median(np.delete(values, k)) for k in range(num)]
        assert near_copies._medians_of_others(values).tolist() == wanted


def test_copies_among_a_hundred_captures_are_found_without_sorting_all_pairs_for_each(monkeypatch):
    rng = np.random.default_rng(0)
    x_NHWC = rng.normal(100, 10, (100, 16, 16, 1)).astype(np.float32)
    x_NHWC[70] = np.rint(x_NHWC[30])  # saved again
    x_NHWC[99] = x_NHWC[5]
    calls, median = [], np.median
    monkeypatch.setattr(np, 'median', lambda x, *rest, **kw: calls.append(1) or median(x))
    assert near_copies.near_copies(x_NHWC, mean_squares(x_NHWC)) == [(5, 99), (30, 70)]
    assert len(calls) <= 100

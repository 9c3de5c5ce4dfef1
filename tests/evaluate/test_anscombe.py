"""Variance stabilization, against sums over all outcomes."""

import numpy as np
import pytest
from scipy import stats

from n2n_jax.evaluate.anscombe import Anscombe


def outcomes(photons, gain, read, offset):
    """All values a pixel can take, and their probabilities: Poisson times Gaussian."""
    counts = np.arange(int(photons + 12 * np.sqrt(photons) + 25))
    normal = np.linspace(-6, 6, 241)
    values = gain * counts[:, None] + offset + read * normal
    weights = stats.poisson.pmf(counts, photons)[:, None] * stats.norm.pdf(normal)
    return values, weights / weights.sum()


KINDS = [(1.0, 0.0, 0.0), (0.02, 0.01, 0.0), (0.02, 0.02, 0.1), (3.0, 6.0, 100.0)]


@pytest.mark.parametrize(('gain', 'read', 'offset'), KINDS)
def test_noise_becomes_uniform(gain, read, offset):
    transform = Anscombe(gain, read**2 - gain * offset)
    for photons in (5, 20, 100):
        values, weights = outcomes(photons, gain, read, offset)
        t = transform.forward(values)
        mean = (weights * t).sum()
        assert (weights * (t - mean) ** 2).sum() == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize(('gain', 'read', 'offset'), KINDS)
def test_the_inverse_of_a_mean_is_the_signal(gain, read, offset):
    transform = Anscombe(gain, read**2 - gain * offset)
    for photons in (1, 2, 5, 20, 100):
        values, weights = outcomes(photons, gain, read, offset)
        mean = (weights * transform.forward(values)).sum()
        found = (transform.inverse(np.array([mean]))[0] - offset) / gain
        assert found == pytest.approx(photons, abs=0.05, rel=0.01)


def test_the_algebraic_inverse_would_be_too_dark():
    values, weights = outcomes(2, 1, 0, 0)
    mean = (weights * Anscombe(1, 0).forward(values)).sum()
    assert mean**2 / 4 - 3 / 8 < 2 - 0.2
    assert Anscombe(1, 0).inverse(np.array([mean]))[0] == pytest.approx(2, abs=0.05)


def test_uniform_noise_is_only_scaled():
    x = np.linspace(-0.2, 1.2, 9)
    for transform in (Anscombe(0, 0.01), Anscombe(-0.001, 0.01), Anscombe(1e-9, 0.01)):
        np.testing.assert_allclose(transform.forward(x), x * 10)
        np.testing.assert_allclose(transform.inverse(transform.forward(x)), x)


def test_values_below_what_noise_can_reach_stay_finite():
    transform = Anscombe(0.02, -0.001)
    assert np.isfinite(transform.inverse(transform.forward(np.array([-1.0, 0.0])))).all()

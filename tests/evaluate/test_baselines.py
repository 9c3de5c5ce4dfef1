"""Methods without a network, tuned on the captures themselves."""

import sys
import types

import numpy as np
import pytest
from scipy import ndimage

from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.data.sources import photos
from n2n_jax.evaluate import verdict
from n2n_jax.evaluate.baselines import bm3d, nlm
from n2n_jax.evaluate.baselines.bm3d import BM3D
from n2n_jax.evaluate.baselines.known_noise import KnownNoise
from n2n_jax.evaluate.baselines.nlm import NonLocalMeans


@pytest.fixture(scope='module')
def clean_HWC():
    image = photos.photos()['chelsea'][:128, :128].astype(np.float32) / 255
    return image.mean(axis=-1, keepdims=True)


@pytest.fixture
def fake_bm3d(monkeypatch):
    """Blurs all the more the more noise it is told of; keeps what it was told."""
    told = []

    def denoise(noisy_HW, sigma):
        told.append((noisy_HW.std(), sigma, (noisy_HW - ndimage.median_filter(noisy_HW, 5)).std()))
        return ndimage.gaussian_filter(noisy_HW, sigma)

    module = types.ModuleType('bm3d')
    module.bm3d = denoise
    monkeypatch.setitem(sys.modules, 'bm3d', module)
    return told


def test_the_strength_of_non_local_means_comes_from_the_captures(clean_HWC):
    rng = np.random.default_rng(0)
    x = (clean_HWC + rng.normal(0, 0.1, (2, *clean_HWC.shape))).astype(np.float32)
    chosen = np.mean((NonLocalMeans().for_captures(x)(x[0]) - clean_HWC) ** 2)
    errors = [
        np.mean((NonLocalMeans(s).for_noise(KnownNoise.of_sigma(0.1), list)(x[0]) - clean_HWC) ** 2)
        for s in nlm.STRENGTHS
    ]
    assert chosen < 1.1 * min(errors)


def test_a_border_of_no_data_does_not_weaken_non_local_means(clean_HWC):
    rng = np.random.default_rng(0)
    x = (clean_HWC + rng.normal(0, 0.1, (2, *clean_HWC.shape))).astype(np.float32)
    measured_HWC = np.ones(clean_HWC.shape, bool)
    measured_HWC[:, :112] = False
    x[:, ~measured_HWC] = 0.5
    told, ignored = (
        np.mean((restore(x[0]) - clean_HWC)[:, 112:] ** 2)
        for restore in (
            NonLocalMeans().for_captures(x, measured_HWC),
            NonLocalMeans().for_captures(x),
        )
    )
    assert told < 0.8 * ignored
    # The last line of a run compares with the stronger one.
    scene = SceneCaptures('a', x, measured_HWC)
    found = verdict.compare([scene], lambda noisy_HWC: clean_HWC)
    assert found.over_nlm == pytest.approx(
        verdict.compare([scene.columns(112, 128)], lambda _: clean_HWC[:, 112:]).over_nlm, abs=0.3
    )


def test_a_border_of_no_data_is_no_noise_to_bm3d(clean_HWC, fake_bm3d):
    rng = np.random.default_rng(0)
    x = (rng.poisson(40 * clean_HWC, (2, *clean_HWC.shape)) / 40).astype(np.float32)
    measured_HWC = np.ones(clean_HWC.shape, bool)
    measured_HWC[:, :64] = False
    x[:, ~measured_HWC] = 0.5
    BM3D().for_captures(x, measured_HWC)
    assert fake_bm3d[0][1] / bm3d.STRENGTHS[0] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize('num', [2, 3])
def test_bm3d_sees_uniform_noise_of_the_sigma_it_is_told(clean_HWC, num, fake_bm3d):
    rng = np.random.default_rng(0)
    x = (rng.poisson(40 * clean_HWC, (num, *clean_HWC.shape)) / 40).astype(np.float32)
    restore = BM3D().for_captures(x)
    strengths = {round(sigma / fake_bm3d[0][1], 3) for _, sigma, _ in fake_bm3d}
    expected = {round(s / bm3d.STRENGTHS[0], 3) for s in bm3d.STRENGTHS}
    assert strengths == expected
    # Poisson noise of unit gain has standard deviation 1 once it is stabilized.
    assert fake_bm3d[0][1] / bm3d.STRENGTHS[0] == pytest.approx(1, abs=0.05)
    restored = restore(x[0])
    assert restored.shape == clean_HWC.shape
    assert restored.dtype == np.float32
    # Blurred in the transformed domain and brought back without bias or transposing.
    assert restored.mean() == pytest.approx(clean_HWC.mean(), rel=0.01)
    assert np.mean((restored - clean_HWC) ** 2) < 0.3 * np.mean((x[0] - clean_HWC) ** 2)


def test_color_and_sides_of_any_length_keep_their_place(fake_bm3d):
    rng = np.random.default_rng(0)
    clean_HWC = ndimage.gaussian_filter(rng.random((40, 61, 3)), (4, 4, 0)).astype(np.float32)
    x = (clean_HWC + rng.normal(0, 0.05, (2, *clean_HWC.shape))).astype(np.float32)
    restored = BM3D().for_captures(x)(x[0])
    assert np.mean((restored - clean_HWC) ** 2) < np.mean((x[0] - clean_HWC) ** 2)


def test_related_noise_is_met_by_more_strength(clean_HWC, fake_bm3d):
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.normal(0, 1, (2, *clean_HWC.shape)), (0, 1, 1, 0))
    BM3D().for_captures((clean_HWC + 0.3 * noise).astype(np.float32))
    sigmas = [sigma for _, sigma, _ in fake_bm3d]
    assert max(sigmas) / min(sigmas) == pytest.approx(2.7)


def test_the_package_itself_beats_non_local_means(clean_HWC):
    pytest.importorskip('bm3d')
    rng = np.random.default_rng(0)
    x = (rng.poisson(40 * clean_HWC, (2, *clean_HWC.shape)) / 40).astype(np.float32)
    errors = [
        np.mean((tuned(x)(x[0]) - clean_HWC) ** 2)
        for tuned in (BM3D().for_captures, NonLocalMeans().for_captures)
    ]
    assert errors[0] < errors[1]

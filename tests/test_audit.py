"""The audit finds what is wrong with captures, and nothing where nothing is."""

import numpy as np
import pytest
from scipy import ndimage

from n2n_jax import audit
from n2n_jax.data import dead_leaves, photos
from n2n_jax.data.own_captures import SceneCaptures


@pytest.fixture(scope='module')
def clean_HW1():
    return photos.photos()['astronaut'][:300, :300].mean(axis=-1, keepdims=True) * 0.7 + 30


def noisy(*images_HW1, sigma=15.0, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([image + rng.normal(0, sigma, image.shape) for image in images_HW1])


def test_no_false_alarm_on_twenty_good_sets():
    images = [*photos.photos().values(), *dead_leaves.dead_leaves(14)]
    for k, image in enumerate(images[:20]):
        clean_HW1 = image[:256, :256].mean(axis=-1, keepdims=True) * 0.6 + 50
        rng = np.random.default_rng(k)
        captures = [
            rng.poisson(clean_HW1 / 2) * 2
            if k % 2
            else clean_HW1 + rng.normal(0, 6 + k % 8, clean_HW1.shape)
            for _ in range(2 + k % 3)
        ]
        x_NHWC = np.rint(np.stack(captures)).clip(0, 255).astype(np.uint8)
        findings = audit.audit([SceneCaptures('s', x_NHWC)])
        assert audit.worst(findings) == audit.FINE, (k, audit.markdown(findings))


@pytest.mark.parametrize('sigma', [5, 15])
def test_a_shift_of_half_a_pixel(clean_HW1, sigma):
    moved_HW1 = ndimage.shift(clean_HW1, (0, 0.5, 0), order=5, mode='reflect')
    finding = audit.shift(noisy(clean_HW1, moved_HW1, sigma=sigma)[:, 10:266, 10:266])
    assert finding.value == pytest.approx(0.5, abs=0.1)
    assert finding.verdict == audit.WARNING


def test_a_drift_of_three_percent(clean_HW1):
    finding = audit.brightness(noisy(clean_HW1, 1.03 * clean_HW1))
    assert 'gain 1.0' in finding.text
    gain = float(finding.text.split()[1].rstrip(','))
    assert gain == pytest.approx(1.03, abs=0.005)
    assert finding.verdict == audit.WARNING


def test_correlated_noise(clean_HW1):
    rng = np.random.default_rng(0)
    noise = [ndimage.gaussian_filter(rng.normal(0, 30, clean_HW1.shape), (1, 1, 0)) for _ in '12']
    finding = audit.correlation(np.stack([clean_HW1 + n for n in noise]))
    assert finding.value > 0.5
    assert finding.verdict == audit.WARNING


def test_two_percent_of_saturated_pixels(clean_HW1):
    x_NHWC = np.rint(noisy(clean_HW1, clean_HW1)).clip(0, 254).astype(np.uint8)
    assert audit.saturation(x_NHWC).verdict == audit.FINE
    x_NHWC[:, : round(0.02 * 300)] = 255
    finding = audit.saturation(x_NHWC)
    assert finding.value == pytest.approx(0.02, abs=0.001)
    assert finding.verdict == audit.WARNING


def test_copies_and_strangers(clean_HW1):
    x_NHWC = noisy(clean_HW1, clean_HW1, clean_HW1)
    assert audit.duplicates(x_NHWC).verdict == audit.FINE
    assert audit.duplicates(x_NHWC[[0, 0]]).verdict == audit.UNUSABLE
    finding = audit.duplicates(x_NHWC[[0, 1, 0]])
    assert (finding.verdict, finding.advice[:14]) == (audit.WARNING, 'captures 1 and')
    strange = noisy(clean_HW1, clean_HW1, clean_HW1[::-1])
    assert 'capture 3 is unlike' in audit.outliers(strange).advice
    assert audit.outliers(x_NHWC).verdict == audit.FINE


def test_the_noise_model_is_the_one_that_was_drawn(clean_HW1):
    rng = np.random.default_rng(0)
    captures = [
        3.0 * rng.poisson(clean_HW1 / 3.0) + rng.normal(0, 8, clean_HW1.shape) for _ in range(2)
    ]
    model = audit.noise_model(np.stack(captures))
    assert model.gain == pytest.approx(3.0, rel=0.1)
    assert model.read == pytest.approx(8.0, abs=3.0)
    assert model.r2 > 0.9


def test_a_set_is_unusable_only_if_all_scenes_are():
    fine = audit.Finding('a', 'x', 0, '', audit.FINE)
    bad = audit.Finding('b', 'x', 0, '', audit.UNUSABLE)
    assert audit.worst([fine]) == audit.FINE
    assert audit.worst([fine, bad]) == audit.WARNING
    assert audit.worst([bad]) == audit.UNUSABLE

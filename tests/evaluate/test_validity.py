"""What breaks an estimate is named, and what does not is not."""

import numpy as np
import pytest
from scipy import ndimage

from n2n_jax.captures import audit
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.data.sources import photos
from n2n_jax.evaluate import validity


@pytest.fixture(scope='module')
def clean_HWC():
    return photos.photos()['chelsea'][:192, :192].mean(axis=-1, keepdims=True)


def captures(clean_HWC, num=3, sigma=8.0, blurred=0.0):
    noise = np.random.default_rng(0).normal(0, sigma, (num, *clean_HWC.shape))
    if blurred:
        noise = ndimage.gaussian_filter(noise, (0, blurred, blurred, 0))
        noise *= sigma / noise.std()
    return clean_HWC / 2 + 60 + noise


def why(captures_NHWC):
    rounded = np.rint(captures_NHWC).clip(0, 255).astype(np.uint8)
    return validity.why_not_trusted(SceneCaptures('s', rounded))


def test_clean_sets_are_trusted_and_so_is_noise_that_neighbors_share(clean_HWC):
    assert why(captures(clean_HWC)) == ''
    assert why(captures(clean_HWC, blurred=1.0)) == ''
    unequal = captures(clean_HWC)
    unequal[0] += np.random.default_rng(1).normal(0, 10, unequal[0].shape)
    assert 'noise' not in why(unequal)


def test_what_breaks_the_estimate_is_named(clean_HWC):
    x = captures(clean_HWC)
    assert why(x[[0, 1, 0]]).startswith('duplicates')
    shifted = x.copy()
    shifted[1] = np.roll(shifted[1], 2, axis=1)
    assert 'shift' in why(shifted)
    brighter = x.copy()
    brighter[2] *= 1.15
    assert 'brightness' in why(brighter)
    assert 'saturation' in why(x + 110)


def test_noise_that_two_captures_share_is_found(clean_HWC):
    x = captures(clean_HWC, num=4)
    shared = np.random.default_rng(2).normal(0, 5, x[0].shape)
    x[1] += shared
    x[2] += shared
    assert 'shared noise of captures 2 and 3' in why(x)


def test_reasons_are_explained_once_each():
    lines = validity.explanations(['shift 1.00 px', 'shift 2.00 px; saturation 5.0%', ''])
    assert [line.split(':')[0] for line in lines] == ['shift', 'saturation']


def test_the_checks_that_must_not_be_missed_exist():
    assert {'duplicates', 'shift', 'brightness', 'saturation'} <= set(audit.CHECKS)
    assert {'duplicates', 'shift', 'brightness', 'saturation'} <= set(validity.BREAKING)

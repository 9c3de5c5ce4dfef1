"""Overlapping averages of frames are not independent captures."""

import numpy as np
import pytest
from clean_captures import clean_set
from scipy import ndimage

from n2n_jax.captures import audit
from n2n_jax.captures.measure import shared_noise
from n2n_jax.captures.scene_captures import SceneCaptures

ROWS, COLUMNS = np.mgrid[:96, :112]
SCENE = 1500 + 500 * np.sin(COLUMNS / 9) * np.cos(ROWS / 7) + 400 * (COLUMNS > 60)


def captures(windows, seed):
    """Returns means over frames; each window is (first, one past the last)."""
    frames = 150 * np.random.default_rng(seed).standard_normal((16, 96, 112))
    return np.stack([SCENE + frames[a:b].mean(axis=0) for a, b in windows])[..., None]


@pytest.mark.parametrize(
    ('windows', 'correlation'),
    [
        ([(k, k + 4) for k in range(8)], 0.75),  # a rolling mean
        ([(0, 4), (2, 6), (4, 8)], 0.5),  # windows that overlap by half
        ([(0, 2), (0, 4), (0, 8), (0, 16)], 0.66),  # a progressive render
    ],
)
def test_overlapping_means_are_found_with_their_correlation(windows, correlation):
    found = [shared_noise.find(captures(windows, seed)) for seed in range(8)]
    named = [one for one in found if one is not None]
    assert len(named) >= 6
    for one in named:
        assert one.correlation == pytest.approx(correlation, abs=0.08)
        assert 0 <= one.correlation <= 1
    assert named[0].in_words().startswith('captures ')


def test_independent_captures_of_any_noise_and_brightness_are_not_flagged():
    rng = np.random.default_rng(0)
    for num in (3, 4, 8):
        noise = rng.standard_normal((num, 96, 112, 1))
        assert shared_noise.find(SCENE[..., None] + 150 * noise) is None
        unequal = np.linspace(30, 300, num).reshape(-1, 1, 1, 1)
        assert shared_noise.find(SCENE[..., None] + unequal * noise) is None
        gains = np.linspace(0.8, 1.2, num).reshape(-1, 1, 1, 1)
        assert shared_noise.find(gains * SCENE[..., None] + 20 * noise) is None


@pytest.mark.slow
def test_clean_sets_of_all_kinds_share_nothing():
    found = [(seed, shared_noise.find(clean_set(seed)[1])) for seed in range(80)]
    assert [seed for seed, shared in found if shared is not None] == []


def test_two_captures_give_no_result():
    assert shared_noise.find(captures([(0, 4), (2, 6)], 0)) is None


def textures(num):
    rng = np.random.default_rng(0)
    found = [ndimage.gaussian_filter(rng.normal(0, 1, (128, 128)), 1.2) for _ in range(num)]
    return [1000 + 200 * texture / texture.std() for texture in found]


def findings_of(*images):
    noise = 100 * np.random.default_rng(1).standard_normal((len(images), 128, 128))
    scene = SceneCaptures('s', (np.stack(images) + noise)[..., None].astype(np.float32))
    return {finding.check: finding for finding in audit.audit_scene(scene).findings}


def test_one_odd_capture_does_not_make_the_others_share_noise():
    scene, other = textures(2)
    moved = ndimage.shift(scene, (0.7, 0), order=3, mode='nearest')
    blurred = ndimage.gaussian_filter(scene, 0.8)
    for odd, check in ((other, 'same scene'), (moved, 'shift'), (blurred, 'outlier')):
        for num in (2, 4):
            found = findings_of(*[scene] * num, odd)
            assert found['shared noise'].verdict == audit.FINE, check
    assert findings_of(scene, scene, moved)['shift'].verdict != audit.FINE


def test_captures_that_share_noise_are_found_among_independent_ones():
    scene, other = textures(2)
    frames = 100 * np.random.default_rng(2).standard_normal((4, 128, 128))
    windows = [frames[:2].mean(axis=0), frames[1:3].mean(axis=0), frames[3]]
    for num in (3, 4):
        images = [scene + noise for noise in windows] + [other + frames[0]] * (num - 3)
        x = np.stack(images)
        found = audit.CHECKS['shared noise'](x[..., None])
        assert found.numbers['pair'] == [1, 2]


def test_a_drifting_color_is_not_taken_for_shared_noise():
    (scene,) = textures(1)
    gains = np.ones((3, 1, 1, 3))
    gains[..., 0] = np.reshape([1.4, 1.3, 0.7], (3, 1, 1))
    noise = 60 * np.random.default_rng(3).standard_normal((3, 128, 128, 3))
    assert shared_noise.find(gains * scene[..., None] + noise) is None

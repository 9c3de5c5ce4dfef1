"""N captures, H height, W width, C channels."""

import numpy as np
import pytest
from noisy_photograph import NOISE, noisy

from n2n_jax.captures import corrections
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.data.sources import photos
from n2n_jax.images.constant_areas import constant_mask
from n2n_jax.runtime.errors import UserError


def test_a_whole_pixel_is_moved_exactly(scene_HWC):
    moved_HWC = corrections.move(scene_HWC, np.array([3.0, -2.0]))
    np.testing.assert_allclose(moved_HWC[40:-40, 40:-40], scene_HWC[37:-43, 42:-38], atol=0.02)


def test_half_a_pixel_twice_is_a_whole_one(scene_HWC):
    half_HWC = corrections.move(scene_HWC, np.array([0.0, 0.5]))
    twice_HWC = corrections.move(half_HWC, np.array([0.0, 0.5]))
    whole_HWC = corrections.move(scene_HWC, np.array([0.0, 1.0]))
    inside = (slice(40, -40), slice(40, -40))
    assert np.abs(half_HWC - whole_HWC)[inside].mean() > 1
    assert np.abs(twice_HWC - whole_HWC)[inside].mean() < 0.2  # the ends ring a little


def test_moving_keeps_white_noise_white():
    noise_HWC = np.random.default_rng(0).standard_normal((256, 256, 1))
    moved_HWC = corrections.move(noise_HWC, np.array([0.5, 0.5]))[10:-10, 10:-10]
    assert moved_HWC.var() == pytest.approx(1, abs=0.03)  # linear interpolation leaves a quarter
    for axis in (0, 1):
        neighbor_HWC = np.roll(moved_HWC, 1, axis)
        assert abs(np.corrcoef(moved_HWC.ravel(), neighbor_HWC.ravel())[0, 1]) < 0.02


@pytest.mark.parametrize('shift', [(0.5, 0.0), (-0.3, 0.7), (4.0, -6.5)])
def test_shifts_are_undone_and_reported(shift, scene_HWC):
    large_HWC = photos.photos()['chelsea'][:, :, :1].astype(np.float64)
    moved_HWC = corrections.move(large_HWC, np.array(shift))
    part = (slice(40, 240), slice(60, 280))
    captures_NHWC = np.stack([noisy(large_HWC[part], 1), noisy(moved_HWC[part], 2)])
    (fixed,), (sentence,) = corrections.fix([SceneCaptures('cat', captures_NHWC)], 'shift')
    assert sentence.startswith('cat: shifts of (')
    assert f'({shift[0] / 2:+.1f}' in sentence  # each is moved by half of it
    left = np.var(fixed.captures_NHWC[0] - fixed.captures_NHWC[1])
    before = np.var(captures_NHWC[0] - captures_NHWC[1])
    assert left == pytest.approx(2 * NOISE**2, rel=0.1)
    assert before > 1.2 * left
    lost = [2 * int(np.ceil(abs(part) / 2)) for part in shift]
    assert fixed.captures_NHWC.shape[1:3] == (200 - lost[0], 220 - lost[1])


def test_gains_are_matched_and_reported(scene_HWC):
    captures_NHWC = np.stack([noisy(scene_HWC, 1), noisy(0.9 * scene_HWC + 5, 2)])
    (fixed,), (sentence,) = corrections.fix([SceneCaptures('cat', captures_NHWC)], 'gain')
    assert sentence.startswith('cat: gains and offsets of 1.05')
    means = fixed.captures_NHWC.mean(axis=(1, 2, 3))
    assert means[0] == pytest.approx(means[1], abs=0.05)


def test_correct_captures_are_not_changed(scene_HWC):
    captures_NHWC = np.stack([noisy(scene_HWC, 3), noisy(scene_HWC, 4)]).astype(np.float32)
    (fixed,), sentences = corrections.fix([SceneCaptures('cat', captures_NHWC)], 'gain,shift')
    assert not sentences
    assert fixed.captures_NHWC is captures_NHWC


def test_a_shift_of_half_the_image_is_not_undone(scene_HWC):
    scene = SceneCaptures('cat', np.zeros((2, 100, 100, 1)))
    with pytest.raises(UserError, match='cat: captures of 100x100 .* shifted by 30 px'):
        corrections._check_size(scene, np.array([[0.0, 30.0], [0.0, -30.0]]))


def test_unknown_fixes_are_named():
    with pytest.raises(UserError, match="Unknown fix 'gian'. Did you mean 'gain'"):
        corrections.fix([SceneCaptures('a', np.zeros((2, 8, 8, 1)))], 'gian')


def test_only_the_color_that_drifted_is_matched():
    color_HWC = photos.photos()['chelsea'][:200, :220].astype(np.float64)
    captures_NHWC = np.stack([noisy(color_HWC, 1), noisy(color_HWC * (1, 1, 1.13), 2)])
    (fixed,), (sentence,) = corrections.fix([SceneCaptures('cat', captures_NHWC)], 'gain')
    assert sentence.startswith('cat: gains and offsets of blue 0.9')
    means_NC = fixed.captures_NHWC.mean(axis=(1, 2))
    assert abs(means_NC[0] - means_NC[1])[2] < 0.1
    before = captures_NHWC[..., :2].astype(np.float32)
    np.testing.assert_array_equal(fixed.captures_NHWC[..., :2], before)


@pytest.mark.parametrize('value', [-9999.0, np.finfo(np.float32).min, np.nan])
def test_a_border_without_data_is_kept(value, scene_HWC):
    large_HWC = photos.photos()['chelsea'][:, :, :1].astype(np.float64)
    moved_HWC = corrections.move(large_HWC, np.array([1.0, 2.4]))
    part = (slice(40, 240), slice(60, 280))
    captures_NHWC = np.stack([noisy(large_HWC[part], 1), noisy(0.9 * moved_HWC[part], 2)])
    captures_NHWC[:, :, :30] = value
    scene = SceneCaptures('cat', captures_NHWC.astype(np.float32))
    (fixed,), sentences = corrections.fix([scene], 'gain,shift')
    assert len(sentences) == 2
    assert '(+0.5' in sentences[0] + sentences[1]
    held_NHWC = fixed.captures_NHWC
    mask_HWC = constant_mask(held_NHWC)
    assert mask_HWC[:, :30].all()  # moved by 1.2 px, and cropped by 2 px
    assert not mask_HWC[:, 31:].any()
    inside_NHWC = held_NHWC[:, :, 32:]  # nothing of the border was spread by the transform
    assert np.var(inside_NHWC[0] - inside_NHWC[1]) == pytest.approx(2 * NOISE**2, rel=0.15)


def test_values_too_large_for_float32_are_refused(scene_HWC):
    scene = SceneCaptures('cat', 1e37 * np.stack([noisy(scene_HWC, 1), noisy(scene_HWC, 2)]))
    with pytest.raises(UserError, match='cat holds values of .*too large for --fix'):
        corrections.fix([scene], 'gain')

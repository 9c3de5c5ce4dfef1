"""Pairs of captures: which ones, cropped where, and without added noise."""

import jax
import numpy as np
import pytest

from n2n_jax.data.feeds import placed_captures
from n2n_jax.data.feeds.capture_feed import CaptureFeed
from n2n_jax.runtime import device_memory
from n2n_jax.runtime.config import DataConfig
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import make_layout

DATA = DataConfig(crop=8, batch_size=16)


def scenes():
    """Pixels that encode their scene (thousands), capture (hundreds) and position."""
    made = []
    for s, (num, h, w) in enumerate([(2, 12, 20), (3, 16, 9)]):
        place_HW = np.arange(h)[:, None] + np.arange(w) / 100
        captures = [1000 * s + 100 * i + place_HW for i in range(num)]
        made.append(np.stack(captures)[..., None].astype(np.float32))
    return made


def batches(pairing='1:1', *, steps=40, first=0, augment=True, devices=None):
    layout = make_layout(DATA.batch_size, devices or jax.devices()[:1])
    data = DataConfig(crop=8, batch_size=16, augment=augment)
    placed = placed_captures.place(scenes(), layout, pairing=pairing)
    feed = CaptureFeed(placed, data, seed=3, layout=layout)
    batch = jax.jit(feed.batch)
    made = [
        jax.device_get(batch(feed.constants, feed.inputs(first + k, 1)[0])[:2])
        for k in range(steps)
    ]
    return tuple(np.concatenate(part) for part in zip(*made, strict=True))


def scene_and_capture(crops_BHWC):
    first_B = crops_BHWC[:, 0, 0, 0]
    return (first_B // 1000).astype(int), (first_B % 1000 // 100).astype(int)


def test_input_and_target_are_different_captures_of_one_place():
    noisy, target = batches()
    scene_a, capture_a = scene_and_capture(noisy)
    scene_b, capture_b = scene_and_capture(target)
    np.testing.assert_array_equal(scene_a, scene_b)
    assert (capture_a != capture_b).all()
    shift = 100 * (capture_b - capture_a)[:, None, None, None]
    np.testing.assert_allclose(target - noisy, np.broadcast_to(shift, noisy.shape), atol=1e-3)


def test_every_ordered_pair_comes_equally_often():
    noisy, target = batches(steps=200)
    scene, a = scene_and_capture(noisy)
    _, b = scene_and_capture(target)
    for s, num in ((0, 2), (1, 3)):
        pairs, counts = np.unique(np.stack([a, b])[:, scene == s], axis=1, return_counts=True)
        assert pairs.shape[1] == num * (num - 1)
        expected = counts.sum() / len(counts)
        assert np.sum((counts - expected) ** 2 / expected) < 25  # chi-square, 5 degrees at most


@pytest.mark.parametrize('pairing', ['1:X', 'X:1'])
def test_means_of_the_others(pairing):
    one, mean = batches(pairing)
    if pairing == 'X:1':
        one, mean = mean, one
    scene, capture = scene_and_capture(one)
    num = np.where(scene == 0, 2, 3)
    others = (num * (num - 1) / 2 - capture) / (num - 1)
    place = one - 100 * capture[:, None, None, None]
    want = place + 100 * others[:, None, None, None]
    np.testing.assert_allclose(mean, want, atol=1e-3)


def test_the_same_step_is_the_same_on_any_number_of_devices():
    one = batches(steps=2, first=5)
    eight = batches(steps=2, first=5, devices=jax.devices())
    later = batches(steps=7)
    for a, b, c in zip(one, eight, later, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c[5 * 16 :])


def test_no_noise_is_added_to_captures():
    noisy, _ = batches(steps=100, augment=False)
    known = np.unique(np.concatenate([scene.ravel() for scene in scenes()]))
    assert np.isin(noisy, known).all()


def masked_feed(pairing):
    """Measured: the even rows of the first scene, the odd columns of the second."""
    first, second = scenes()
    masks = [np.zeros(scene.shape[1:], np.uint8) for scene in (first, second)]
    masks[0][::2] = 1
    masks[1][:, 1::2] = 1
    layout = make_layout(16, jax.devices()[:1])
    placed = placed_captures.place([first, second], layout, pairing=pairing, masks=masks)
    return CaptureFeed(placed, DATA, seed=3, layout=layout)


@pytest.mark.parametrize('pairing', ['1:1', '1:X', 'X:1'])
def test_a_mask_of_the_scene_is_cut_where_its_captures_are(pairing):
    feed = masked_feed(pairing)
    assert feed.constants['masks'].shape == (12 * 20 + 16 * 9, 1)  # once, not for each capture
    for step in range(10):
        inputs = feed.inputs(step, 1)[0]
        noisy, _, mask = jax.device_get(feed.batch(feed.constants, inputs))
        row = np.floor(noisy + 1e-3) % 100
        column = np.rint((noisy - np.floor(noisy + 1e-3)) * 100)
        if pairing == 'X:1':  # means of captures are no multiples of a hundred
            row %= 50
        measured = np.where(noisy < 900, row % 2 == 0, column % 2 == 1)
        np.testing.assert_array_equal(mask, measured)


def test_masks_count_where_captures_have_to_fit_on_the_device(monkeypatch):
    num_bytes = 4 * sum(scene.size for scene in scenes())
    monkeypatch.setattr(device_memory, 'device_bytes', lambda: num_bytes)
    with pytest.raises(UserError, match='The captures take'):
        masked_feed('1:1')
    monkeypatch.setattr(device_memory, 'device_bytes', lambda: num_bytes + 12 * 20 + 16 * 9)
    masked_feed('1:1')

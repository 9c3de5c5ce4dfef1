"""The split into training and held-out captures."""

import numpy as np
import pytest

from n2n_jax.captures.hold_out import split, trained_columns
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.runtime.errors import UserError


@pytest.mark.parametrize('num_scenes', [1, 19, 20, 25])
def test_holding_out_nearly_everything_is_refused(num_scenes):
    scenes = [SceneCaptures(f's{i}', np.zeros((2, 40, 40, 1))) for i in range(num_scenes)]
    with pytest.raises(UserError, match=f'held_out=0.99 of {num_scenes} scenes leaves nothing'):
        split(scenes, 0.99, crop=16)
    train, held = split(scenes, 0.2, crop=16)
    assert train
    assert held


def with_border(left, right, *, width=100, name='s'):
    mask_HWC = np.zeros((40, width, 1), bool)
    mask_HWC[:, left : width - right] = True
    x_NHWC = np.arange(width, dtype=np.float32)[None, None, :, None] * np.ones((2, 40, 1, 1))
    return SceneCaptures(name, x_NHWC, mask_HWC)


@pytest.mark.parametrize(('left', 'right'), [(0, 25), (0, 60), (25, 0), (10, 10)])
def test_measured_columns_are_held_out_beside_a_border_of_no_data(left, right):
    (train,), (held,) = split([with_border(left, right)], 0.2, crop=16)
    measured = 100 - left - right
    assert held.measured_HWC.mean() == 1
    assert held.captures_NHWC.shape[2] == round(0.2 * measured)
    assert train.measured_HWC[0].sum() == measured - round(0.2 * measured)
    assert train.captures_NHWC.max() + 1 == held.captures_NHWC.min()


def test_a_mask_that_is_true_everywhere_does_not_change_the_split():
    for width in (2, 16, 50, 512):
        scene = with_border(0, 0, width=width)
        unmasked = SceneCaptures('s', scene.captures_NHWC)
        assert trained_columns(scene, 0.5) == trained_columns(unmasked, 0.5)
        assert 0 < trained_columns(unmasked, 0.01) < width


def test_what_is_held_out_is_not_trained_on():
    scenes = [SceneCaptures(f's{i}', np.full((2, 40, 50, 1), i, np.float32)) for i in range(25)]
    train_scenes, held = split(scenes, 0.2, crop=32)
    assert len(held) == 5
    assert not {s.name for s in train_scenes} & {s.name for s in held}
    few = [SceneCaptures('s', np.arange(50.0).reshape(1, 1, 50, 1).repeat(2, 0))]
    train_scenes, held = split(few, 0.2, crop=1)
    assert train_scenes[0].captures_NHWC.max() == 39
    assert held[0].captures_NHWC.min() == 40
    with pytest.raises(UserError, match=r'data.crop=64 is larger .* of s0 \(40x40\)'):
        split(scenes[:2], 0.2, crop=64)

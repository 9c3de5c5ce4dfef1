"""Maps between pixel values and the range of the network, mainly with "no data" constants.

N captures of a scene, H height, W width.
"""

import numpy as np
import pytest

from n2n_jax.captures import network_range, scene_captures
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.images.pixel_range import PixelRange
from n2n_jax.runtime.config import Config, ModelConfig

NO_DATA = [
    (np.int16, -32768),
    (np.uint16, 65535),
    (np.int32, -2147483648),
    (np.uint32, 4294967295),
    (np.float16, -65504.0),
    (np.float32, -3.4028234663852886e38),
    (np.float64, -3.4028234663852886e38),
    (np.float64, -1.7976931348623157e308),
    (np.float64, 1234567.8912),
    (np.float32, -9999.0),
    (np.float32, np.nan),
    (np.float32, -np.inf),
]


@pytest.mark.parametrize(('dtype', 'no_data'), NO_DATA)
def test_no_data_of_any_value_is_recognized(dtype, no_data):
    captures_NHW = np.random.default_rng(0).normal(1000, 100, (2, 64, 64)).astype(dtype)
    captures_NHW[:, :, :12] = no_data
    scene = scene_captures.without_constants(SceneCaptures('a', captures_NHW[..., None]))
    model = network_range.resolve(Config(), [scene]).model
    scale = PixelRange.of(captures_NHW.dtype, model, name='a')
    image_HWC = captures_NHW[0][..., None]
    scale.check(image_HWC, name='a')
    seen_HWC = scale.to_network(image_HWC)
    assert np.isnan(seen_HWC[:, :12]).all()
    assert np.abs(seen_HWC[:, 12:]).max() < 3
    assert scale.share_beyond(image_HWC) < 0.01


def test_a_constant_beyond_a_type_does_not_match_its_infinity():
    scale = PixelRange.of(
        np.dtype(np.float32), ModelConfig(white=1000.0, constants='-1.7976931348623157e308'),
        name='a',
    )  # fmt: skip
    image_HW1 = np.full((9, 9, 1), -np.inf, np.float32)
    assert not scale.is_constant(image_HW1).any()
    assert not scale.may_be_constant(image_HW1).any()


def test_older_models_recognize_their_border():
    """They stored constants with nine digits."""
    scale = PixelRange.of(
        np.dtype(np.float32), ModelConfig(white=1000.0, constants='-3.40282347e+38'), name='a'
    )
    image_HW1 = np.full((9, 9, 1), np.finfo(np.float32).min)
    assert scale.is_constant(image_HW1).all()


@pytest.mark.parametrize('value', [0, 1010])  # below all others, and among them
def test_a_dead_column_or_corner_left_out_of_training_is_recognized(value):
    rng = np.random.default_rng(0)
    x_HW = 1000 + 300 * np.sin(np.arange(96) / 9) * np.ones((96, 1))
    captures_NHW = rng.normal(x_HW, 50, (4, 96, 96))
    captures_NHW[:, :, 40:42] = captures_NHW[:, 20] = value
    captures_NHW[:, np.add.outer(np.arange(96), np.arange(96)) < 18] = value
    captures_NHWC = captures_NHW.astype(np.uint16)[..., None]
    scene = scene_captures.without_constants(SceneCaptures('a', captures_NHWC[:3]))
    model = network_range.resolve(Config(), [scene]).model
    scale = PixelRange.of(np.dtype(np.uint16), model, name='a')
    left_out_HWC = scale.is_constant(captures_NHWC[3])  # a new capture of the same sensor
    assert left_out_HWC[20].all()
    assert left_out_HWC[:, 40:42].all()
    # Except for single pixels at the edge that hold the value by chance.
    assert (left_out_HWC & scene.measured_HWC).sum() <= 4
    assert not (~left_out_HWC & ~scene.measured_HWC).any()


@pytest.mark.parametrize('share', [0.3, 0.6, 0.7])
def test_zeros_of_a_dark_image_are_not_taken_for_the_border_of_others(share):
    scale = PixelRange.of(np.dtype(np.uint16), ModelConfig(white=9.0, constants='0'), name='a')
    image_HWC = (np.random.default_rng(0).random((256, 256, 1)) > share).astype(np.uint16)
    assert scale.is_constant(image_HWC).mean() < 0.001


def test_the_lowest_float_as_no_data_causes_no_warnings():
    model = ModelConfig(
        white=0.5, noise='0.05', center='0.5', contrast='1', constants='-3.4028234663852886e+38'
    )
    scale = PixelRange.of(np.dtype(np.float32), model, name='a')
    image_HWC = np.full((32, 32, 1), 0.25, np.float32)
    image_HWC[:8] = np.finfo(np.float32).min
    seen_HWC = scale.to_network(image_HWC)
    assert np.isnan(seen_HWC[:8]).all()
    assert (seen_HWC[8:] == 0.5).all()
    constant_HWC = np.isnan(seen_HWC)
    back_HWC = scale.to_pixels(seen_HWC, name='a', original=image_HWC, constant=constant_HWC)
    np.testing.assert_array_equal(back_HWC, image_HWC)

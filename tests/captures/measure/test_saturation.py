"""Clipped areas are detected, and excluding them removes the bias."""

import numpy as np
from scipy import ndimage

from n2n_jax.captures.measure.saturation import saturated, unsaturated_mask
from n2n_jax.evaluate import without_clean


def test_ends_of_the_type_and_piles_are_saturated():
    rng = np.random.default_rng(0)
    x = rng.integers(100, 3000, (2, 50, 50, 1)).astype(np.uint16)
    assert not saturated(x).any()
    x[0, :5, 0, 0] = 65535
    assert saturated(x).sum() == 5
    twelve_bits = np.minimum(rng.normal(3800, 300, (2, 50, 50, 1)), 4095).astype(np.uint16)
    np.testing.assert_array_equal(saturated(twelve_bits), twelve_bits == 4095)
    clipped = np.maximum(rng.normal(0, 1, (2, 50, 50, 1)), -1.0)
    np.testing.assert_array_equal(saturated(clipped), clipped == -1)
    assert not saturated(rng.normal(0, 1, (2, 50, 50, 1))).any()


def test_a_hot_pixel_is_masked_alone_and_a_clipped_region_with_its_rim():
    x = np.random.default_rng(0).integers(80, 120, (4, 60, 60, 1)).astype(np.uint8)
    x[:, 10, 10] = 255
    x[:, 40:, 40:] = 255
    mask_HWC = unsaturated_mask(x)
    assert not mask_HWC[10, 10]
    assert mask_HWC[10, 12]
    assert not mask_HWC[38:, 42:].any()
    assert mask_HWC[:30, :30].sum() == 899


def test_masking_neighborhoods_removes_the_bias_and_masking_values_does_not():
    rng = np.random.default_rng(1)
    clean_HWC = np.tile(np.linspace(-0.1, 0.6, 96), (96, 1))[..., None].clip(0)
    ratios = {'all': [], 'values': [], 'neighborhoods': []}
    for _ in range(20):
        noisy = clean_HWC + rng.normal(0, 0.1, (2, *clean_HWC.shape))
        read_NHWC = np.clip(np.round(255 * noisy), 0, 255).astype(np.uint8)
        x = read_NHWC / 255
        f = ndimage.gaussian_filter(x, (0, 1, 1, 0))
        map_HWC = without_clean.error_maps(f, x)[0]
        masks = {
            'all': np.ones(map_HWC.shape, bool),
            'values': ~saturated(read_NHWC).any(axis=0),
            'neighborhoods': unsaturated_mask(read_NHWC),
        }
        for name, mask in masks.items():
            true = ((f - clean_HWC) ** 2)[:, mask].mean()
            ratios[name].append(map_HWC[mask].mean() / true)
    bias = {name: abs(10 * np.log10(np.mean(values))) for name, values in ratios.items()}
    assert bias['neighborhoods'] < 0.15
    assert bias['all'] > 0.5
    assert bias['values'] > 0.15


def test_a_channel_with_a_lower_clipping_level_is_masked():
    rng = np.random.default_rng(0)
    x = rng.normal(1000, 200, (3, 64, 64, 3))
    x[..., 1] = np.minimum(x[..., 1] / 2, 520)  # a filtered channel with its own clipping level
    x = np.rint(x).astype(np.uint16)
    np.testing.assert_array_equal(saturated(x)[..., 1], x[..., 1] == 520)
    assert not saturated(x)[..., [0, 2]].any()
    assert not unsaturated_mask(x)[..., 1].any()

"""Metrics against hand computations and scikit-image."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from n2n_jax.data.sources.photos import photos
from n2n_jax.evaluate import metrics
from n2n_jax.runtime.config import EvalConfig, fields


def pair(seed=0, h=48, w=40):
    clean = photos()['chelsea'][:h, :w] / np.float32(255)
    noisy = clean + np.random.default_rng(seed).normal(0, 0.1, clean.shape).astype(np.float32)
    return jnp.asarray(noisy)[None], jnp.asarray(clean)[None]


def test_psnr_by_hand():
    clean = jnp.full((2, 4, 4, 3), 0.5)
    off = clean.at[0].add(0.1).at[1].add(0.01)
    np.testing.assert_allclose(metrics.psnr(off, clean), [20, 40], atol=1e-3)
    assert np.isinf(metrics.psnr(clean, clean)).all()


def test_bias_is_the_difference_of_brightness_with_its_sign():
    clean = jnp.full((2, 4, 4, 3), 0.5)
    off = clean.at[0].add(0.1).at[1, :2].add(-0.1)
    (bias,) = (m for m in metrics.parse_list('bias') if m.name == 'bias')
    np.testing.assert_allclose(bias(off, clean, {}), [25.5, -12.75], rtol=1e-4)


@pytest.mark.parametrize('seed', [0, 1])
def test_ssim_is_that_of_scikit_image(seed):
    noisy, clean = pair(seed)
    want = structural_similarity(
        np.asarray(noisy[0], np.float64),
        np.asarray(clean[0], np.float64),
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1.0,
    )
    assert float(metrics.ssim(noisy, clean)[0]) == pytest.approx(want, abs=1e-4)
    assert float(metrics.ssim(clean, clean)[0]) == pytest.approx(1, abs=1e-5)


def test_ssim_of_an_image_smaller_than_the_window_is_unknown():
    assert np.isnan(metrics.ssim(*pair(h=10))).all()
    assert np.isfinite(metrics.ssim(*pair(h=11))).all()


def test_rounding_is_half_up_and_saturates():
    values = jnp.array([-3.0, 0.0, 0.5 / 255, 0.499 / 255, 254.5 / 255, 1.0, 1.7])
    np.testing.assert_allclose(metrics.round_to_uint8(values) * 255, [0, 0, 1, 0, 255, 255, 255])


def test_the_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for i in range(300):
        low, high = metrics.bootstrap_interval(rng.normal(30, 2, 40), num_draws=400, seed=i)
        hits += low <= 30 <= high
    assert 0.89 <= hits / 300 <= 0.99
    assert metrics.bootstrap_interval(np.array([3.0, 3.0])) == (3.0, 3.0)


def test_the_help_names_every_metric_and_its_options():
    (text,) = (its_field.metadata['help'] for key, its_field in fields() if key == 'eval.metrics')
    named = {part.split(':')[0] for part in re.findall(r'[a-z_:]+', text)}
    assert metrics.REGISTRY.keys() <= named
    listed = metrics.parse_list(EvalConfig().metrics)
    assert [metric.name for metric in listed] == EvalConfig().metrics.split(',')


def test_psnr_is_always_among_the_metrics_and_options_may_have_keys():
    for text in ('ssim,lpips:net=squeeze', 'ssim, lpips:squeeze,psnr'):
        names = [metric.name for metric in metrics.parse_list(text)]
        assert names == ['psnr', 'ssim', 'lpips:squeeze']
    assert [metric.name for metric in metrics.parse_list('')] == ['psnr']
    assert metrics.parse_list('lpips')[1].name == 'lpips:alex'

"""Normalization by the noise: units, types, borders and stars make no difference.

N captures, H height, W width, C channels.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_variables import with_first_last_layer
from scipy import ndimage
from tiny import planned_config

from n2n_jax import models
from n2n_jax.captures import network_range, scene_captures
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.models import noise_units
from n2n_jax.models.noise_units import NOISE, NoiseUnits
from n2n_jax.runtime.channel_numbers import numbers
from n2n_jax.runtime.config import CapturesConfig, Config, ModelConfig
from n2n_jax.runtime.errors import UserError
from n2n_jax.train import loop

SIDE = 96


def clean_image(*, height=SIDE, width=SIDE):
    y, x = np.mgrid[:height, :width]
    return 40 + 20 * np.sin(x / 9) * np.cos(y / 7)


def integer_captures(*, num=4, sigma=4.0, seed=0):
    """Integers from about 5 to 75, which every type holds exactly."""
    noise = np.random.default_rng(seed).normal(0, sigma, (num, SIDE, SIDE))
    return np.rint(clean_image() + noise).clip(1)


# What a user may have done to the same captures: values to the file's values, and back.
FORMS = {
    'uint8': (lambda x: x.astype(np.uint8), lambda y: y),
    'uint16': (lambda x: x.astype(np.uint16), lambda y: y),
    'float32': (lambda x: x.astype(np.float32), lambda y: y),
    'in [0, 1]': (lambda x: (x / 255).astype(np.float32), lambda y: y * 255),
    'times 800': (lambda x: (x * 800).astype(np.uint16), lambda y: y / 800),
    'signed, with an offset': (lambda x: (x - 2000).astype(np.int16), lambda y: y + 2000),
    'negated': (lambda x: (-x).astype(np.float32), lambda y: -y),
}


def with_bright_pixel(x_NHW):
    x_NHW = x_NHW.astype(np.uint16)
    x_NHW[:, 20, 20] = 65535
    return x_NHW


def with_border(x_NHW):
    return np.pad(x_NHW.astype(np.float32), ((0, 0), (8, 8), (8, 8)), constant_values=-9999)


def resolved(x_NHW) -> tuple[SceneCaptures, ModelConfig]:
    scene = scene_captures.without_constants(SceneCaptures('scene', x_NHW[..., None]))
    config = network_range.resolve(Config(), [scene])
    return network_range.to_network_range(scene, config.model), config.model


def seen(x_NHW) -> np.ndarray:
    scene, model = resolved(x_NHW)
    view_NHWC = NoiseUnits.of(model).view(jnp.asarray(scene.captures_NHWC))
    return np.array(view_NHWC)[..., 0]


@pytest.mark.parametrize('form', FORMS)
def test_captures_in_any_unit_and_type_look_the_same(form):
    to_file, _ = FORMS[form]
    sign = -1 if form == 'negated' else 1
    reference_NHW = seen(integer_captures())
    np.testing.assert_allclose(
        sign * seen(to_file(integer_captures())), reference_NHW, rtol=0, atol=2e-4
    )
    # Detail is in units of the noise.
    fine = reference_NHW - ndimage.uniform_filter(reference_NHW, (0, 9, 9))
    assert fine.std() == pytest.approx(NOISE, rel=0.25)


def test_one_bright_pixel_is_seen_and_changes_nothing_else():
    reference_NHW, bright_NHW = (
        seen(integer_captures()),
        seen(with_bright_pixel(integer_captures())),
    )
    assert (bright_NHW[:, 20, 20] > 1.5).all()
    assert bright_NHW.max() < 4
    reference_NHW[:, 19:22, 19:22] = bright_NHW[:, 19:22, 19:22] = 0  # the medians differ there
    # The median keeps the pixel out of the slow part; ranks around it change by one.
    np.testing.assert_allclose(bright_NHW, reference_NHW, rtol=0, atol=0.02)


def test_a_border_without_data_changes_nothing_inside():
    reference_NHW = seen(integer_captures())
    inside = (slice(None), slice(8, -8), slice(8, -8))
    bordered_NHW = seen(with_border(integer_captures()))[inside]
    core = (slice(None), slice(1, -1), slice(1, -1))  # beyond, mirrored and repeated values differ
    # The noise is measured in other blocks.
    np.testing.assert_allclose(bordered_NHW[core], reference_NHW[core], rtol=0.02, atol=0.005)


def test_each_channel_has_units_of_its_own():
    dim, bright = integer_captures(), 500 * integer_captures(seed=1)
    scene = SceneCaptures('two stains', np.stack([dim, bright], axis=-1).astype(np.float32))
    model = network_range.resolve(Config(), [scene]).model
    dim_noise, bright_noise = numbers(model.noise, 'model.noise', 2)
    assert bright_noise / dim_noise == pytest.approx(500, rel=0.1)
    x_NHWC = network_range.to_network_range(scene, model).captures_NHWC
    view_NHWC = np.asarray(NoiseUnits.of(model).view(jnp.asarray(x_NHWC)))
    first, second = view_NHWC[..., 0].std(), view_NHWC[..., 1].std()
    assert first == pytest.approx(second, rel=0.1)


def test_an_empty_channel_takes_no_units_from_the_others():
    x_NHW = integer_captures()
    scene = SceneCaptures('stain', np.stack([x_NHW, 0 * x_NHW], axis=-1).astype(np.float32))
    model = network_range.resolve(Config(), [scene]).model
    noise, of_empty = numbers(model.noise, 'model.noise', 2)
    assert noise == of_empty > 0


def test_the_median_of_nine_is_exact():
    image_BHWC = np.random.default_rng(0).normal(size=(2, 13, 17, 3)).astype(np.float32)
    expected = np.stack([ndimage.median_filter(x, (3, 3, 1), mode='mirror') for x in image_BHWC])
    np.testing.assert_array_equal(noise_units._median_3x3(jnp.asarray(image_BHWC)), expected)


def test_a_star_counts_little_in_the_loss_and_an_edge_in_full():
    units = NoiseUnits(center=(0.0,), contrast=(1.0,), scale=(1.0,))
    image_BHWC = np.zeros((1, 32, 64, 1), np.float32)
    image_BHWC[0, :, 20:] = 2.0  # 44 standard deviations
    image_BHWC[0, 10:13, 45:48] = 1000.0
    weights_BHWC = np.asarray(units.weights(jnp.asarray(image_BHWC)))
    assert (weights_BHWC[0, 20:, :30] == 1).all()
    assert weights_BHWC[0, 11, 46, 0] < 1e-4


def test_an_error_in_the_units_names_the_config_key():
    with pytest.raises(UserError, match=r"model.noise='0.1,x'"):
        NoiseUnits.of(ModelConfig(channels=2, noise='0.1,x', center='0', contrast='1'))
    with pytest.raises(UserError, match='each of the 3 channels'):
        NoiseUnits.of(ModelConfig(channels=3, noise='0.1,0.2', center='0', contrast='1'))
    with pytest.raises(UserError, match='above 0'):
        NoiseUnits.of(ModelConfig(channels=1, noise='0', center='0', contrast='1'))


def test_a_network_that_starts_at_zero_gives_back_its_input():
    config = ModelConfig(channels=1, noise='0.01', center='0.5', contrast='1')
    noisy_BHWC = np.random.default_rng(0).random((1, 32, 32, 1), np.float32)
    variables = with_first_last_layer(config)
    denoised_BHWC = jax.jit(models.build(config).apply)(variables, noisy_BHWC)
    np.testing.assert_array_equal(denoised_BHWC, noisy_BHWC)


def error_after(folder, x_NHW, back, *, model='tiny', steps=60, border=0):
    """Trains, and returns the RMS error of the denoised first capture in the original units."""
    folder.mkdir()
    np.save(folder / 'captures.npy', x_NHW)
    config = planned_config(
        CapturesConfig(paths=str(folder / 'captures.npy'), pairing='1:X'),
        model=model, steps=steps, batch_size=8, patience=0,
    )  # fmt: skip
    config = dataclasses.replace(
        config,
        optim=dataclasses.replace(config.optim, learning_rate=5e-3 if model == 'tiny' else 6e-4),
        train=dataclasses.replace(
            config.train, log_every=steps, checkpoint_every=steps, tensorboard=False
        ),
        eval=dataclasses.replace(config.eval, every=steps),
    )
    assert loop.train(config, folder / 'run')
    denoised_HW = back(Denoiser.load(folder / 'run')(x_NHW[0].astype(np.float32)))
    error_HW = denoised_HW[border : border + SIDE, border : border + SIDE] - clean_image()
    error_HW[18:23, 18:23] = 0  # the bright pixel and its surroundings in the tiny network's view
    # Without a margin, where the network sees padding that a border changes.
    return np.sqrt(np.mean(error_HW[8:-8, 8:-8] ** 2))


def compare_forms(tmp_path, names, **settings):
    forms = {name: (*FORMS[name], 0) for name in names}
    forms['bright'] = (with_bright_pixel, lambda y: y, 0)
    forms['border'] = (with_border, lambda y: y, 8)
    errors = {
        name: error_after(
            tmp_path / f'run{i}', to_file(integer_captures()), back, border=border, **settings
        )
        for i, (name, (to_file, back, border)) in enumerate(forms.items())
    }
    off_dB = {
        name: float(20 * np.log10(error / errors['float32'])) for name, error in errors.items()
    }
    assert all(abs(off_dB[name]) <= 0.01 for name in names), str(off_dB)
    # Other pixels give other gradients: the result may be slightly better by chance, but not worse.
    assert all(-0.5 <= off_dB[name] <= 0.2 for name in ('bright', 'border')), str(off_dB)
    return errors['float32']


@pytest.mark.slow
def test_a_run_learns_the_same_in_any_unit_type_and_headroom(tmp_path):
    compare_forms(tmp_path, ['float32', 'times 800'])


@pytest.mark.slow
def test_the_u_net_learns_the_same_in_any_unit_type_and_headroom(tmp_path):
    names = [name for name in FORMS if name != 'negated']
    # Few steps: training magnifies rounding, and after 100 steps at twice the rate, inputs that
    # differ by 1e-7 lead to errors a decibel apart.
    error = compare_forms(tmp_path, names, model='unet', steps=20)
    noise = np.std(integer_captures() - clean_image())
    assert error < 0.99 * noise


@pytest.mark.slow
def test_dim_counts_of_eight_bits_are_learned(tmp_path):
    """Photon counts of 0 to 12 in 8 bits; with a range of 0..255 nothing was learned."""
    y, x = np.mgrid[:SIDE, :SIDE]
    disk = np.hypot(y - 48, x - 48) < 40
    clean_HW = 0.2 + 5 * (0.5 + 0.5 * np.sin(x / 9) * np.cos(y / 7)) * disk
    counts_NHW = np.random.default_rng(1).poisson(clean_HW, (6, SIDE, SIDE))
    folder = tmp_path / 'dim'
    error_after(folder, counts_NHW.astype(np.uint8), lambda y: y)
    denoised_HW = Denoiser.load(folder / 'run')(counts_NHW[0].astype(np.float32))
    noisy, left = (np.mean((image - clean_HW) ** 2) for image in (counts_NHW[0], denoised_HW))
    assert 10 * np.log10(noisy / left) > 3


@pytest.mark.parametrize('value', [pytest.param(-9999.0, marks=pytest.mark.slow), 0.0, np.nan])
def test_a_border_without_data_comes_out_as_it_was(tmp_path, value):
    # Values start at about 105, so 0 is separate from them.
    x_NHW = 100 + integer_captures().astype(np.float32)
    x_NHW = np.pad(x_NHW, ((0, 0), (0, 0), (20, 0)), constant_values=value)
    folder = tmp_path / 'border'
    error_after(folder, x_NHW, lambda y: y[:, 20:], steps=10)
    denoised_HW = Denoiser.load(folder / 'run')(x_NHW[0])
    np.testing.assert_array_equal(denoised_HW[:, :20], x_NHW[0, :, :20])
    assert np.isfinite(denoised_HW[:, 20:]).all()
    assert (denoised_HW[:, 20:] != x_NHW[0, :, 20:]).mean() > 0.9

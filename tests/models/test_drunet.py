"""DRUNet: layers of its paper, equal forms, first outputs and tiles."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_variables import random_variables
from tiny import first_variables

from n2n_jax import models
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.runtime.config import ModelConfig

SMALL = 'drunet:width=4,levels=2,blocks=1'


def image(*shape):
    return np.random.default_rng(1).uniform(-0.5, 0.5, shape).astype(np.float32)


def test_it_has_the_layers_of_its_paper():
    widths = (64, 128, 256, 512)
    table = 9 * (3 + 1) * 64 + 9 * 64 * 3  # an image and the noise map
    for width in widths:
        table += (2 if width < 512 else 1) * 4 * 2 * 9 * width**2
    table += 2 * sum(4 * outer * inner for outer, inner in itertools.pairwise(widths))
    config = ModelConfig(name='drunet', noise_map=True)
    shapes = jax.eval_shape(lambda key: models.init(config, key), jax.random.key(0))
    found = sum(x.size for x in jax.tree.leaves(shapes))
    assert found == table == 32_640_960  # 32.64 M in Zhang et al. 2022, table 2


@pytest.mark.parametrize('name', [SMALL, f'{SMALL},patch=2,skips=before,use_bias'])
def test_fast_and_plain_layers_have_the_same_gradients(name):
    found = []
    for convolutions in ('auto', 'plain'):
        config = ModelConfig(name=name, residual=False, convolutions=convolutions)
        model = models.build(config)

        def loss(variables, x_BHWC, model=model):
            return jnp.mean((model.apply(variables, x_BHWC) - 2) ** 2)

        gradient = jax.jit(jax.value_and_grad(loss))
        found.append(gradient(random_variables(config), image(1, 16, 16, 3) + 0.5))
    (a_loss, a), (b_loss, b) = jax.device_get(found)
    assert float(a_loss) == pytest.approx(float(b_loss), rel=1e-5)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert np.any(x)  # the gradient reaches every parameter
        assert np.linalg.norm(x - y) <= 0.01 * np.linalg.norm(y)


def test_the_first_outputs_are_of_the_size_of_an_image():
    config = ModelConfig(name='drunet:width=8,levels=3,blocks=2,patch=2', residual=False)
    output_BHWC = jax.jit(models.build(config).apply)(
        first_variables(config), image(1, 64, 64, 3) + 0.5
    )
    assert 0.05 < np.std(output_BHWC) < 2


@pytest.mark.parametrize('name', [SMALL, 'drunet:width=4,levels=3,blocks=1,patch=2,skips=before'])
def test_tiles_make_up_the_whole(name):
    config = ModelConfig(name=name, channels=1)
    noisy_HWC = image(83, 150, 1) + 0.5
    model = models.build(config)
    variables = random_variables(config)
    whole_HWC = np.asarray(jax.jit(model.apply)(variables, noisy_HWC[None]))[0]
    assert np.std(whole_HWC - noisy_HWC) > 0.02
    tiled_HWC = Denoiser(config, variables, step=0, core=24).denoise(noisy_HWC)
    np.testing.assert_allclose(tiled_HWC, whole_HWC, atol=1e-4 * np.abs(whole_HWC).max())


@pytest.mark.parametrize(
    'name',
    [
        pytest.param('drunet:width=4,most=4', marks=pytest.mark.slow),
        'drunet:width=4,levels=3,blocks=2,patch=2,skips=before',
        SMALL,
    ],
)
def test_the_halo_reaches_as_far_as_an_answer_does(name):
    config = ModelConfig(name=name)
    geometry = models.geometry_of(config)
    side = 2 * geometry.halo + 4 * geometry.stride
    model = models.build(config)
    variables = jax.tree.map(lambda x: jnp.abs(x) + 0.01, random_variables(config))
    at = geometry.halo + geometry.stride
    block = slice(at, at + geometry.stride)

    def answer(x_HW):
        return model.apply(variables, x_HW[None, :, :, None] * jnp.ones((1, 1, 1, 3)))[
            0, block, block
        ].sum()

    gradient_HW = np.asarray(jax.jit(jax.grad(answer))(jnp.ones((side, side)) * 0.6))
    rows = np.nonzero(gradient_HW.any(axis=1))[0]
    reach = max(at - rows[0], rows[-1] - (at + geometry.stride - 1))
    assert geometry.halo - geometry.stride < reach <= geometry.halo

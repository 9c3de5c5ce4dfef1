"""The laws of initial kernels: variances, and that every network follows them."""

import jax
import numpy as np
import pytest
from tiny import tiny_config

from n2n_jax import models
from n2n_jax.models import initializers
from n2n_jax.models.resampling import TransposedConv
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError

SHAPE = (3, 3, 32, 16)  # 288 inputs; 144 outputs use each of them


def drawn(law, scale=2.0, shape=SHAPE):
    with initializers.law(law):
        return np.asarray(initializers.with_gain(scale)(jax.random.key(0), shape))


def test_variances_are_those_of_the_papers():
    assert drawn('he').var() == pytest.approx(2 / 288, rel=0.05)
    assert drawn('xavier').var() == pytest.approx(2 * 2 / (288 + 144), rel=0.05)
    assert drawn('xavier', scale=1.0).var() == pytest.approx(2 / (288 + 144), rel=0.05)
    assert drawn('orthogonal').var() == pytest.approx(2 / 288, rel=0.05)


def test_an_orthogonal_convolution_keeps_angles():
    matrix = drawn('orthogonal', scale=4.0).reshape(-1, 16)
    np.testing.assert_allclose(matrix.T @ matrix, 4 * np.eye(16), atol=1e-4)


def test_the_law_ends_with_its_context_even_after_an_error():
    before = drawn('he')
    with pytest.raises(ZeroDivisionError), initializers.law('xavier'):
        _ = 1 / 0
    after = initializers.with_gain(2.0)(jax.random.key(0), SHAPE)
    np.testing.assert_array_equal(before, after)


def test_a_network_follows_the_law_and_keeps_its_gains():
    names = ('enc_conv2', 'dec_conv5a', 'dec_conv1b', 'dec_conv1c')

    def kernels_of(law, key):
        config = ModelConfig(init=law, residual=False)
        params = models.init(config, key)['params']['network']
        return {name: params[name]['kernel'] for name in names}  # others need not be compiled

    draw = jax.jit(kernels_of, static_argnums=0)
    kernels = {law: jax.device_get(draw(law, jax.random.key(0))) for law in initializers.LAWS}
    assert kernels['xavier']['enc_conv2'].var() == pytest.approx(2 / (9 * 48), rel=0.05)
    assert kernels['he']['enc_conv2'].var() == pytest.approx(2 / (9 * 48), rel=0.05)
    wide = kernels['xavier']['dec_conv5a'], kernels['he']['dec_conv1b']
    assert wide[0].var() == pytest.approx(2 * 2 / (9 * (96 + 96)), rel=0.05)
    assert wide[1].var() == pytest.approx(2 / (9 * 64), rel=0.05)
    last = kernels['orthogonal']['dec_conv1c'].reshape(-1, 3)
    np.testing.assert_allclose(last.T @ last, np.eye(3), atol=1e-4)
    assert not np.array_equal(kernels['he']['dec_conv1b'], kernels['xavier']['dec_conv1b'])


def test_a_transposed_convolution_without_overlap_counts_one_pixel():
    x_BHWC = np.zeros((1, 4, 4, 64), np.float32)
    kernel = TransposedConv(32).init(jax.random.key(0), x_BHWC)['params']['kernel']
    assert np.var(kernel) == pytest.approx(2 / 64, rel=0.05)


def test_a_law_that_would_be_ignored_is_refused():
    with pytest.raises(UserError, match='model.init=xavier does not apply to weights that are lo'):
        tiny_config(**{'model.init': 'xavier', 'model.init_from': 'runs/a'})
    with pytest.raises(UserError, match='choose from he, xavier, orthogonal'):
        tiny_config(**{'model.init': 'kaiming'})

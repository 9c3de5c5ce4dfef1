"""Rematerialized networks have the same parameters, outputs and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import every_network

from n2n_jax import models
from n2n_jax.models import resnet
from n2n_jax.runtime.config import ModelConfig


def _loss(model, params, rest, noisy_BHWC):
    output_BHWC, rest = model.apply(
        {'params': params, **rest}, noisy_BHWC, train=True, mutable=list(rest)
    )
    return jnp.mean(jnp.square(output_BHWC)), rest


def _skip_without_remat(name):
    if not hasattr(models.build(ModelConfig(name=name)).network, 'remat'):
        pytest.skip('has no remat')


@every_network('unet', 'red30')
def test_remat_recomputes_part_of_the_network(name, monkeypatch):
    _skip_without_remat(name)
    short = resnet.Layout((1, 1, 1, 1), bottleneck=True)  # more would only take longer
    monkeypatch.setitem(resnet.LAYOUTS, 50, short)
    noisy_BHWC = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    num_products = {}
    for remat in (False, True):
        config = ModelConfig(name=name, remat=remat)
        variables = jax.eval_shape(lambda config=config: models.init(config, jax.random.key(0)))
        gradient = jax.jit(jax.grad(functools.partial(_loss, models.build(config)), has_aux=True))
        params = variables.pop('params')
        text = gradient.lower(params, variables, noisy_BHWC).as_text()
        num_products[remat] = sum(
            map(text.count, ('stablehlo.convolution', 'stablehlo.dot_general'))
        )
    assert num_products[True] > num_products[False]


@every_network('red30')
def test_gradients_equal_those_without_remat(name):
    _skip_without_remat(name)
    noisy_BHWC = jax.random.uniform(jax.random.key(1), (2, 32, 32, 3))
    results = {}
    for remat in (False, True):
        config = ModelConfig(name=name, remat=remat, zero_last=False)
        model = models.build(config)
        variables = jax.jit(lambda config=config: models.init(config, jax.random.key(0)))()
        params = variables.pop('params')
        step = jax.jit(jax.value_and_grad(functools.partial(_loss, model), has_aux=True))
        results[remat] = step(params, variables, noisy_BHWC)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6), *results.values()
    )

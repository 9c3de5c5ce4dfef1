"""Rematerialised networks have the same parameters, outputs and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from n2n_jax import models
from n2n_jax.config import ModelConfig


@pytest.mark.parametrize(
    ('name', 'norm'),
    [('unet', 'none'), pytest.param('resnet50', 'batch', marks=pytest.mark.slow)],
)
def test_gradients_are_those_of_the_network_that_keeps_everything(name, norm):
    noisy_BHWC = jax.random.uniform(jax.random.key(1), (2, 32, 32, 3))
    lowered, results = {}, {}
    for remat in (False, True):
        config = ModelConfig(name=name, norm=norm, remat=remat)
        model = models.build(config)
        variables = jax.jit(lambda config=config: models.init(config, jax.random.key(0)))()
        params = variables.pop('params')

        def loss(params, rest, model=model):
            output_BHWC, rest = model.apply(
                {'params': params, **rest}, noisy_BHWC, train=True, mutable=list(rest)
            )
            return jnp.mean(jnp.square(output_BHWC)), rest

        step = jax.jit(jax.value_and_grad(loss, has_aux=True))
        lowered[remat] = step.lower(params, variables).as_text()
        results[remat] = step(params, variables)
    num_convolutions = {r: text.count('stablehlo.convolution') for r, text in lowered.items()}
    assert num_convolutions[True] > num_convolutions[False]  # some are computed again
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6), *results.values()
    )

"""Fast and plain convolutions train identically, to the last digits of float64.

In float32 their rounding differs, and training magnifies it: an update of Adam is nearly the sign
of a gradient. In float64 nothing but rounding can be left of a difference, for some steps.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_networks import every_network

_PROGRAM = """
import sys

import jax, jax.numpy as jnp, numpy as np, optax
from random_variables import random_variables
from n2n_jax import models
from n2n_jax.runtime import choices
from n2n_jax.runtime.config import ModelConfig

def made(plain):
    settings = dict(out_channels=3, dtype=jnp.float64, plain=plain)
    return choices.make('model.name', sys.argv[1], models.REGISTRY, settings=settings)

if not hasattr(choices.make('model.name', sys.argv[1], models.REGISTRY,
                            settings=dict(out_channels=3)), 'plain'):
    sys.exit('has no plain form')

clean_KBHWC = np.random.default_rng(0).random((20, 2, 32, 32, 3))
optimizer = optax.adam(1e-3)
losses = {}
for plain in (True, False):
    network = made(plain)
    variables = {
        kind: jax.tree.map(lambda x: x.astype(jnp.float64), values['network'])
        for kind, values in random_variables(ModelConfig(name=sys.argv[1])).items()
    }
    params = variables.pop('params')
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, clean_BHWC):
        def loss(p):
            output = network.apply({'params': p, **variables}, clean_BHWC - 0.5)
            output_BHWC = getattr(output, 'image_BHWC', output)  # of a pyramid, the finest
            return jnp.mean(jnp.square(output_BHWC - clean_BHWC))
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    losses[plain] = []
    for clean_BHWC in clean_KBHWC:
        params, state, value = step(params, state, clean_BHWC)
        losses[plain].append(float(value))
assert losses[True][-1] < 0.9 * losses[True][0], losses
difference = np.max(np.abs(np.divide(losses[False], losses[True]) - 1))
print(difference)
assert difference < 1e-6, difference
"""


@every_network()
def test_losses_of_twenty_steps_agree(name):
    tests = str(Path(__file__).parents[1])
    environment = {
        **os.environ,
        'JAX_ENABLE_X64': '1',
        'XLA_FLAGS': '',
        'PYTHONPATH': os.pathsep.join(filter(None, [tests, os.environ.get('PYTHONPATH')])),
    }
    result = subprocess.run(
        [sys.executable, '-c', _PROGRAM, name], env=environment, capture_output=True, text=True
    )
    if 'has no plain form' in result.stderr:
        pytest.skip('has no plain form')
    assert result.returncode == 0, result.stderr

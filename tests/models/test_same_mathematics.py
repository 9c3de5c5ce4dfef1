"""Fast and plain convolutions train identically, to the last digits of float64.

In float32 their rounding differs, and training magnifies it: an update of Adam is nearly the sign
of a gradient. In float64 nothing but rounding can be left of a difference.
"""

import os
import subprocess
import sys

import pytest
from small_networks import every_network

_PROGRAM = """
import sys

import jax, jax.numpy as jnp, numpy as np, optax
from n2n_jax import models
from n2n_jax.runtime import choices

def made(plain):
    settings = dict(out_channels=3, dtype=jnp.float64, plain=plain)
    return choices.make('model.name', sys.argv[1], models.REGISTRY, settings=settings)

if not hasattr(choices.make('model.name', sys.argv[1], models.REGISTRY,
                            settings=dict(out_channels=3)), 'plain'):
    sys.exit('has no plain form')

losses = {}
for plain in (True, False):
    network = made(plain)
    variables = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    variables = jax.tree.map(lambda x: x.astype(jnp.float64), variables)
    params = variables.pop('params')
    optimizer = optax.adam(1e-3)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, key):
        clean = jax.random.uniform(key, (2, 32, 32, 3), jnp.float64)
        def loss(p):
            output = network.apply({'params': p, **variables}, clean - 0.5)
            return jnp.mean(jnp.square(output - clean))
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    losses[plain] = []
    for i in range(100):
        params, state, value = step(params, state, jax.random.key(i))
        losses[plain].append(float(value))
assert losses[True][-1] < 0.9 * losses[True][0]
difference = np.max(np.abs(np.divide(losses[False], losses[True]) - 1))
print(difference)
assert difference < 1e-5
"""


@every_network()
def test_losses_of_a_hundred_steps_agree(name):
    environment = {**os.environ, 'JAX_ENABLE_X64': '1', 'XLA_FLAGS': ''}
    result = subprocess.run(
        [sys.executable, '-c', _PROGRAM, name], env=environment, capture_output=True, text=True
    )
    if 'has no plain form' in result.stderr:
        pytest.skip('has no plain form')
    assert result.returncode == 0, result.stderr

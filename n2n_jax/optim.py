"""The optimizer: Adam, its learning-rate schedule and gradient clipping."""

import jax
import jax.numpy as jnp
import optax

from n2n_jax.config import Config


def learning_rate_schedule(config: Config) -> optax.Schedule:
    """Linear warm-up, constant, then the squared-cosine ramp-down of the official code.

    Over the ramp, t in [0, 1]: rate * (0.5 + 0.5 cos(pi t))^2 (NVlabs/noise2noise).
    """
    optim, num_steps = config.optim, config.train.steps

    def schedule(step: jax.Array) -> jax.Array:
        warm = jnp.minimum(1.0, (step + 1) / max(1, optim.warmup_steps))
        ramp_steps = max(1.0, optim.ramp_down * num_steps)
        t = jnp.clip((step - (num_steps - ramp_steps)) / ramp_steps, 0.0, 1.0)
        ramp = jnp.where(optim.ramp_down > 0, (0.5 + 0.5 * jnp.cos(jnp.pi * t)) ** 2, 1.0)
        return optim.learning_rate * warm * ramp

    return schedule


def optimizer(config: Config) -> optax.GradientTransformation:
    """Adam as the config says, behind gradient clipping if there is any."""
    optim = config.optim
    adam = optax.adam(learning_rate_schedule(config), b1=optim.b1, b2=optim.b2, eps=optim.eps)
    if optim.clip_norm > 0:
        return optax.chain(optax.clip_by_global_norm(optim.clip_norm), adam)
    return adam

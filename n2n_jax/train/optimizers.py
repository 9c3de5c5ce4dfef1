"""The optimizer: Adam, its learning-rate schedule and gradient clipping."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from n2n_jax.runtime.config import Config


@flax.struct.dataclass
class Schedule:
    """Length and learning rate of a run, float32 scalars that the step takes as inputs.

    One compiled step serves every schedule: the timed step is the one that trains, and a run can be
    shortened or extended. Numbers of steps are stored as reciprocals to multiply by, as XLA divides
    by constants.

    Attributes:
      learning_rate: the largest learning rate.
      per_step: 1 / number of steps of the run.
      per_warmup_step: 1 / number of warm-up steps.
      ramp_start: the step at which the rate begins to fall.
      per_ramp_step: 1 / number of steps over which it falls to 0; 0 if it does not fall.
    """

    learning_rate: jax.Array | np.float32
    per_step: jax.Array | np.float32
    per_warmup_step: jax.Array | np.float32
    ramp_start: jax.Array | np.float32
    per_ramp_step: jax.Array | np.float32


def make_schedule(config: Config) -> Schedule:
    """Returns the schedule of a config, on the host."""
    optim, num_steps = config.optim, config.train.steps
    ramp_steps = max(1.0, optim.ramp_down * num_steps)
    one = np.float32(1)
    return Schedule(
        learning_rate=np.float32(optim.learning_rate),
        per_step=one / np.float32(num_steps),
        per_warmup_step=one / np.float32(max(1, optim.warmup_steps)),
        ramp_start=np.float32(num_steps - ramp_steps),
        per_ramp_step=one / np.float32(ramp_steps) if optim.ramp_down > 0 else np.float32(0),
    )


def learning_rate(schedule: Schedule) -> optax.Schedule:
    """Returns a linear warm-up, a constant rate, then a squared-cosine ramp-down.

    Over the ramp, t in [0, 1]: rate * (0.5 + 0.5 cos(pi t))^2, as in the official code
    (NVlabs/noise2noise).
    """

    def at_step(step: jax.Array) -> jax.Array:
        warm = jnp.minimum(1.0, (step + 1) * schedule.per_warmup_step)
        t = jnp.clip((step - schedule.ramp_start) * schedule.per_ramp_step, 0.0, 1.0)
        return schedule.learning_rate * warm * (0.5 + 0.5 * jnp.cos(jnp.pi * t)) ** 2

    return at_step


def optimizer(config: Config, schedule: Schedule) -> optax.GradientTransformation:
    """Returns Adam with the config's parameters and the schedule's rate, after any clipping.

    The structure of its state is the same for every schedule.
    """
    optim = config.optim
    adam = optax.adam(learning_rate(schedule), b1=optim.b1, b2=optim.b2, eps=optim.eps)
    if optim.clip_norm > 0:
        return optax.chain(optax.clip_by_global_norm(optim.clip_norm), adam)
    return adam

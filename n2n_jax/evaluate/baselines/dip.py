"""Deep Image Prior: a network that is fitted to the one noisy image.

B batch, H height, W width, C channels, I input channels.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from n2n_jax import models
from n2n_jax.evaluate.baselines.base import Baseline, Restore
from n2n_jax.evaluate.baselines.known_noise import KnownNoise
from n2n_jax.evaluate.baselines.noisy_pairs import NoisyPair
from n2n_jax.runtime import random_keys
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.config_field import Bounds
from n2n_jax.runtime.progress import ProgressLine

_INPUT_CHANNELS = 32
_INPUT_WIDTH = 0.1  # the input is uniform from 0 to this
_STEPS_AT_ONCE = 10  # between updates of the progress


@dataclasses.dataclass(frozen=True)
class DeepImagePrior(Baseline):
    """Deep Image Prior (Ulyanov et al. 2018, section 3 and their code for denoising).

    A network maps fixed uniform noise to the noisy image. It fits the image before the noise, so
    stopping in time denoises. The result is the exponential average of its outputs.

    Every image is a training run of its own: on a CPU it takes minutes for a small image and hours
    for a photograph. Missing pixels, where they are known to be black, do not count in the fit.

    Nothing is tuned: the best number of steps grows with the detail of the image and falls with the
    noise, and only a clean image would tell. The paper uses 1800 steps at a rate of 0.01 and a
    network with batch norm; our U-Net has none and takes a lower rate.

    Attributes:
      steps: of Adam.
      rate: learning rate.
      jitter: standard deviation of the noise that is added to the input at every step, in units of
        the width of the input.
      average: decay of the exponential average of the outputs.
      network: name in `n2n_jax.models`.
      seed: of the weights, the input and the jitter.
    """

    steps: Annotated[int, Bounds(1)] = 1800
    rate: Annotated[float, Bounds(0, open_low=True)] = 1e-3
    jitter: Annotated[float, Bounds(0)] = 0.3
    average: Annotated[float, Bounds(0, 1, open_high=True)] = 0.99
    network: str = 'unet'
    seed: Annotated[int, Bounds(0)] = 0

    title: ClassVar[str] = 'deep image prior'

    def for_noise(self, noise: KnownNoise, pairs: Callable[[], Sequence[NoisyPair]]) -> Restore:
        """See `Baseline`."""
        del pairs
        return functools.partial(self._restore, missing_is_black=noise.missing_is_black)

    def for_captures(
        self, captures_NHWC: np.ndarray, measured_HWC: np.ndarray | None = None
    ) -> Restore:
        """See `Baseline`."""
        del captures_NHWC, measured_HWC
        return self._restore

    def tuning(self, noise: KnownNoise) -> str:
        """See `Baseline`."""
        missing = ', missing pixels left out' if noise.missing_is_black else ''
        return (
            f'{self.network} fitted to each noisy image{missing}: {self.steps} steps of Adam at '
            f'{self.rate:g}, input jitter {self.jitter:g}, outputs averaged with '
            f'{self.average:g}, seed {self.seed}'
        )

    def _restore(self, noisy_HWC: np.ndarray, *, missing_is_black: bool = False) -> np.ndarray:
        h, w, c = noisy_HWC.shape
        network = models.build(ModelConfig(name=self.network, channels=c)).network
        padding = ((0, -h % network.stride), (0, -w % network.stride), (0, 0))
        target_BHWC = jnp.asarray(np.pad(noisy_HWC, padding)[None])
        weight_HWC = np.ones((h, w, 1), np.float32)
        if missing_is_black:
            weight_HWC = (noisy_HWC != 0).any(axis=-1, keepdims=True).astype(np.float32)
        weight_BHWC = jnp.asarray(np.pad(weight_HWC, padding)[None])
        key = random_keys.key_for(self.seed, random_keys.EVALUATION)
        start, advance = _programs(network, self)
        state = start(key, target_BHWC)
        with ProgressLine('deep image prior: step', self.steps) as progress:
            for i in range(self.steps):
                state = advance(state, target_BHWC, weight_BHWC, i)
                if i % _STEPS_AT_ONCE == 0:
                    jax.block_until_ready(state)
                    progress.update(i)
        # The average starts at 0, as that of Adam's moments does.
        averaged_HWC = state.average_BHWC[0, :h, :w] / (1 - self.average**self.steps)
        return np.asarray(averaged_HWC, np.float32) + 0.5


class _State(NamedTuple):
    """Where a fit is: the input, the variables, Adam's moments and the average of the outputs."""

    key: jax.Array
    input_BHWI: jax.Array
    variables: Any
    moments: Any
    average_BHWC: jax.Array


@functools.lru_cache(maxsize=2)
def _programs(
    network: nn.Module, options: DeepImagePrior
) -> tuple[Callable[..., _State], Callable[..., _State]]:
    """Returns compiled functions that start a fit, and that advance it by some steps."""
    adam = optax.adam(options.rate)

    @jax.jit
    def start(key: jax.Array, target_BHWC: jax.Array) -> _State:
        key, key_input, key_weights = jax.random.split(key, 3)
        shape = (*target_BHWC.shape[:-1], _INPUT_CHANNELS)
        input_BHWI = _INPUT_WIDTH * jax.random.uniform(key_input, shape)
        side = network.stride
        variables = network.init(key_weights, jnp.zeros((1, side, side, _INPUT_CHANNELS)))
        return _State(key, input_BHWI, variables, adam.init(variables), jnp.zeros_like(target_BHWC))

    # Not a loop on the device: XLA's convolutions inside loops are several times slower on a CPU.
    @functools.partial(jax.jit, donate_argnums=0)
    def advance(state: _State, target_BHWC: jax.Array, weight_BHWC: jax.Array, i: int) -> _State:
        def loss(variables: Any, input_BHWI: jax.Array) -> tuple[jax.Array, jax.Array]:
            # Batch norm uses the image's own statistics, so the collected ones are not needed.
            output_BHWC, _ = network.apply(
                variables, input_BHWI, train=True, mutable=['batch_stats']
            )
            squares_BHWC = weight_BHWC * jnp.square(output_BHWC + 0.5 - target_BHWC)
            count = weight_BHWC.sum() * target_BHWC.shape[-1]
            return squares_BHWC.sum() / jnp.maximum(count, 1), output_BHWC

        noise_BHWI = jax.random.normal(jax.random.fold_in(state.key, i), state.input_BHWI.shape)
        input_BHWI = state.input_BHWI + options.jitter * _INPUT_WIDTH * noise_BHWI
        gradients, output_BHWC = jax.grad(loss, has_aux=True)(state.variables, input_BHWI)
        updates, moments = adam.update(gradients, state.moments)
        decay = options.average
        return state._replace(
            variables=optax.apply_updates(state.variables, updates),
            moments=moments,
            average_BHWC=decay * state.average_BHWC + (1 - decay) * output_BHWC,
        )

    return start, advance

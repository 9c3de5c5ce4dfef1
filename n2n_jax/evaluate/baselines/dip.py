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
from n2n_jax.evaluate.baselines.base import Baseline, Restore, sigma_of_captures
from n2n_jax.evaluate.baselines.known_noise import KnownNoise
from n2n_jax.evaluate.baselines.noisy_pairs import NoisyPair
from n2n_jax.models.outputs import as_outputs
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

    The fit ends when its averaged output is as far from the noisy image as the noise is (the
    discrepancy principle, Morozov 1966), as later it fits the noise: with our U-Net, on a crop of
    96x96 pixels with noise of 25/255, that was after 200 steps, at 28.8 dB, and after 700 steps
    nothing was left of the gain. The paper ends after 1800 steps instead, at a rate of 0.01, with a
    network with batch norm.

    Attributes:
      steps: of Adam, at most.
      rate: learning rate.
      jitter: standard deviation of the noise that is added to the input at every step, in units of
        the width of the input.
      average: decay of the exponential average of the outputs.
      network: name in `n2n_jax.models`.
      seed: of the weights, the input and the jitter.
      whole: take all steps, whatever the noise level is.
    """

    steps: Annotated[int, Bounds(1)] = 1800
    rate: Annotated[float, Bounds(0, open_low=True)] = 1e-3
    jitter: Annotated[float, Bounds(0)] = 0.3
    average: Annotated[float, Bounds(0, 1, open_high=True)] = 0.99
    network: str = 'unet'
    seed: Annotated[int, Bounds(0)] = 0
    whole: bool = False

    title: ClassVar[str] = 'deep image prior'

    def for_noise(self, noise: KnownNoise, pairs: Callable[[], Sequence[NoisyPair]]) -> Restore:
        """See `Baseline`."""
        del pairs
        if noise.missing_is_black:  # what is observed may be without noise, so there is no level
            return functools.partial(self._restore, missing_is_black=True)
        return lambda noisy_HWC: self._restore(noisy_HWC, noise.sigma(noisy_HWC))

    def for_captures(
        self, captures_NHWC: np.ndarray, measured_HWC: np.ndarray | None = None
    ) -> Restore:
        """See `Baseline`."""
        sigma = sigma_of_captures(captures_NHWC, measured_HWC)
        return functools.partial(self._restore, sigma=sigma)

    def tuning(self, noise: KnownNoise) -> str:
        """See `Baseline`."""
        missing = ', missing pixels left out' if noise.missing_is_black else ''
        whole = self.whole or noise.missing_is_black
        until = '' if whole else f'until the residual is the noise ({noise.in_words()}), at most '
        return (
            f'{self.network} fitted to each noisy image{missing}: {until}{self.steps} steps of '
            f'Adam at {self.rate:g}, input jitter {self.jitter:g}, outputs averaged with '
            f'{self.average:g}, seed {self.seed}'
        )

    def _restore(
        self, noisy_HWC: np.ndarray, sigma: float = 0.0, *, missing_is_black: bool = False
    ) -> np.ndarray:
        goal = 0.0 if self.whole else sigma**2
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
                    if self._residual(state, target_BHWC, weight_BHWC, i + 1) < goal:
                        break
        return np.asarray(self._averaged(state, i + 1)[0, :h, :w], np.float32)

    def _averaged(self, state: '_State', steps: int) -> jax.Array:
        # The average starts at 0, as those of Adam's moments do.
        return state.average_BHWC / (1 - self.average**steps) + 0.5

    def _residual(
        self, state: '_State', target_BHWC: jax.Array, weight_BHWC: jax.Array, steps: int
    ) -> float:
        """Returns the mean squared difference of the averaged output from the noisy image."""
        squares_BHWC = weight_BHWC * jnp.square(self._averaged(state, steps) - target_BHWC)
        return float(squares_BHWC.sum() / (weight_BHWC.sum() * target_BHWC.shape[-1]))


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
            answer, _ = network.apply(variables, input_BHWI, train=True, mutable=['batch_stats'])
            output_BHWC = as_outputs(answer).image_BHWC
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

"""Tasks: how the noisy pairs of a step are made, and the loss that they need.

B batch, H height, W width, C channels, I channels with auxiliary planes (see
`n2n_jax.models.planes`); h, w half of the height and width.
"""

import dataclasses
import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from n2n_jax import corruptions
from n2n_jax.corruptions import Corruptor
from n2n_jax.data.feeds import Batch
from n2n_jax.models import noise_level, planes
from n2n_jax.runtime import random_keys
from n2n_jax.runtime.config import CLEAN, Config
from n2n_jax.runtime.errors import UserError
from n2n_jax.train import loss_choice, losses, neighbor_pairs
from n2n_jax.train.mixing import mixed

_log = logging.getLogger(__name__)


class Moment(NamedTuple):
    """The state of the run when a pair is made.

    Attributes:
      seed: seed of the run.
      step: updates done, int32.
      progress: share of the run that is done, in [0, 1].
      denoise: denoises images (B, H, W, C) with the weights before the step; no gradient flows
        through it.
    """

    seed: int
    step: jax.Array
    progress: jax.Array
    denoise: Callable[[jax.Array], jax.Array]


class Task(Protocol):
    """Turns the batches of a feed into noisy pairs.

    Attributes:
      loss_name: a loss, see `losses.make`.
      description: phrase for the log.
      target_is_noisy: whether the loss has a lower bound above 0.
    """

    @property
    def loss_name(self) -> str:
        """See above; read-only, like the others."""

    @property
    def description(self) -> str:
        """See above."""

    @property
    def target_is_noisy(self) -> bool:
        """See above."""

    def pair(self, batch: Batch, now: Moment) -> Batch:
        """Returns the noisy inputs, targets and target masks of a step; pure and jittable."""


@dataclasses.dataclass(frozen=True)
class SyntheticNoise:
    """Fresh noise on clean crops, drawn in the step.

    Attributes:
      input_corruptor: makes the network's input.
      target_corruptor: makes its target; None for clean targets.
      loss_name: a loss, see `losses.make`.
      channels: of an image; further ones of a crop are planes.
      noise_map: whether the network is shown the level of the noise of its input.
      mix: probability that a clean crop is blended with another one, see `n2n_jax.train.mixing`.
    """

    input_corruptor: Corruptor
    target_corruptor: Corruptor | None
    loss_name: str
    channels: int
    noise_map: bool = False
    mix: float = 0.0

    @property
    def description(self) -> str:
        """For the log."""
        target = 'clean images' if self.target_corruptor is None else self.target_corruptor.spec
        return f'input {self.input_corruptor.spec}, target {target}'

    @property
    def target_is_noisy(self) -> bool:
        """Whether the loss has a lower bound above 0."""
        return self.target_corruptor is not None

    def pair(self, batch: Batch, now: Moment) -> Batch:
        """Corrupts the clean crops twice, independently; their planes stay as they are."""
        if self.mix:
            key = random_keys.key_for(now.seed, random_keys.MIXING, now.step)
            batch = mixed(key, batch, self.mix)
        clean_BHWC, planes_BHWP = planes.split(batch.input_BHWI, self.channels)
        key = random_keys.key_for(now.seed, random_keys.CORRUPTION_INPUT, now.step)
        noisy_BHWC = self.input_corruptor.sample(key, clean_BHWC).image_BHWC
        input_BHWI = noisy_BHWC
        if planes_BHWP is not None:
            input_BHWI = jnp.concatenate([input_BHWI, planes_BHWP], axis=-1)
        if self.noise_map:
            level_B = noise_level.rms(noisy_BHWC - clean_BHWC)
            input_BHWI = noise_level.with_plane(input_BHWI, level_B)
        clean_BHWC, _ = planes.split(batch.target_BHWC, self.channels)
        if self.target_corruptor is None:
            return Batch(input_BHWI, clean_BHWC)
        key = random_keys.key_for(now.seed, random_keys.CORRUPTION_TARGET, now.step)
        target = self.target_corruptor.sample(key, clean_BHWC)
        return Batch(input_BHWI, target.image_BHWC, target.mask_BHWC)


@dataclasses.dataclass(frozen=True)
class FixedNoise(SyntheticNoise):
    """Noise drawn once on the whole images, see `n2n_jax.data.feeds.fixed_noise`.

    Attributes:
      realizations: number of noisy versions of each image.
    """

    realizations: int = 0

    @property
    def description(self) -> str:
        """For the log."""
        num = self.realizations
        return f'{super().description}, {num} fixed noisy version{"s" * (num > 1)} of each image'

    def pair(self, batch: Batch, now: Moment) -> Batch:
        """Returns the batch, whose noise was drawn beforehand."""
        return batch


@dataclasses.dataclass(frozen=True)
class CapturePairs:
    """Pairs of captures of the same scene.

    Attributes:
      loss_name: a loss, see `losses.make`.
      pairing: value of captures.pairing, see `n2n_jax.data.feeds.placed_captures`.
    """

    loss_name: str
    pairing: str
    target_is_noisy = True

    @property
    def description(self) -> str:
        """For the log."""
        return f'captures, {self.pairing}'

    def pair(self, batch: Batch, now: Moment) -> Batch:
        """Returns the batch, which holds pairs already."""
        return batch


@dataclasses.dataclass(frozen=True)
class SingleImages:
    """Pairs of neighboring pixels of one image, see `n2n_jax.train.neighbor_pairs`."""

    loss_name = 'masked_l2'
    description = 'single images, pairs of neighboring pixels'
    target_is_noisy = True

    def pair(self, batch: Batch, now: Moment) -> Batch:
        """Returns two images of half the size; the target is corrected for its other position."""
        noisy_BHWC, mask_BHWC = batch.input_BHWI, batch.mask_BHWC
        key = random_keys.key_for(now.seed, random_keys.NEIGHBORS, now.step)
        choice_Bhw = neighbor_pairs.choose(key, *noisy_BHWC.shape[:3])
        first_BhwC, second_BhwC = neighbor_pairs.split(noisy_BHWC, choice_Bhw)
        denoised_first, denoised_second = neighbor_pairs.split(now.denoise(noisy_BHWC), choice_Bhw)
        target_BhwC = neighbor_pairs.corrected_target(
            second_BhwC,
            denoised_first - denoised_second,
            neighbor_pairs.gamma_at(now.progress),
        )
        if mask_BHWC is not None:  # both pixels of a pair must have been measured
            first_mask_BhwC, second_mask_BhwC = neighbor_pairs.split(mask_BHWC, choice_Bhw)
            mask_BHWC = first_mask_BhwC * second_mask_BhwC
        return Batch(first_BhwC, target_BhwC, mask_BHWC)


def make_task(config: Config) -> Task:
    """Returns the task of a config, after checking that its loss suits its noise.

    Raises:
      UserError: a name or a noise level is wrong, or no loss suits the noise of the targets.
    """
    loss_name = config.optim.loss
    loss_choice.check_name(loss_name)
    if config.captures.paths and config.captures.single:
        if loss_name not in (loss_choice.AUTO, 'l2'):
            raise UserError(f'captures.single needs optim.loss=l2, not {loss_name}.')
        return SingleImages()
    if config.captures.paths:
        loss_name = 'l2' if loss_name == loss_choice.AUTO else loss_name
        _warn_of_captures(loss_name)
        # Masked losses exclude values that were not measured, and weight the others.
        masked = f'masked_{loss_name}'
        loss_name = masked if masked in losses.REGISTRY else loss_name
        if not losses.make(loss_name).uses_mask:
            raise UserError(
                f'optim.loss={loss_name} also learns from values that were not measured, which '
                'captures may have: write optim.loss=l2, or one that can leave them out, such as '
                'charbonnier:masked.'
            )
        return CapturePairs(loss_name, config.captures.pairing)
    of_input = corruptions.parse(config.noise.input)
    target = None if config.target_spec == CLEAN else corruptions.parse(config.target_spec)
    loss_name, channels = loss_choice.choose(loss_name, target), config.model.channels
    if config.noise.realizations:
        return FixedNoise(
            of_input, target, loss_name, channels, realizations=config.noise.realizations
        )
    return SyntheticNoise(
        of_input, target, loss_name, channels, config.model.noise_map, config.data.mix
    )


def _warn_of_captures(loss_name: str) -> None:
    """Warns of a loss that does not learn the mean: of captures, only the mean is known to suit."""
    statistic = losses.make(loss_name).statistic
    if statistic != 'mean':
        _log.warning(
            'optim.loss=%s learns the %s of the captures, which is their mean only where their '
            'noise is symmetric; that of a few photons is not. optim.loss=l2 suits all captures.',
            loss_name,
            statistic or 'some other statistic',
        )

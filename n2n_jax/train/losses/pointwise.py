"""Losses that are the mean of a penalty over all values, or over the observed ones.

B batch, H height, W width, C channels.

  name                  learns                   right for noisy targets whose noise is
  l2    masked_l2       the mean                 of zero mean: Gaussian, photon noise
  l1    masked_l1       the median               absent from most values: text; or symmetric
  l0    masked_l0       close to the mode        absent from some values: random-valued impulses
  charbonnier           the median, smoothly     as for l1
  hdr                   the mean                 of zero mean, in images of high dynamic range
  cross_entropy         the mean                 of zero mean, around clean values inside (0, 1)
  linear_light          the mean in linear light of zero mean before the tone curve of sRGB: cameras

Lehtinen et al. 2018, section 2, equation 7 and appendix A.3.
"""

import abc
import dataclasses
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp

from n2n_jax.corruptions.base import Statistic
from n2n_jax.corruptions.tone_curve import slope_of_linear, to_linear
from n2n_jax.runtime.config_field import Bounds, above

# The exponent of the annealed L0 loss stops here. At 0 the gradient vanishes; Laine et al. 2019
# stop at 0.5, which leaves a bias at 90 % impulses (0.59 for a true 0.9) that 0.1 does not.
L0_LAST_GAMMA = 0.1

_HDR_OFFSET = 0.01


@dataclasses.dataclass(frozen=True)
class PointwiseLoss(abc.ABC):
    """The mean of a penalty.

    Attributes:
      masked: take it over the observed values of the target only, as missing pixels (Bernoulli
        noise) require. Each of them then has the same weight, whatever share of its image is
        missing. Otherwise a missing value counts as black.
    """

    masked: bool = dataclasses.field(default=False, kw_only=True)

    statistic: ClassVar[Statistic | None] = None
    # Whether the value is least at what is learned; else only the gradient vanishes there.
    has_minimum: ClassVar[bool] = True

    @property
    def uses_mask(self) -> bool:
        """Whether the mask of the target changes the loss."""
        return self.masked

    def arrays(self, weights: str) -> dict[str, Any]:
        """Needs none; see `n2n_jax.train.losses.Loss`."""
        del weights
        return {}

    @abc.abstractmethod
    def penalty(
        self, denoised_BHWC: jax.Array, target_BHWC: jax.Array, progress: jax.Array
    ) -> jax.Array:
        """Returns the contribution of each value, (B, H, W, C)."""

    def __call__(
        self,
        denoised_BHWC: jax.Array,
        target_BHWC: jax.Array,
        mask_BHWC: jax.Array | None,
        progress: jax.Array,
        arrays: Any = None,
    ) -> tuple[jax.Array, jax.Array]:
        """See `n2n_jax.train.losses.Loss`."""
        del arrays
        values_BHWC = self.penalty(denoised_BHWC, target_BHWC, progress)
        if mask_BHWC is None or not self.masked:
            return jnp.mean(values_BHWC), jnp.float32(values_BHWC.size)
        num_observed = jnp.sum(mask_BHWC, dtype=jnp.float32)
        return jnp.sum(mask_BHWC * values_BHWC) / jnp.maximum(num_observed, 1.0), num_observed


@dataclasses.dataclass(frozen=True)
class L2(PointwiseLoss):
    """The squared error."""

    statistic = 'mean'

    def penalty(
        self, denoised_BHWC: jax.Array, target_BHWC: jax.Array, progress: jax.Array
    ) -> jax.Array:
        """(denoised - target)^2."""
        del progress
        return jnp.square(denoised_BHWC - target_BHWC)


@dataclasses.dataclass(frozen=True)
class L1(PointwiseLoss):
    """The absolute error."""

    statistic = 'median'

    def penalty(
        self, denoised_BHWC: jax.Array, target_BHWC: jax.Array, progress: jax.Array
    ) -> jax.Array:
        """|denoised - target|."""
        del progress
        return jnp.abs(denoised_BHWC - target_BHWC)


@dataclasses.dataclass(frozen=True)
class L0(PointwiseLoss):
    """The annealed L0 (appendix A.3)."""

    statistic = 'mode'

    def penalty(
        self, denoised_BHWC: jax.Array, target_BHWC: jax.Array, progress: jax.Array
    ) -> jax.Array:
        """(|denoised - target| + 1e-8)^gamma; gamma falls linearly from 2.

        gamma depends only on the progress, so a resumed run continues the annealing.
        """
        gamma = jnp.maximum(L0_LAST_GAMMA, 2.0 - 2.0 * progress)
        return (jnp.abs(denoised_BHWC - target_BHWC) + 1e-8) ** gamma


@dataclasses.dataclass(frozen=True)
class Charbonnier(PointwiseLoss):
    """A smooth absolute error (Charbonnier et al. 1994): quadratic within `eps`, linear beyond.

    Attributes:
      eps: error, of a range of 1, below which it is quadratic. The default is a quarter of a gray
        level; with 0.1 and more it learns something between median and mean.
    """

    eps: Annotated[float, above(0)] = 1e-3

    @property
    def statistic(self) -> Statistic | None:  # type: ignore[override]
        """What it learns, to less than a gray level or two."""
        return 'median' if self.eps <= 0.01 else None

    def penalty(
        self, denoised_BHWC: jax.Array, target_BHWC: jax.Array, progress: jax.Array
    ) -> jax.Array:
        """sqrt((denoised - target)^2 + eps^2)."""
        del progress
        return jnp.sqrt(jnp.square(denoised_BHWC - target_BHWC) + self.eps**2)


@dataclasses.dataclass(frozen=True)
class Hdr(PointwiseLoss):
    """The squared error relative to the answer (section 3.3), for high dynamic range.

    No gradient flows through the denominator. With one, the loss would learn E[y^2] / E[y] instead
    of the mean: three times the mean for long-tailed noise.
    """

    statistic = 'mean'
    has_minimum = False

    def penalty(
        self, denoised_BHWC: jax.Array, target_BHWC: jax.Array, progress: jax.Array
    ) -> jax.Array:
        """(denoised - target)^2 / (denoised + 0.01)^2, the denominator held constant.

        Negative answers count as 0 in the denominator.
        """
        del progress
        scale_BHWC = jax.lax.stop_gradient(jnp.maximum(denoised_BHWC, 0.0)) + _HDR_OFFSET
        return jnp.square((denoised_BHWC - target_BHWC) / scale_BHWC)


@dataclasses.dataclass(frozen=True)
class CrossEntropy(PointwiseLoss):
    """The binary cross-entropy of values as probabilities, which one of the reports compares.

    It is linear in the target, so noise with values outside [0, 1] does no harm.

    Attributes:
      edge: answers nearer to 0 or 1 than this, and beyond, get the quadratic continuation of the
        loss, because the logarithm has none.
    """

    edge: Annotated[float, Bounds(0, 0.5, open_low=True, open_high=True)] = 0.01

    statistic = 'mean'

    def penalty(
        self, denoised_BHWC: jax.Array, target_BHWC: jax.Array, progress: jax.Array
    ) -> jax.Array:
        """-(y log x + (1 - y) log(1 - x)), x the answer and y the target."""
        del progress
        x = jnp.clip(denoised_BHWC, self.edge, 1 - self.edge)
        beyond = denoised_BHWC - x
        y = target_BHWC
        value = -(y * jnp.log(x) + (1 - y) * jnp.log1p(-x))
        slope = (x - y) / (x * (1 - x))
        # The curvature for y = x, which is positive for every target.
        return value + beyond * slope + jnp.square(beyond) / (2 * x * (1 - x))


@dataclasses.dataclass(frozen=True)
class LinearLight(PointwiseLoss):
    """The squared error in linear light, in units of the answer's sRGB values.

    The tone curve of a camera bends the noise: the mean of its sRGB values is darker than the
    scene. Before the curve the mean is right. There a gray level of dark areas is a much smaller
    difference than one of bright areas, so the difference is divided by the slope of the curve at
    the answer. No gradient flows through that slope, as it would move the minimum.

    Attributes:
      floor: sRGB value below which the slope stays the same. Unclipped noise of dark areas is huge
        in sRGB values, and without a floor it would outweigh everything else.
    """

    floor: Annotated[float, Bounds(0, 1)] = 0.1

    statistic = 'mean in linear light'
    has_minimum = False

    def penalty(
        self, denoised_BHWC: jax.Array, target_BHWC: jax.Array, progress: jax.Array
    ) -> jax.Array:
        """((light(denoised) - light(target)) / slope)^2, the slope held constant."""
        del progress
        error_BHWC = to_linear(denoised_BHWC) - to_linear(target_BHWC)
        at_BHWC = jax.lax.stop_gradient(jnp.maximum(denoised_BHWC, self.floor))
        return jnp.square(error_BHWC / slope_of_linear(at_BHWC))

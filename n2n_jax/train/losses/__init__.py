"""Losses by name. Each is minimized by a different statistic of the target.

B batch, H height, W width, C channels.

`optim.loss` names one, or a weighted sum: `l2`, `charbonnier:0.001`, `l2*100+vgg:relu2_2`. Whether
a loss suits a noise is decided in `n2n_jax.train.loss_choice`: the noise declares which of its
statistics equal the clean image (`n2n_jax.corruptions.statistics`), the loss which it learns.

To add a loss, write a dataclass like those of `n2n_jax.train.losses.pointwise` and add it to
`REGISTRY`: its fields are its options.
"""

import dataclasses
import functools
import re
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from n2n_jax.corruptions.base import Statistic
from n2n_jax.runtime import choices
from n2n_jax.runtime.errors import UserError
from n2n_jax.train.losses.fourier import Fourier
from n2n_jax.train.losses.pointwise import (
    L0,
    L1,
    L2,
    Charbonnier,
    CrossEntropy,
    Hdr,
    LinearLight,
)
from n2n_jax.train.losses.vgg import Vgg


class Loss(Protocol):
    """A function of an answer and its target."""

    @property
    def statistic(self) -> Statistic | None:
        """The statistic of the target that it learns; None for another or unknown."""

    @property
    def uses_mask(self) -> bool:
        """Whether the mask of the target changes it."""

    @property
    def has_minimum(self) -> bool:
        """Whether its value is least at what it learns; else only its gradient vanishes there."""

    def arrays(self, weights: str) -> Any:
        """Returns what it needs besides images, NumPy arrays by name.

        Args:
          weights: file of weights (`optim.loss_weights`); '' if none is given.

        Raises:
          UserError: it needs weights and there are none, or they are of another network.
        """

    def __call__(
        self,
        denoised_BHWC: jax.Array,
        target_BHWC: jax.Array,
        mask_BHWC: jax.Array | None,
        progress: jax.Array,
        arrays: Any = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the mean over the whole batch, and the number of values it is taken over.

        Parts of a batch are weighted by that number.

        Args:
          denoised_BHWC: the answer, float32.
          target_BHWC: the target, float32.
          mask_BHWC: 1 where the *target* is observed, 0 where not; None: all are.
          progress: share of the run that is done, in [0, 1].
          arrays: those of `arrays`, on the device.
        """


REGISTRY = choices.registry(
    'loss',
    {
        'l2': L2,
        'l1': L1,
        'l0': L0,
        'masked_l2': functools.partial(L2, masked=True),  # equation 7
        'masked_l1': functools.partial(L1, masked=True),
        'masked_l0': functools.partial(L0, masked=True),
        'charbonnier': Charbonnier,
        'hdr': Hdr,
        'cross_entropy': CrossEntropy,
        'linear_light': LinearLight,
        'fourier': Fourier,
        'vgg': Vgg,
    },
)

_TERM = re.compile(r'(?P<loss>[^*]+?)\s*(?:\*\s*(?P<weight>\d+(?:\.\d*)?(?:e-?\d+)?|\.\d+))?')


@dataclasses.dataclass(frozen=True)
class Objective:
    """A weighted sum of losses.

    Attributes:
      spec: the text that names it.
      terms: its losses with their weights.
    """

    spec: str
    terms: tuple[tuple[float, Loss], ...]

    @property
    def statistic(self) -> Statistic | None:
        """The statistic that all terms learn; None if they learn different ones."""
        found = {loss.statistic for _, loss in self.terms}
        return found.pop() if len(found) == 1 else None

    @property
    def uses_mask(self) -> bool:
        """Whether all terms use the mask of the target."""
        return all(loss.uses_mask for _, loss in self.terms)

    @property
    def mixes_masks(self) -> bool:
        """Whether some terms use the mask and others do not."""
        return len({loss.uses_mask for _, loss in self.terms}) > 1

    @property
    def has_minimum(self) -> bool:
        """Whether its value is least at what it learns."""
        return all(loss.has_minimum for _, loss in self.terms)

    def arrays(self, weights: str) -> tuple[Any, ...]:
        """Returns the arrays of each term; raises as `Loss.arrays`."""
        return tuple(loss.arrays(weights) for _, loss in self.terms)

    def __call__(
        self,
        denoised_BHWC: jax.Array,
        target_BHWC: jax.Array,
        mask_BHWC: jax.Array | None,
        progress: jax.Array,
        arrays: tuple[Any, ...] | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the sum of the means, and the number of values of the first; see `Loss`.

        Raises:
          ValueError: the shapes differ.
        """
        if denoised_BHWC.shape != target_BHWC.shape:  # a smaller target would silently broadcast
            raise ValueError(f'Shapes differ: {denoised_BHWC.shape=}, {target_BHWC.shape=}.')
        denoised_BHWC = denoised_BHWC.astype(jnp.float32)
        target_BHWC = target_BHWC.astype(jnp.float32)
        results = [
            loss(denoised_BHWC, target_BHWC, mask_BHWC, progress, arrays and arrays[i])
            for i, (_, loss) in enumerate(self.terms)
        ]
        (mean, num_values), *_ = results
        if len(self.terms) == 1 and self.terms[0][0] == 1:
            return mean, num_values
        weighted = [
            weight * value for (weight, _), (value, _) in zip(self.terms, results, strict=True)
        ]
        return sum(weighted, start=jnp.float32(0)), num_values


def make(spec: str) -> Objective:
    """Returns what a text such as 'l2*100+vgg:relu2_2' names.

    Raises:
      UserError: it cannot be parsed, or a name or option is unknown or invalid.
    """
    terms = []
    for part in spec.split('+'):
        match = _TERM.fullmatch(part.strip())
        if match is None:
            raise UserError(
                f"optim.loss={spec} cannot be parsed at '{part}': write LOSS or LOSS*WEIGHT, such "
                'as l2*100+vgg:relu2_2.'
            )
        loss: Loss = choices.make('optim.loss', match['loss'], REGISTRY)
        terms.append((float(match['weight'] or 1), loss))
    return Objective(spec, tuple(terms))

"""Rows of a denoised image, and the sums over captures and orientations that they are made of.

H height, W width, C channels, P channels of planes, O orientations. A lower-case h: some rows.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from n2n_jax.denoise import tiles


class View(NamedTuple):
    """How a network sees an image.

    Attributes:
      to_network: maps pixels as stored to the range of the network.
      planes_HWP: what it is shown beside the image, see `Beside.planes`; None for nothing.
    """

    to_network: Callable[[np.ndarray], np.ndarray] = lambda pixels: pixels
    planes_HWP: np.ndarray | None = None


class Band(NamedTuple):
    """Consecutive rows of a denoised image.

    Attributes:
      start: index of the first row.
      mean_hWC: the result, float32 in the range of the network; NaN where nothing was measured.
      spread_hWC: standard deviation over the orientations; None if not requested.
      constant_hWC: True where nothing was measured; None if everything was.
    """

    start: int
    mean_hWC: np.ndarray
    spread_hWC: np.ndarray | None
    constant_hWC: np.ndarray | None = None


class Sums:
    """Accumulates the results for some rows over captures and orientations.

    Args:
      rows: the rows, as a span of the image.
      shape_hWC: their shape.
      orientations: the orientations each capture is denoised in.
      spread: keep a sum per orientation, for the standard deviation over them.
    """

    def __init__(
        self,
        rows: tiles.Span,
        shape_hWC: tuple[int, int, int],
        orientations: Sequence[int],
        *,
        spread: bool,
    ) -> None:
        self._rows, self._orientations, self._spread = rows, orientations, spread
        self._sums_OhWC = np.zeros((len(orientations) if spread else 1, *shape_hWC), np.float32)
        self._num_constant_hWC: np.ndarray | None = None  # captures that hold a constant there

    def add(self, columns: tiles.Span, orientation: int, core_hwC: np.ndarray) -> None:
        """Adds the result of the network for some columns; 0 where the capture holds a constant."""
        index = orientation if self._spread else 0
        self._sums_OhWC[index, :, columns.start : columns.stop] += core_hwC

    def add_constants(self, columns: tiles.Span, constant_hwC: np.ndarray) -> None:
        """Counts a capture's constants, so that `band` averages over the other captures there."""
        if not constant_hwC.any():
            return
        if self._num_constant_hWC is None:
            self._num_constant_hWC = np.zeros(self._sums_OhWC.shape[1:], np.int32)
        self._num_constant_hWC[:, columns.start : columns.stop] += constant_hwC

    def band(self, num_captures: int) -> Band:
        """Returns the mean, at each pixel over the captures that measured it."""
        sums_OhWC, num_constant_hWC = self._sums_OhWC, self._num_constant_hWC
        num_added = len(self._orientations) // len(sums_OhWC)  # orientations in each sum
        constant_hWC = None
        if num_constant_hWC is None:
            sums_OhWC /= np.float32(num_captures * num_added)
        else:
            constant_hWC = num_constant_hWC == num_captures
            sums_OhWC /= np.float32(num_added) * np.maximum(num_captures - num_constant_hWC, 1)
            sums_OhWC[:, constant_hWC] = np.nan
        if not self._spread:
            return Band(self._rows.start, sums_OhWC[0], None, constant_hWC)
        mean_hWC, spread_hWC = sums_OhWC.mean(axis=0), sums_OhWC.std(axis=0)
        return Band(self._rows.start, mean_hWC, spread_hWC, constant_hWC)

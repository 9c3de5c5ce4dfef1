"""What a network is shown beside the image it denoises: auxiliary planes and the noise level.

H height, W width, C channels, P channels of all planes.
"""

import dataclasses
import math
from collections.abc import Mapping

import jax
import numpy as np

from n2n_jax.data.sources.folder import MARGIN
from n2n_jax.data.sources.source import with_channels
from n2n_jax.images.pixel_range import PixelRange
from n2n_jax.models import noise_level, planes
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError, did_you_mean

_MOST_ROWS = 2048  # of an image, evenly spaced pieces of them, that the level is estimated from
_PIECES = 8


@dataclasses.dataclass(frozen=True)
class Beside:
    """What a user gives beside an image.

    Attributes:
      given: each plane by name, (H, W) or (H, W, channels), integers over their full range or
        floats in [0, 1].
      noise_level: standard deviation of the noise in units of the image; None: estimate it.
    """

    given: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    noise_level: float | None = None

    def planes(
        self, config: ModelConfig, scale: PixelRange | None, noisy_HWC: np.ndarray, name: str
    ) -> np.ndarray | None:
        """Returns what the network is shown beside an image, (H, W, P) float32; None for nothing.

        Args:
          config: of the network.
          scale: maps the image's pixels to the range of the network; None: they are in it.
          noisy_HWC: the image, in the range of the network.
          name: names the image in messages.

        Raises:
          UserError: a plane is missing, unknown or of another size, or there is a level that the
            network is not shown.
        """
        size = noisy_HWC.shape[:2]
        parts = self._planes(config, size, name)
        if config.noise_map:
            level = self._level(scale, noisy_HWC)
            parts.append(np.broadcast_to(np.float32(level), (*size, 1)))
        elif self.noise_level is not None:
            raise UserError(
                f'A noise level of {self.noise_level:g} is given, but this model is not told the '
                'level (model.noise_map=False): leave it out.'
            )
        return np.concatenate(parts, axis=-1) if parts else None

    def _planes(self, config: ModelConfig, size: tuple[int, ...], name: str) -> list[np.ndarray]:
        wanted = planes.given(config)
        for plane in self.given:
            if plane not in wanted:
                hint = did_you_mean(plane, wanted) if wanted else 'It takes none.'
                raise UserError(f"The model takes no plane '{plane}'. {hint}")
        parts = []
        for plane, channels in wanted.items():
            if plane not in self.given:
                raise UserError(
                    f"{name} cannot be denoised without its plane '{plane}', which the model was "
                    f'trained with: give it with --plane {plane}=FILE, in Python with planes=.'
                )
            part_HWP = _as_float(np.asarray(self.given[plane]))
            if part_HWP.shape[:2] != size:
                (h, w), (plane_h, plane_w) = size, part_HWP.shape[:2]
                raise UserError(
                    f"The plane '{plane}' is {plane_w}x{plane_h}, {name} is {w}x{h}: planes must "
                    'have the size of their image.'
                )
            if {part_HWP.shape[-1], channels} == {1, 3}:
                part_HWP = with_channels(part_HWP, channels)
            _check_values(part_HWP, channels, f"The plane '{plane}' of {name}")
            parts.append(part_HWP)
        return parts

    def _level(self, scale: PixelRange | None, noisy_HWC: np.ndarray) -> float:
        if self.noise_level is None:
            return estimated_level(noisy_HWC)
        if not 0 <= self.noise_level < math.inf:
            raise UserError(f'A noise level of {self.noise_level} is given: it must be 0 or more.')
        return self.noise_level / (1.0 if scale is None else abs(scale.white - scale.black))


def _check_values(part_HWP: np.ndarray, channels: int, name: str) -> None:
    """Raises UserError unless a plane has the channels and the range that training accepts."""
    found = part_HWP.shape[-1]
    if found != channels:
        raise UserError(f'{name} has {found} channels, but the model was trained on {channels}.')
    num_bad = int(part_HWP.size - np.isfinite(part_HWP).sum())
    if num_bad:
        raise UserError(f'{name} holds NaN or infinite values ({num_bad}): replace them first.')
    low, high = float(part_HWP.min()), float(part_HWP.max())
    if low < -MARGIN or high > 1 + MARGIN:
        raise UserError(
            f'{name} holds values from {low:g} to {high:g}, but [0, 1] is expected: scale it as '
            'the planes of the training images.'
        )


def estimated_level(noisy_HWC: np.ndarray) -> float:
    """Estimates the level of the noise of an image, see `noise_level.estimate`."""
    height = len(noisy_HWC)
    if height <= _MOST_ROWS:
        return float(_estimate(noisy_HWC[None])[0])
    rows = _MOST_ROWS // _PIECES
    firsts = np.linspace(0, height - rows, _PIECES).astype(int)
    pieces_BHWC = np.stack([noisy_HWC[first : first + rows] for first in firsts])
    return float(np.sqrt(np.mean(np.square(_estimate(pieces_BHWC)))))


_estimate = jax.jit(noise_level.estimate)


def _as_float(plane: np.ndarray) -> np.ndarray:
    """Returns a plane as (H, W, channels) float32, integers over their full range as [0, 1]."""
    plane_HWP = plane if plane.ndim == 3 else plane[..., None]
    if plane.dtype.kind in 'ui':
        return plane_HWP.astype(np.float32) * np.float32(1 / np.iinfo(plane.dtype).max)
    return plane_HWP.astype(np.float32)

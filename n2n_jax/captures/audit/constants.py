"""Summaries of constants in captures, such as a border without data."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from n2n_jax.images.constant_areas import Area


@dataclasses.dataclass(frozen=True)
class Constant:
    """A constant value instead of measurements.

    Attributes:
      value: the constant; may be NaN or infinite.
      share: fraction of all pixels that hold it.
      where: names of the channels; '' for all.
    """

    value: float
    share: float
    where: str

    def in_words(self) -> str:
        """Describes it: '22.0% are -9999 in all captures, a border, mask or no data'."""
        of = f' of {self.where}' if self.where else ''
        words = 'in all captures, a border, mask or no data'
        return f'{self.share:.1%}{of} are {self.value:g} {words}'

    def as_dict(self) -> dict[str, Any]:
        """Converts to JSON content, with NaN and infinity as strings."""
        value = self.value if math.isfinite(self.value) else str(self.value)
        named = {'channel': self.where} if self.where else {}
        return {'value': value, 'share': self.share, **named}


def constants(areas: Sequence[Area], channels: Sequence[str]) -> list[Constant]:
    """Merges equal constants of several channels into one.

    Args:
      areas: those of all channels.
      channels: names of the channels.
    """
    alike: dict[tuple[str, float], list[Area]] = {}
    for area in areas:
        alike.setdefault((str(area.value), area.share), []).append(area)
    return [
        Constant(
            of_these[0].value,
            of_these[0].share,
            ''
            if len(of_these) == len(channels)
            else ', '.join(channels[area.channel] for area in of_these),
        )
        for of_these in alike.values()
    ]

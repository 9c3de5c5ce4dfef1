"""Constants of captures, such as a border without data, in words."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from n2n_jax.images.constant_areas import Area


@dataclasses.dataclass(frozen=True)
class Constant:
    """A value that stands in place of a measurement.

    Attributes:
      value: of the pixels.
      share: of all pixels.
      where: the channels; '' of all.
    """

    value: float
    share: float
    where: str

    def in_words(self) -> str:
        """'22.0% are -9999 in all captures, a border, mask or no data'."""
        of = f' of {self.where}' if self.where else ''
        words = 'in all captures, a border, mask or no data'
        return f'{self.share:.1%}{of} are {self.value:g} {words}'

    def as_dict(self) -> dict[str, Any]:
        """For JSON, in which NaN and infinity are words."""
        value = self.value if math.isfinite(self.value) else str(self.value)
        named = {'channel': self.where} if self.where else {}
        return {'value': value, 'share': self.share, **named}


def constants(areas: Sequence[Area], channels: Sequence[str]) -> list[Constant]:
    """The constants of all channels; what channels have alike is one.

    Args:
      areas: of all channels.
      channels: their names.
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

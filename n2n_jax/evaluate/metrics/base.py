"""What a metric of images is.

B batch, H height, W width, C channels.
"""

import abc
import dataclasses
import math
from typing import Any, ClassVar

import jax


@dataclasses.dataclass(frozen=True)
class Metric(abc.ABC):
    """A score of an image against a clean one; the fields of a subclass are its options.

    Attributes:
      name: as in `eval.metrics` and in results.json; with options that change the number.
      title: as in tables.
      unit: as in reports; '' for none.
      form: format of a number.
      better: which values are better: 'larger', 'smaller' or 'nearer to 0'.
      rounded: whether it sees the output as an 8-bit file has it; else only clamped to [0, 1]. The
        noisy image is always scored as it is.
      in_tables: whether tables and curves show it; results.json has it in any case.
      smallest_side: of an image, in pixels.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    unit: ClassVar[str] = ''
    form: ClassVar[str] = '.4f'
    better: ClassVar[str] = 'larger'
    rounded: ClassVar[bool] = True
    in_tables: ClassVar[bool] = True
    smallest_side: ClassVar[int] = 1

    def arrays(self, weights: str) -> dict[str, Any]:
        """Returns what it needs besides images, NumPy arrays by name; {} for nothing.

        Args:
          weights: file of weights (`eval.metric_weights`); '' if none is given.

        Raises:
          UserError: it needs weights and there are none, or they are of another network.
        """
        del weights
        return {}

    @abc.abstractmethod
    def __call__(self, image_BHWC: jax.Array, clean_BHWC: jax.Array, arrays: Any) -> jax.Array:
        """Returns the score of each image, (B,).

        Args:
          image_BHWC: the images to score, float32, peak 1.
          clean_BHWC: the clean images.
          arrays: those of `arrays`, on the device.
        """

    def text(self, value: float) -> str:
        """Formats a value without its unit; 'exact' if infinite, 'NaN' if the image was not finite.

        Only the PSNR of an image without any error is infinite.
        """
        if value == math.inf:
            return 'exact'
        return f'{value:{self.form}}' if math.isfinite(value) else 'NaN'

    def change(self, score: dict[str, float]) -> str:
        """Formats output minus input of a score, with its sign; '' if either is not finite."""
        ends = score['out'], score['in']
        return f'{ends[0] - ends[1]:+{self.form}}' if all(map(math.isfinite, ends)) else ''

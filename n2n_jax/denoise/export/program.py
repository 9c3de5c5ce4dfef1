"""What is exported: a trained network as one function, free of tiles, files and the command line.

B batch, H height, W width, C channels, P channels of a plane, I channels of image and planes.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp

from n2n_jax import models
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.models import planes
from n2n_jax.models.geometry import Geometry, padded
from n2n_jax.models.noise_units import REACH
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError

IMAGE = 'image'  # name of the first input
NOISE_LEVEL = planes.NOISE_LEVEL
OUTPUT = 'denoised'


def asks_for_a_size(error: Exception) -> bool:
    """Returns whether JAX failed because a function depends on how large its input is."""
    return type(error).__name__ == 'InconclusiveDimensionOperation'  # which JAX keeps private


@contextlib.contextmanager
def sizes_may_be_unknown(program: 'Program') -> Iterator[None]:
    """Turns the error of a network that asks how large its input is into one of the user's."""
    try:
        yield
    except Exception as error:
        if not asks_for_a_size(error):
            raise
        raise UserError(
            f'model.name={program.config.name} cannot be exported for images of any size: it '
            f'depends on how large they are ({str(error).splitlines()[0]}).'
        ) from error


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A network with its weights, as a function of images in the units of the user.

    It computes in float32, products included, with plain convolutions: what is fast for XLA on this
    machine is not so elsewhere.

    Attributes:
      config: of the network.
      variables: its weights.
      step: training step of the weights.
      black: value of an image that the network sees as 0.
      white: value that it sees as 1.
      geometry: what sides it needs, and how far it looks.
      minimum: the shortest side that it denoises as the model does, a multiple of the stride.
    """

    config: ModelConfig
    variables: Any
    step: int
    black: float
    white: float
    geometry: Geometry
    minimum: int

    @classmethod
    def of(cls, denoiser: Denoiser) -> Self:
        """Takes the network out of a denoiser."""
        config = dataclasses.replace(
            denoiser.config,
            dtype='float32',
            precision='highest',
            convolutions='plain',
            remat=False,
        )
        black, white = config.black, config.white
        if black == white:  # unknown, see `PixelRange`
            black, white = 0.0, 1.0
        geometry = models.geometry_of(config)
        # A window of channel attention, and the margin of `NoiseUnits.view`, must fit.
        window = getattr(models.build(config).network, 'pool', 0)
        reach = 0 if config.noise == '' else REACH
        minimum = padded(max(window, reach) + 1, geometry.stride)
        return cls(config, denoiser.variables, denoiser.step, black, white, geometry, minimum)

    @property
    def planes(self) -> dict[str, int]:
        """Channels of each plane that it takes beside the image, by name, in order."""
        return planes.given(self.config)

    @property
    def inputs(self) -> dict[str, int]:
        """Channels of each input, by name, in order; 0 for the noise level, one number per image.

        Planes are as the network sees them, in [0, 1]; the image and the level of its noise are in
        the units of `black` and `white`.
        """
        level = {NOISE_LEVEL: 0} if self.config.noise_map else {}
        return {IMAGE: self.config.channels} | self.planes | level

    def shapes(self) -> list[jax.ShapeDtypeStruct]:
        """Returns the shapes of its inputs, (b, stride * h, stride * w, channels) or (b,)."""
        stride, least = self.geometry.stride, self.minimum // self.geometry.stride
        symbols = jax.export.symbolic_shape(
            f'b, {stride}*h, {stride}*w', constraints=(f'h >= {least}', f'w >= {least}')
        )
        return [
            jax.ShapeDtypeStruct((*symbols, channels) if channels else symbols[:1], jnp.float32)
            for channels in self.inputs.values()
        ]

    def __call__(self, image_BHWC: jax.Array, *beside: jax.Array) -> jax.Array:
        """Denoises images whose sides are multiples of the stride.

        Args:
          image_BHWC: (B, H, W, C) float32, from `black` to `white`; noise may exceed that.
          *beside: the other inputs: planes, (B, H, W, P), and the noise level, (B,).

        Returns:
          (B, H, W, C) float32, in the units of the image, not clipped.
        """
        named: Mapping[str, jax.Array] = dict(zip(list(self.inputs)[1:], beside, strict=True))
        extent = self.white - self.black
        parts = [self._in_range(image_BHWC), *(named[name] for name in self.planes)]
        if NOISE_LEVEL in named:
            level_B111 = named[NOISE_LEVEL].reshape(-1, 1, 1, 1) / abs(extent)
            parts.append(jnp.broadcast_to(level_B111, (*image_BHWC.shape[:3], 1)))
        noisy_BHWI = jnp.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
        denoised_BHWC: Any = models.build(self.config).apply(self.variables, noisy_BHWI)
        if (self.black, self.white) == (0.0, 1.0):
            return denoised_BHWC
        return denoised_BHWC * extent + self.black

    def _in_range(self, image_BHWC: jax.Array) -> jax.Array:
        if (self.black, self.white) == (0.0, 1.0):
            return image_BHWC
        return (image_BHWC - self.black) / (self.white - self.black)

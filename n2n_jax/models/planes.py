"""Auxiliary planes: what a network is shown beside the noisy image, such as depth or albedo.

B batch, H height, W width, C channels of the image, P channels of all planes, I = C + P.

Planes are named where a user meets them (`model.planes='depth:1,normal:3'`, a source of images, a
command line). Inside, they are further channels behind those of the image, in the order of the
config: an array of I channels is cut, turned, padded and tiled like any image. Directions that a
plane stores are not turned with it.
"""

import re

import jax

from n2n_jax.runtime.config import MOST_CHANNELS, ModelConfig
from n2n_jax.runtime.errors import UserError

NAME = r'[a-z][a-z0-9_]*'
NOISE_LEVEL = 'noise_level'  # the plane of model.noise_map
_PLANE = re.compile(rf'({NAME}):(\d+)')


def given(config: ModelConfig) -> dict[str, int]:
    """Returns the channels of each plane that comes with an image, by name.

    Raises:
      UserError: `model.planes` cannot be parsed, or names a plane twice.
    """
    found: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in config.planes.split(','))):
        match = _PLANE.fullmatch(part)
        if match is None or not 1 <= int(match[2]) <= MOST_CHANNELS:
            raise UserError(
                f"model.planes={config.planes} cannot be parsed at '{part}': write NAME:CHANNELS "
                f'with 1 to {MOST_CHANNELS} channels, such as depth:1,normal:3.'
            )
        name = match[1]
        if name in found or name == NOISE_LEVEL:
            why = 'is what model.noise_map adds' if name == NOISE_LEVEL else 'stands there twice'
            raise UserError(f"model.planes={config.planes}: the plane '{name}' {why}.")
        found[name] = int(match[2])
    return found


def num_given(config: ModelConfig) -> int:
    """Returns the number of channels of all planes that come with an image; raises as `given`."""
    return sum(given(config).values())


def num_shown(config: ModelConfig) -> int:
    """Returns P, with the noise level if the network is shown it; raises as `given`."""
    return num_given(config) + config.noise_map


def split(image_BHWI: jax.Array, channels: int) -> tuple[jax.Array, jax.Array | None]:
    """Returns the image, (B, H, W, C), and its planes, (B, H, W, P); None if there are none."""
    if image_BHWI.shape[-1] == channels:
        return image_BHWI, None
    return image_BHWI[..., :channels], image_BHWI[..., channels:]

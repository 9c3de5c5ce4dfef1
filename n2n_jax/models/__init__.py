"""Networks, by name, behind one range and size convention.

B batch, H height, W width, C channels. A new network is one file and one entry of `REGISTRY`: a
Linen module with the fields of its call below, a class attribute `stride`, and
`__call__(x_BHWC, *, train)` on inputs centered on 0 with sides that are multiples of `stride`.
Large images are cut into tiles if it has an attribute `halo` too, see
`n2n_jax.models.geometry.Geometry`; `last_layer` names what may start at zero.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from n2n_jax.models import pretrained
from n2n_jax.models.geometry import Geometry, padded
from n2n_jax.models.noise_units import REACH, NoiseUnits, numbers
from n2n_jax.models.resnet50 import ResNet50UNet
from n2n_jax.models.unet import UNet
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError, did_you_mean

REGISTRY: dict[str, Callable[[ModelConfig, jnp.dtype], nn.Module]] = {
    'unet': lambda config, dtype: UNet(
        config.channels,
        dtype=dtype,
        plain=config.convolutions == 'plain',
        remat=config.remat,
    ),
    'resnet50': lambda config, dtype: ResNet50UNet(
        config.channels,
        norm=config.norm,
        dtype=dtype,
        plain=config.convolutions == 'plain',
        remat=config.remat,
    ),
}


class Restorer(nn.Module):
    """A network that takes any size, in the range of images.

    Pads by reflection at the bottom and the right to a multiple of the network's stride, centers
    the values, and crops the result back.

    Attributes:
      network: the network proper.
      residual: predict the noise and subtract it, in place of the image itself.
      units: of the noise, if it is known.
    """

    network: nn.Module
    residual: bool = False
    units: NoiseUnits | None = None

    @nn.compact
    def __call__(self, noisy_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps noisy images in [0, 1] to denoised ones, same shape, float32, not clipped."""
        _, h, w, _ = noisy_BHWC.shape
        padding = ((0, 0), (0, -h % self.network.stride), (0, -w % self.network.stride), (0, 0))
        padded_BHWC = jnp.pad(noisy_BHWC, padding, mode='reflect')
        seen_BHWC = padded_BHWC - 0.5 if self.units is None else self.units.view(padded_BHWC)
        output_BHWC = self.network(seen_BHWC, train=train)[:, :h, :w]
        if self.units is not None:
            return self.units.restored(output_BHWC, noisy_BHWC if self.residual else None)
        return output_BHWC + (noisy_BHWC if self.residual else 0.5)


def build(config: ModelConfig) -> Restorer:
    """The network that a config names.

    Raises:
      UserError: unknown name.
    """
    if config.name not in REGISTRY:
        raise UserError(
            f"Unknown model.name '{config.name}'. {did_you_mean(config.name, REGISTRY)}"
        )
    dtype = jnp.dtype(config.dtype)
    network = REGISTRY[config.name](config, dtype)
    return Restorer(network, residual=config.residual, units=NoiseUnits.of(config))


def geometry_of(config: ModelConfig) -> Geometry:
    """How images for a network may be cut into tiles."""
    model = build(config)
    stride, halo = model.network.stride, getattr(model.network, 'halo', None)
    if halo is not None and model.units is not None:
        halo += padded(REACH, stride)
    return Geometry(stride, halo)


# Pixels from what was measured, from where on a stand-in is shown; nearer, the nearest value is.
STAND_IN_DISTANCE = math.sqrt(2) * (REACH + 1)


def stand_in(config: ModelConfig) -> np.ndarray:
    """What a network is shown where nothing was measured, (C,): the middle of the values."""
    center = config.center or '0.5'
    return np.array(numbers(center, 'model.center', config.channels), np.float32)


def init(config: ModelConfig, key: jax.Array) -> dict[str, Any]:
    """Random variables of the network: {'params': ..., and 'batch_stats' if it has any}."""
    model = build(config)
    side = model.network.stride
    variables = model.init(key, jnp.zeros((1, side, side, config.channels)))
    last = getattr(model.network, 'last_layer', '')
    if config.zero_last and config.residual and last:
        network = variables['params']['network']
        network = {**network, last: jax.tree.map(jnp.zeros_like, network[last])}
        variables = {**variables, 'params': {'network': network}}
    return variables


def with_encoder(path: Path, variables: dict[str, Any]) -> dict[str, Any]:
    """The variables of a ResNet-50 with its encoder's weights read from a file.

    Raises:
      UserError: see `n2n_jax.models.pretrained.load_encoder`.
    """
    network = {name: tree['network'] for name, tree in variables.items()}
    loaded = pretrained.load_encoder(path, network)
    return {name: {'network': tree} for name, tree in loaded.items()}

"""Networks by name, wrapped to take images of any size in [0, 1].

B batch, H height, W width, C channels.

To add a network, write a Linen module and add it to `REGISTRY`. It needs a field `out_channels`, an
attribute `stride` and `__call__(x_BHWC, *, train)`, which maps inputs centered on 0, with sides
that are multiples of `stride`, to outputs of the same size. Its other fields of simple types are
options of `model.name`, as in `dncnn:depth=17` (see `n2n_jax.runtime.choices`), except for `dtype`,
`plain` and `remat`, which the keys `model.dtype`, `model.convolutions` and `model.remat` set where
a network has them. Two attributes are optional: with `halo`, large images are denoised in tiles
(see `n2n_jax.models.geometry.Geometry`); `last_layer` names the layer whose weights may start at
zero.
"""

import contextlib
import dataclasses
import functools
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from n2n_jax.models import initializers, pretrained
from n2n_jax.models.dncnn import DnCNN
from n2n_jax.models.geometry import Geometry, padded
from n2n_jax.models.nafnet import NAFNET_M, NAFNET_S, NAFNET_XS, NAFNet
from n2n_jax.models.noise_units import REACH, NoiseUnits
from n2n_jax.models.red30 import RED30
from n2n_jax.models.resnet50 import ResNet50UNet
from n2n_jax.models.resunet import ResUNet
from n2n_jax.models.resunet_epfl import EPFLResUNet
from n2n_jax.models.unet import UNet
from n2n_jax.runtime import choices
from n2n_jax.runtime.channel_numbers import numbers
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError

REGISTRY: dict[str, choices.Maker] = {
    'unet': UNet,
    'resnet50': ResNet50UNet,
    'dncnn': DnCNN,
    'red30': RED30,
    'resunet': ResUNet,
    'resunet_epfl': EPFLResUNet,
    'nafnet': NAFNet,
    'nafnet_xs': NAFNET_XS,
    'nafnet_s': NAFNET_S,
    'nafnet_m': NAFNET_M,
}


class Restorer(nn.Module):
    """Wraps a network to denoise images of any size in the range [0, 1].

    Pads by reflection at the bottom and the right to a multiple of the network's stride, centers
    the values, and crops the result.

    Attributes:
      network: the wrapped network.
      residual: whether the network predicts a correction of the noisy image instead of the image.
      units: units in which the network sees the noise; None if the noise is unknown.
      precision: of its products, see `with_precision`.
    """

    network: nn.Module
    residual: bool = False
    units: NoiseUnits | None = None
    precision: str = 'default'

    @nn.compact
    def __call__(self, noisy_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps noisy images in [0, 1] to denoised ones, same shape, float32, not clipped."""
        _, h, w, _ = noisy_BHWC.shape
        padding = ((0, 0), (0, -h % self.network.stride), (0, -w % self.network.stride), (0, 0))
        padded_BHWC = jnp.pad(noisy_BHWC, padding, mode='reflect')
        input_BHWC = padded_BHWC - 0.5 if self.units is None else self.units.view(padded_BHWC)
        with with_precision(self.precision):
            output_BHWC = self.network(input_BHWC, train=train)[:, :h, :w]
        if self.units is not None:
            return self.units.restored(output_BHWC, noisy_BHWC if self.residual else None)
        return output_BHWC + (noisy_BHWC if self.residual else 0.5)


def with_precision(name: str) -> contextlib.AbstractContextManager[None]:
    """Returns a context that sets the precision of what is traced inside.

    Gradients need it too where they are traced.

    Args:
      name: value of `model.precision`; 'default' leaves JAX's setting, which users may change.
    """
    return contextlib.nullcontext() if name == 'default' else jax.default_matmul_precision(name)


def build(config: ModelConfig) -> Restorer:
    """Builds the network that a config names.

    Raises:
      UserError: the name or one of its options is unknown or invalid.
    """
    maker, _ = choices.find('model.name', config.name, REGISTRY)
    settings = {
        'out_channels': config.channels,
        'dtype': jnp.dtype(config.dtype),
        'plain': config.convolutions == 'plain',
        'remat': config.remat,
    }
    known = _fields(maker)
    network = choices.make(
        'model.name',
        config.name,
        REGISTRY,
        settings={name: value for name, value in settings.items() if name in known},
    )
    return Restorer(
        network,
        residual=config.residual,
        units=NoiseUnits.of(config),
        precision=config.precision,
    )


def _fields(maker: choices.Maker) -> set[str]:
    kind: Any = maker.func if isinstance(maker, functools.partial) else maker
    return {field.name for field in dataclasses.fields(kind)}


def check_settings(config: ModelConfig) -> None:
    """Checks whether the network can do what the keys besides its name ask for.

    Raises:
      UserError: it would ignore one of them, or it is unknown.
    """
    network = build(config).network
    for key, default, field in (
        ('dtype', 'float32', 'dtype'),
        ('convolutions', 'auto', 'plain'),
        ('remat', False, 'remat'),
    ):
        value = getattr(config, key)
        if value != default and not hasattr(network, field):
            raise UserError(
                f'model.{key}={value} does not apply to model.name={config.name}: write '
                f'model.{key}={default}.'
            )
    if config.encoder_weights and not getattr(network, 'takes_imagenet_weights', False):
        raise UserError(
            'model.encoder_weights needs a network with a ResNet encoder and batch norm, such as '
            f'model.name=resnet50:norm=batch, not {config.name}.'
        )


def has_batch_norm(config: ModelConfig) -> bool:
    """Checks whether the network normalizes by the statistics of the batch."""
    return 'batch_stats' in jax.eval_shape(functools.partial(init, config), jax.random.key(0))


def geometry_of(config: ModelConfig) -> Geometry:
    """Returns the stride and halo that tiles for a network need."""
    model = build(config)
    stride, halo = model.network.stride, getattr(model.network, 'halo', None)
    if halo is not None and model.units is not None:
        halo += padded(REACH, stride)
    return Geometry(stride, halo)


# Where nothing was measured, the network is shown the nearest measured value, and a constant
# (`stand_in`) at pixels farther than this from any measured one.
STAND_IN_DISTANCE = math.sqrt(2) * (REACH + 1)


def stand_in(config: ModelConfig) -> np.ndarray:
    """Returns the constant, (C,), shown to a network where nothing was measured: mid-range."""
    center = config.center or '0.5'
    return np.array(numbers(center, 'model.center', config.channels), np.float32)


def init(config: ModelConfig, key: jax.Array) -> dict[str, Any]:
    """Draws initial variables: {'params': ...}, and 'batch_stats' if the network has any."""
    model = build(config)
    side = model.network.stride
    with initializers.law(config.init):
        variables = dict(model.init(key, jnp.zeros((1, side, side, config.channels))))
    last = getattr(model.network, 'last_layer', '')
    if config.zero_last and config.residual and last:
        network = variables['params']['network']
        network = {**network, last: jax.tree.map(jnp.zeros_like, network[last])}
        variables = {**variables, 'params': {'network': network}}
    return variables


def denoise(model: Restorer, variables: Any, noisy_BHWC: jax.Array) -> jax.Array:
    """Applies a network to images in [0, 1]; returns (B, H, W, C), float32, not clipped."""
    denoised_BHWC: Any = model.apply(variables, noisy_BHWC)  # Flax's type covers `mutable` too
    return denoised_BHWC


def with_encoder(path: Path, variables: dict[str, Any]) -> dict[str, Any]:
    """Returns the variables of a ResNet-50 with encoder weights read from a file.

    Raises:
      UserError: see `n2n_jax.models.pretrained.load_encoder`.
    """
    network = {name: tree['network'] for name, tree in variables.items()}
    loaded = pretrained.load_encoder(path, network)
    return {name: {'network': tree} for name, tree in loaded.items()}

"""Networks by name, wrapped to take images of any size in [0, 1].

B batch, H height, W width, C channels, I channels with the auxiliary planes (`models.planes`).

To add a network, write a Linen module and add it to `REGISTRY`. It needs a field `out_channels`, an
attribute `stride` and `__call__(x_BHWC, *, train)`, which maps inputs centered on 0, with sides
that are multiples of `stride`, to outputs of the same size. Its other fields of simple types are
options of `model.name`, as in `dncnn:depth=17` (see `n2n_jax.runtime.choices`), except for `dtype`,
`plain` and `remat`, which the keys `model.dtype`, `model.convolutions` and `model.remat` set where
a network has them. These attributes are optional: with `halo`, large images are denoised in tiles
(see `n2n_jax.models.geometry.Geometry`); `last_layer` names the layer whose weights may start at
zero; with `has_branch`, auxiliary planes come as `planes_BHWP` (None if there are none) instead of
as further channels of the input; with `has_pyramid`, the network returns `Outputs`.
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

from n2n_jax.models import initializers, planes, pretrained
from n2n_jax.models.dncnn import DnCNN
from n2n_jax.models.drunet import DRUNET_XS, DRUNet
from n2n_jax.models.geometry import Geometry, padded
from n2n_jax.models.nafnet import NAFNET_M, NAFNET_S, NAFNET_XS, NAFNet
from n2n_jax.models.noise_units import REACH, NoiseUnits
from n2n_jax.models.outputs import Outputs, as_outputs
from n2n_jax.models.red30 import RED30
from n2n_jax.models.rednet import RedNet
from n2n_jax.models.resnet import ResNetUNet
from n2n_jax.models.resunet import ResUNet
from n2n_jax.models.resunet_epfl import EPFLResUNet
from n2n_jax.models.unet import UNet
from n2n_jax.runtime import choices
from n2n_jax.runtime.channel_numbers import numbers
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError

REGISTRY = choices.registry(
    'network',
    {
        'unet': UNet,
        'resnet34': functools.partial(ResNetUNet, depth=34),
        'resnet50': functools.partial(ResNetUNet, depth=50),
        'resnet101': functools.partial(ResNetUNet, depth=101),
        'resnet152': functools.partial(ResNetUNet, depth=152),
        'dncnn': DnCNN,
        'red30': RED30,
        'rednet': RedNet,
        'resunet': ResUNet,
        'resunet_epfl': EPFLResUNet,
        'drunet': DRUNet,
        'drunet_xs': DRUNET_XS,
        'nafnet': NAFNet,
        'nafnet_xs': NAFNET_XS,
        'nafnet_s': NAFNET_S,
        'nafnet_m': NAFNET_M,
    },
)


class Restorer(nn.Module):
    """Wraps a network to denoise images of any size in the range [0, 1].

    Pads by reflection at the bottom and the right to a multiple of the network's stride, centers
    the values, and crops the result.

    Attributes:
      network: the wrapped network.
      channels: of an image; further ones of the input are planes, see `n2n_jax.models.planes`.
      residual: whether the network predicts a correction of the noisy image instead of the image.
      units: units in which the network sees the noise; None if the noise is unknown.
      precision: of its products, see `with_precision`.
    """

    network: nn.Module
    channels: int
    residual: bool = False
    units: NoiseUnits | None = None
    precision: str = 'default'

    def __call__(self, noisy_BHWI: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps noisy images in [0, 1] to denoised ones, (B, H, W, C) float32, not clipped."""
        return self.outputs(noisy_BHWI, train=train).image_BHWC

    @nn.compact
    def outputs(self, noisy_BHWI: jax.Array, *, train: bool = False) -> Outputs:
        """Returns all answers; the coarse ones have ceil(H / stride) rows, likewise columns."""
        _, h, w, _ = noisy_BHWI.shape
        padding = ((0, 0), (0, -h % self.network.stride), (0, -w % self.network.stride), (0, 0))
        padded_BHWI = jnp.pad(noisy_BHWI, padding, mode='reflect')
        padded_BHWC, planes_BHWP = planes.split(padded_BHWI, self.channels)
        input_BHWC = padded_BHWC - 0.5 if self.units is None else self.units.view(padded_BHWC)
        with with_precision(self.precision):
            answer = as_outputs(self._answer(input_BHWC, planes_BHWP, train=train))
        noisy_BHWC, _ = planes.split(noisy_BHWI, self.channels)
        return Outputs(
            self._image(answer.image_BHWC[:, :h, :w], noisy_BHWC if self.residual else None),
            # Not as corrections: a coarse answer cannot know the noise of one pixel.
            {
                stride: self._image(coarse_BHWC[:, : -(-h // stride), : -(-w // stride)], None)
                for stride, coarse_BHWC in answer.coarse.items()
            },
        )

    def _answer(
        self, input_BHWC: jax.Array, planes_BHWP: jax.Array | None, *, train: bool
    ) -> jax.Array | Outputs:
        if getattr(self.network, 'has_branch', False):
            return self.network(input_BHWC, planes_BHWP=planes_BHWP, train=train)
        if planes_BHWP is not None:
            input_BHWC = jnp.concatenate([input_BHWC, planes_BHWP], axis=-1)
        return self.network(input_BHWC, train=train)

    def _image(self, answer_BHWC: jax.Array, noisy_BHWC: jax.Array | None) -> jax.Array:
        """Returns an answer in [0, 1]; without a noisy image it is not a correction."""
        if self.units is not None:
            return self.units.restored(answer_BHWC, noisy_BHWC)
        return answer_BHWC + (0.5 if noisy_BHWC is None else noisy_BHWC)


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
        channels=config.channels,
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
    planes.given(config)


def has_batch_norm(config: ModelConfig) -> bool:
    """Checks whether the network normalizes by the statistics of the batch."""
    return 'batch_stats' in jax.eval_shape(functools.partial(init, config), jax.random.key(0))


def has_pyramid(config: ModelConfig) -> bool:
    """Checks whether the network has coarser answers, see `Outputs`."""
    return getattr(build(config).network, 'has_pyramid', False)


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
    side, shown = model.network.stride, config.channels + planes.num_shown(config)
    with initializers.law(config.init):
        variables = dict(model.init(key, jnp.zeros((1, side, side, shown))))
    last = getattr(model.network, 'last_layer', '')
    if config.zero_last and config.residual and last:
        network = variables['params']['network']
        network = {**network, last: jax.tree.map(jnp.zeros_like, network[last])}
        variables = {**variables, 'params': {'network': network}}
    return variables


def denoise(model: Restorer, variables: Any, noisy_BHWI: jax.Array) -> jax.Array:
    """Applies a network to images in [0, 1]; returns (B, H, W, C), float32, not clipped."""
    denoised_BHWC: Any = model.apply(variables, noisy_BHWI)  # Flax's type covers `mutable` too
    return denoised_BHWC


def with_encoder(path: Path, variables: dict[str, Any]) -> dict[str, Any]:
    """Returns the variables of a ResNet U-Net with encoder weights read from a file.

    Raises:
      UserError: see `n2n_jax.models.pretrained.load_encoder`.
    """
    network = {name: tree['network'] for name, tree in variables.items()}
    loaded = pretrained.load_encoder(path, network)
    return {name: {'network': tree} for name, tree in loaded.items()}

"""LPIPS, the learned perceptual distance of two images, version 0.1 (Zhang et al. 2018).

B batch, H height, W width, C channels, F features.

Both images go through a network for image recognition. At each of some layers the features are
scaled to length 1 at every position, and their squared differences are weighted by feature, summed,
and averaged over the positions; the distance is the sum over the layers. The weights, trained on
people's judgments, come from a file and are never bundled.
"""

import dataclasses
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from n2n_jax.evaluate.metrics.base import Metric
from n2n_jax.runtime.errors import UserError

_SHIFT = (-0.030, -0.088, -0.188)  # of RGB in [-1, 1], as in the paper's code
_SCALE = (0.458, 0.448, 0.450)


@dataclasses.dataclass(frozen=True)
class _Conv:
    """A convolution and the ReLU after it.

    Attributes:
      name: in PyTorch's names of the paper's code.
      shape: of the kernel, HWIO.
      stride, padding: of both axes.
    """

    name: str
    shape: tuple[int, int, int, int]
    stride: int = 1
    padding: int = 0


@dataclasses.dataclass(frozen=True)
class _Fire:
    """A layer of SqueezeNet: a 1x1 convolution, then a 1x1 and a 3x3 one side by side."""

    name: str
    inputs: int
    squeezed: int
    expanded: int

    def convolutions(self) -> tuple[_Conv, _Conv, _Conv]:
        """Returns the three convolutions."""
        few, many = self.squeezed, self.expanded
        return (
            _Conv(f'{self.name}.squeeze', (1, 1, self.inputs, few)),
            _Conv(f'{self.name}.expand1x1', (1, 1, few, many)),
            _Conv(f'{self.name}.expand3x3', (3, 3, few, many), padding=1),
        )


@dataclasses.dataclass(frozen=True)
class _Network:
    """The layers of a network, as far as LPIPS needs them.

    Attributes:
      title: of the network.
      slices: layers that are applied in turn; features are taken after each.
      pooled: the slices that a pooling of 3x3 with stride 2 precedes.
      partial: whether the pooling counts a window that reaches over the far edge.
      smallest_side: of an image, in pixels.
    """

    title: str
    slices: tuple[tuple[_Conv | _Fire, ...], ...]
    pooled: tuple[int, ...]
    partial: bool
    smallest_side: int

    def convolutions(self) -> list[_Conv]:
        """Returns all convolutions, in order."""
        layers = [layer for layers in self.slices for layer in layers]
        return [
            conv
            for layer in layers
            for conv in (layer.convolutions() if isinstance(layer, _Fire) else (layer,))
        ]

    def widths(self) -> list[int]:
        """Returns the number of features after each slice."""
        last = [layers[-1] for layers in self.slices]
        return [2 * x.expanded if isinstance(x, _Fire) else x.shape[-1] for x in last]


_NETWORKS = {
    'alex': _Network(
        'AlexNet',
        (
            (_Conv('slice1.0', (11, 11, 3, 64), stride=4, padding=2),),
            (_Conv('slice2.3', (5, 5, 64, 192), padding=2),),
            (_Conv('slice3.6', (3, 3, 192, 384), padding=1),),
            (_Conv('slice4.8', (3, 3, 384, 256), padding=1),),
            (_Conv('slice5.10', (3, 3, 256, 256), padding=1),),
        ),
        pooled=(1, 2),
        partial=False,
        smallest_side=31,  # for one window in the second pooling
    ),
    'squeeze': _Network(
        'SqueezeNet',
        (
            (_Conv('slice1.0', (3, 3, 3, 64), stride=2),),
            (_Fire('slice2.3', 64, 16, 64), _Fire('slice2.4', 128, 16, 64)),
            (_Fire('slice3.6', 128, 32, 128), _Fire('slice3.7', 256, 32, 128)),
            (_Fire('slice4.9', 256, 48, 192),),
            (_Fire('slice5.10', 384, 48, 192),),
            (_Fire('slice6.11', 384, 64, 256),),
            (_Fire('slice7.12', 512, 64, 256),),
        ),
        pooled=(1, 2, 3),
        partial=True,
        smallest_side=31,  # for a whole window in the third pooling
    ),
}


@dataclasses.dataclass(frozen=True)
class Lpips(Metric):
    """The perceptual distance of the output rounded to 8 bits; 0 for equal images.

    Attributes:
      net: the network whose features are compared.
    """

    net: Literal['alex', 'squeeze'] = 'alex'

    better: ClassVar[str] = 'smaller'

    @property
    def name(self) -> str:  # type: ignore[override]
        """See `Metric`."""
        return f'lpips:{self.net}'

    @property
    def title(self) -> str:  # type: ignore[override]
        """See `Metric`."""
        return 'LPIPS' if self.net == 'alex' else f'LPIPS ({_NETWORKS[self.net].title})'

    @property
    def smallest_side(self) -> int:  # type: ignore[override]
        """See `Metric`."""
        return _NETWORKS[self.net].smallest_side

    def arrays(self, weights: str) -> dict[str, Any]:
        """Reads the weights of the network and of its features; see `Metric`."""
        network = _NETWORKS[self.net]
        if not weights:
            raise UserError(
                f'eval.metrics={self.name} needs the weights of LPIPS with {network.title}: write '
                'eval.metric_weights=FILE, an .npz file made from '
                f"lpips.LPIPS(net='{self.net}').state_dict()."
            )
        found = _with_names_of_pytorch(_read(Path(weights)), network)
        loaded = {}
        shapes: dict[str, tuple[int, ...]] = {
            f'lin{i}': (width,) for i, width in enumerate(network.widths())
        }
        for conv in network.convolutions():
            shapes |= {f'{conv.name}.weight': conv.shape, f'{conv.name}.bias': conv.shape[-1:]}
        for name, shape in shapes.items():
            array = found.get(name)
            if array is None or array.shape != shape or not np.isfinite(array).all():
                problem = (
                    'is missing'
                    if array is None
                    else f'has shape {array.shape} instead of {shape}'
                    if array.shape != shape
                    else 'is not finite'
                )
                raise UserError(
                    f'eval.metric_weights={weights} does not hold the weights of LPIPS with '
                    f"{network.title}: '{name}' {problem}."
                )
            loaded[name] = array
        return loaded

    def __call__(self, image_BHWC: jax.Array, clean_BHWC: jax.Array, arrays: Any) -> jax.Array:
        """See `Metric`; gray images are repeated to three channels."""
        network = _NETWORKS[self.net]
        both = [_features(network, arrays, x) for x in (image_BHWC, clean_BHWC)]
        distance_B = jnp.zeros(image_BHWC.shape[0])
        for i, (ours_BHWF, theirs_BHWF) in enumerate(zip(*both, strict=True)):
            squares_BHWF = jnp.square(_unit_length(ours_BHWF) - _unit_length(theirs_BHWF))
            weights_F = arrays[f'lin{i}'].reshape(1, 1, 1, -1)
            distance_B += jnp.mean(jnp.sum(squares_BHWF * weights_F, axis=-1), axis=(1, 2))
        return distance_B


def _unit_length(x_BHWF: jax.Array) -> jax.Array:
    return x_BHWF / (jnp.sqrt(jnp.sum(jnp.square(x_BHWF), axis=-1, keepdims=True)) + 1e-10)


def _features(network: _Network, arrays: Any, image_BHWC: jax.Array) -> list[jax.Array]:
    """Computes the features after each slice."""
    if image_BHWC.shape[-1] == 1:
        image_BHWC = jnp.repeat(image_BHWC, 3, axis=-1)
    shift, scale = (jnp.array(x, jnp.float32).reshape(1, 1, 1, 3) for x in (_SHIFT, _SCALE))
    y_BHWF = (2 * image_BHWC - 1 - shift) / scale
    found = []
    for i, layers in enumerate(network.slices):
        if i in network.pooled:
            y_BHWF = _max_pool(y_BHWF, partial=network.partial)
        for layer in layers:
            if isinstance(layer, _Fire):
                squeeze, *expand = layer.convolutions()
                y_BHWF = _convolve(squeeze, arrays, y_BHWF)
                y_BHWF = jnp.concatenate([_convolve(c, arrays, y_BHWF) for c in expand], axis=-1)
            else:
                y_BHWF = _convolve(layer, arrays, y_BHWF)
        found.append(y_BHWF)
    return found


def _convolve(conv: _Conv, arrays: Any, x_BHWF: jax.Array) -> jax.Array:
    y_BHWF = jax.lax.conv_general_dilated(
        x_BHWF,
        arrays[f'{conv.name}.weight'],
        (conv.stride, conv.stride),
        [(conv.padding, conv.padding)] * 2,
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        precision=jax.lax.Precision.HIGHEST,  # the same score on every kind of device
    )
    return jax.nn.relu(y_BHWF + arrays[f'{conv.name}.bias'].reshape(1, 1, 1, -1))


def _max_pool(x_BHWF: jax.Array, *, partial: bool) -> jax.Array:
    """Takes the maximum of windows of 3x3, two apart."""
    # With an even side the last window lacks one row or column; an odd side is covered exactly.
    ends = [(0, int(partial and side % 2 == 0)) for side in x_BHWF.shape[1:3]]
    return jax.lax.reduce_window(
        x_BHWF, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), [(0, 0), *ends, (0, 0)]
    )


def _with_names_of_pytorch(
    found: Mapping[str, np.ndarray], network: _Network
) -> dict[str, np.ndarray]:
    """Returns arrays by PyTorch's names, kernels as HWIO; arrays of other names are left out.

    Two forms are known: the state dict of the paper's code (`net.slice1.0.weight`, OIHW,
    `lin0.model.1.weight`), and that of its ports to Keras (`slice1/sequential/conv2d/kernel`, HWIO,
    `lin0`).
    """
    arrays = {}
    for name, array in found.items():
        if match := re.fullmatch(r'net\.(slice.+\.)(weight|bias)', name):
            is_kernel = array.ndim == 4
            arrays[match[1] + match[2]] = array.transpose(2, 3, 1, 0) if is_kernel else array
        elif match := re.fullmatch(r'(lin\d+)(\.model\.1\.weight)?', name):
            arrays[match[1]] = array.reshape(-1)
    for layers in network.slices:
        for i, layer in enumerate(layers):
            is_fire = isinstance(layer, _Fire)
            for conv in layer.convolutions() if isinstance(layer, _Fire) else (layer,):
                part = conv.name.rpartition('.')[2].replace('squeeze', 'sequential')
                folder = conv.name.split('.')[0] + (f'/__fire{"_1" * i}/{part}' if is_fire else '')
                folder += '/conv2d' if is_fire else '/sequential/conv2d'
                for key, leaf in (('weight', 'kernel'), ('bias', 'bias')):
                    if f'{folder}/{leaf}' in found:
                        arrays[f'{conv.name}.{key}'] = found[f'{folder}/{leaf}']
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise UserError(f'eval.metric_weights={path}: no such file.')
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, TypeError) as error:
        raise UserError(
            f'eval.metric_weights={path} is not a readable .npz file: write it with numpy.savez, '
            'as the README shows.'
        ) from error

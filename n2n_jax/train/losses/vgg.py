"""A perceptual loss: the error of the features of a VGG-16 (Simonyan and Zisserman 2015).

B batch, H height, W width, C channels.

Features are no linear function of the image, so the features of a noisy target are not those of the
clean image on average: with noisy targets this loss learns neither their mean nor anything else of
which the clean image is known to be (Lehtinen et al. 2018, section 2, asks for that). It is meant
for clean targets, or beside a larger L2.
"""

import dataclasses
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from n2n_jax.corruptions.base import Statistic
from n2n_jax.models.layers import max_pool_2x2
from n2n_jax.runtime.errors import UserError

_DEPTHS = (2, 2, 3)  # convolutions of a block; a pooling precedes all blocks but the first
LAYERS = tuple(f'{b}_{c}' for b, depth in enumerate(_DEPTHS, 1) for c in range(1, depth + 1))


@dataclasses.dataclass(frozen=True)
class _Family:
    """How a file names the weights, and the images that they were trained on.

    Attributes:
      keys: names of kernel and bias of each layer.
      scale, mean, std: the network sees (scale * image - mean) / std.
      order: of the channels of an RGB image.
    """

    keys: Mapping[str, tuple[str, str]]
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    order: tuple[int, int, int] = (0, 1, 2)


_TORCHVISION = _Family(
    {
        layer: (f'features.{index}.weight', f'features.{index}.bias')
        for layer, index in zip(LAYERS, (0, 2, 5, 7, 10, 12, 14), strict=True)
    },
    1.0,
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
)
_CAFFE = _Family(  # the original weights, as Keras names them
    {
        layer: (f'block{layer[0]}_conv{layer[2]}_k', f'block{layer[0]}_conv{layer[2]}_b')
        for layer in LAYERS
    },
    255.0,
    (103.939, 116.779, 123.68),
    order=(2, 1, 0),
)


@dataclasses.dataclass(frozen=True)
class Vgg:
    """The mean squared error of the features after the given ReLUs, summed over them.

    Attributes:
      layers: such as 'relu1_2'; several with dashes between.
    """

    layers: str = 'relu1_2-relu2_2-relu3_3'

    statistic: ClassVar[Statistic | None] = None
    has_minimum: ClassVar[bool] = True
    uses_mask: ClassVar[bool] = False

    def names(self) -> list[str]:
        """Returns the layers, such as '1_2'.

        Raises:
          UserError: there is no such layer.
        """
        names = [name.removeprefix('relu') for name in self.layers.split('-')]
        for name in names:
            if name not in LAYERS:
                known = ', '.join(f'relu{layer}' for layer in LAYERS)
                raise UserError(f"optim.loss: vgg has no layer '{name}'. Choose from {known}.")
        return names

    def arrays(self, weights: str) -> dict[str, Any]:
        """Reads the weights of the layers that are needed; see `n2n_jax.train.losses.Loss`."""
        if not weights:
            raise UserError(
                'optim.loss=vgg needs the weights of a VGG-16: write optim.loss_weights=FILE, an '
                '.npz file with the names of torchvision (features.0.weight) or of Keras '
                '(block1_conv1_k).'
            )
        path, last = Path(weights), max(self.names())
        found = _read(path)
        family = _TORCHVISION if 'features.0.weight' in found else _CAFFE
        loaded: dict[str, Any] = {
            'scale': np.float32(family.scale),
            'mean': np.array(family.mean, np.float32),
            'std': np.array(family.std, np.float32),
            'order': np.array(family.order),
        }
        for layer in [layer for layer in LAYERS if layer <= last]:
            missing = [key for key in family.keys[layer] if key not in found]
            if missing:
                raise UserError(f"{path} lacks '{missing[0]}', which vgg:{self.layers} needs.")
            kernel_OIHW, bias_O = (found[key].astype(np.float32) for key in family.keys[layer])
            loaded[layer] = {'kernel': kernel_OIHW.transpose(2, 3, 1, 0), 'bias': bias_O}
        return loaded

    def __call__(
        self,
        denoised_BHWC: jax.Array,
        target_BHWC: jax.Array,
        mask_BHWC: jax.Array | None,
        progress: jax.Array,
        arrays: Any = None,
    ) -> tuple[jax.Array, jax.Array]:
        """See `n2n_jax.train.losses.Loss`; the mask is ignored.

        Features grow with the range of the images that a network was trained on. They are divided
        by it, so that a weight such as 100 beside L2 means the same with both files of weights.
        """
        del mask_BHWC, progress
        names = self.names()
        ours, theirs = (features(arrays, x, names) for x in (denoised_BHWC, target_BHWC))
        total = sum(
            (
                jnp.mean(jnp.square((a - b) / arrays['scale']))
                for a, b in zip(ours, theirs, strict=True)
            ),
            start=jnp.float32(0),
        )
        return total, jnp.float32(denoised_BHWC.size)


def features(arrays: Any, image_BHWC: jax.Array, names: list[str]) -> list[jax.Array]:
    """Computes the features after the ReLUs of some layers, in the order of the network.

    Args:
      arrays: see `Vgg.arrays`.
      image_BHWC: gray or RGB images in [0, 1].
      names: the layers, such as '1_2'.
    """
    if image_BHWC.shape[-1] == 1:
        image_BHWC = jnp.repeat(image_BHWC, 3, axis=-1)
    image_BHWC = image_BHWC[..., arrays['order']]
    mean, std = (arrays[key].reshape(1, 1, 1, 3) for key in ('mean', 'std'))
    y_BHWC = (arrays['scale'] * image_BHWC - mean) / std
    found = []
    for layer in [layer for layer in LAYERS if layer <= max(names)]:
        if layer[0] > '1' and layer[2] == '1':
            y_BHWC = max_pool_2x2(y_BHWC)
        y_BHWC = jax.lax.conv_general_dilated(
            y_BHWC,
            arrays[layer]['kernel'],
            (1, 1),
            'SAME',
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        )
        y_BHWC = jax.nn.relu(y_BHWC + arrays[layer]['bias'].reshape(1, 1, 1, -1))
        if layer in names:
            found.append(y_BHWC)
    return found


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise UserError(f'optim.loss_weights={path}: no such file.')
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, TypeError) as error:
        raise UserError(f'{path} is not a readable .npz file: {error}') from error

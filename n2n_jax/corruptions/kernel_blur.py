"""Blur by kernels from a file, such as handwritten digits.

H height, W width, C channels; N kernels of K x L pixels.
"""

import dataclasses
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from n2n_jax.corruptions.base import Corruption
from n2n_jax.corruptions.convolution import weighted_sums
from n2n_jax.runtime.errors import UserError

_LARGEST_SIDE = 64  # pixels
_MOST_VALUES = 2**22  # of all kernels: they become part of the compiled program


@dataclasses.dataclass(frozen=True)
class Options:
    """Attributes: file, the path of an array of kernels (.npy, .npz), see `kernels`."""

    file: str = 'kernels.npy'


def sample_image(
    key: jax.Array, image_HWC: jax.Array, level: jax.Array, options: Options
) -> tuple[jax.Array, jax.Array | None]:
    """Convolves with a kernel drawn from the file; repeats edge pixels.

    A bright pixel becomes the picture of the kernel, with the kernel's (K // 2, L // 2) in its
    place. Zhou, Liu and Zhang blur with digits of MNIST.
    """
    del level
    kernels_NKL = kernels(options.file)
    index = jax.random.randint(key, (), 0, len(kernels_NKL))
    return weighted_sums(image_HWC, jnp.asarray(kernels_NKL)[index, ::-1, ::-1]), None


def kernels(path: str) -> np.ndarray:
    """Reads kernels, (N, K, L) float32, each with the sum 1.

    Args:
      path: a .npy file, or a .npz file with one array; (N, K, L) numbers, or (K, L) for one kernel.

    Raises:
      UserError: there is no such file, or it does not hold kernels.
    """
    if not Path(path).is_file():
        raise UserError(
            f"Noise 'kernel_blur' draws from an array of kernels, (N, H, W), but there is no file "
            f"{path}: write one and name it, as in 'kernel_blur,file=kernels.npy'. "
            'docs/systems.md shows how to write one with the digits of MNIST.'
        )
    array = np.asarray(_array(path))
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.size == 0 or array.dtype.kind not in 'uif':
        raise UserError(
            f'{path} holds no kernels: write numbers (N, H, W), not {array.dtype} {array.shape}.'
        )
    if max(array.shape[1:]) > _LARGEST_SIDE or array.size > _MOST_VALUES:
        raise UserError(
            f'The kernels of {path} are too large, {array.shape}: write at most {_LARGEST_SIDE} '
            f'pixels per side, and {_MOST_VALUES // array[0].size} kernels of this size.'
        )
    kernels_NKL = array.astype(np.float64)
    sums_N11 = kernels_NKL.sum(axis=(1, 2), keepdims=True)
    wrong_N = ~np.isfinite(sums_N11[:, 0, 0]) | (kernels_NKL.min(axis=(1, 2)) < 0)
    wrong_N |= ~(sums_N11[:, 0, 0] > 0)
    if wrong_N.any():
        raise UserError(
            f'{path}: kernel {np.flatnonzero(wrong_N)[0]} has values that are negative or no '
            'numbers, or only zeros: leave it out.'
        )
    return (kernels_NKL / sums_N11).astype(np.float32)


def _array(path: str) -> np.ndarray:
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        with content:
            if len(content.files) == 1:
                return np.asarray(content[content.files[0]])
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f'{path} is not a readable .npy or .npz file: {error}') from error
    raise UserError(f'{path} must hold one array, not {len(content.files)}.')


def _check(options: Options) -> None:
    kernels(options.file)


KERNEL_BLUR = Corruption(
    name='kernel_blur',
    level='',
    bounds=(0.0, 0.0),
    sample_image=sample_image,
    statistics=(),  # no statistic of blurred captures is the clean image
    options=Options(),
    nonnegative=True,
    mixes=True,
    check=_check,
)

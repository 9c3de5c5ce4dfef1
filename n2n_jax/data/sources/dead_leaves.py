"""Synthetic training images: textured dead leaves with the statistics of photographs.

A dead leaves image shows random shapes ('leaves') that fell on top of each other. With radii
distributed as p(r) ~ r^-3 it is scale invariant, as photographs are, and occlusion creates edges:

* Lee, Mumford and Huang, 'Occlusion models for natural images', IJCV 41 (2001): the model and its
  match with the power spectrum and the gradient histogram of photographs.
* Achddou, Gousseau and Ladjal, 'Synthetic images as a regularity prior for image restoration
  neural networks', SSVM 2021, and 'Fully synthetic training for image restoration tasks', CVIU 233
  (2023): denoisers trained on such images alone come close to those trained on photographs.
* Achddou, Gousseau, Ladjal and Süsstrunk, 'VibrantLeaves: a principled parametric image generator
  for training deep restoration models', arXiv:2504.10201 (2025): shapes, textures and depth of
  field close most of the rest of the gap.

Here the colors come from a random palette per image instead of the histograms of photographs, so no
photograph is needed.

Leaf indices are rasterized at twice the size, then all pixels are colored in one pass.
N images, H height, W width, C channels, L leaves, T textures, K palette colors, S sides.
"""

import dataclasses
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from n2n_jax.runtime import atomic_files
from n2n_jax.runtime.cache import default_cache_dir
from n2n_jax.runtime.errors import UserError

# Increment it with every change that alters a pixel: it is part of the name of the cached file.
GENERATOR_VERSION = 1

_log = logging.getLogger(__name__)

_SUPERSAMPLING = 2
_NUM_TEXTURES = 4
# Luminance and the two main axes of color in photographs, roughly red-blue and green-magenta.
_OPPONENT_TO_RGB = np.array([[1, 1, 1], [0.65, 0.1, -0.75], [0.35, -0.5, 0.35]], np.float32)


def dead_leaves_image(seed: int, index: int, size: int = 256) -> np.ndarray:
    """Draws one image.

    Args:
      seed: selects a sequence of images; non-negative.
      index: position in the sequence; non-negative.
      size: height and width in pixels.

    Returns:
      uint8 image_HWC of shape (size, size, 3): a pure function of the arguments.
    """
    rng = np.random.default_rng([seed, index])
    leaves, leaf_HW = _scatter(rng, _SUPERSAMPLING * size)
    leaf_HW = _warp(rng, leaf_HW)
    image_HWC = _box_down(_paint(rng, leaf_HW, leaves))
    near_HWC = _box_down((leaf_HW >= leaves.num_backdrop)[..., None].astype(np.float32))
    image_HWC = _focus(rng, image_HWC, near_HWC)
    return (np.clip(image_HWC, 0, 1) * 255 + 0.5).astype(np.uint8)


def dead_leaves(
    num_images: int,
    *,
    size: int = 256,
    seed: int = 0,
    cache_dir: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Draws images 0 to num_images - 1 of a sequence, or reads them from the cache.

    Args:
      num_images: at least 1; each takes about 0.2 s on one core at size 256.
      size: height and width in pixels, at least 16.
      seed: selects the sequence; non-negative.
      cache_dir: folder of cached images, one .npy file for each set of arguments; the default is
        `default_cache_dir()`. If it cannot be written, the images are drawn every time.
      progress: called with (images drawn so far, num_images) after each image drawn.

    Returns:
      uint8 image_NHWC of shape (num_images, size, size, 3).

    Raises:
      UserError: an argument is too small.
    """
    for name, value, least in (
        ('num_images', num_images, 1),
        ('size', size, 16),
        ('seed', seed, 0),
    ):
        if value < least:
            raise UserError(f'dead_leaves needs {name} of at least {least}, not {value}.')
    name = f'dead_leaves_v{GENERATOR_VERSION}_seed{seed}_size{size}_{num_images}.npy'
    file = (cache_dir or default_cache_dir()) / name
    image_NHWC = _read_cache(file, (num_images, size, size, 3))
    if image_NHWC is None:
        image_NHWC = np.empty((num_images, size, size, 3), np.uint8)
        # Threads, not processes: forking is unsafe once JAX runs, and NumPy releases the GIL.
        # The loop over leaves holds it, so more than a few threads would not help.
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            drawn = pool.map(lambda index: dead_leaves_image(seed, index, size), range(num_images))
            for i, image_HWC in enumerate(drawn):
                image_NHWC[i] = image_HWC
                if progress is not None:
                    progress(i + 1, num_images)
        _write_cache(file, image_NHWC)
    return image_NHWC


def _read_cache(file: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Reads the images in `file`; returns None if it is missing, damaged or of another shape."""
    try:
        image_NHWC = np.load(file, allow_pickle=False)
    except OSError:  # missing, or unreadable for a reason that the writer will report
        return None
    except (ValueError, EOFError) as error:
        _log.warning('%s cannot be read and will be replaced: %s', file, error)
        return None
    if image_NHWC.shape != shape or image_NHWC.dtype != np.uint8:
        _log.warning('%s does not hold the expected images and will be replaced.', file)
        return None
    return image_NHWC


def _write_cache(file: Path, image_NHWC: np.ndarray) -> None:
    """Writes `file` atomically, as several processes may do so at once."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_files.renamed_when_complete(file) as stream:
            np.save(stream, image_NHWC, allow_pickle=False)
    except OSError as error:
        _log.warning('The dead leaves images cannot be cached for the next run: %s', error)


@dataclasses.dataclass(frozen=True)
class _Leaves:
    """The leaves of an image, back to front; lengths are in canvas pixels, angles in radians.

    The first `num_backdrop` leaves are large and represent distant surfaces: sky, walls, ground.
    Every other leaf belongs to one of them, its ground, and resembles it.
    """

    num_backdrop: int
    ground_L: np.ndarray
    y_L: np.ndarray
    x_L: np.ndarray
    radius_L: np.ndarray


def _scatter(rng: np.random.Generator, canvas: int) -> tuple[_Leaves, np.ndarray]:
    """Draws all leaves; returns them and leaf_HW, the index of the leaf visible at each pixel."""
    leaf_HW = np.zeros((canvas, canvas), np.int32)

    num_backdrop = int(rng.integers(2, 24))
    radius_B = canvas * np.exp(rng.uniform(np.log(1 / 10), np.log(1 / 1.5), num_backdrop))
    y_B, x_B = rng.uniform(0, canvas, (2, num_backdrop))
    _drop(rng, leaf_HW, 0, y_B, x_B, radius_B)

    # p(r) ~ r^-3 by inversion of its distribution function.
    num_leaves = int(canvas**2 * np.exp(rng.uniform(np.log(0.0012), np.log(0.015))))
    smallest, largest = np.exp(rng.uniform(np.log(2), np.log(8))), canvas / 3
    u_L = rng.random(num_leaves)
    radius_L = (smallest**-2 - u_L * (smallest**-2 - largest**-2)) ** -0.5
    y_L, x_L = rng.uniform(0, canvas, (2, num_leaves))
    ground_L = leaf_HW[y_L.astype(int), x_L.astype(int)]
    # Some grounds stay empty, like sky and walls, and others are covered, like foliage.
    density_B = rng.random(num_backdrop)
    kept_L = rng.random(num_leaves) < density_B[ground_L]
    y_L, x_L, radius_L, ground_L = (a[kept_L] for a in (y_L, x_L, radius_L, ground_L))
    _drop(rng, leaf_HW, num_backdrop, y_L, x_L, radius_L)

    leaves = _Leaves(
        num_backdrop=num_backdrop,
        ground_L=np.concatenate([np.arange(num_backdrop), ground_L]),
        y_L=np.concatenate([y_B, y_L]).astype(np.float32),
        x_L=np.concatenate([x_B, x_L]).astype(np.float32),
        radius_L=np.concatenate([radius_B, radius_L]).astype(np.float32),
    )
    return leaves, leaf_HW


def _drop(
    rng: np.random.Generator,
    leaf_HW: np.ndarray,
    first: int,
    y_L: np.ndarray,
    x_L: np.ndarray,
    radius_L: np.ndarray,
) -> None:
    """Writes leaves `first`, `first` + 1, ... into leaf_HW, each on top of those before."""
    num_leaves = len(y_L)
    canvas = len(leaf_HW)
    # Stretching preserves the area of the disc; a few leaves become stalks.
    stretch_L = np.exp(np.abs(rng.normal(0, 0.5, num_leaves)) * rng.choice([1, 1, 3], num_leaves))
    angle_L = rng.uniform(0, np.pi, num_leaves)
    long_L, short_L = radius_L * stretch_L**0.5, radius_L * stretch_L**-0.5
    # 0: disc, 1: ring, 3 and more: sides of a polygon.
    sides_L = rng.choice([0, 0, 0, 1, 3, 4, 4, 4, 5, 6], num_leaves)
    hole_L = rng.uniform(0.3, 0.9, num_leaves) ** 2
    turn_LS = np.arange(6) + rng.uniform(-0.2, 0.2, (num_leaves, 6))

    axis_y = np.arange(canvas, dtype=np.float32)[:, None]
    axis_x = axis_y.T
    rows = zip(
        *(
            a.tolist()
            for a in (y_L, x_L, long_L, short_L, np.cos(angle_L), np.sin(angle_L), sides_L, hole_L)
        ),
        strict=True,
    )
    for i, (y, x, long, short, cos, sin, sides, hole) in enumerate(rows):
        # Distance of the corners from the center; a very pointed corner is cut off.
        reach = long * (1, 1, 0, 2, 1.5, 1.3, 1.2)[sides] + 1
        top, left = max(int(y - reach), 0), max(int(x - reach), 0)
        box = slice(top, int(y + reach) + 2), slice(left, int(x + reach) + 2)
        dy, dx = axis_y[box[0]] - y, axis_x[:, box[1]] - x
        u = dx * (cos / long) + dy * (sin / long)
        v = dy * (cos / short) - dx * (sin / short)
        if sides < 2:
            distance = u * u + v * v
            inside = distance < 1
            if sides == 1:
                inside &= distance > hole
        else:
            inside = True
            turns = turn_LS[i, :sides] * (2 * np.pi / sides)
            for a, b in zip(np.cos(turns).tolist(), np.sin(turns).tolist(), strict=True):
                inside &= u * a + v * b < 1
        leaf_HW[box][inside] = first + i


def _warp(rng: np.random.Generator, leaf_HW: np.ndarray) -> np.ndarray:
    """Bends the outlines in half of the images; the others keep straight edges, like buildings."""
    canvas = len(leaf_HW)
    strength = max(rng.uniform(-1, 1), 0) * 0.02 * canvas
    if strength == 0:
        return leaf_HW
    shift_HW2 = np.stack([_power_noise(rng, canvas, slope=rng.uniform(1.5, 2)) for _ in 'yx'], -1)
    shift_HW2 = np.rint(strength * shift_HW2).astype(np.intp)
    y_HW = np.clip(np.arange(canvas)[:, None] + shift_HW2[..., 0], 0, canvas - 1)
    x_HW = np.clip(np.arange(canvas) + shift_HW2[..., 1], 0, canvas - 1)
    return leaf_HW[y_HW, x_HW]


def _power_noise(
    rng: np.random.Generator, canvas: int, slope: float, stretch: float = 1, angle: float = 0
) -> np.ndarray:
    """Draws periodic Gaussian noise of amplitude spectrum f^-slope, mean 0 and variance 1."""
    fy = np.fft.fftfreq(canvas)[:, None].astype(np.float32)
    fx = np.fft.rfftfreq(canvas).astype(np.float32)
    along = fx * np.cos(angle) + fy * np.sin(angle)
    across = fy * np.cos(angle) - fx * np.sin(angle)
    power = along**2 * stretch + across**2 / stretch
    power[0, 0] = np.inf
    spectrum = rng.standard_normal((*power.shape, 2), np.float32).view(np.complex64)[..., 0]
    noise_HW = np.fft.irfft2(spectrum * power ** (-slope / 2), (canvas, canvas)).astype(np.float32)
    return noise_HW / noise_HW.std()


def _palette(rng: np.random.Generator, num_colors: int) -> np.ndarray:
    """Draws color_KC in display values: one color mood per image, with luminance varying most."""
    brightness = rng.normal(-0.1, 0.5)
    contrast = rng.uniform(0.4, 1.6)
    saturation = 0.05 * rng.gamma(2.5)
    logit_K = brightness + contrast * rng.standard_normal(num_colors)
    luminance_K = 0.03 + 0.87 / (1 + np.exp(-logit_K))
    cast_2 = 0.8 * rng.standard_normal(2)
    chroma_K2 = saturation * (cast_2 + rng.standard_normal((num_colors, 2))) * (1, 0.4)
    # Very dark and very bright surfaces have little chroma.
    chroma_K2 *= 4 * (luminance_K * (1 - luminance_K))[:, None]
    return np.column_stack([luminance_K, chroma_K2]).astype(np.float32) @ _OPPONENT_TO_RGB


def _paint(rng: np.random.Generator, leaf_HW: np.ndarray, leaves: _Leaves) -> np.ndarray:
    """Gives each pixel of the canvas the color of its leaf; returns fine_HWC."""
    canvas = len(leaf_HW)
    num_leaves = len(leaves.radius_L)
    num_backdrop = leaves.num_backdrop
    ground_L = leaves.ground_L

    color_KC = _palette(rng, int(rng.integers(3, 16)))
    own_LC = color_KC[rng.integers(0, len(color_KC), num_leaves)]
    own_LC += 0.03 * rng.standard_normal((num_leaves, 1), np.float32)
    # Leaves on the same ground resemble each other, like leaves of a tree or stones of a wall.
    likeness_L = rng.uniform(0.1, 0.95, num_backdrop).astype(np.float32)[ground_L][:, None]
    color_LC = own_LC + likeness_L * (own_LC[ground_L] - own_LC)

    # Most surfaces are smooth or nearly so, few are rough.
    roughness_B = 0.2 * rng.gamma(1, size=num_backdrop)
    roughness_L = roughness_B[ground_L] * rng.gamma(3, 1 / 3, num_leaves)
    texture_TYX = np.stack([_texture(rng, canvas) for _ in range(_NUM_TEXTURES)])
    texture_L = rng.integers(0, _NUM_TEXTURES, num_leaves)
    offset_L2 = rng.integers(0, canvas, (num_leaves, 2))
    tint_LC = 1 + 0.15 * rng.standard_normal((num_leaves, 3), np.float32)

    y_HW = np.arange(canvas, dtype=np.float32)[:, None]
    x_HW = y_HW.T
    shade_HW = (
        roughness_L.astype(np.float32)[leaf_HW]
        * texture_TYX[
            texture_L[leaf_HW],
            (np.arange(canvas)[:, None] + offset_L2[leaf_HW, 0]) % canvas,
            (np.arange(canvas) + offset_L2[leaf_HW, 1]) % canvas,
        ]
    )
    shade_HW += _stripes(rng, leaf_HW, num_leaves)

    # Round or tilted surfaces: luminance changes linearly across a leaf.
    tilt_L2 = rng.standard_normal((num_leaves, 2), np.float32) * (
        0.15 * rng.gamma(1, size=(num_leaves, 1)) / leaves.radius_L[:, None]
    ).astype(np.float32)
    base_L = -(tilt_L2[:, 0] * leaves.y_L + tilt_L2[:, 1] * leaves.x_L)
    shade_HW += tilt_L2[leaf_HW, 0] * y_HW + tilt_L2[leaf_HW, 1] * x_HW + base_L[leaf_HW]

    light_HW = np.exp(rng.uniform(0, 0.25) * _power_noise(rng, canvas, slope=2))
    return color_LC[leaf_HW] * (1 + shade_HW[..., None] * tint_LC[leaf_HW]) * light_HW[..., None]


def _texture(rng: np.random.Generator, canvas: int) -> np.ndarray:
    """Draws power-law noise, isotropic or directional; in some images pushed towards two values."""
    noise_HW = _power_noise(
        rng,
        canvas,
        slope=rng.uniform(0.4, 1.6),
        stretch=np.exp(rng.exponential(0.8)),
        angle=rng.uniform(0, np.pi),
    )
    hardness = rng.choice([0.1, 0.1, 1, 3])
    texture_HW = np.tanh(hardness * noise_HW)
    return texture_HW / texture_HW.std()


def _stripes(rng: np.random.Generator, leaf_HW: np.ndarray, num_leaves: int) -> np.ndarray:
    """Draws gratings on a few of the leaves, like cloth, fences or feathers."""
    amplitude_L = 0.25 * rng.gamma(1, size=num_leaves) * (rng.random(num_leaves) < 0.06)
    period_L = np.exp(rng.uniform(np.log(4), np.log(40), num_leaves))
    angle_L = rng.uniform(0, np.pi, num_leaves)
    hardness_L = rng.choice([0.5, 4], num_leaves).astype(np.float32)
    fy_L = (2 * np.pi * np.sin(angle_L) / period_L).astype(np.float32)
    fx_L = (2 * np.pi * np.cos(angle_L) / period_L).astype(np.float32)

    stripes_HW = np.zeros(leaf_HW.shape, np.float32)
    y_N, x_N = np.nonzero((amplitude_L > 0)[leaf_HW])
    leaf_N = leaf_HW[y_N, x_N]
    wave_N = np.sin(fy_L[leaf_N] * y_N + fx_L[leaf_N] * x_N)
    stripes_HW[y_N, x_N] = amplitude_L[leaf_N] * np.tanh(hardness_L[leaf_N] * wave_N)
    return stripes_HW


def _box_down(fine_HWC: np.ndarray) -> np.ndarray:
    """Averages blocks of the supersampling factor, which antialiases the edges."""
    s = _SUPERSAMPLING
    parts = [fine_HWC[y::s, x::s] for y in range(s) for x in range(s)]
    return sum(parts, start=np.zeros_like(parts[0])) / s**2


def _focus(rng: np.random.Generator, image_HWC: np.ndarray, near_HWC: np.ndarray) -> np.ndarray:
    """Simulates a lens: defocuses the backdrop of some images, then blurs all slightly."""
    if rng.random() < 0.2:
        sigma = rng.uniform(0.7, 4)
        # Normalized, so that the sharp leaves do not bleed into the backdrop.
        far_HWC = 1 - near_HWC + 1e-3
        backdrop_HWC = _gaussian_blur(image_HWC * far_HWC, sigma) / _gaussian_blur(far_HWC, sigma)
        image_HWC = backdrop_HWC + near_HWC * (image_HWC - backdrop_HWC)
    return _gaussian_blur(image_HWC, rng.uniform(0.2, 0.7))


def _gaussian_blur(image_HWC: np.ndarray, sigma: float) -> np.ndarray:
    """Convolves with a Gaussian of standard deviation `sigma` pixels; edge pixels are repeated."""
    reach = int(3 * sigma) + 1
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).tolist()
    for axis in (0, 1):
        pad = [(reach, reach) if a == axis else (0, 0) for a in range(3)]
        padded = np.moveaxis(np.pad(image_HWC, pad, mode='edge'), axis, 0)
        blurred = sum(w * padded[i : i + image_HWC.shape[axis]] for i, w in enumerate(kernel))
        image_HWC = np.moveaxis(blurred, 0, axis)
    return image_HWC

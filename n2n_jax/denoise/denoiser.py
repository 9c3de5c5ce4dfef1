"""A trained denoiser for images of any size.

B batch, H height, W width, C channels, P channels of planes, I = C + P, O orientations.
A lower-case h or w: some rows or columns.
"""

import dataclasses
import functools
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np

from n2n_jax import models
from n2n_jax.captures.measure.measured_part import far, fill
from n2n_jax.denoise import strength as strength_lib
from n2n_jax.denoise import tiles
from n2n_jax.denoise.bands import Band, Sums, View
from n2n_jax.denoise.beside import Beside
from n2n_jax.denoise.orientations import ORIENTATIONS, oriented, oriented_back
from n2n_jax.denoise.scale_check import ScaleCheck
from n2n_jax.images import image_io
from n2n_jax.images.pixel_range import PixelRange
from n2n_jax.models import planes as planes_lib
from n2n_jax.models import trained
from n2n_jax.models.noise_units import NoiseUnits
from n2n_jax.runtime import device_memory
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError

_log = logging.getLogger(__name__)

CORE = 1024  # largest side of a tile's core, pixels; the paper's U-Net needs 1 GB for such a tile
_MEMORY_SHARE = 0.8  # share of the free memory that the network may use
_OUT_OF_MEMORY = re.compile(r'RESOURCE_EXHAUSTED|out[ _]of[ _]memory', re.IGNORECASE)

IN_RANGE = View()
Read = Callable[[int, int], np.ndarray]  # (first row, last row + 1) -> (h, W, C) of an image


@dataclasses.dataclass(frozen=True)
class Denoiser:
    """A network and its trained weights.

    `denoiser(image)` denoises an array, `denoiser.restore(picture)` an image file with its alpha
    and metadata. Large images are denoised in tiles, with the same result as in one piece.

    Attributes:
      config: settings of the network.
      variables: its weights.
      step: training step of the weights.
      core: largest side of a tile without its halo, in pixels, a multiple of the network's stride;
        halved for as long as memory is short.
    """

    config: ModelConfig
    variables: Any
    step: int
    core: int = CORE

    @classmethod
    def load(cls, model: str | Path) -> Self:
        """Loads a trained model.

        A run with `imports` in its config executes its Python files, see docs/extending.md.

        Args:
          model: folder of a run, a file written by n2n export, or a name such as
            'gaussian-color', see `n2n models`.

        Raises:
          UserError: there is no such model, or it is damaged or incomplete.
        """
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        found = trained.load(model, sharding)
        return cls(found.config, found.variables, found.step)

    def __call__(
        self,
        image: np.ndarray,
        *,
        tta: bool = False,
        planes: Mapping[str, np.ndarray] | None = None,
        noise_level: float | None = None,
        strength: float = strength_lib.FULL,
    ) -> np.ndarray:
        """Denoises an array; returns one of the same shape and dtype.

        Args:
          image: (H, W) or (H, W, C). A model trained on C channels denoises them together. Gray
            and color models accept other numbers of channels too, see `denoise`; if there are 2
            or 4, the last is taken as alpha and kept. A model trained on captures expects their
            units. Any other model takes 8-bit and 16-bit integers over their full range, and
            floats in [0, 1], where noise may exceed that range.
          tta: average over the 8 flips and rotations: slightly better, 8 times as slow.
          planes: for a model with `model.planes`: each plane by name, (H, W) or (H, W, channels),
            integers over their full range or floats in [0, 1].
          noise_level: for a model with `model.noise_map`: the standard deviation of the noise, in
            units of the image; None: it is estimated.
          strength: 1 for the denoised image, 0 for the image as it is, or a blend of both.

        Raises:
          UserError: the shape, type or range does not suit the model, or memory does not suffice;
            a plane is missing or of another size; the strength is not between 0 and 1.
        """
        image = np.asarray(image)
        if image.ndim not in (2, 3) or not image.size:
            raise UserError(f'The image must have shape (H, W) or (H, W, C), not {image.shape}.')
        channels = 1 if image.ndim == 2 else image.shape[-1]
        has_alpha = channels in (2, 4) and self.config.channels in (1, 3)
        beside = Beside(planes or {}, noise_level)
        return self._restored(
            image, channels - has_alpha, 'image', beside, tta=tta, strength=strength
        )

    def restore(
        self,
        image: image_io.Picture,
        *,
        tta: bool = False,
        strength: float = strength_lib.FULL,
    ) -> image_io.Picture:
        """Denoises an image file; keeps its size, type, mode, metadata and alpha.

        Args:
          image: the image file, as read.
          tta: as for an array.
          strength: as for an array.

        Raises:
          UserError: values are NaN, infinite or outside the range of the network, or memory does
            not suffice; the strength is not between 0 and 1.
        """
        num_colors = 3 if image.mode.startswith('rgb') else 1
        pixels = self._restored(
            image.pixels, num_colors, str(image.path), Beside(), tta=tta, strength=strength
        )
        return dataclasses.replace(image, pixels=pixels)

    def _restored(
        self,
        pixels: np.ndarray,
        num_colors: int,
        name: str,
        beside: Beside,
        *,
        tta: bool,
        strength: float,
    ) -> np.ndarray:
        """Denoises the first `num_colors` channels of (H, W) or (H, W, C); keeps the others."""
        strength_lib.check(strength)
        scale = self.pixel_range(pixels.dtype, name)
        pixels_HWC = pixels.reshape(*pixels.shape[:2], -1).copy()
        color_HWC = pixels_HWC[..., :num_colors]
        scale.check(color_HWC, name=name)
        if warning := self.doubt(color_HWC, name):
            _log.warning('%s', warning)
        noisy_HWC = scale.to_network(color_HWC)
        planes_HWP = beside.planes(self.config, scale, noisy_HWC, name)
        if strength == 0:
            return pixels.copy()
        denoised_HWC = self.denoise(noisy_HWC, planes_HWP, name=name, tta=tta)
        denoised_HWC = strength_lib.blended(noisy_HWC, denoised_HWC, strength)
        constant_HWC = np.isnan(noisy_HWC) if scale.constants else None
        color_HWC[...] = scale.to_pixels(
            denoised_HWC, name=name, original=color_HWC, constant=constant_HWC
        )
        return pixels_HWC.reshape(pixels.shape)

    def denoise(
        self,
        noisy_HWC: np.ndarray,
        planes_HWP: np.ndarray | None = None,
        *,
        name: str = 'image',
        tta: bool = False,
    ) -> np.ndarray:
        """Denoises (H, W, C) float32 in the range of the network; the result is not clipped.

        NaN marks constants in place of measurements and stays NaN. What the network is shown beside
        the image is made by `Beside.planes`; the level of the noise is estimated if it is the only
        plane and left out.

        A network denoises the number of channels that it was trained on together. Of any other
        number, a gray network denoises each channel by itself; a color network does too, as three
        equal channels whose results are averaged.
        """
        if planes_HWP is None:
            planes_HWP = Beside().planes(self.config, None, noisy_HWC, name)
        bands = self.bands(
            noisy_HWC.shape,
            [lambda start, stop: noisy_HWC[start:stop]],
            View(planes_HWP=planes_HWP),
            name=name,
            tta=tta,
        )
        return np.concatenate([band.mean_hWC for band in bands])

    def pixel_range(self, dtype: np.dtype, name: str) -> PixelRange:
        """Returns the mapping from pixels of a type to the network; raises as `PixelRange.of`."""
        return PixelRange.of(dtype, self.config, name=name)

    def scale_check(self, dtype: np.dtype, name: str) -> ScaleCheck:
        """Returns a check that pixels of a type are on the scale of the training captures."""
        units, scale = NoiseUnits.of(self.config), self.pixel_range(dtype, name)
        noise = 0.0 if units is None else min(units.noise) * abs(scale.white - scale.black)
        return ScaleCheck(scale, noise=noise)

    def doubt(self, pixels_HWC: np.ndarray, name: str) -> str:
        """Returns a warning if an image does not look like the training captures; else ''."""
        check = self.scale_check(pixels_HWC.dtype, name)
        check.add(pixels_HWC)
        return check.warning(name)

    def bands(
        self,
        shape_HWC: tuple[int, int, int],
        reads: Sequence[Read],
        view: View = IN_RANGE,
        *,
        tta: bool = False,
        spread: bool = False,
        name: str = 'image',
        on_pixels: Callable[[int], None] = lambda count: None,
    ) -> Iterator[Band]:
        """Denoises an image that need not fit into memory; yields its rows from top to bottom.

        Args:
          shape_HWC: shape of the image.
          reads: functions that read rows of the image as stored. If there are several, one per
            capture, their results are averaged, at each pixel over the captures that measured it.
          view: how the network sees what they return.
          tta: average over the 8 flips and rotations of the padded image.
          spread: also compute the standard deviation over these.
          name: names the image in messages.
          on_pixels: called after each tile of each read with its number of pixels (height * width),
            and, so that it can end the work by an error, with 0 after each orientation before.

        Raises:
          UserError: not even the smallest tile fits into memory, or the network cannot denoise
            that number of channels.
        """
        height, width, channels = shape_HWC
        if self.config.channels not in (1, 3, channels):
            raise UserError(
                f'{name} has {channels} channel{"s" * (channels > 1)}, but the model was trained '
                f'on {self.config.channels}.'
            )
        orientations = ORIENTATIONS if tta else range(1)
        core, done = self.core, 0
        while done < height:
            core, (tile_h, tile_w) = self._fit_tiles(height, width, core, name)
            try:
                for rows in tiles.spans(height, tile_h, self._geometry):
                    if rows.stop <= done:
                        continue
                    rows = dataclasses.replace(rows, start=max(rows.start, done))
                    shape_hWC = rows.stop - rows.start, width, channels
                    sums = Sums(rows, shape_hWC, orientations, spread=spread)
                    for read in reads:
                        part = self._denoised_cores(
                            (height, width),
                            rows,
                            (tile_h, tile_w),
                            read,
                            view,
                            orientations,
                        )
                        for columns, orientation, core_hwC, constant_hwC in part:
                            sums.add(columns, orientation, core_hwC)
                            is_last = orientation == orientations[-1]
                            if is_last:
                                sums.add_constants(columns, constant_hwC)
                            on_pixels(core_hwC.shape[0] * core_hwC.shape[1] * is_last)
                    done = rows.stop
                    yield sums.band(len(reads))
            except (MemoryError, jax.errors.JaxRuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                core = self._smaller_core(core, name, str(error).splitlines()[0])

    def _denoised_cores(
        self,
        size: tuple[int, int],
        rows: tiles.Span,
        tile: tuple[int, int],
        read: Read,
        view: View,
        orientations: Sequence[int],
    ) -> Iterator[tuple[tiles.Span, int, np.ndarray, np.ndarray]]:
        """Yields (columns, orientation, denoised core, where it is constant) of a row of tiles."""
        stride, (tile_h, tile_w) = self._geometry.stride, tile
        row_of, column_of = (tiles.reflected(length, stride) for length in size)
        wanted = row_of[rows.origin : rows.origin + tile_h]
        first = int(wanted.min())
        pixels_hWC = read(first, int(wanted.max()) + 1)
        for columns in tiles.spans(size[1], tile_w, self._geometry):
            across = column_of[columns.origin : columns.origin + tile_w]
            tile_hwC = view.to_network(pixels_hWC[np.ix_(wanted - first, across)])
            core = (
                slice(rows.start - rows.origin, rows.stop - rows.origin),
                slice(columns.start - columns.origin, columns.stop - columns.origin),
            )
            constant_hwC = np.isnan(tile_hwC[core])
            tile_hwI = tile_hwC
            if view.planes_HWP is not None:
                planes_hwP = view.planes_HWP[np.ix_(wanted, across)]
                tile_hwI = np.concatenate([tile_hwC, planes_hwP], axis=-1)
            for orientation in orientations:
                denoised_hwC = self._denoise_tile(oriented(tile_hwI, orientation))
                core_hwC = oriented_back(denoised_hwC, orientation)[core]
                yield columns, orientation, np.where(constant_hwC, 0, core_hwC), constant_hwC

    def _denoise_tile(self, noisy_HWI: np.ndarray) -> np.ndarray:
        """Denoises a padded tile of any number of channels; NaN marks constants."""
        channels = noisy_HWI.shape[-1] - planes_lib.num_shown(self.config)
        if channels == self.config.channels:
            return self._apply(noisy_HWI)
        noisy_HWC, planes_HWP = np.split(noisy_HWI, [channels], axis=-1)
        singles = np.split(noisy_HWC, channels, axis=-1)
        if self.config.channels > 1:
            singles = [np.repeat(single, self.config.channels, axis=-1) for single in singles]
        inputs = [np.concatenate([single, planes_HWP], axis=-1) for single in singles]
        denoised = [self._apply(each).mean(axis=-1, keepdims=True) for each in inputs]
        return np.concatenate(denoised, axis=-1)

    def _apply(self, noisy_HWI: np.ndarray) -> np.ndarray:
        """Applies the network to its number of channels; results at constants mean nothing."""
        constant_HWI = np.isnan(noisy_HWI)
        if constant_HWI.any():  # of captures, which have no planes
            filled_HWI = fill(noisy_HWI[None], constant_HWI)[0]
            far_HWI = far(constant_HWI, models.STAND_IN_DISTANCE)
            noisy_HWI = np.where(far_HWI, models.stand_in(self.config), filled_HWI)
        compiled, _ = _compiled(self.config, noisy_HWI.shape)
        return np.asarray(compiled(self.variables, noisy_HWI[None]))[0]

    @functools.cached_property
    def _geometry(self) -> tiles.Geometry:
        return models.geometry_of(self.config)

    def _fit_tiles(
        self, height: int, width: int, core: int, name: str
    ) -> tuple[int, tuple[int, int]]:
        """Returns the largest core up to `core` that fits into memory, and the shape of its tiles.

        Raises:
          UserError: none fits.
        """
        while True:
            shape = tiles.tile_shape(height, width, core, self._geometry)
            shown = self.config.channels + planes_lib.num_shown(self.config)
            _, needed = _compiled(self.config, (*shape, shown))
            available = device_memory.available_bytes()
            if needed <= _MEMORY_SHARE * available:
                return core, shape
            core = self._smaller_core(
                core,
                f'{name} ({width}x{height})',
                f'a tile needs {device_memory.readable(needed)} of memory, and '
                f'{device_memory.readable(available)} are free',
            )

    def _smaller_core(self, core: int, name: str, why: str) -> int:
        """Returns half of `core`, padded to the stride; raises UserError if tiles cannot shrink."""
        stride, halo = self._geometry.stride, self._geometry.halo
        if halo is None:
            raise UserError(
                f'{name} is too large: {why}. This network cannot work in tiles: cut the image '
                'into smaller ones.'
            )
        if core <= stride:
            raise UserError(f'{name} cannot be denoised even in the smallest tiles: {why}.')
        return tiles.padded(core // 2, stride)


@functools.lru_cache(maxsize=64)
def _compiled(config: ModelConfig, shape_HWC: tuple[int, ...]) -> tuple[Any, int]:
    """Returns the network compiled for one padded shape, and the bytes of memory it needs."""
    model = models.build(config)
    variables = jax.eval_shape(functools.partial(models.init, config), jax.random.key(0))
    image = jax.ShapeDtypeStruct((1, *shape_HWC), np.float32)
    compiled = jax.jit(model.apply).lower(variables, image).compile()
    return compiled, device_memory.program_bytes(compiled)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or bool(_OUT_OF_MEMORY.search(str(error)))

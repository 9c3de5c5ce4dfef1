"""A trained denoiser, ready to be used on images of any size.

B batch, H height, W width, C channels, O orientations. An h in place of H: some rows.
"""

import dataclasses
import functools
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import numpy as np

from n2n_jax import models
from n2n_jax.captures.measure.measured_part import far, fill
from n2n_jax.denoise import tiles
from n2n_jax.denoise.scale_check import ScaleCheck
from n2n_jax.images import image_io
from n2n_jax.images.pixel_range import PixelRange
from n2n_jax.models import weights
from n2n_jax.models.noise_units import NoiseUnits
from n2n_jax.runtime import memory
from n2n_jax.runtime.checkpoint import open_for_reading
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError

_log = logging.getLogger(__name__)

CORE = 1024  # largest side of what is denoised at once: with it, 1 GB for the paper's U-Net
_MEMORY_SHARE = 0.8  # of the free memory that the network may take
_OUT_OF_MEMORY = re.compile(r'RESOURCE_EXHAUSTED|out[ _]of[ _]memory', re.IGNORECASE)

Read = Callable[[int, int], np.ndarray]  # rows from, to -> (h, W, C) of an image


class Band(NamedTuple):
    """Some rows of a denoised image.

    Attributes:
      start: the first one.
      mean_hWC: float32 in the range of the network; NaN where nothing was measured.
      spread_hWC: standard deviation over the orientations, if asked for.
      constant_hWC: True where nothing was measured; None: all was.
    """

    start: int
    mean_hWC: np.ndarray
    spread_hWC: np.ndarray | None
    constant_hWC: np.ndarray | None = None


class _Sums:
    """What becomes of some rows, added up over captures and orientations.

    Args:
      rows: of the image.
      shape_hWC: of them.
      orientations: that each capture is seen in.
      spread: keep those apart.
    """

    def __init__(
        self,
        rows: tiles.Span,
        shape_hWC: tuple[int, int, int],
        orientations: Sequence[int],
        *,
        spread: bool,
    ) -> None:
        self._rows, self._orientations, self._spread = rows, orientations, spread
        self._sums_OhWC = np.zeros((len(orientations) if spread else 1, *shape_hWC), np.float32)
        self._lacking_hWC: np.ndarray | None = None  # captures that hold a constant there

    def add(self, columns: tiles.Span, orientation: int, core_hwC: np.ndarray) -> None:
        """Adds what the network answered."""
        place = orientation if self._spread else 0
        self._sums_OhWC[place, :, columns.start : columns.stop] += core_hwC

    def lacks(self, columns: tiles.Span, constant_hwC: np.ndarray) -> None:
        """Counts where a capture holds constants; what was added for it is 0 there."""
        if not constant_hwC.any():
            return
        if self._lacking_hWC is None:
            self._lacking_hWC = np.zeros(self._sums_OhWC.shape[1:], np.int32)
        self._lacking_hWC[:, columns.start : columns.stop] += constant_hwC

    def band(self, num_captures: int) -> Band:
        """The mean over those captures that measured a pixel."""
        sums_OhWC, lacking_hWC = self._sums_OhWC, self._lacking_hWC
        of_each = len(self._orientations) // len(sums_OhWC)
        constant_hWC = None
        if lacking_hWC is None:
            sums_OhWC /= np.float32(num_captures * of_each)
        else:
            constant_hWC = lacking_hWC == num_captures
            sums_OhWC /= np.float32(of_each) * np.maximum(num_captures - lacking_hWC, 1)
            sums_OhWC[:, constant_hWC] = np.nan
        if not self._spread:
            return Band(self._rows.start, sums_OhWC[0], None, constant_hWC)
        mean_hWC, spread_hWC = sums_OhWC.mean(axis=0), sums_OhWC.std(axis=0)
        return Band(self._rows.start, mean_hWC, spread_hWC, constant_hWC)


@dataclasses.dataclass(frozen=True)
class Denoiser:
    """Weights with the network they belong to.

    `denoiser(image)` takes and gives an array; `denoiser.restore(image_file)` an image as it lies
    on disk, with alpha and metadata. Large images are cut into tiles; the result is that of the
    whole.

    Attributes:
      config: the network's.
      variables: its weights.
      step: of the training they come from.
      core: largest side of a tile less its halo, in pixels, a multiple of the network's stride;
        where the memory is short it is halved.
    """

    config: ModelConfig
    variables: Any
    step: int
    core: int = CORE

    @classmethod
    def load(cls, run: str | Path) -> Self:
        """Loads the last checkpoint of a run; nothing but the folder is needed.

        Raises:
          UserError: the folder holds no whole checkpoint, or files of it are missing.
        """
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        try:
            with open_for_reading(Path(run)) as checkpoints:
                step = checkpoints.last_step
                variables = weights.shipped_variables(checkpoints, step, sharding)
                return cls(checkpoints.config(step).model, variables, step)
        except FileNotFoundError as error:
            raise UserError(
                f'{run} is not whole ({error}): if it is a copy, copy the run again.'
            ) from error

    def __call__(self, image: np.ndarray, *, tta: bool = False) -> np.ndarray:
        """Denoises an array: same shape and dtype.

        Args:
          image: (H, W) or (H, W, C). With as many channels as the model was trained on, all are
            denoised together. A gray or color model takes other numbers too, as `denoise` does;
            of 2 or 4 channels the last is then alpha, which is kept. In the units of the captures
            that the model was trained on; if it was trained on none, integers of 8 and 16 bits use
            their full range, and floats are in [0, 1], with noise beyond.
          tta: the mean over the 8 flips and rotations: a little better, 8 times as long.

        Raises:
          UserError: the shape, type or range does not fit, or the memory.
        """
        image = np.asarray(image)
        if image.ndim not in (2, 3) or not image.size:
            raise UserError(f'An image has shape (H, W) or (H, W, C), not {image.shape}.')
        channels = 1 if image.ndim == 2 else image.shape[-1]
        has_alpha = channels in (2, 4) and self.config.channels in (1, 3)
        return self._restored(image, channels - has_alpha, 'image', tta=tta)

    def restore(self, image: image_io.Picture, *, tta: bool = False) -> image_io.Picture:
        """Denoises an image file: same size, type, mode and metadata; alpha is kept.

        Raises:
          UserError: values that are not numbers or not in the range of the network, or the image
            needs more memory than there is.
        """
        num_colors = 3 if image.mode.startswith('rgb') else 1
        pixels = self._restored(image.pixels, num_colors, str(image.path), tta=tta)
        return dataclasses.replace(image, pixels=pixels)

    def _restored(self, pixels: np.ndarray, num_colors: int, name: str, *, tta: bool) -> np.ndarray:
        """(H, W) or (H, W, C), of which the first `num_colors` channels are denoised."""
        scale = self.pixel_range(pixels.dtype, name)
        pixels_HWC = pixels.reshape(*pixels.shape[:2], -1).copy()
        color_HWC = pixels_HWC[..., :num_colors]
        scale.check(color_HWC, name=name)
        if warning := self.doubt(color_HWC, name):
            _log.warning('%s', warning)
        noisy_HWC = scale.to_network(color_HWC)
        denoised_HWC = self.denoise(noisy_HWC, name=name, tta=tta)
        constant_HWC = np.isnan(noisy_HWC) if scale.constants else None
        color_HWC[...] = scale.to_pixels(
            denoised_HWC, name=name, original=color_HWC, constant=constant_HWC
        )
        return pixels_HWC.reshape(pixels.shape)

    def denoise(
        self, noisy_HWC: np.ndarray, *, name: str = 'image', tta: bool = False
    ) -> np.ndarray:
        """Denoises (H, W, C) float32 in the range of the network to the same, not clipped.

        NaN, which stands for constants in place of measurements, stays NaN.

        A network sees as many channels as it was trained on together. A color network sees any
        other number one by one: as three equal channels, whose answers are averaged. A gray network
        sees all channels one by one.
        """
        bands = self.bands(
            noisy_HWC.shape, [lambda start, stop: noisy_HWC[start:stop]], name=name, tta=tta
        )
        return np.concatenate([band.mean_hWC for band in bands])

    def pixel_range(self, dtype: np.dtype, name: str) -> PixelRange:
        """What pixels of a type are to the network; errors as `PixelRange.of`."""
        return PixelRange.of(dtype, self.config, name=name)

    def scale_check(self, dtype: np.dtype, name: str) -> ScaleCheck:
        """A check that pixels of a type are on the scale that the model was trained on."""
        units, scale = NoiseUnits.of(self.config), self.pixel_range(dtype, name)
        noise = 0.0 if units is None else min(units.noise) * abs(scale.white - scale.black)
        return ScaleCheck(scale, noise=noise)

    def doubt(self, pixels_HWC: np.ndarray, name: str) -> str:
        """Why a stored image may not be what the model is for; '' if nothing says so."""
        check = self.scale_check(pixels_HWC.dtype, name)
        check.add(pixels_HWC)
        return check.warning(name)

    def bands(
        self,
        shape_HWC: tuple[int, int, int],
        reads: Sequence[Read],
        *,
        to_network: Callable[[np.ndarray], np.ndarray] = lambda pixels: pixels,
        tta: bool = False,
        spread: bool = False,
        name: str = 'image',
        on_pixels: Callable[[int], None] = lambda count: None,
    ) -> Iterator[Band]:
        """Denoises an image that need not fit into the memory, from the top to the bottom.

        Args:
          shape_HWC: of the image.
          reads: give rows of it as they are stored; of several captures, the results are averaged,
            over those that hold no constant where the others were measured.
          to_network: brings what they give to the range of the network.
          tta: average over the 8 flips and rotations of the image, padded as the network does it.
          spread: find the standard deviation over them too.
          name: for messages.
          on_pixels: told after each tile how many pixels (H * W of each read) it had.

        Raises:
          UserError: not even the smallest tile fits into the memory, or the number of channels is
            not that of the network.
        """
        height, width, channels = shape_HWC
        if self.config.channels not in (1, 3, channels):
            raise UserError(
                f'{name} has {channels} channel{"s" * (channels > 1)}, and the model was trained '
                f'on {self.config.channels}.'
            )
        orientations = tiles.ORIENTATIONS if tta else range(1)
        core, done = self.core, 0
        while done < height:
            core, (tile_h, tile_w) = self._fitting(height, width, core, name)
            try:
                for rows in tiles.spans(height, tile_h, self._geometry):
                    if rows.stop <= done:
                        continue
                    rows = dataclasses.replace(rows, start=max(rows.start, done))
                    shape_hWC = rows.stop - rows.start, width, channels
                    sums = _Sums(rows, shape_hWC, orientations, spread=spread)
                    for read in reads:
                        part = self._answers(
                            (height, width), rows, tile_h, tile_w, read, to_network, orientations
                        )
                        for columns, orientation, core_hwC, constant_hwC in part:
                            sums.add(columns, orientation, core_hwC)
                            if orientation == orientations[-1]:
                                sums.lacks(columns, constant_hwC)
                                on_pixels(core_hwC.shape[0] * core_hwC.shape[1])
                    done = rows.stop
                    yield sums.band(len(reads))
            except (MemoryError, jax.errors.JaxRuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                core = self._halved(core, name, str(error).splitlines()[0])

    def _answers(
        self,
        size: tuple[int, int],
        rows: tiles.Span,
        tile_h: int,
        tile_w: int,
        read: Read,
        to_network: Callable[[np.ndarray], np.ndarray],
        orientations: Sequence[int],
    ) -> Iterator[tuple[tiles.Span, int, np.ndarray, np.ndarray]]:
        """Denoised cores of a row of tiles, by columns and orientation; and where constants are."""
        stride = self._geometry.stride
        row_of, column_of = (tiles.reflected(length, stride) for length in size)
        wanted = row_of[rows.origin : rows.origin + tile_h]
        first = int(wanted.min())
        pixels_hWC = read(first, int(wanted.max()) + 1)
        for columns in tiles.spans(size[1], tile_w, self._geometry):
            across = column_of[columns.origin : columns.origin + tile_w]
            tile_hwC = to_network(pixels_hWC[np.ix_(wanted - first, across)])
            core = (
                slice(rows.start - rows.origin, rows.stop - rows.origin),
                slice(columns.start - columns.origin, columns.stop - columns.origin),
            )
            constant_hwC = np.isnan(tile_hwC[core])
            for orientation in orientations:
                answer_hwC = self._see(tiles.oriented(tile_hwC, orientation))
                core_hwC = tiles.put_back(answer_hwC, orientation)[core]
                yield columns, orientation, np.where(constant_hwC, 0, core_hwC), constant_hwC

    def _see(self, noisy_HWC: np.ndarray) -> np.ndarray:
        """The network on a padded tile of any number of channels, NaN for constants."""
        channels = noisy_HWC.shape[-1]
        if channels == self.config.channels:
            return self._apply(noisy_HWC)
        planes = np.split(noisy_HWC, channels, axis=-1)
        if self.config.channels > 1:
            planes = [np.repeat(plane, self.config.channels, axis=-1) for plane in planes]
        answers = [self._apply(plane).mean(axis=-1, keepdims=True) for plane in planes]
        return np.concatenate(answers, axis=-1)

    def _apply(self, noisy_HWC: np.ndarray) -> np.ndarray:
        """The network on as many channels as it has; its answers at constants mean nothing."""
        constant_HWC = np.isnan(noisy_HWC)
        if constant_HWC.any():
            filled_HWC = fill(noisy_HWC[None], constant_HWC)[0]
            far_HWC = far(constant_HWC, models.STAND_IN_DISTANCE)
            noisy_HWC = np.where(far_HWC, models.stand_in(self.config), filled_HWC)
        compiled, _ = _compiled(self.config, noisy_HWC.shape)
        return np.asarray(compiled(self.variables, noisy_HWC[None]))[0]

    @functools.cached_property
    def _geometry(self) -> tiles.Geometry:
        return models.geometry_of(self.config)

    def _fitting(
        self, height: int, width: int, core: int, name: str
    ) -> tuple[int, tuple[int, int]]:
        """The largest core up to `core` for which the memory is enough, and the tiles' shape."""
        while True:
            shape = tiles.tile_shape(height, width, core, self._geometry)
            _, needed = _compiled(self.config, (*shape, self.config.channels))
            available = memory.available_bytes()
            if needed <= _MEMORY_SHARE * available:
                return core, shape
            core = self._halved(
                core,
                f'{name} ({width}x{height})',
                f'{memory.readable(needed)} of memory are needed at once, and '
                f'{memory.readable(available)} are free',
            )

    def _halved(self, core: int, name: str, why: str) -> int:
        stride, halo = self._geometry.stride, self._geometry.halo
        if halo is None:
            raise UserError(
                f'{name} is too large: {why}. This network needs all of an image at once: cut it '
                'into smaller ones.'
            )
        if core <= stride:
            raise UserError(f'{name} cannot be denoised, not even in small tiles: {why}.')
        return tiles.padded(core // 2, stride)


@functools.lru_cache(maxsize=64)
def _compiled(config: ModelConfig, shape_HWC: tuple[int, ...]) -> tuple[Any, int]:
    """The network for one size of a padded image, and the bytes it takes to run it."""
    model = models.build(config)
    variables = jax.eval_shape(functools.partial(models.init, config), jax.random.key(0))
    image = jax.ShapeDtypeStruct((1, *shape_HWC), np.float32)
    compiled = jax.jit(model.apply).lower(variables, image).compile()
    return compiled, memory.program_bytes(compiled)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or bool(_OUT_OF_MEMORY.search(str(error)))

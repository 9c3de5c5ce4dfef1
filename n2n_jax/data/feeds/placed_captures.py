"""Captures laid out one after the other in the device's memory.

S scenes, N captures of a scene, H height, W width, C channels, P pixels of all captures, Q pixels
of one capture of each scene.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np

from n2n_jax.data.feeds.base import MAX_DEVICE_PIXELS
from n2n_jax.runtime import device_memory
from n2n_jax.runtime.device_memory import readable
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import Layout

_ALIGNED = 64  # bytes; an array aligned to this is used by a CPU device without a copy


@dataclasses.dataclass(frozen=True)
class PlacedCaptures:
    """Captures on the device, and where each lies. `place` makes it; `str` says how much there is.

    Attributes:
      arrays: 'pixels' (P, C) float32 of all captures; 'sums' (Q, C) float32 of each scene's
        captures, unless the pairing is '1:1'; 'masks' uint8, if there are any.
      pairing: '1:1', '1:X' (the target is the mean of the other captures) or 'X:1' (the input is).
      mask_of_scene: whether a mask holds for all captures of its scene.
      sizes_S2: height and width of each scene.
      num_captures_S: number of captures of each scene.
      first_pixel_S: position of each scene in 'pixels'.
      first_of_sum_S: position of each scene in 'sums' and in masks of scenes.
    """

    arrays: dict[str, jax.Array]
    pairing: str
    mask_of_scene: bool
    sizes_S2: np.ndarray
    num_captures_S: np.ndarray
    first_pixel_S: np.ndarray
    first_of_sum_S: np.ndarray

    def __str__(self) -> str:
        num = len(self.sizes_S2)
        low, high = self.num_captures_S.min(), self.num_captures_S.max()
        captures = str(low) if low == high else f'{low} to {high}'
        size = readable(sum(array.nbytes for array in self.arrays.values()))
        return f'{num} scene{"s" * (num > 1)} of {captures} captures, {size},'


def place(
    scenes: Sequence[np.ndarray],
    layout: Layout,
    *,
    pairing: str,
    masks: Sequence[np.ndarray] | None = None,
    write: Callable[[int, np.ndarray], object] | None = None,
) -> PlacedCaptures:
    """Places captures on the device.

    Args:
      scenes: captures of each scene, (N, H, W, C), with sides of at least the crop; float32 in the
        network's range, or of any type if `write` is given.
      layout: how arrays are placed on devices.
      pairing: see `PlacedCaptures`.
      masks: uint8, 1 where a value was observed, else 0: (H, W, C) for each scene, or (N, H, W, C)
        with one mask for each capture.
      write: called with s and an array (N, H, W, C), fills it with scene s in the network's range;
        avoids a second float32 copy of the captures in memory.

    Raises:
      UserError: the captures do not fit on a device.
    """
    mask_of_scene = masks is not None and masks[0].ndim == 3
    if masks is not None and pairing != '1:1' and not mask_of_scene:
        masks = [mask.min(axis=0) for mask in masks]  # a mean is observed where all captures are
    num_captures_S = np.array([len(scene) for scene in scenes])
    sizes_S2 = np.array([scene.shape[1:3] for scene in scenes])
    areas_S = sizes_S2.prod(axis=1)
    pixels_S = num_captures_S * areas_S
    first_pixel_S = np.cumsum(pixels_S) - pixels_S
    first_of_sum_S = np.cumsum(areas_S) - areas_S
    num_pixels, num_sums = int(pixels_S.sum()), 0 if pairing == '1:1' else int(areas_S.sum())
    channels = scenes[0].shape[-1]
    num_bytes = 4 * channels * (num_pixels + num_sums) + sum(mask.size for mask in masks or ())
    _check_fits(num_pixels, num_bytes)

    pixels_PC, sums_QC = _aligned((num_pixels, channels)), _aligned((num_sums, channels))
    for s, scene in enumerate(scenes):
        captures_NHWC = pixels_PC[first_pixel_S[s] :][: pixels_S[s]].reshape(scene.shape)
        if write is None:
            np.copyto(captures_NHWC, scene)
        else:
            write(s, captures_NHWC)
        if num_sums:
            sum_HWC = sums_QC[first_of_sum_S[s] :][: areas_S[s]].reshape(scene.shape[1:])
            captures_NHWC.sum(axis=0, out=sum_HWC)
    arrays = {'pixels': layout.place(pixels_PC, batch_axis=None)}
    if num_sums:
        arrays['sums'] = layout.place(sums_QC, batch_axis=None)
    if masks is not None:
        masks_PC = np.concatenate([mask.reshape(-1, channels) for mask in masks])
        arrays['masks'] = layout.place(masks_PC, batch_axis=None)
    return PlacedCaptures(
        arrays, pairing, mask_of_scene, sizes_S2, num_captures_S, first_pixel_S, first_of_sum_S
    )


def _check_fits(num_pixels: int, num_bytes: int) -> None:
    if num_pixels > MAX_DEVICE_PIXELS or num_bytes > device_memory.device_bytes():
        raise UserError(
            f'The captures take {readable(num_bytes)} for {num_pixels} pixels; a device '
            f'has {readable(device_memory.device_bytes())} and holds at most '
            f'{MAX_DEVICE_PIXELS} pixels: train on part of them.'
        )


def _aligned(shape: tuple[int, int]) -> np.ndarray:
    """Returns uninitialized float32 aligned for a CPU device; NumPy aligns only to 16 bytes."""
    num_bytes = 4 * shape[0] * shape[1]
    raw = np.empty(num_bytes + _ALIGNED, np.uint8)
    start = -raw.ctypes.data % _ALIGNED
    return raw[start : start + num_bytes].view(np.float32).reshape(shape)

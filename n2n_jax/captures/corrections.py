"""Corrections applied to captures before training: brightness and shift.

N captures of the scene, H height, W width, C channels.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from n2n_jax.captures.measure import brightness, registration
from n2n_jax.captures.measure.measured_part import fill, measured_part
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.images import constant_areas
from n2n_jax.images.channel_names import channel_names
from n2n_jax.runtime.errors import UserError, did_you_mean
from n2n_jax.runtime.registry import Registry

_MOST_ROUNDS = 3
_NEGLIGIBLE = 0.05  # pixels, the largest shift that needs no cropping
_LARGEST_SHIFT = 0.25  # of a side; more would crop away too much
_LARGEST_VALUE = 1e37
_MARGIN = 32  # pixels of mirror padding, as the Fourier transform is periodic


@dataclasses.dataclass(frozen=True)
class Corrected:
    """A corrected scene.

    Attributes:
      scene: its captures, float32 in their original units; unchanged if nothing was wrong.
      change: description of what was changed; '' if nothing was.
    """

    scene: SceneCaptures
    change: str = ''


def _measured(scene: SceneCaptures) -> np.ndarray:
    """Returns the captures without borders and other constants."""
    return measured_part(scene.captures_NHWC, scene.measured_HWC).captures_NHWC


def match_gain(scene: SceneCaptures) -> Corrected:
    """Brings all captures to their mean brightness, if gains or offsets differ significantly.

    Colors that differ are matched separately; if none does by itself, all are matched together.
    Borders and other constants are kept.
    """
    x = scene.captures_NHWC
    found = brightness.compare_channels(_measured(scene))
    if not found.differs:
        return Corrected(scene)
    of_channels = found.to_match()
    constant_HWC, areas = constant_areas.find(x)
    matched_NHWC = brightness.match(fill(x, constant_HWC) if areas else x, of_channels)
    _restore_constants(matched_NHWC, constant_HWC, areas)
    values = '; '.join(
        f'{name}{" " * bool(name)}{_format_gains(one)}'
        for name, one in _by_channel_name(of_channels)
        if (one.gain_N != 1).any() or one.offset_N.any()
    )
    matched = dataclasses.replace(scene, captures_NHWC=matched_NHWC)
    return Corrected(matched, f'gains and offsets of {values} matched')


def _by_channel_name(
    of_channels: Sequence[brightness.Brightness],
) -> list[tuple[str, brightness.Brightness]]:
    """Pairs each brightness with its channel's name; '' for one that all channels share."""
    if all(one is of_channels[0] for one in of_channels):
        return [('', of_channels[0])]
    return list(zip(channel_names(len(of_channels)), of_channels, strict=True))


def _format_gains(found: brightness.Brightness) -> str:
    return ', '.join(
        f'{gain:.3f} and {offset:+.3g}'
        for gain, offset in zip(found.gain_N, found.offset_N, strict=True)
    )


def _restore_constants(
    captures_NHWC: np.ndarray, constant_HWC: np.ndarray, areas: Sequence[constant_areas.Area]
) -> None:
    """Writes the constant of the largest area of each channel where the mask is True, in place."""
    ends = np.finfo(captures_NHWC.dtype)
    for area in reversed(areas):  # the largest last
        value = float(np.clip(area.value, ends.min, ends.max))  # keeps NaN
        captures_NHWC[:, constant_HWC[..., area.channel], area.channel] = value


def undo_shift(scene: SceneCaptures) -> Corrected:
    """Moves all captures to their mean position, if shifted, and crops the border that is lost.

    Uses a phase ramp in Fourier space: unlike interpolation it keeps white noise white, so the
    training data have the noise of the images to denoise. Borders and other constants are excluded;
    afterwards they cover all pixels that they cover in any capture.

    Raises:
      UserError: a shift exceeds a quarter of a side.
    """
    x = scene.captures_NHWC
    part_NHWC = _measured(scene)
    position_N2 = np.zeros((len(x), 2))  # relative to the mean position of all captures
    for _ in range(_MOST_ROUNDS):  # repeated because large shifts blur the mean of the others
        found = registration.register(_move_all(part_NHWC, -position_N2))
        if not any(shift.significant() for shift in found):
            break
        # Shifts are relative to the mean of the other captures, not of all.
        position_N2 += np.stack([shift.pixels_2 for shift in found]) * (len(x) - 1) / len(x)
        _check_size(scene, position_N2)
    if not position_N2.any():
        return Corrected(scene)
    constant_HWC, areas = constant_areas.find(x)
    moved_NHWC = _move_all(fill(x, constant_HWC) if areas else x, -position_N2)
    if areas:
        copies_NHWC = np.broadcast_to(constant_HWC, x.shape)
        constant_HWC = _crop(_move_mask(copies_NHWC, -position_N2)[None], position_N2)[0]
        _restore_constants(moved_NHWC, constant_HWC, areas)
    shifts = ', '.join(f'({down:+.2f}, {across:+.2f})' for down, across in position_N2)
    measured_HWC = scene.measured_HWC
    if measured_HWC is not None:
        masks_NHWC = np.broadcast_to(~measured_HWC, x.shape)
        measured_HWC = ~_crop(_move_mask(masks_NHWC, -position_N2)[None], position_N2)[0]
    moved = dataclasses.replace(scene, captures_NHWC=moved_NHWC, measured_HWC=measured_HWC)
    return Corrected(moved, f'shifts of {shifts} px (down, across) undone')


def _move_mask(mask_NHWC: np.ndarray, by_N2: np.ndarray) -> np.ndarray:
    """Returns True where masked pixels contribute to any moved capture, (H, W, C)."""
    touched = [
        ndimage.shift(mask_HWC.astype(np.float32), (*by_2, 0), order=1, mode='nearest') > 0
        for mask_HWC, by_2 in zip(mask_NHWC, by_N2, strict=True)
    ]
    return np.any(touched, axis=0)


def center_crop(image_HWC: np.ndarray, *, like: np.ndarray) -> np.ndarray:
    """Crops an image to the height and width of `like`, as `undo_shift` crops captures."""
    top, left = ((a - b) // 2 for a, b in zip(image_HWC.shape, like.shape[:2], strict=False))
    return image_HWC[top : top + like.shape[0], left : left + like.shape[1]]


def _check_size(scene: SceneCaptures, position_N2: np.ndarray) -> None:
    h, w = scene.captures_NHWC.shape[1:3]
    down, across = np.abs(position_N2).max(axis=0)
    if down > _LARGEST_SHIFT * h or across > _LARGEST_SHIFT * w:
        raise UserError(
            f'{scene.name}: captures of {w}x{h} pixels are shifted by {across:.0f} px across and '
            f'{down:.0f} px down, too much to be undone: crop them to the area they share.'
        )


def _move_all(captures_NHWC: np.ndarray, by_N2: np.ndarray) -> np.ndarray:
    """Moves each capture, and crops all to the area that none of them lost."""
    moved = np.stack([move(x_HWC, by_2) for x_HWC, by_2 in zip(captures_NHWC, by_N2, strict=True)])
    return _crop(moved, by_N2)


def _crop(captures_NHWC: np.ndarray, by_N2: np.ndarray) -> np.ndarray:
    """Crops the border that the largest shift moves in from outside."""
    down, across = (int(np.ceil(part - _NEGLIGIBLE)) for part in np.abs(by_N2).max(axis=0))
    h, w = captures_NHWC.shape[1:3]
    return captures_NHWC[:, down : h - down, across : w - across]


def move(image_HWC: np.ndarray, by_2: np.ndarray) -> np.ndarray:
    """Moves an image by (down, across) pixels, fractions included; returns float32."""
    sides = image_HWC.shape[:2]
    margins = [min(_MARGIN, side - 1) for side in sides]
    # Padded to odd sides, which have no Nyquist frequency: a half-pixel shift would lose it.
    widths = [(m, m + (side + 1) % 2) for m, side in zip(margins, sides, strict=True)]
    padded = np.pad(image_HWC.astype(np.float64), [*widths, (0, 0)], mode='symmetric')
    spectrum = np.fft.rfft2(padded, axes=(0, 1))
    moved_spectrum = ndimage.fourier_shift(spectrum, (*by_2, 0), n=padded.shape[1], axis=1)
    moved = np.fft.irfft2(moved_spectrum, s=padded.shape[:2], axes=(0, 1))
    rows, columns = (slice(m, m + side) for m, side in zip(margins, sides, strict=True))
    return moved[rows, columns].astype(np.float32)


def _check_values(scene: SceneCaptures) -> None:
    x = _measured(scene)
    largest = max(abs(float(x.max(initial=0))), abs(float(x.min(initial=0))))
    if largest > _LARGEST_VALUE:
        raise UserError(
            f'{scene.name} holds values of {largest:.2g}, too large for --fix: divide all captures '
            'by the same number.'
        )


REGISTRY: Registry[Callable[[SceneCaptures], Corrected]] = Registry(
    'correction',
    {
        'shift': undo_shift,
        'gain': match_gain,
    },
    takes='a function of SceneCaptures',
)


def parse(text: str) -> list[str]:
    """Parses 'gain,shift' into names, in the order in which they are applied.

    Raises:
      UserError: an unknown name.
    """
    names = [name.strip() for name in text.split(',') if name.strip()]
    for name in names:
        if name not in REGISTRY:
            raise UserError(f"Unknown fix '{name}'. {did_you_mean(name, REGISTRY)}")
    return [name for name in REGISTRY if name in names]


def fix(scenes: Sequence[SceneCaptures], text: str) -> tuple[list[SceneCaptures], list[str]]:
    """Applies corrections to every scene.

    Args:
      scenes: as read.
      text: names of the corrections, such as 'gain,shift'.

    Returns:
      The scenes, and a sentence per correction of a scene.

    Raises:
      UserError: an unknown fix; values too large for float32, the type of corrected captures.
    """
    names = parse(text)
    fixed, sentences = [], []
    for scene in scenes:
        if names:
            _check_values(scene)
        for name in names:
            result = REGISTRY[name](scene)
            scene = result.scene
            if result.change:
                sentences.append(f'{scene.name}: {result.change}.')
        fixed.append(scene)
    return fixed, sentences

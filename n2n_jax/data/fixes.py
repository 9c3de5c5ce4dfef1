"""What can be put right in captures before they are trained on: brightness and position.

N captures of the scene, H height, W width, C channels.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from n2n_jax import brightness, registration
from n2n_jax.config import CapturesConfig
from n2n_jax.data import own_captures
from n2n_jax.data.own_captures import SceneCaptures
from n2n_jax.errors import UserError, did_you_mean

_MOST_ROUNDS = 3
_NEGLIGIBLE = 0.05  # pixels, for which no border is cut off
_LARGEST_SHIFT = 0.25  # of a side, that can be undone: the rest is cut off
_MARGIN = 32  # pixels mirrored around an image, which the Fourier transform takes to be periodic


@dataclasses.dataclass(frozen=True)
class Fixed:
    """A scene put right.

    Attributes:
      scene: its captures, float32 in the units they had; unchanged if nothing was wrong.
      done: what was changed, in words; '' if nothing.
    """

    scene: SceneCaptures
    done: str = ''


def match_gain(scene: SceneCaptures) -> Fixed:
    """Brings all captures to the mean brightness, if their gains or offsets differ."""
    x = scene.captures_NHWC
    found = brightness.compare(x)
    if not found.differs:
        return Fixed(scene)
    words = ', '.join(
        f'{gain:.3f} and {offset:+.3g}'
        for gain, offset in zip(found.gain_N, found.offset_N, strict=True)
    )
    matched = dataclasses.replace(scene, captures_NHWC=brightness.match(x, found))
    return Fixed(matched, f'gains and offsets of {words} matched')


def undo_shift(scene: SceneCaptures) -> Fixed:
    """Moves all captures to their mean position, if they are shifted; cuts off what is lost.

    By a phase ramp of the Fourier transform: unlike interpolation it keeps white noise white, so
    that what is trained on has the noise of what will be denoised.

    Raises:
      UserError: a shift of more than a quarter of a side.
    """
    x = scene.captures_NHWC
    position_N2 = np.zeros((len(x), 2))  # of each capture against the mean position of all
    for _ in range(_MOST_ROUNDS):  # a large shift blurs what the others are compared with
        found = registration.register(_moved(x, -position_N2))
        if not any(shift.significant() for shift in found):
            break
        # Against the mean of the others, of which there is one fewer.
        position_N2 += np.stack([shift.pixels_2 for shift in found]) * (len(x) - 1) / len(x)
        _check_size(scene, position_N2)
    if not position_N2.any():
        return Fixed(scene)
    words = ', '.join(f'({down:+.2f}, {across:+.2f})' for down, across in position_N2)
    moved_NHWC = _moved(x, -position_N2)
    mask_HWC = scene.measured_HWC
    if mask_HWC is not None:  # a pixel is measured if it was in all captures
        down, across = (2 * int(np.ceil(part)) + 1 for part in np.abs(position_N2).max(axis=0))
        mask_HWC = ndimage.minimum_filter(mask_HWC, (down, across, 1))
        mask_HWC = middle(mask_HWC, like=moved_NHWC[0])
    moved = dataclasses.replace(scene, captures_NHWC=moved_NHWC, measured_HWC=mask_HWC)
    return Fixed(moved, f'shifts of {words} px (down, across) undone')


def middle(image_HWC: np.ndarray, *, like: np.ndarray) -> np.ndarray:
    """What is left of an image where `undo_shift` cut the border off captures."""
    top, left = ((a - b) // 2 for a, b in zip(image_HWC.shape, like.shape[:2], strict=False))
    return image_HWC[top : top + like.shape[0], left : left + like.shape[1]]


def _check_size(scene: SceneCaptures, position_N2: np.ndarray) -> None:
    h, w = scene.captures_NHWC.shape[1:3]
    down, across = np.abs(position_N2).max(axis=0)
    if down > _LARGEST_SHIFT * h or across > _LARGEST_SHIFT * w:
        raise UserError(
            f'{scene.name}: captures are shifted by {across:.0f} px across and {down:.0f} px down '
            f'in {w}x{h}, too much to be undone: cut them to what they share.'
        )


def _moved(captures_NHWC: np.ndarray, by_N2: np.ndarray) -> np.ndarray:
    """Each capture moved, and what was moved in from outside cut off of all."""
    down, across = (int(np.ceil(part - _NEGLIGIBLE)) for part in np.abs(by_N2).max(axis=0))
    h, w = captures_NHWC.shape[1:3]
    moved = np.stack([move(x_HWC, by_2) for x_HWC, by_2 in zip(captures_NHWC, by_N2, strict=True)])
    return moved[:, down : h - down, across : w - across]


def move(image_HWC: np.ndarray, by_2: np.ndarray) -> np.ndarray:
    """The image moved by so many pixels down and across, parts of a pixel too; float32."""
    sides = image_HWC.shape[:2]
    margins = [min(_MARGIN, side - 1) for side in sides]
    # To odd sides, which have no Nyquist frequency: half a pixel would lose it.
    widths = [(m, m + (side + 1) % 2) for m, side in zip(margins, sides, strict=True)]
    padded = np.pad(image_HWC.astype(np.float64), [*widths, (0, 0)], mode='symmetric')
    h, w, _ = padded.shape
    phase_HW = by_2[0] * np.fft.fftfreq(h)[:, None] + by_2[1] * np.fft.rfftfreq(w)
    spectrum = np.fft.rfft2(padded, axes=(0, 1)) * np.exp(-2j * np.pi * phase_HW)[..., None]
    moved = np.fft.irfft2(spectrum, s=(h, w), axes=(0, 1))
    rows, columns = (slice(m, m + side) for m, side in zip(margins, sides, strict=True))
    return moved[rows, columns].astype(np.float32)


REGISTRY: dict[str, Callable[[SceneCaptures], Fixed]] = {'shift': undo_shift, 'gain': match_gain}


def parse(text: str) -> list[str]:
    """'gain,shift' -> the names in the order in which they are applied.

    Raises:
      UserError: an unknown name.
    """
    names = [name.strip() for name in text.split(',') if name.strip()]
    for name in names:
        if name not in REGISTRY:
            raise UserError(f"Unknown fix '{name}'. {did_you_mean(name, REGISTRY)}")
    return [name for name in REGISTRY if name in names]


@dataclasses.dataclass(frozen=True)
class Loaded:
    """The captures that a config names.

    Attributes:
      raw: as they were read, without copies.
      fixed: put right as the config says.
      done: what was left out and what was changed, a sentence each.
    """

    raw: list[SceneCaptures]
    fixed: list[SceneCaptures]
    done: list[str]


def load(config: CapturesConfig) -> Loaded:
    """Reads captures, leaves out copies and puts right what the config asks for.

    Raises:
      UserError: see `own_captures.load`; all captures of a scene are copies; an unknown fix.
    """
    parse(config.fix)
    raw, copies = own_captures.without_copies(own_captures.load(config))
    fixed, changed = fix(raw, config.fix)
    return Loaded(raw, fixed, [f'Not used: {copy}.' for copy in copies] + changed)


def fix(scenes: Sequence[SceneCaptures], text: str) -> tuple[list[SceneCaptures], list[str]]:
    """Applies 'gain,shift' to every scene.

    Returns:
      The scenes, and what was done, a sentence per scene that was changed.
    """
    fixed, sentences = [], []
    for scene in scenes:
        for name in parse(text):
            result = REGISTRY[name](scene)
            scene = result.scene
            if result.done:
                sentences.append(f'{scene.name}: {result.done}.')
        fixed.append(scene)
    return fixed, sentences

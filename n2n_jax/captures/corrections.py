"""What can be put right in captures before they are trained on: brightness and position.

N captures of the scene, H height, W width, C channels.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from n2n_jax.captures import scene_captures
from n2n_jax.captures.find import Scene
from n2n_jax.captures.measure import brightness, regions, registration
from n2n_jax.captures.measure.measured_part import fill, measured_part
from n2n_jax.captures.measure.near_copies import near_copies, single_capture_noise
from n2n_jax.captures.measure.noise_model import mean_squares
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.images import constant_areas
from n2n_jax.images.channel_names import channel_names
from n2n_jax.runtime.config import CapturesConfig
from n2n_jax.runtime.errors import UserError, did_you_mean

_MOST_ROUNDS = 3
_NEGLIGIBLE = 0.05  # pixels, for which no border is cut off
_LARGEST_SHIFT = 0.25  # of a side, that can be undone: the rest is cut off
_LARGEST_VALUE = 1e37
_LOSSY = ('.jpg', '.jpeg', '.webp')  # files that lose some of the noise
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


def _part(scene: SceneCaptures) -> np.ndarray:
    """The captures without borders and other constants."""
    return measured_part(scene.captures_NHWC, scene.measured_HWC).captures_NHWC


def match_gain(scene: SceneCaptures) -> Fixed:
    """Brings all captures to the mean brightness, if their gains or offsets differ.

    Of colors, those that differ each by itself; all alike if none does so by itself. Borders and
    other constants are left as they are.
    """
    x = scene.captures_NHWC
    found = brightness.compare_channels(_part(scene))
    if not found.differs:
        return Fixed(scene)
    of_channels = found.to_match()
    constant_HWC, areas = constant_areas.find(x)
    matched_NHWC = brightness.match(fill(x, constant_HWC) if areas else x, of_channels)
    _put_back(matched_NHWC, constant_HWC, areas)
    words = '; '.join(
        f'{name}{" " * bool(name)}{_gains(one)}'
        for name, one in _named(of_channels)
        if (one.gain_N != 1).any() or one.offset_N.any()
    )
    fixed = dataclasses.replace(scene, captures_NHWC=matched_NHWC)
    return Fixed(fixed, f'gains and offsets of {words} matched')


def _named(of_channels: Sequence[brightness.Brightness]) -> list[tuple[str, brightness.Brightness]]:
    """With the channel's name; '' of what is the same for all."""
    if all(one is of_channels[0] for one in of_channels):
        return [('', of_channels[0])]
    return list(zip(channel_names(len(of_channels)), of_channels, strict=True))


def _gains(found: brightness.Brightness) -> str:
    return ', '.join(
        f'{gain:.3f} and {offset:+.3g}'
        for gain, offset in zip(found.gain_N, found.offset_N, strict=True)
    )


def _put_back(
    captures_NHWC: np.ndarray, constant_HWC: np.ndarray, areas: Sequence[constant_areas.Area]
) -> None:
    """Writes the constant of each channel, that of its largest area, where the mask is True."""
    ends = np.finfo(captures_NHWC.dtype)
    for area in reversed(areas):  # the largest last
        value = float(np.clip(area.value, ends.min, ends.max))  # NaN stays
        captures_NHWC[:, constant_HWC[..., area.channel], area.channel] = value


def undo_shift(scene: SceneCaptures) -> Fixed:
    """Moves all captures to their mean position, if they are shifted; cuts off what is lost.

    By a phase ramp of the Fourier transform: unlike interpolation it keeps white noise white, so
    that what is trained on has the noise of what will be denoised. Borders and other constants are
    left out of it, and cover what they cover in any capture.

    Raises:
      UserError: a shift of more than a quarter of a side.
    """
    x = scene.captures_NHWC
    part_NHWC = _part(scene)
    position_N2 = np.zeros((len(x), 2))  # of each capture against the mean position of all
    for _ in range(_MOST_ROUNDS):  # a large shift blurs what the others are compared with
        found = registration.register(_moved(part_NHWC, -position_N2))
        if not any(shift.significant() for shift in found):
            break
        # Against the mean of the others, of which there is one fewer.
        position_N2 += np.stack([shift.pixels_2 for shift in found]) * (len(x) - 1) / len(x)
        _check_size(scene, position_N2)
    if not position_N2.any():
        return Fixed(scene)
    constant_HWC, areas = constant_areas.find(x)
    moved_NHWC = _moved(fill(x, constant_HWC) if areas else x, -position_N2)
    if areas:
        copies_NHWC = np.broadcast_to(constant_HWC, x.shape)
        constant_HWC = _cut(_mask_moved(copies_NHWC, -position_N2)[None], position_N2)[0]
        _put_back(moved_NHWC, constant_HWC, areas)
    words = ', '.join(f'({down:+.2f}, {across:+.2f})' for down, across in position_N2)
    measured_HWC = scene.measured_HWC
    if measured_HWC is not None:
        masks_NHWC = np.broadcast_to(~measured_HWC, x.shape)
        measured_HWC = ~_cut(_mask_moved(masks_NHWC, -position_N2)[None], position_N2)[0]
    fixed = dataclasses.replace(scene, captures_NHWC=moved_NHWC, measured_HWC=measured_HWC)
    return Fixed(fixed, f'shifts of {words} px (down, across) undone')


def _mask_moved(mask_NHWC: np.ndarray, by_N2: np.ndarray) -> np.ndarray:
    """Where any capture, moved, holds something of what is masked, (H, W, C)."""
    touched = [
        ndimage.shift(mask_HWC.astype(np.float32), (*by_2, 0), order=1, mode='nearest') > 0
        for mask_HWC, by_2 in zip(mask_NHWC, by_N2, strict=True)
    ]
    return np.any(touched, axis=0)


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
    moved = np.stack([move(x_HWC, by_2) for x_HWC, by_2 in zip(captures_NHWC, by_N2, strict=True)])
    return _cut(moved, by_N2)


def _cut(captures_NHWC: np.ndarray, by_N2: np.ndarray) -> np.ndarray:
    """Without the border that the largest shift brings in from outside."""
    down, across = (int(np.ceil(part - _NEGLIGIBLE)) for part in np.abs(by_N2).max(axis=0))
    h, w = captures_NHWC.shape[1:3]
    return captures_NHWC[:, down : h - down, across : w - across]


def move(image_HWC: np.ndarray, by_2: np.ndarray) -> np.ndarray:
    """The image moved by so many pixels down and across, parts of a pixel too; float32."""
    sides = image_HWC.shape[:2]
    margins = [min(_MARGIN, side - 1) for side in sides]
    # To odd sides, which have no Nyquist frequency: half a pixel would lose it.
    widths = [(m, m + (side + 1) % 2) for m, side in zip(margins, sides, strict=True)]
    padded = np.pad(image_HWC.astype(np.float64), [*widths, (0, 0)], mode='symmetric')
    spectrum = np.fft.rfft2(padded, axes=(0, 1))
    moved_spectrum = ndimage.fourier_shift(spectrum, (*by_2, 0), n=padded.shape[1], axis=1)
    moved = np.fft.irfft2(moved_spectrum, s=padded.shape[:2], axes=(0, 1))
    rows, columns = (slice(m, m + side) for m, side in zip(margins, sides, strict=True))
    return moved[rows, columns].astype(np.float32)


def _check_values(scene: SceneCaptures) -> None:
    x = _part(scene)
    largest = max(abs(float(x.max(initial=0))), abs(float(x.min(initial=0))))
    if largest > _LARGEST_VALUE:
        raise UserError(
            f'{scene.name} holds values of {largest:.2g}, too large for --fix: divide all captures '
            'by the same number.'
        )


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
    """Reads captures, leaves out copies and near copies, and puts right what the config asks for.

    Raises:
      UserError: see `own_captures.load`; all captures of a scene are copies; an unknown fix.
    """
    parse(config.fix)
    read = scene_captures.load(config)
    again, warnings = near_copies_of(read)
    left_out = []
    if again:
        read, left_out = _without(read, again, scene_captures.find(config))
    raw, copies = scene_captures.without_copies(read)
    fixed, changed = fix(raw, config.fix)
    left_out += [f'Not used: {copy}.' for copy in copies]
    return Loaded(raw, fixed, left_out + warnings + changed)


def near_copies_of(
    scenes: Sequence[SceneCaptures],
) -> tuple[dict[str, list[tuple[int, int]]], list[str]]:
    """Captures that were saved again with a change, such as the JPEG file beside a TIFF file.

    Returns:
      Pairs of them by scene, the one that seems to have lost less noise first; and warnings about
      scenes of which fewer than two captures would be left.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    warnings = []
    for scene in scenes:
        part_NHWC = regions.sample(_part(scene))
        num = len(part_NHWC)
        if num < 2:
            continue
        with np.errstate(over='ignore'):  # values that differ by so much are no copies
            differences_NN = mean_squares(part_NHWC)
        pairs = near_copies(part_NHWC, differences_NN)
        if pairs and num - len({j for _, j in pairs}) < 2:
            if any(differences_NN[pair] > 0 for pair in pairs):
                warnings.append(
                    f'All captures of {scene.name} are nearly the same image: there is hardly '
                    'anything to learn from them but their noise.'
                )
            continue
        pairs = [pair for pair in pairs if differences_NN[pair] > 0]
        if pairs:
            noise_N = [single_capture_noise(capture) for capture in part_NHWC]
            found[scene.name] = [(i, j) if noise_N[i] >= noise_N[j] else (j, i) for i, j in pairs]
    return found, warnings


def _without(
    scenes: Sequence[SceneCaptures],
    again: dict[str, list[tuple[int, int]]],
    files: Sequence[Scene],
) -> tuple[list[SceneCaptures], list[str]]:
    """The scenes without what was saved again, and a sentence for each."""
    left, sentences = [], []
    for scene, of_scene in zip(scenes, files, strict=True):
        out: set[int] = set()
        for kept, gone in again.get(scene.name, []):
            paths = [of_scene.captures[k].path for k in (kept, gone)]
            if paths[0].suffix.lower() in _LOSSY and paths[1].suffix.lower() not in _LOSSY:
                kept, gone = gone, kept
                paths.reverse()
            if gone in out or kept in out:
                continue
            out.add(gone)
            names = [str(path) for path in paths]
            if paths[0] == paths[1]:
                names = [f'capture {k + 1} of {scene.name}' for k in (kept, gone)]
            sentences.append(f'Not used: {names[1]} is nearly the same image as {names[0]}.')
        if out:
            kept_N = [k for k in range(len(scene.captures_NHWC)) if k not in out]
            scene = dataclasses.replace(scene, captures_NHWC=scene.captures_NHWC[kept_N])
        left.append(scene)
    return left, sentences


def fix(scenes: Sequence[SceneCaptures], text: str) -> tuple[list[SceneCaptures], list[str]]:
    """Applies 'gain,shift' to every scene.

    Returns:
      The scenes, and what was done, a sentence per scene that was changed.

    Raises:
      UserError: an unknown fix; values too large for float32, in which captures are put right.
    """
    names = parse(text)
    fixed, sentences = [], []
    for scene in scenes:
        if names:
            _check_values(scene)
        for name in names:
            result = REGISTRY[name](scene)
            scene = result.scene
            if result.done:
                sentences.append(f'{scene.name}: {result.done}.')
        fixed.append(scene)
    return fixed, sentences

"""Denoising files: which becomes which, some rows at a time, one failure not stopping the rest.

H height, W width, C channels. An h in place of H: some rows.
"""

import contextlib
import dataclasses
import functools
import logging
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from n2n_jax import image_bands, io, stacks
from n2n_jax.codecs import exr
from n2n_jax.data.captures import Scene
from n2n_jax.denoiser import Denoiser, Read
from n2n_jax.errors import UserError
from n2n_jax.image_bands import Frame, Source, name_of
from n2n_jax.pixel_range import PixelRange
from n2n_jax.progress import ProgressLine
from n2n_jax.uncertainty import Calibration

_log = logging.getLogger(__name__)

_WRITTEN_ROWS = 64  # at once: their conversion takes several times their memory
_CHECKED_VALUES = 1 << 22  # at once, in the look for values that are not numbers
_MOST_BEYOND = 0.01  # share of the values of an image that may lie far outside the model's range

Combine = Literal['', 'results', 'captures']

SPREAD, ERROR, INTERVAL = 'spread', 'error', 'interval'
MAPS = {
    SPREAD: 'standard deviation over the 8 results of TTA',
    ERROR: 'expected error of the result (`Calibration.standard_error`)',
    INTERVAL: 'half width of the interval of a new capture (`Calibration.half_width`)',
}


@dataclasses.dataclass(frozen=True)
class Job:
    """An output and what it is made from.

    Attributes:
      sources: files; more than one are captures of one scene.
      frames: of each the image in it; None: all of them.
      target: the file to write.
      maps: files for what is known about each pixel of the result, by kind: see `MAPS`.
    """

    sources: tuple[Path, ...]
    frames: tuple[int | None, ...]
    target: Path
    maps: Mapping[str, Path] = dataclasses.field(default_factory=dict)

    @property
    def outputs(self) -> tuple[Path, ...]:
        """All files that it writes."""
        return (self.target, *self.maps.values())


@dataclasses.dataclass(frozen=True)
class Options:
    """How to denoise.

    Attributes:
      tta: the mean over 8 flips and rotations.
      combine: several captures: 'results' averages what becomes of each, 'captures' denoises their
        mean.
      calibration: of the model; the maps of errors and intervals need it.
    """

    tta: bool = False
    combine: Combine = ''
    calibration: Calibration | None = None


def jobs_of_files(inputs: Sequence[Path], output: Path, *, maps: Sequence[str] = ()) -> list[Job]:
    """Every file becomes one of the same name; a folder keeps its structure.

    Args:
      inputs: files or folders.
      output: a folder, or a file if there is one input file.
      maps: kinds of `MAPS` to write beside each.

    Raises:
      UserError: a missing input, or outputs that would go wrong.
    """
    if len(inputs) == 1 and not inputs[0].is_dir():
        to_folder = output.is_dir() or not output.suffix
        pairs = [(inputs[0], output / inputs[0].name if to_folder else output)]
    else:
        _needs_folder(output, 'several images need a folder', len(inputs) > 1)
        _not_inside(inputs, output)
        pairs = []
        for path in inputs:
            if not path.is_dir():
                pairs.append((path, output / path.name))
                continue
            files = io.find_images(path, also=stacks.OTHER_SUFFIXES)
            pairs += [(file, output / file.relative_to(path)) for file in files]
    missing = [source for source, _ in pairs if not source.exists()]
    if missing:
        raise UserError(f'{missing[0]}: no such file.')
    jobs = [Job((source,), (None,), target, _map_files(target, maps)) for source, target in pairs]
    return _without_clashes(jobs)


def jobs_of_scenes(
    scenes: Sequence[Scene], inputs: Sequence[Path], output: Path, *, maps: Sequence[str] = ()
) -> list[Job]:
    """Every scene becomes a file of its name, of the kind of its first capture.

    Args:
      scenes: with their captures.
      inputs: where they were found.
      output: a folder, or a file if there is one scene.
      maps: kinds of `MAPS` to write beside each.

    Raises:
      UserError: outputs that would go wrong.
    """
    to_file = len(scenes) == 1 and output.suffix and not output.is_dir()
    if not to_file:
        _needs_folder(output, 'several scenes need a folder', len(scenes) > 1)
        _not_inside(inputs, output)
    jobs = []
    for scene in scenes:
        suffix = scene.captures[0].path.suffix
        target = output if to_file else output / f'{scene.name}{suffix}'
        paths = tuple(capture.path for capture in scene.captures)
        frames = tuple(capture.frame for capture in scene.captures)
        jobs.append(Job(paths, frames, target, _map_files(target, maps)))
    return _without_clashes(jobs)


def denoise_files(denoiser: Denoiser, jobs: Sequence[Job], options: Options) -> list[str]:
    """Does all jobs, as far as they can be done.

    Returns:
      A sentence for each that failed; its outputs are as they were before.
    """
    failures = []
    sizes = []
    for job in jobs:
        try:
            sizes.append(_num_values(job, options))
        except UserError as error:
            sizes.append(0)
            failures.append(str(error))
    todo = [(job, size) for job, size in zip(jobs, sizes, strict=True) if size]
    total = sum(sizes)
    with ProgressLine('denoising', total / 1e6, unit=' megapixels') as progress:
        before = 0
        for place, (job, size) in enumerate(todo, start=1):
            details = f'file {place} of {len(todo)}' if len(todo) > 1 else ''
            try:
                _do(denoiser, job, options, _Count(progress, before, details))
            except UserError as error:
                progress.clear()
                failures.append(str(error))
            except OSError as error:
                progress.clear()
                failures.append(f'{job.target} cannot be written: {error.strerror or error}.')
            before += size
            progress.update(before / 1e6, details)
    return failures


class _Count:
    """Values done, those of the jobs before included."""

    def __init__(self, progress: ProgressLine, before: int, details: str):
        self._progress, self._done, self._details = progress, before, details

    def __call__(self, num_values: int) -> None:
        self._done += num_values
        self._progress.update(self._done / 1e6, self._details)


def _num_values(job: Job, options: Options) -> int:
    """Values to denoise, from the headers of the files."""
    path, only = job.sources[0], job.frames[0]
    if path.suffix.lower() in (*image_bands.TIFF_SUFFIXES, *image_bands.NUMPY_SUFFIXES):
        with image_bands.open_source(path) as source:
            frames = source.frames if only is None else [source.frames[only]]
            count = sum(frame.height * frame.width * frame.channels for frame in frames)
    elif path.suffix.lower() == exr.SUFFIX:
        count = math.prod(exr.read_size(path))
    else:
        height, width, samples = io.image_size(path)
        count = height * width * (3 if samples > 2 else 1)
    return count * (len(job.sources) if options.combine == 'results' else 1)


def _do(denoiser: Denoiser, job: Job, options: Options, count: _Count) -> None:
    with contextlib.ExitStack() as stack:
        opened: dict[Path, Source] = {}
        for path in job.sources:
            if path not in opened:
                opened[path] = stack.enter_context(image_bands.open_source(path))
        sources = [opened[path] for path in job.sources]
        only = job.frames[0]
        indices = range(len(sources[0].frames)) if only is None else [only]
        for index in indices:
            frames = [index] if only is None else job.frames
            for source, at in zip(sources, frames, strict=True):
                _check(denoiser, source, at, sources[0].frames[index])
        for path in job.outputs:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not os.access(path.parent, os.W_OK):
                raise UserError(f'{path} cannot be written: no permission to write in its folder.')
        target = stack.enter_context(image_bands.open_target(job.target, sources[0], only=only))
        maps = {
            kind: stack.enter_context(
                image_bands.open_target(path, sources[0], only=only, is_map=True)
            )
            for kind, path in job.maps.items()
        }
        for index in indices:
            frames = [index] if only is None else job.frames
            _denoise_frame(
                denoiser, list(zip(sources, frames, strict=True)), index, target, maps, options,
                count,
            )  # fmt: skip


def _check(denoiser: Denoiser, source: Source, index: int, like: Frame) -> None:
    """Looks at all values of an image before any time goes into it.

    Raises:
      UserError: it is not like the first capture of its scene, or holds what means nothing.
    """
    frame, name = source.frames[index], name_of(source, index)
    if frame != like:
        raise UserError(
            f'Captures of one scene differ: {name} is {_kind(frame)}, the first is {_kind(like)}.'
        )
    scale = denoiser.pixel_range(frame.dtype, name)
    if frame.dtype.kind != 'f' and not scale.is_known:
        return
    rows = max(1, _CHECKED_VALUES // (frame.width * frame.channels))
    beyond = 0.0
    for start in range(0, frame.height, rows):
        stop = min(start + rows, frame.height)
        colors_hWC = source.read(index, start, stop)[..., : frame.channels]
        scale.check(colors_hWC, name=name)
        beyond += scale.share_beyond(colors_hWC) * (stop - start) / frame.height
    if scale.is_known and beyond > _MOST_BEYOND:
        _log.warning(
            '%s: %.0f %% of the values lie far outside of %g to %g, the range of the captures that '
            'the model was trained on: it may do badly.',
            name,
            100 * beyond,
            scale.black,
            scale.white,
        )


def _kind(frame: Frame) -> str:
    channels = f'{frame.channels} channel{"s" * (frame.channels > 1)}'
    return f'{frame.width}x{frame.height} with {channels} of {frame.dtype.name}'


def _denoise_frame(
    denoiser: Denoiser,
    captures: Sequence[tuple[Source, int]],
    index: int,
    target: image_bands.Target,
    maps: Mapping[str, image_bands.Target],
    options: Options,
    count: _Count,
) -> None:
    """Denoises one image, or the captures of one scene to one image."""
    source, first = captures[0]
    frame, name = source.frames[first], name_of(source, first)
    scale = denoiser.pixel_range(frame.dtype, name)
    reads = [functools.partial(_read_colors, *capture) for capture in captures]
    if options.combine == 'captures':
        reads = [functools.partial(_read_mean, reads, scale)]
    bands = denoiser.bands(
        (frame.height, frame.width, frame.channels),
        reads,
        to_network=_unchanged if options.combine == 'captures' else scale.to_network,
        tta=options.tta,
        spread=SPREAD in maps,
        name=name,
        on_pixels=count,
    )
    units = np.float32(abs(scale.white - scale.black))
    calibrated = [kind for kind in maps if kind != SPREAD]
    results = []
    for band in bands:
        for first_row in range(0, len(band.mean_hWC), _WRITTEN_ROWS):
            rows = slice(first_row, first_row + _WRITTEN_ROWS)
            rows_hWC = scale.to_pixels(band.mean_hWC[rows], name=name)
            if frame.has_alpha:
                start = band.start + first_row
                alpha_hW1 = source.read(first, start, start + len(rows_hWC))[..., frame.channels :]
                rows_hWC = np.concatenate((rows_hWC, alpha_hW1), axis=-1)
            target.write(index, rows_hWC)
            if band.spread_hWC is not None:
                maps[SPREAD].write(index, band.spread_hWC[rows] * units)
        if calibrated:
            results.append(band.mean_hWC)
    if calibrated:
        # The level of the noise is that of the whole image, so it must fit into the memory.
        noisy_HWC = scale.to_network(_read_colors(source, first, 0, frame.height))
        denoised_HWC = np.concatenate(results)
        for kind in calibrated:
            map_HWC = _calibrated(kind, options.calibration)(noisy_HWC, denoised_HWC)
            maps[kind].write(index, np.float32(map_HWC) * units)


def _calibrated(
    kind: str, calibration: Calibration | None
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    if calibration is None:
        raise ValueError(f'the map {kind} needs a calibration')
    return {ERROR: calibration.standard_error, INTERVAL: calibration.half_width}[kind]


def _read_colors(source: Source, index: int, start: int, stop: int) -> np.ndarray:
    return source.read(index, start, stop)[..., : source.frames[index].channels]


def _read_mean(reads: Sequence[Read], scale: PixelRange, start: int, stop: int) -> np.ndarray:
    """The mean of captures in the range of the network."""
    total_hWC = scale.to_network(reads[0](start, stop))
    for read in reads[1:]:
        total_hWC += scale.to_network(read(start, stop))
    return total_hWC / np.float32(len(reads))


def _unchanged(pixels: np.ndarray) -> np.ndarray:
    return pixels


def _map_files(target: Path, maps: Sequence[str]) -> dict[str, Path]:
    return {kind: target.with_name(f'{target.stem}_{kind}.tif') for kind in maps}


def _needs_folder(output: Path, why: str, several: bool) -> None:
    named_like_a_file = output.suffix and not output.is_dir() and several
    if named_like_a_file or (output.exists() and not output.is_dir()):
        raise UserError(f'-o {output} is a file; {why}.')


def _not_inside(inputs: Iterable[Path], output: Path) -> None:
    for path in inputs:
        if path.is_dir() and output.resolve().is_relative_to(path.resolve()):
            raise UserError(f'-o {output} lies inside {path}: choose a folder outside of it.')


def _without_clashes(jobs: list[Job]) -> list[Job]:
    seen: dict[Path, Path] = {}
    for job in jobs:
        for path in job.outputs:
            if path in seen:
                raise UserError(
                    f'{job.sources[0]} and {seen[path]} would both become {path}: denoise them '
                    'into folders of their own, or --combine captures of one scene.'
                )
            seen[path] = job.sources[0]
    return jobs

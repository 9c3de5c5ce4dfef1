"""Denoises files in row blocks.

A file that fails does not stop the others, and its outputs are left as they were. Which file
becomes which is planned in `n2n_jax.denoise.jobs`.

H height, W width, C channels, E extra samples. A lower-case h: some rows.
"""

import contextlib
import dataclasses
import functools
import logging
import shutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from n2n_jax.denoise import combine
from n2n_jax.denoise import strength as strength_lib
from n2n_jax.denoise.bands import Band, View
from n2n_jax.denoise.beside import Beside
from n2n_jax.denoise.combine import Combine
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.denoise.jobs import ERROR, INTERVAL, SPREAD, Job
from n2n_jax.denoise.uncertainty import Calibration
from n2n_jax.images import Frame, ImageFile, image_io, open_image, row_writer
from n2n_jax.images.folders import why_no_file
from n2n_jax.images.pixel_range import PixelRange
from n2n_jax.images.row_writer import name_of
from n2n_jax.runtime import interrupts
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.progress import ProgressLine
from n2n_jax.runtime.staged_files import ExistsError, staged

_log = logging.getLogger(__name__)

_WRITTEN_ROWS = 64  # converted at a time, which takes several times the memory of the rows
_CHECKED_VALUES = 1 << 22  # read at a time when an input is checked
_CALLS_SHOWN = 3  # innermost calls named in the message for an unexpected error

Existing = Literal['refuse', 'skip', 'replace']


@dataclasses.dataclass(frozen=True)
class Options:
    """How to denoise.

    Attributes:
      tta: average over the 8 flips and rotations.
      combine: for several captures of a scene, 'results' averages the denoised captures,
        'captures' denoises their average; '' for one capture.
      calibration: calibration of the model, needed for maps of errors and intervals.
      planes: for each auxiliary plane a file, or a folder of files named like the images.
      noise_level: standard deviation of the noise in pixel values; None: estimate it if needed.
      strength: 1 for denoised images, 0 for the images as they are, or a blend of both.
      existing: what to do if an output exists when it is about to be written.
      guessed_range: whether the range of the model was guessed from the images, so that values
        outside of it are no reason for doubt.
    """

    tta: bool = False
    combine: Combine = ''
    calibration: Calibration | None = None
    planes: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    noise_level: float | None = None
    strength: float = strength_lib.FULL
    existing: Existing = 'refuse'
    guessed_range: bool = False

    def shows_more(self, config: ModelConfig) -> bool:
        """Whether a network is shown more than the image, which then has to fit into memory."""
        given = bool(self.planes) or self.noise_level is not None
        return given or bool(config.planes) or config.noise_map


def denoise_files(
    denoiser: Denoiser,
    jobs: Sequence[Job],
    options: Options,
    *,
    on_skipped: Callable[[Job], None] = lambda job: None,
) -> list[str]:
    """Runs all jobs; one that fails does not stop the others.

    Args:
      denoiser: the model.
      jobs: the files to denoise, see `n2n_jax.denoise.jobs`.
      options: how to denoise them.
      on_skipped: called with each job skipped because its output appeared after the start.

    Returns:
      An error message for each job that failed; its outputs are as they were before.
    """
    failures = []
    sizes = []
    for job in jobs:
        size = 0
        try:
            size = num_pixels(job, options)
        except Exception as error:  # one file must not stop the others
            raise_if_interrupted()
            failures.append(message_of(error, job))
        sizes.append(size)
    readable = [(job, size) for job, size in zip(jobs, sizes, strict=True) if size]
    total = sum(sizes)
    with ProgressLine('denoising', total / 1e6, unit=' megapixels') as progress:
        before = 0
        for number, (job, size) in enumerate(readable, start=1):
            raise_if_interrupted()
            details = f'file {number} of {len(readable)}' if len(readable) > 1 else ''
            try:
                denoise_job(denoiser, job, options, _PixelCount(progress, before, details))
            except Exception as error:  # see above
                raise_if_interrupted()
                progress.clear()
                if isinstance(error, ExistsError) and options.existing == 'skip':
                    _log.info('%s exists already.', job.target)
                    on_skipped(job)
                else:
                    failures.append(message_of(error, job))
            before += size
            progress.update(before / 1e6, details)
    return failures


def raise_if_interrupted() -> None:
    """Raises KeyboardInterrupt after Ctrl-C: some libraries swallow it or raise another error."""
    if interrupts.wanted():
        raise KeyboardInterrupt


def message_of(error: Exception, job: Job) -> str:
    """Returns the message for a failed job; an unexpected error names the code that raised it."""
    if isinstance(error, UserError):
        return str(error)
    _log.debug('%s', job.sources[0], exc_info=error)
    if isinstance(error, MemoryError):
        return f'{job.sources[0]} is damaged or does not fit into memory.'
    if isinstance(error, OSError):
        file = error.filename or f'{job.sources[0]} or {job.target}'
        return f'{file} cannot be read or written: {error.strerror or error}.'
    calls = traceback.extract_tb(error.__traceback__)[-_CALLS_SHOWN:]
    where = ', '.join(f'{Path(call.filename).name}:{call.lineno} {call.name}' for call in calls)
    return (
        f'{job.sources[0]} is damaged, or this is a bug in n2n_jax (please report it): '
        f'{type(error).__name__}: {error} ({where}).'
    )


class _PixelCount:
    """Shows the number of pixels denoised, with those of earlier jobs."""

    def __init__(self, progress: ProgressLine, before: int, details: str) -> None:
        self._progress, self._done, self._details = progress, before, details

    def __call__(self, num_pixels: int) -> None:
        self._done += num_pixels
        self._progress.update(self._done / 1e6, self._details)


def num_pixels(job: Job, options: Options) -> int:
    """Returns the number of pixels to denoise, from the headers of the files.

    Raises:
      UserError: a file cannot be read.
    """
    for path in job.sources:
        if why := why_no_file(path):
            raise UserError(f'{path} cannot be read: {why}.')
    path, only = job.sources[0], job.frames[0]
    with open_image(path) as source:
        frames = source.frames if only is None else [source.frames[only]]
        count = sum(frame.height * frame.width for frame in frames)
    return count * (len(job.sources) if options.combine == 'results' else 1)


def denoise_job(
    denoiser: Denoiser, job: Job, options: Options, on_pixels: Callable[[int], None]
) -> None:
    """Writes the outputs of a job, whole or not at all.

    Args:
      denoiser: the model.
      job: what to denoise.
      options: how.
      on_pixels: called with each number of pixels that is done; `num_pixels` are all. What it
        raises ends the job.

    Raises:
      UserError: a file cannot be read or written, or does not suit the model.
    """
    if options.strength == 0 and not job.maps and _same_format(job):
        _copy(job, options)
        on_pixels(num_pixels(job, options))
        return
    with contextlib.ExitStack() as stack:
        captures = stack.enter_context(combine.open_captures(job))
        source, only = captures[0]
        images = [
            (index, [(capture, index if at is None else at) for capture, at in captures])
            for index in (range(len(source.frames)) if only is None else [only])
        ]
        doubts: dict[Path, list[str]] = {}
        for index, image in images:
            for capture, at in image:
                if doubt := _check(denoiser, capture, at, source.frames[index]):
                    doubts.setdefault(capture.path, []).append(doubt)
        if not options.guessed_range:
            _warn(doubts)
        overwrite = options.existing == 'replace'
        staging = stack.enter_context(staged(job.outputs, overwrite=overwrite))
        target = stack.enter_context(row_writer.open_target(staging[job.target], source, only=only))
        maps = {
            kind: stack.enter_context(
                row_writer.open_target(staging[path], source, only=only, is_map=True)
            )
            for kind, path in job.maps.items()
        }
        for index, image in images:
            _denoise_frame(denoiser, image, index, target, maps, options, on_pixels)


def _same_format(job: Job) -> bool:
    """Whether the output is a file like its one source, with all images of it."""
    if len(job.sources) > 1 or job.frames[0] is not None or job.channels:
        return False
    return job.sources[0].suffix.lower() == job.target.suffix.lower()


def _copy(job: Job, options: Options) -> None:
    """Writes the source as it is, to the last bit, which another JPEG of its pixels is not."""
    with staged(job.outputs, overwrite=options.existing == 'replace') as staging:
        shutil.copyfile(job.sources[0], staging[job.target])


def _warn(doubts: Mapping[Path, Sequence[str]]) -> None:
    """Logs one line per file, however many of its images are in doubt."""
    for first, *others in doubts.values():
        more = ''
        if others:
            several = f'{len(others)} other images' if len(others) > 1 else 'another image'
            more = f' The same or a similar warning applies to {several} of this file.'
        _log.warning('%s%s', first, more)


def _check(denoiser: Denoiser, source: ImageFile, index: int, first: Frame) -> str:
    """Checks all values of an image before time is spent on denoising.

    Returns:
      A warning if the image does not look like the training captures; else ''.

    Raises:
      UserError: the image differs in shape or type from `first`, the first capture of its scene,
        or holds values that cannot be denoised.
    """
    frame, name = source.frames[index], name_of(source, index)
    combine.check_alike(frame, first, name)
    scale = denoiser.pixel_range(frame.dtype, name)
    if frame.dtype.kind != 'f' and not scale.is_known:
        return ''
    rows = max(1, _CHECKED_VALUES // (frame.width * frame.channels))
    check = denoiser.scale_check(frame.dtype, name)
    for start in range(0, frame.height, rows):
        stop = min(start + rows, frame.height)
        colors_hWC = source.read(index, start, stop)[..., : frame.channels]
        scale.check(colors_hWC, name=name)
        check.add(colors_hWC)
    return check.warning(name)


def _denoise_frame(
    denoiser: Denoiser,
    captures: Sequence[tuple[ImageFile, int]],
    index: int,
    target: row_writer.Target,
    maps: Mapping[str, row_writer.Target],
    options: Options,
    on_pixels: Callable[[int], None],
) -> None:
    """Denoises one image, or combines the captures of one scene into one image."""
    source, first = captures[0]
    frame, name = source.frames[first], name_of(source, first)
    if options.strength == 0 and not maps and len(captures) == 1:
        _copy_frame(source, first, index, target)
        on_pixels(frame.height * frame.width)
        return
    scale = denoiser.pixel_range(frame.dtype, name)
    reads = [functools.partial(_read_colors, *capture) for capture in captures]
    if options.combine == 'captures':
        reads = [functools.partial(combine.read_mean, reads, scale)]
    to_network = _identity if options.combine == 'captures' else scale.to_network
    planes_HWP = None
    if options.shows_more(denoiser.config):
        noisy_HWC = to_network(reads[0](0, frame.height))
        given = {plane: _read_plane(path, source.path) for plane, path in options.planes.items()}
        beside = Beside(given, options.noise_level)
        planes_HWP = beside.planes(denoiser.config, scale, noisy_HWC, name)
    bands = denoiser.bands(
        (frame.height, frame.width, frame.channels),
        reads,
        View(to_network, planes_HWP),
        tta=options.tta,
        spread=SPREAD in maps,
        name=name,
        on_pixels=on_pixels,
    )
    units = np.float32(abs(scale.white - scale.black))
    calibrated = [kind for kind in maps if kind != SPREAD]
    results = []
    for band in bands:
        for first_row in range(0, len(band.mean_hWC), _WRITTEN_ROWS):
            rows = slice(first_row, first_row + _WRITTEN_ROWS)
            stored_hWC = _as_stored(scale, source, first, band, rows, options.strength)
            target.write(index, stored_hWC)
            if band.spread_hWC is not None:
                maps[SPREAD].write(index, np.nan_to_num(band.spread_hWC[rows]) * units)
        if calibrated:
            results.append(band.mean_hWC)
    if calibrated:
        # The noise is estimated from the whole image, so for these maps it must fit into memory.
        noisy_HWC = scale.to_network(_read_colors(source, first, 0, frame.height))
        denoised_HWC = np.concatenate(results)
        for kind in calibrated:
            map_HWC = _map_function(kind, options.calibration)(noisy_HWC, denoised_HWC)
            map_HWC = np.where(np.isnan(denoised_HWC), 0, map_HWC)  # constants have no error
            maps[kind].write(index, map_HWC.astype(np.float32) * units)


def _copy_frame(source: ImageFile, first: int, index: int, target: row_writer.Target) -> None:
    """Writes an image as it is, without a look at what a network makes of it."""
    frame = source.frames[first]
    for start in range(0, frame.height, _WRITTEN_ROWS):
        target.write(index, source.read(first, start, min(start + _WRITTEN_ROWS, frame.height)))


def _read_plane(path: Path, image: Path) -> np.ndarray:
    """Reads a plane: the file itself, or the one in a folder that is named like the image."""
    if path.is_dir():
        found = [file for file in image_io.find_images(path) if file.stem == image.stem]
        if len(found) > 1:  # the same names in several subfolders
            found = [file for file in found if _alike_folders(file.relative_to(path), image)]
        if len(found) != 1:
            raise UserError(
                f'{path} holds {len(found)} files for {image}: one named {image.stem}.* is needed, '
                'in the same subfolder as the image if there are several.'
            )
        path = found[0]
    color_HWC, _ = image_io.color_and_alpha(image_io.read_image(path))
    return color_HWC


def _alike_folders(plane: Path, image: Path) -> bool:
    """Whether the subfolders of a plane, relative to its folder, are the last of the image's."""
    folders = plane.parent.parts
    return not folders or image.parent.parts[-len(folders) :] == folders


def _as_stored(
    scale: PixelRange, source: ImageFile, index: int, band: Band, rows: slice, strength: float
) -> np.ndarray:
    """Converts some rows of a band to pixels; keeps the source's constants and extra samples."""
    frame, name = source.frames[index], name_of(source, index)
    values_hWC = band.mean_hWC[rows]
    if strength == strength_lib.FULL and not frame.has_extra and band.constant_hWC is None:
        return scale.to_pixels(values_hWC, name=name)
    start = band.start + rows.start
    original_hWC = source.read(index, start, start + len(values_hWC))
    if strength == 0:
        return original_hWC
    colors_hWC, extra_hWE = np.split(original_hWC, [frame.channels], axis=-1)
    values_hWC = strength_lib.blended(scale.to_network(colors_hWC), values_hWC, strength)
    constant_hWC = None if band.constant_hWC is None else band.constant_hWC[rows]
    pixels_hWC = scale.to_pixels(values_hWC, name=name, original=colors_hWC, constant=constant_hWC)
    return np.concatenate((pixels_hWC, extra_hWE), axis=-1)


def _map_function(
    kind: str, calibration: Calibration | None
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    if calibration is None:
        raise ValueError(f'the map {kind} needs a calibration')
    return {ERROR: calibration.standard_error, INTERVAL: calibration.half_width}[kind]


def _read_colors(source: ImageFile, index: int, start: int, stop: int) -> np.ndarray:
    return source.read(index, start, stop)[..., : source.frames[index].channels]


def _identity(pixels: np.ndarray) -> np.ndarray:
    return pixels

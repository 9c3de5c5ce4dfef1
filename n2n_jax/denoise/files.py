"""Denoises files: maps inputs to outputs, and denoises them in row blocks.

A file that fails does not stop the others, and its outputs are left as they were.

H height, W width, C channels, E extra samples. A lower-case h: some rows.
"""

import contextlib
import dataclasses
import functools
import logging
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from n2n_jax import images
from n2n_jax.captures.find import Scene
from n2n_jax.denoise.denoiser import Band, Denoiser, Read
from n2n_jax.denoise.uncertainty import Calibration
from n2n_jax.images import row_writer, stacks
from n2n_jax.images.folders import readable_files, why_no_file
from n2n_jax.images.open_files import FewFiles, ReopenedFile
from n2n_jax.images.pixel_range import PixelRange
from n2n_jax.images.row_writer import Frame, Source, name_of
from n2n_jax.images.suffixes import either
from n2n_jax.runtime import interrupts
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.progress import ProgressLine
from n2n_jax.runtime.staged_files import ExistsError, staged

_log = logging.getLogger(__name__)

_WRITTEN_ROWS = 64  # converted at a time, which takes several times the memory of the rows
_CHECKED_VALUES = 1 << 22  # read at a time when an input is checked
_CALLS_SHOWN = 3  # innermost calls named in the message for an unexpected error

Combine = Literal['', 'results', 'captures']
Existing = Literal['refuse', 'skip', 'replace']

SPREAD, ERROR, INTERVAL = 'spread', 'error', 'interval'
MAPS = {
    SPREAD: 'standard deviation over the 8 results of TTA',
    ERROR: 'expected error of the result (`Calibration.standard_error`)',
    INTERVAL: 'half width of the interval of a new capture (`Calibration.half_width`)',
}


@dataclasses.dataclass(frozen=True)
class Job:
    """An output file and what it is made from.

    Attributes:
      sources: files to denoise; several are captures of one scene.
      frames: for each source the index of the image in it; None: all images.
      target: the file to write.
      maps: files to write beside it, by kind, see `MAPS`.
      channels: for each source the one channel that is the capture; empty: all channels.
    """

    sources: tuple[Path, ...]
    frames: tuple[int | None, ...]
    target: Path
    maps: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    channels: tuple[int, ...] = ()

    @property
    def outputs(self) -> tuple[Path, ...]:
        """All files that the job writes."""
        return (self.target, *self.maps.values())


@dataclasses.dataclass(frozen=True)
class Options:
    """How to denoise.

    Attributes:
      tta: average over the 8 flips and rotations.
      combine: for several captures of a scene, 'results' averages the denoised captures,
        'captures' denoises their average; '' for one capture.
      calibration: calibration of the model, needed for maps of errors and intervals.
      existing: what to do if an output exists when it is about to be written.
    """

    tta: bool = False
    combine: Combine = ''
    calibration: Calibration | None = None
    existing: Existing = 'refuse'


@dataclasses.dataclass(frozen=True)
class Output:
    """Where outputs are written.

    Attributes:
      path: a file or a folder.
      is_folder: whether the user wrote it with a trailing slash.
    """

    path: Path
    is_folder: bool = False

    def is_file_for_one(self) -> bool:
        """Whether the path names a file, given that there is only one output."""
        return not self.is_folder and not self.path.is_dir() and self.path.suffix != ''

    def check_folder(self, why: str) -> None:
        """Raises UserError if the path cannot be a folder; `why` says why one is needed."""
        if self.path.is_dir():
            return
        if self.path.exists():
            raise UserError(f'-o {self.path} is a file; {why}.')
        if not self.is_folder and self.path.suffix.lower() in stacks.SUFFIXES:
            raise UserError(
                f'-o {self.path} is the name of an image file; {why}. Write {self.path}/ if you '
                'mean a folder.'
            )


def jobs_of_files(
    inputs: Sequence[Path], output: Output | Path, *, maps: Sequence[str] = ()
) -> list[Job]:
    """Plans one output of the same name for every input file; folders keep their structure.

    Args:
      inputs: files or folders.
      output: a folder, or a file if there is one input file.
      maps: kinds of `MAPS` to write beside each output.

    Raises:
      UserError: an input is missing, or an output cannot be written or would overwrite another.
    """
    if isinstance(output, Path):
        output = Output(output)
    for given in inputs:
        if not given.exists():
            raise UserError(f'{given}: no such file or folder.')
    if len(inputs) == 1 and not inputs[0].is_dir() and output.is_file_for_one():
        pairs = [(inputs[0], output.path)]
        folder = None
    else:
        several = len(inputs) > 1 or inputs[0].is_dir()
        output.check_folder('several images need a folder' if several else 'it ends in a slash')
        _check_not_inside(inputs, output.path)
        folder, pairs = output.path, []
        for given in inputs:
            if not given.is_dir():
                pairs.append((given, folder / given.name))
                continue
            files = _images_in(given)
            _check_not_inside(_folders_of(files, given), output.path)
            pairs += [(file, folder / file.relative_to(given)) for file in files]
    jobs = [Job((source,), (None,), target, _map_files(target, maps)) for source, target in pairs]
    return _checked(jobs, folder)


def jobs_of_scenes(
    scenes: Sequence[Scene],
    inputs: Sequence[Path],
    output: Output | Path,
    *,
    maps: Sequence[str] = (),
) -> list[Job]:
    """Plans one output for every scene, named after it, in the format of its first capture.

    Args:
      scenes: the scenes and their captures.
      inputs: the files or folders they were found in.
      output: a folder, or a file if there is one scene.
      maps: kinds of `MAPS` to write beside each output.

    Raises:
      UserError: an output cannot be written or would overwrite another.
    """
    if isinstance(output, Path):
        output = Output(output)
    folder = None if len(scenes) == 1 and output.is_file_for_one() else output.path
    if folder is not None:
        several = len(scenes) > 1
        output.check_folder('several scenes need a folder' if several else 'it ends in a slash')
        _check_not_inside(inputs, folder)
        files = [capture.path for scene in scenes for capture in scene.captures]
        for given in inputs:
            if given.is_dir():
                _check_not_inside(_folders_of(files, given), folder)
    jobs = []
    for scene in scenes:
        suffix = scene.captures[0].path.suffix
        target = output.path if folder is None else folder / f'{scene.name}{suffix}'
        jobs.append(
            Job(
                sources=tuple(capture.path for capture in scene.captures),
                frames=tuple(capture.frame for capture in scene.captures),
                target=target,
                maps=_map_files(target, maps),
                channels=tuple(c.channel for c in scene.captures if c.channel is not None),
            )
        )
    return _checked(jobs, folder)


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
      jobs: the files to denoise, from `jobs_of_files` or `jobs_of_scenes`.
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
            size = _num_pixels(job, options)
        except Exception as error:  # one file must not stop the others
            _raise_if_interrupted()
            failures.append(_message(error, job))
        sizes.append(size)
    readable = [(job, size) for job, size in zip(jobs, sizes, strict=True) if size]
    total = sum(sizes)
    with ProgressLine('denoising', total / 1e6, unit=' megapixels') as progress:
        before = 0
        for number, (job, size) in enumerate(readable, start=1):
            _raise_if_interrupted()
            details = f'file {number} of {len(readable)}' if len(readable) > 1 else ''
            try:
                _denoise_job(denoiser, job, options, _PixelCount(progress, before, details))
            except Exception as error:  # see above
                _raise_if_interrupted()
                progress.clear()
                if isinstance(error, ExistsError) and options.existing == 'skip':
                    _log.info('%s exists already.', job.target)
                    on_skipped(job)
                else:
                    failures.append(_message(error, job))
            before += size
            progress.update(before / 1e6, details)
    return failures


def _raise_if_interrupted() -> None:
    """Raises KeyboardInterrupt after Ctrl-C: some libraries swallow it or raise another error."""
    if interrupts.wanted():
        raise KeyboardInterrupt


def _message(error: Exception, job: Job) -> str:
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


def _num_pixels(job: Job, options: Options) -> int:
    """Returns the number of pixels to denoise, from the headers of the files."""
    for path in job.sources:
        if why := why_no_file(path):
            raise UserError(f'{path} cannot be read: {why}.')
    path, only = job.sources[0], job.frames[0]
    with row_writer.open_source(path) as source:
        frames = source.frames if only is None else [source.frames[only]]
        count = sum(frame.height * frame.width for frame in frames)
    return count * (len(job.sources) if options.combine == 'results' else 1)


@contextlib.contextmanager
def _open_captures(job: Job) -> Iterator[list[tuple[Source, int | None]]]:
    """Opens the captures of a job: (file, index of the image or None) for each, see `Job`."""
    with contextlib.ExitStack() as stack:
        files = stack.enter_context(FewFiles())
        opened: dict[Path, Source] = {}
        for path in job.sources:
            if not opened:  # the first stays open: the output takes its format and metadata
                opened[path] = stack.enter_context(row_writer.open_source(path))
            elif path not in opened:
                opened[path] = ReopenedFile(files, path)
        sources = [opened[path] for path in job.sources]
        if not job.channels:
            yield list(zip(sources, job.frames, strict=True))
            return
        yield [
            (row_writer.OneChannel(source, frame or 0, channel), 0)
            for source, frame, channel in zip(sources, job.frames, job.channels, strict=True)
        ]


def _denoise_job(denoiser: Denoiser, job: Job, options: Options, count: _PixelCount) -> None:
    with contextlib.ExitStack() as stack:
        captures = stack.enter_context(_open_captures(job))
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
            _denoise_frame(denoiser, image, index, target, maps, options, count)


def _warn(doubts: Mapping[Path, Sequence[str]]) -> None:
    """Logs one line per file, however many of its images are in doubt."""
    for first, *others in doubts.values():
        more = ''
        if others:
            several = f'{len(others)} other images' if len(others) > 1 else 'another image'
            more = f' The same or a similar warning applies to {several} of this file.'
        _log.warning('%s%s', first, more)


def _check(denoiser: Denoiser, source: Source, index: int, first: Frame) -> str:
    """Checks all values of an image before time is spent on denoising.

    Returns:
      A warning if the image does not look like the training captures; else ''.

    Raises:
      UserError: the image differs in shape or type from `first`, the first capture of its scene,
        or holds values that cannot be denoised.
    """
    frame, name = source.frames[index], name_of(source, index)
    if _shape_and_type(frame) != _shape_and_type(first):
        raise UserError(
            f'Captures of one scene must be alike: {name} is {_described(frame)}, but the first '
            f'is {_described(first)}.'
        )
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


def _shape_and_type(frame: Frame) -> tuple[int, int, int, np.dtype]:
    """Returns what all captures of a scene must share; only some may have alpha."""
    return frame.height, frame.width, frame.channels, frame.dtype


def _described(frame: Frame) -> str:
    channels = f'{frame.channels} channel{"s" * (frame.channels > 1)}'
    return f'{frame.width}x{frame.height} with {channels} of {frame.dtype.name}'


def _denoise_frame(
    denoiser: Denoiser,
    captures: Sequence[tuple[Source, int]],
    index: int,
    target: row_writer.Target,
    maps: Mapping[str, row_writer.Target],
    options: Options,
    count: _PixelCount,
) -> None:
    """Denoises one image, or combines the captures of one scene into one image."""
    source, first = captures[0]
    frame, name = source.frames[first], name_of(source, first)
    scale = denoiser.pixel_range(frame.dtype, name)
    reads = [functools.partial(_read_colors, *capture) for capture in captures]
    if options.combine == 'captures':
        reads = [functools.partial(_read_mean, reads, scale)]
    bands = denoiser.bands(
        (frame.height, frame.width, frame.channels),
        reads,
        to_network=_identity if options.combine == 'captures' else scale.to_network,
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
            target.write(index, _as_stored(scale, source, first, band, rows))
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


def _as_stored(
    scale: PixelRange, source: Source, index: int, band: Band, rows: slice
) -> np.ndarray:
    """Converts some rows of a band to pixels; keeps the source's constants and extra samples."""
    frame, name = source.frames[index], name_of(source, index)
    values_hWC = band.mean_hWC[rows]
    if not frame.has_extra and band.constant_hWC is None:
        return scale.to_pixels(values_hWC, name=name)
    start = band.start + rows.start
    original_hWC = source.read(index, start, start + len(values_hWC))
    colors_hWC, extra_hWE = np.split(original_hWC, [frame.channels], axis=-1)
    constant_hWC = None if band.constant_hWC is None else band.constant_hWC[rows]
    pixels_hWC = scale.to_pixels(values_hWC, name=name, original=colors_hWC, constant=constant_hWC)
    return np.concatenate((pixels_hWC, extra_hWE), axis=-1)


def _map_function(
    kind: str, calibration: Calibration | None
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    if calibration is None:
        raise ValueError(f'the map {kind} needs a calibration')
    return {ERROR: calibration.standard_error, INTERVAL: calibration.half_width}[kind]


def _read_colors(source: Source, index: int, start: int, stop: int) -> np.ndarray:
    return source.read(index, start, stop)[..., : source.frames[index].channels]


def _read_mean(reads: Sequence[Read], scale: PixelRange, start: int, stop: int) -> np.ndarray:
    """Returns the mean at each pixel over the captures that measured it, in the network's range."""
    total_hWC = scale.to_network(reads[0](start, stop))
    num_hWC = np.int32(~np.isnan(total_hWC))
    total_hWC[num_hWC == 0] = 0
    for read in reads[1:]:
        part_hWC = scale.to_network(read(start, stop))
        measured_hWC = ~np.isnan(part_hWC)
        np.add(total_hWC, part_hWC, out=total_hWC, where=measured_hWC)
        num_hWC += measured_hWC
    mean_hWC = total_hWC / np.maximum(num_hWC, 1).astype(np.float32)
    mean_hWC[num_hWC == 0] = np.nan
    return mean_hWC


def _identity(pixels: np.ndarray) -> np.ndarray:
    return pixels


def _map_files(target: Path, maps: Sequence[str]) -> dict[str, Path]:
    return {kind: target.with_name(f'{target.stem}_{kind}.tif') for kind in maps}


def _images_in(folder: Path) -> list[Path]:
    files = readable_files(folder, stacks.SUFFIXES)
    if not files:
        raise UserError(
            f'{folder} holds no image: no file in it ends in {either(images.SUFFIXES)}.'
        )
    return files


def _folders_of(files: Iterable[Path], given: Path) -> list[Path]:
    """Returns the folders of `files` inside `given`, which may be links to elsewhere."""
    parents = dict.fromkeys(file.parent for file in files if file.is_relative_to(given))
    folders = (folder for parent in parents for folder in (parent, *parent.parents))
    return list(dict.fromkeys(folder for folder in folders if folder.is_relative_to(given)))


def _check_not_inside(inputs: Iterable[Path], output: Path) -> None:
    for path in inputs:
        if path.is_dir() and output.resolve().is_relative_to(path.resolve()):
            raise UserError(f'-o {output} is inside {path}: choose a folder outside it.')


def _checked(jobs: list[Job], folder: Path | None) -> list[Job]:
    """Returns the jobs after checking that no output leaves the folder or overwrites another.

    Raises:
      UserError: one does, or its format cannot hold what the source contains.
    """
    seen: dict[Path, Path] = {}
    for job in jobs:
        _check_kind(job.sources[0], job.target)
        for path in job.outputs:
            try:
                resolved = path.resolve()
            except (OSError, ValueError, RuntimeError) as error:
                raise UserError(f'{path} cannot be written: {error}.') from None
            if folder is not None and not resolved.is_relative_to(folder.resolve()):
                raise UserError(
                    f'{path} would be written outside -o {folder}, to {resolved}: remove the link '
                    'that leads there, or choose another -o.'
                )
            if resolved in seen:
                raise UserError(
                    f'{job.sources[0]} and {seen[resolved]} would both be written to {path}: '
                    'denoise them into different folders, or use --combine if they are captures '
                    'of one scene.'
                )
            seen[resolved] = job.sources[0]
    return jobs


def _check_kind(source: Path, target: Path) -> None:
    """Refuses formats that cannot be converted into each other, whatever the files contain."""
    old, new = source.suffix.lower(), target.suffix.lower()
    if old == new:
        return
    if new not in stacks.SUFFIXES:
        raise UserError(
            f'{target} cannot be written: its name must end in {either(images.SUFFIXES)}; write '
            f'{target}/ for a folder.'
        )
    for kinds in (row_writer.NUMPY_SUFFIXES, (row_writer.EXR_SUFFIX,)):
        if new in kinds and old not in kinds:
            raise UserError(
                f'{source} cannot be written as {target}: only {" and ".join(kinds)} files can '
                f'be written as {new}. Choose a name that ends in {old}'
                + ('.' if old in row_writer.TIFF_SUFFIXES else ' or .tif.')
            )

"""Denoising files: which becomes which, some rows at a time, one failure not stopping the rest.

H height, W width, C channels, E extra samples. An h in place of H: some rows.
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

_WRITTEN_ROWS = 64  # at once: their conversion takes several times their memory
_CHECKED_VALUES = 1 << 22  # at once, in the look for values that are not numbers
_CALLS_SHOWN = 3  # of an error that nobody has a sentence for

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
    """An output and what it is made from.

    Attributes:
      sources: files; more than one are captures of one scene.
      frames: of each the image in it; None: all of them.
      target: the file to write.
      maps: files for what is known about each pixel of the result, by kind: see `MAPS`.
      channels: of each the one channel that is the capture; empty: all channels of all.
    """

    sources: tuple[Path, ...]
    frames: tuple[int | None, ...]
    target: Path
    maps: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    channels: tuple[int, ...] = ()

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
      existing: what becomes of outputs that are there when their turn comes.
    """

    tta: bool = False
    combine: Combine = ''
    calibration: Calibration | None = None
    existing: Existing = 'refuse'


@dataclasses.dataclass(frozen=True)
class Output:
    """Where outputs go.

    Attributes:
      path: of a file, or of a folder.
      is_folder: it was written as one, with a slash at its end.
    """

    path: Path
    is_folder: bool = False

    def is_file_for_one(self) -> bool:
        """Whether it names a file, if there is but one thing to write."""
        return not self.is_folder and not self.path.is_dir() and self.path.suffix != ''

    def check_folder(self, why: str) -> None:
        """Raises UserError if it cannot be a folder, which is needed, and why it is."""
        if self.path.is_dir():
            return
        if self.path.exists():
            raise UserError(f'-o {self.path} is a file; {why}.')
        if not self.is_folder and self.path.suffix.lower() in stacks.SUFFIXES:
            raise UserError(
                f'-o {self.path} has the name of an image file; {why}. Write {self.path}/ if '
                'it is to be a folder.'
            )


def jobs_of_files(
    inputs: Sequence[Path], output: Output | Path, *, maps: Sequence[str] = ()
) -> list[Job]:
    """Every file becomes one of the same name; a folder keeps its structure.

    Args:
      inputs: files or folders.
      output: a folder, or a file if there is one input file.
      maps: kinds of `MAPS` to write beside each.

    Raises:
      UserError: a missing input, or outputs that would go wrong.
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
        _not_inside(inputs, output.path)
        folder, pairs = output.path, []
        for given in inputs:
            if not given.is_dir():
                pairs.append((given, folder / given.name))
                continue
            files = _images_in(given)
            _not_inside(_folders_of(files, given), output.path)
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
    """Every scene becomes a file of its name, of the kind of its first capture.

    Args:
      scenes: with their captures.
      inputs: where they were found.
      output: a folder, or a file if there is one scene.
      maps: kinds of `MAPS` to write beside each.

    Raises:
      UserError: outputs that would go wrong.
    """
    if isinstance(output, Path):
        output = Output(output)
    folder = None if len(scenes) == 1 and output.is_file_for_one() else output.path
    if folder is not None:
        several = len(scenes) > 1
        output.check_folder('several scenes need a folder' if several else 'it ends in a slash')
        _not_inside(inputs, folder)
        files = [capture.path for scene in scenes for capture in scene.captures]
        for given in inputs:
            if given.is_dir():
                _not_inside(_folders_of(files, given), folder)
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
    """Does all jobs that can be done, whatever goes wrong with others.

    Args:
      denoiser: the model.
      jobs: what to do.
      options: how.
      on_skipped: told of jobs whose outputs appeared meanwhile, and were to be skipped then.

    Returns:
      A sentence for each that failed; its outputs are as they were before.
    """
    failures = []
    sizes = []
    for job in jobs:
        size = 0
        try:
            size = _num_pixels(job, options)
        except Exception as error:  # one file must not stop the others
            _heed_interrupts()
            failures.append(_in_words(error, job))
        sizes.append(size)
    todo = [(job, size) for job, size in zip(jobs, sizes, strict=True) if size]
    total = sum(sizes)
    with ProgressLine('denoising', total / 1e6, unit=' megapixels') as progress:
        before = 0
        for place, (job, size) in enumerate(todo, start=1):
            _heed_interrupts()
            details = f'file {place} of {len(todo)}' if len(todo) > 1 else ''
            try:
                _do(denoiser, job, options, _Count(progress, before, details))
            except Exception as error:  # see above
                _heed_interrupts()
                progress.clear()
                if isinstance(error, ExistsError) and options.existing == 'skip':
                    _log.info('%s is there already.', job.target)
                    on_skipped(job)
                else:
                    failures.append(_in_words(error, job))
            before += size
            progress.update(before / 1e6, details)
    return failures


def _heed_interrupts() -> None:
    """Some libraries make an interrupt an error of their own, or nothing at all."""
    if interrupts.wanted():
        raise KeyboardInterrupt


def _in_words(error: Exception, job: Job) -> str:
    """What went wrong with a job. Errors without a sentence of their own tell where they arose."""
    if isinstance(error, UserError):
        return str(error)
    _log.debug('%s', job.sources[0], exc_info=error)
    if isinstance(error, MemoryError):
        return f'{job.sources[0]} is damaged, or too large for the memory.'
    if isinstance(error, OSError):
        file = error.filename or f'{job.sources[0]} or {job.target}'
        return f'{file} cannot be read or written: {error.strerror or error}.'
    calls = traceback.extract_tb(error.__traceback__)[-_CALLS_SHOWN:]
    where = ', '.join(f'{Path(call.filename).name}:{call.lineno} {call.name}' for call in calls)
    return (
        f'{job.sources[0]} is damaged, or this is a fault of n2n_jax, which you could report: '
        f'{type(error).__name__}: {error} ({where}).'
    )


class _Count:
    """Pixels done, those of the jobs before included."""

    def __init__(self, progress: ProgressLine, before: int, details: str) -> None:
        self._progress, self._done, self._details = progress, before, details

    def __call__(self, num_pixels: int) -> None:
        self._done += num_pixels
        self._progress.update(self._done / 1e6, self._details)


def _num_pixels(job: Job, options: Options) -> int:
    """Pixels to denoise, from the headers of the files."""
    for path in job.sources:
        if why := why_no_file(path):
            raise UserError(f'{path} cannot be read: {why}.')
    path, only = job.sources[0], job.frames[0]
    with row_writer.open_source(path) as source:
        frames = source.frames if only is None else [source.frames[only]]
        count = sum(frame.height * frame.width for frame in frames)
    return count * (len(job.sources) if options.combine == 'results' else 1)


@contextlib.contextmanager
def _opened(job: Job) -> Iterator[list[tuple[Source, int | None]]]:
    """The captures of a job: where each is, and which image; see `Job.frames`."""
    with contextlib.ExitStack() as stack:
        files = stack.enter_context(FewFiles())
        opened: dict[Path, Source] = {}
        for path in job.sources:
            if not opened:  # the first, which the output is like, stays open
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


def _do(denoiser: Denoiser, job: Job, options: Options, count: _Count) -> None:
    with contextlib.ExitStack() as stack:
        captures = stack.enter_context(_opened(job))
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
        places = stack.enter_context(staged(job.outputs, overwrite=overwrite))
        target = stack.enter_context(row_writer.open_target(places[job.target], source, only=only))
        maps = {
            kind: stack.enter_context(
                row_writer.open_target(places[path], source, only=only, is_map=True)
            )
            for kind, path in job.maps.items()
        }
        for index, image in images:
            _denoise_frame(denoiser, image, index, target, maps, options, count)


def _warn(doubts: Mapping[Path, Sequence[str]]) -> None:
    """One line a file, however many of its images are suspicious."""
    for first, *others in doubts.values():
        more = ''
        if others:
            several = f'{len(others)} other images' if len(others) > 1 else 'another image'
            more = f' The same or a similar warning applies to {several} of this file.'
        _log.warning('%s%s', first, more)


def _check(denoiser: Denoiser, source: Source, index: int, like: Frame) -> str:
    """Looks at all values of an image before any time goes into it.

    Returns:
      Why it may not be what the model is for; ''.

    Raises:
      UserError: it is not like the first capture of its scene, or holds what means nothing.
    """
    frame, name = source.frames[index], name_of(source, index)
    if _comparable(frame) != _comparable(like):
        raise UserError(
            f'Captures of one scene differ: {name} is {_kind(frame)}, the first is {_kind(like)}.'
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


def _comparable(frame: Frame) -> tuple[int, int, int, np.dtype]:
    """What is alike in all captures of a scene; some may have alpha, and others none."""
    return frame.height, frame.width, frame.channels, frame.dtype


def _kind(frame: Frame) -> str:
    channels = f'{frame.channels} channel{"s" * (frame.channels > 1)}'
    return f'{frame.width}x{frame.height} with {channels} of {frame.dtype.name}'


def _denoise_frame(
    denoiser: Denoiser,
    captures: Sequence[tuple[Source, int]],
    index: int,
    target: row_writer.Target,
    maps: Mapping[str, row_writer.Target],
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
            target.write(index, _as_stored(scale, source, first, band, rows))
            if band.spread_hWC is not None:
                maps[SPREAD].write(index, np.nan_to_num(band.spread_hWC[rows]) * units)
        if calibrated:
            results.append(band.mean_hWC)
    if calibrated:
        # The level of the noise is that of the whole image, so it must fit into the memory.
        noisy_HWC = scale.to_network(_read_colors(source, first, 0, frame.height))
        denoised_HWC = np.concatenate(results)
        for kind in calibrated:
            map_HWC = _calibrated(kind, options.calibration)(noisy_HWC, denoised_HWC)
            map_HWC = np.where(np.isnan(denoised_HWC), 0, map_HWC)  # constants are certain
            maps[kind].write(index, np.float32(map_HWC) * units)


def _as_stored(
    scale: PixelRange, source: Source, index: int, band: Band, rows: slice
) -> np.ndarray:
    """Some rows of a band as pixels, with constants and extra samples of the source."""
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


def _calibrated(
    kind: str, calibration: Calibration | None
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    if calibration is None:
        raise ValueError(f'the map {kind} needs a calibration')
    return {ERROR: calibration.standard_error, INTERVAL: calibration.half_width}[kind]


def _read_colors(source: Source, index: int, start: int, stop: int) -> np.ndarray:
    return source.read(index, start, stop)[..., : source.frames[index].channels]


def _read_mean(reads: Sequence[Read], scale: PixelRange, start: int, stop: int) -> np.ndarray:
    """The mean, in the range of the network, of the captures that measured a pixel."""
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


def _unchanged(pixels: np.ndarray) -> np.ndarray:
    return pixels


def _map_files(target: Path, maps: Sequence[str]) -> dict[str, Path]:
    return {kind: target.with_name(f'{target.stem}_{kind}.tif') for kind in maps}


def _images_in(folder: Path) -> list[Path]:
    files = readable_files(folder, stacks.SUFFIXES)
    if not files:
        raise UserError(f'{folder} holds no image: {either(images.SUFFIXES)} files are denoised.')
    return files


def _folders_of(files: Iterable[Path], given: Path) -> list[Path]:
    """Folders that were searched below the one that was given; they may be links."""
    parents = dict.fromkeys(file.parent for file in files if file.is_relative_to(given))
    folders = (folder for parent in parents for folder in (parent, *parent.parents))
    return list(dict.fromkeys(folder for folder in folders if folder.is_relative_to(given)))


def _not_inside(inputs: Iterable[Path], output: Path) -> None:
    for path in inputs:
        if path.is_dir() and output.resolve().is_relative_to(path.resolve()):
            raise UserError(f'-o {output} lies inside {path}: choose a folder outside of it.')


def _checked(jobs: list[Job], folder: Path | None) -> list[Job]:
    """The jobs, if no output goes where it must not: outside of the folder, or over another.

    Raises:
      UserError: one does, or it is of a kind that its source cannot become.
    """
    seen: dict[Path, Path] = {}
    for job in jobs:
        _check_kind(job.sources[0], job.target)
        for path in job.outputs:
            try:
                place = path.resolve()
            except (OSError, ValueError, RuntimeError) as error:
                raise UserError(f'{path} cannot be written: {error}.') from None
            if folder is not None and not place.is_relative_to(folder.resolve()):
                raise UserError(
                    f'{path} would be written outside of -o {folder}, to {place}: remove the link '
                    'that leads there, or choose another -o.'
                )
            if place in seen:
                raise UserError(
                    f'{job.sources[0]} and {seen[place]} would both become {path}: denoise them '
                    'into folders of their own, or --combine captures of one scene.'
                )
            seen[place] = job.sources[0]
    return jobs


def _check_kind(source: Path, target: Path) -> None:
    """Refuses kinds of files that cannot become each other, whatever they hold."""
    old, new = source.suffix.lower(), target.suffix.lower()
    if old == new:
        return
    if new not in stacks.SUFFIXES:
        raise UserError(
            f'{target} cannot be written: let its name end in {either(images.SUFFIXES)}; or write '
            f'{target}/ for a folder.'
        )
    for kinds in (row_writer.NUMPY_SUFFIXES, (row_writer.EXR_SUFFIX,)):
        if new in kinds and old not in kinds:
            raise UserError(
                f'{source} cannot become {target}: only {" and ".join(kinds)} files become {new} '
                f'files. Let the name end in {old}'
                + ('.' if old in row_writer.TIFF_SUFFIXES else ' or .tif.')
            )

"""Plans what is denoised into which file, and refuses what would be written to a wrong place."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from n2n_jax import images
from n2n_jax.captures.scene_files import Scene
from n2n_jax.images import stacks
from n2n_jax.images.folders import readable_files
from n2n_jax.images.suffixes import EXR_SUFFIX, NUMPY_SUFFIXES, TIFF_SUFFIXES, either
from n2n_jax.runtime.errors import UserError

SPREAD, ERROR, INTERVAL = 'spread', 'error', 'interval'
MAPS = {
    SPREAD: 'standard deviation over the 8 results of TTA',
    ERROR: 'expected error of the result (`Calibration.standard_error`)',
    INTERVAL: 'half width of the interval of a new capture (`Calibration.half_width`)',
}


_OME = '.ome'  # which OME-TIFF files have before their suffix


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
    inputs: Sequence[Path], output: Output | Path | None, *, maps: Sequence[str] = ()
) -> list[Job]:
    """Plans one output of the same name for every input file; folders keep their structure.

    Args:
      inputs: files or folders.
      output: a folder, or a file if there is one input file; None: NAME_denoised beside each input.
      maps: kinds of `MAPS` to write beside each output.

    Raises:
      UserError: an input is missing, or an output cannot be written or would overwrite another.
    """
    for given in inputs:
        if not given.exists():
            raise UserError(f'{given}: no such file or folder.')
    if output is None:
        outputs = [Output(_beside(given), given.is_dir()) for given in inputs]
        jobs = [
            job
            for given, beside in zip(inputs, outputs, strict=True)
            for job in jobs_of_files([given], beside, maps=maps)
        ]
        return _checked(jobs, None)
    if isinstance(output, Path):
        output = Output(output)
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


def _beside(given: Path) -> Path:
    """Returns where an input is denoised to if nothing is said: beside it, of a name like its."""
    if given.is_dir():
        given = given if given.name.strip('.') else given.resolve()  # . and .. have other names
        return given.with_name(f'{given.name}_denoised')
    stem, suffix = given.stem, given.suffix
    if stem.lower().endswith(_OME):
        stem, suffix = stem[: -len(_OME)], stem[-len(_OME) :] + suffix
    return given.with_name(f'{stem}_denoised{suffix}')


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
    for kinds in (NUMPY_SUFFIXES, (EXR_SUFFIX,)):
        if new in kinds and old not in kinds:
            raise UserError(
                f'{source} cannot be written as {target}: only {" and ".join(kinds)} files can '
                f'be written as {new}. Choose a name that ends in {old}'
                + ('.' if old in TIFF_SUFFIXES else ' or .tif.')
            )

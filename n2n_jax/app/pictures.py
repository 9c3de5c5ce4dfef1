"""The pictures that users have uploaded, each in a folder of its own until it is deleted."""

import contextlib
import dataclasses
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from n2n_jax.app import views
from n2n_jax.app.settings import Settings
from n2n_jax.denoise import choice
from n2n_jax.denoise.choice import Choice
from n2n_jax.images import SUFFIXES, Frame, open_image
from n2n_jax.images.suffixes import either
from n2n_jax.runtime.errors import UserError

KINDS = 'PNG, JPEG, TIFF, BMP, WebP, EXR or NumPy'
_MOST_NAME = 160  # bytes of a name that are kept, so that more can be added to it
_MOST_VIEWS = 6  # images of one file whose views are kept
_FREE_TIMES = 8  # an upload, its result and what is shown of both, in sizes of a compressed upload
_LEAST_FREE = 200 << 20  # bytes that are left for others
_AT_ONCE = 2  # files looked at at the same time, as each may take much memory


class InvalidError(UserError):
    """The upload is not an image that can be read."""


class TooLargeError(UserError):
    """The upload is larger than the limits of the page."""


class UnknownPictureError(UserError):
    """There is no such picture, or it is another user's."""


@dataclasses.dataclass(eq=False)
class Picture:
    """An uploaded picture.

    Attributes:
      user: whose it is.
      name: of the file that was uploaded.
      folder: holds its files.
      source: the file as it was uploaded.
      frames: the images in it.
      found: what was found out about its noise, and which model that asks for.
      result: the denoised file; None if there is none.
      made_by: what made the result, a sentence.
      clean: the clean original that it was compared with; None if there is none.
      id: its name in addresses.
    """

    user: str
    name: str
    folder: Path
    source: Path
    frames: tuple[Frame, ...]
    found: Choice
    result: Path | None = None
    made_by: str = ''
    clean: Path | None = None
    id: str = dataclasses.field(default_factory=lambda: secrets.token_urlsafe(12))
    used: float = dataclasses.field(default_factory=time.monotonic)
    _views: dict[tuple[Path, int], views.View] = dataclasses.field(default_factory=dict)
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    @property
    def result_name(self) -> str:
        """The name under which the denoised file is saved."""
        name = Path(self.name)
        return f'{name.stem}_denoised{name.suffix}'

    def view(self, file: Path, index: int) -> views.View:
        """Returns the view of an image of `source`, `result` or `clean`, made when first asked for.

        Raises:
          OutsideError: the file has no such image.
          UserError: it cannot be read.
        """
        if not 0 <= index < len(self.frames):
            raise views.OutsideError(f'{self.name} has no image {index + 1}.')
        with self._lock:
            key = file, index
            if key not in self._views:
                while len(self._views) >= _MOST_VIEWS:
                    self._drop(next(iter(self._views)))
                folder = self._view_folder(key)
                folder.mkdir(exist_ok=True)
                dtype, shown = self.frames[index].dtype, self.found.range
                self._views[key] = views.make(file, index, dtype, shown, folder)
            self._views[key] = self._views.pop(key)  # the last to be dropped
            return self._views[key]

    @contextlib.contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """Names the picture in messages as its user knows it, without its folder."""
        try:
            yield
        except UserError as error:
            words = str(error).replace(str(self.source), self.name)
            error.args = (words.replace(f'{self.folder}{os.sep}', ''),)
            raise

    def forget_views(self, file: Path) -> None:
        """Drops the views of a file that was written anew."""
        with self._lock:
            for key in [key for key in self._views if key[0] == file]:
                self._drop(key)

    def _view_folder(self, key: tuple[Path, int]) -> Path:
        file, index = key
        return self.folder / f'{file.stem}-{index}'

    def _drop(self, key: tuple[Path, int]) -> None:
        # Tiles that are being read keep their file open, so it may be deleted now.
        del self._views[key]
        shutil.rmtree(self._view_folder(key), ignore_errors=True)


class Pictures:
    """All pictures, in a temporary folder that only this user of the machine can read.

    Args:
      settings: limits.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = Path(tempfile.mkdtemp(prefix='n2n_app_'))
        self._pictures: dict[str, Picture] = {}
        self._lock = threading.Lock()
        self._looking = threading.Semaphore(_AT_ONCE)

    def close(self) -> None:
        """Deletes all pictures."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def new_upload(self, size: int) -> Path:
        """Returns an empty file for an upload, which `add` or `beside` takes over.

        Args:
          size: in bytes, as far as it is known.

        Raises:
          TooLargeError: the disk is nearly full.
        """
        if shutil.disk_usage(self._folder).free < _FREE_TIMES * size + _LEAST_FREE:
            raise TooLargeError(
                'The disk of this machine is too full for this upload: remove some pictures first.'
            )
        number, name = tempfile.mkstemp(dir=self._folder)
        os.close(number)
        return Path(name)

    def add(self, user: str, name: str, upload: Path) -> Picture:
        """Keeps an upload and looks at it.

        Raises:
          InvalidError: it is not an image that can be read.
          TooLargeError: it exceeds a limit.
        """
        if len(self.of(user)) >= self._settings.most_pictures:
            raise TooLargeError(
                f'{self._settings.most_pictures} pictures are here already, the limit of this '
                'page: remove some first.'
            )
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            source, shown_name = _kept(upload, folder, 'noisy', name)
            frames, found = self._looked_at(source, shown_name)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        picture = Picture(user, shown_name, folder, source, frames, found)
        with self._lock:
            self._pictures[picture.id] = picture
        return picture

    @contextlib.contextmanager
    def beside(self, picture: Picture, name: str, upload: Path) -> Iterator[tuple[Path, str]]:
        """Keeps an upload that goes with a picture, such as its clean original.

        Yields:
          The file, and the name to show for it. It is deleted at the end of the context unless it
          has become `picture.clean`.

        Raises:
          InvalidError: it is not an image that can be read.
          TooLargeError: it exceeds a limit.
        """
        file, shown_name = _kept(upload, picture.folder, f'beside-{secrets.token_hex(4)}', name)
        try:
            with _named(file, shown_name):
                self._check_frames(file)
            with picture.named_in_errors():
                yield file, shown_name
        finally:
            if picture.clean != file:
                picture.forget_views(file)
                file.unlink(missing_ok=True)

    def find(self, user: str, id: str) -> Picture:
        """Returns a picture of a user; raises UnknownPictureError if there is none."""
        picture = self._pictures.get(id)
        if picture is None or picture.user != user:
            raise UnknownPictureError('No image is loaded under this name: upload it first.')
        picture.used = time.monotonic()
        return picture

    def of(self, user: str) -> list[Picture]:
        """Returns the pictures of a user, in the order of their uploads."""
        with self._lock:
            return [picture for picture in self._pictures.values() if picture.user == user]

    def remove(self, picture: Picture) -> None:
        """Deletes a picture and its files."""
        with self._lock:
            self._pictures.pop(picture.id, None)
        shutil.rmtree(picture.folder, ignore_errors=True)

    def new_report(self) -> Path:
        """Returns a file for a page, which is kept as long as pictures are."""
        number, name = tempfile.mkstemp('.html', dir=self._folder)
        os.close(number)
        return Path(name)

    def report(self, name: str) -> Path:
        """Returns the file of `new_report` by its name."""
        return self._folder / Path(name).name

    def remove_old(self, is_active: set[str]) -> None:
        """Deletes pictures that nobody has used for long, not those of the given users; reports."""
        oldest = time.monotonic() - self._settings.kept_seconds
        for report in self._folder.glob('*.html'):
            if report.stat().st_mtime < time.time() - self._settings.kept_seconds:
                report.unlink(missing_ok=True)
        for picture in list(self._pictures.values()):
            if picture.used < oldest and picture.user not in is_active:
                self.remove(picture)

    def _looked_at(self, source: Path, name: str) -> tuple[tuple[Frame, ...], Choice]:
        with self._looking, _named(source, name):
            return self._check_frames(source), choice.of_file(source)

    def _check_frames(self, file: Path) -> tuple[Frame, ...]:
        with open_image(file) as opened:
            frames = tuple(opened.frames)
        most = max(frames, key=lambda frame: frame.height * frame.width)
        if most.height * most.width > self._settings.most_pixels:
            raise TooLargeError(
                f'{file} has {most.width}x{most.height} pixels, more than the '
                f'{self._settings.most_pixels / 1e6:.0f} million of this page: use n2n denoise '
                'for it.'
            )
        return frames


def free_name(name: str, taken: set[str]) -> str:
    """Returns a name like the given one that is not taken yet, and takes it."""
    path, number = Path(name), 1
    while str(path) in taken:
        number += 1
        path = Path(name).with_stem(f'{Path(name).stem}_{number}')
    taken.add(str(path))
    return str(path)


def _kept(upload: Path, folder: Path, stem: str, given: str) -> tuple[Path, str]:
    """Moves an upload into a folder; returns the file, and the name to show for it."""
    # What a browser sends is a name, but anybody may send anything.
    name = os.path.basename(given.replace('\\', '/')).strip()
    name = ''.join(char for char in name if char.isprintable())
    name = name.encode('utf-8', 'replace')[-_MOST_NAME:].decode('utf-8', 'ignore') or 'unnamed'
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise InvalidError(
            f'{name} is not a valid image file. Please upload a valid image file: {KINDS}, whose '
            f'name ends in {either(SUFFIXES)}.'
        )
    file = folder / f'{stem}{suffix}'
    upload.replace(file)
    return file, name


@contextlib.contextmanager
def _named(file: Path, name: str) -> Iterator[None]:
    """Names an upload in messages as its user knows it, and says what can be uploaded."""
    try:
        yield
    except TooLargeError as error:
        raise TooLargeError(str(error).replace(str(file), name)) from None
    except Exception as error:  # of a decoder; whatever it is, the file is at fault
        said = str(error) if isinstance(error, UserError) else f'{name} cannot be read.'
        raise InvalidError(
            f'{said.replace(str(file), name)} Please upload a valid image file: {KINDS}.'
        ) from error

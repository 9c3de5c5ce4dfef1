"""Output files that appear complete or not at all, and replace no other program's files.

Several files appear one right after the other once all are written. If that fails for one of them,
those before it are removed again; with `overwrite` they stay, as the files they replaced are gone.
"""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from n2n_jax.runtime import interrupts
from n2n_jax.runtime.errors import UserError

_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class ExistsError(UserError):
    """A file exists that must not be overwritten."""


@contextlib.contextmanager
def staged(targets: Sequence[Path], *, overwrite: bool) -> Iterator[Mapping[Path, Path]]:
    """Yields temporary names for the targets, which are renamed when the body ends without error.

    Missing folders are made. A target that is a link stays a link: the file it points to is
    written.

    Args:
      targets: files to write, all different.
      overwrite: whether they may exist.

    Yields:
      For each target a temporary file name in its folder, with the same suffix. Targets whose
      temporary file is not written are skipped.

    Raises:
      ExistsError: a target exists and must not be overwritten, now or at the end, when another
        program may have written it; then none of the others is written.
      UserError: a folder or a name cannot be written. UserErrors of the body are raised with the
        names of the targets instead of the temporary names.
    """
    places = {}
    try:
        for target in targets:
            if not overwrite and os.path.lexists(target):
                raise ExistsError(f'{target} exists: it was not changed.')
            with _named(target):
                place = target.resolve()
                place.parent.mkdir(parents=True, exist_ok=True)
                if place.is_dir():
                    raise UserError(f'{target} cannot be written: it is a folder, move it away.')
                if not os.access(place.parent, os.W_OK):
                    raise PermissionError(errno.EACCES, 'no permission to write in its folder')
            places[target] = place, place.with_name(f'.n2n-{uuid.uuid4().hex}.tmp{place.suffix}')
        yield {target: temporary for target, (_, temporary) in places.items()}
        with interrupts.deferred():
            _publish(places, overwrite=overwrite)
    except UserError as error:
        message = str(error)
        for target, (_, temporary) in places.items():
            message = message.replace(str(temporary), str(target))
        if message == str(error):
            raise
        raise UserError(message) from error
    finally:
        with interrupts.deferred():
            for _, temporary in places.values():
                with contextlib.suppress(OSError):
                    temporary.unlink()


def _publish(places: Mapping[Path, tuple[Path, Path]], *, overwrite: bool) -> None:
    done: list[Path] = []
    replaced: list[Path] = []
    try:
        for target, (place, temporary) in places.items():
            if not temporary.exists():
                continue
            with _named(target, replaced):
                if overwrite:
                    if place.exists():
                        shutil.copymode(place, temporary)
                    os.replace(temporary, place)
                    replaced.append(target)
                else:
                    _link(temporary, place)
                    done.append(place)
    except BaseException:
        for place in done:  # written by this program a moment ago
            place.unlink()
        raise


def _link(temporary: Path, place: Path) -> None:
    """Renames a file atomically without replacing a file that another program has written."""
    try:
        os.link(temporary, place)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Without hard links: reserve the name first, with a file that is empty for a moment.
        os.close(os.open(place, os.O_CREAT | os.O_EXCL))
        try:
            os.replace(temporary, place)
        except BaseException:
            place.unlink()
            raise


@contextlib.contextmanager
def _named(target: Path, replaced: Sequence[Path] = ()) -> Iterator[None]:
    """Turns errors into sentences.

    Args:
      target: the file that is written.
      replaced: targets that were already replaced, which the error names.
    """
    try:
        yield
    except FileExistsError:
        if os.path.isdir(target) or not os.path.lexists(target):  # a file is in the folder's place
            raise UserError(
                f'{target} cannot be written: a file has the name of its folder.'
            ) from None
        raise ExistsError(
            f'{target} was written by another program meanwhile: it was not changed.'
        ) from None
    except (OSError, ValueError, RuntimeError) as error:  # also for invalid names and links
        if isinstance(error, UserError):
            raise
        reason = getattr(error, 'strerror', None) or error
        changed = f'Written before it: {", ".join(map(str, replaced))}.' if replaced else ''
        raise UserError(
            f'{target} cannot be written: {reason}. {changed or "Nothing was changed."}'
        ) from error

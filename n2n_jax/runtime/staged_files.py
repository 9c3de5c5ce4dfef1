"""Output files that appear whole or not at all, and over nobody else's.

Several appear one right after the other when all are done. If that fails for one of them, those
before it are taken away again; with `overwrite` they stay, as what they replaced is gone.
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
    """A file is there that was not to be overwritten."""


@contextlib.contextmanager
def staged(targets: Sequence[Path], *, overwrite: bool) -> Iterator[Mapping[Path, Path]]:
    """Names to write the targets under, which become theirs when the body has ended well.

    Their folders are made. A target that is a link stays one: what it links to is written.

    Args:
      targets: files, each with a name of its own.
      overwrite: whether they may exist.

    Yields:
      For each target a file name in its folder, of the same suffix; those that are not written are
      left out.

    Raises:
      ExistsError: a target exists and must not be overwritten, now or at the end, when another
        program may have written it; none of the others is written then.
      UserError: a folder or a name that cannot be written. Those of the body name the targets, not
        what is written in their place.
    """
    places = {}
    try:
        for target in targets:
            if not overwrite and os.path.lexists(target):
                raise ExistsError(f'{target} exists: it was left as it is.')
            with _named(target):
                place = target.resolve()
                place.parent.mkdir(parents=True, exist_ok=True)
                if place.is_dir():
                    raise UserError(f'{target} cannot be written: it is a folder.')
                if not os.access(place.parent, os.W_OK):
                    raise PermissionError(errno.EACCES, 'no permission to write in its folder')
            places[target] = place, place.with_name(f'.n2n-{uuid.uuid4().hex}.tmp{place.suffix}')
        yield {target: temporary for target, (_, temporary) in places.items()}
        with interrupts.deferred():
            _publish(places, overwrite=overwrite)
    except UserError as error:
        words = str(error)
        for target, (_, temporary) in places.items():
            words = words.replace(str(temporary), str(target))
        if words == str(error):
            raise
        raise UserError(words) from error
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
        for place in done:  # this program's own, made a moment ago
            place.unlink()
        raise


def _link(temporary: Path, place: Path) -> None:
    """Gives a file a name that must be free, in one step, so that no other program's is lost."""
    try:
        os.link(temporary, place)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without hard links: the name is taken first, empty for a moment.
        os.close(os.open(place, os.O_CREAT | os.O_EXCL))
        try:
            os.replace(temporary, place)
        except BaseException:
            place.unlink()
            raise


@contextlib.contextmanager
def _named(target: Path, replaced: Sequence[Path] = ()) -> Iterator[None]:
    """Errors as sentences; `replaced` has the targets that are new already."""
    try:
        yield
    except FileExistsError:
        if os.path.isdir(target) or not os.path.lexists(target):  # a file is in the folder's place
            raise UserError(
                f'{target} cannot be written: a file has the name of its folder.'
            ) from None
        raise ExistsError(
            f'{target} was written by another program meanwhile: it was left as it is.'
        ) from None
    except (OSError, ValueError, RuntimeError) as error:  # also names and links that mean nothing
        if isinstance(error, UserError):
            raise
        reason = getattr(error, 'strerror', None) or error
        changed = f'Written before it: {", ".join(map(str, replaced))}.' if replaced else ''
        raise UserError(
            f'{target} cannot be written: {reason}. {changed or "Nothing was changed."}'
        ) from error

"""Turns decoder exceptions into UserErrors.

Decoders raise exceptions of every kind on damaged bytes, so all are caught, but only around the
call of the decoder: errors in our own code keep their traceback.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from n2n_jax.runtime.errors import UserError


@contextlib.contextmanager
def decoding() -> Iterator[None]:
    """Turns any exception of a decoder call into a UserError without the file name."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except (ImportError, NotImplementedError) as error:  # of tifffile and imagecodecs
        raise UserError(
            f'uses an unsupported encoding ({error}): save it uncompressed or with Deflate (ZIP).'
        ) from error
    except Exception as error:
        reason = str(error).rstrip('.') or type(error).__name__
        raise UserError(f'is damaged or truncated ({reason}).') from error


@contextlib.contextmanager
def named_in_errors(path: str | Path) -> Iterator[None]:
    """Prepends the path to errors from opening and decoding a file.

    The message of a UserError raised inside must be a predicate ('is damaged ...'). EOFError is
    raised by our codecs only, for a truncated file. Other exceptions pass.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f'{path}: no such file.') from error
    except IsADirectoryError as error:
        raise UserError(f'{path} is a folder, not an image.') from error
    except PermissionError as error:
        raise UserError(f'{path}: no permission to read it.') from error
    except UserError as error:
        raise UserError(f'{path} {error}') from error
    except EOFError as error:
        raise UserError(f'{path} is damaged or truncated ({error}).') from error
    except MemoryError as error:  # also if a damaged header claims a huge image
        raise UserError(f'{path} is damaged, or too large for memory: {error}.') from error
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror or error}.') from error

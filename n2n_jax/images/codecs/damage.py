"""What goes wrong while bytes become pixels, as sentences.

Decoders meet damaged bytes with exceptions of every kind, so those of a decoder are caught
whatever they are, but only around the call of the decoder: what goes wrong in our own code keeps
its traceback.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from n2n_jax.runtime.errors import UserError


@contextlib.contextmanager
def decoding() -> Iterator[None]:
    """For calls of a decoder only: what they raise becomes a UserError with a predicate."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except (ImportError, NotImplementedError) as error:  # of tifffile and imagecodecs
        raise UserError(
            f'is stored in a way that is not read ({error}): save it uncompressed or with Deflate '
            '(ZIP).'
        ) from error
    except Exception as error:
        words = str(error).rstrip('.') or type(error).__name__
        raise UserError(f'is damaged or cut short ({words}).') from error


@contextlib.contextmanager
def named_in_errors(path: str | Path) -> Iterator[None]:
    """Puts the name of a file before the errors of its codec, and of opening it.

    A UserError that is raised inside has a predicate for its message. EOFError is ours, and means
    that the file ends too early. Other exceptions pass.
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
        raise UserError(f'{path} is damaged or cut short ({error}).') from error
    except MemoryError as error:  # also where a damaged header promises a huge image
        raise UserError(f'{path} is damaged, or too large for the memory: {error}.') from error
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror or error}.') from error

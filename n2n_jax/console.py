"""What both programs share: plain log lines, and errors as one sentence with an exit status."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

from absl import logging as absl_logging

from n2n_jax.cache import default_cache_dir
from n2n_jax.errors import CheckpointError, UserError

EXIT_USER_ERROR = 2
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def keep_compiled_code() -> None:
    """Keeps what XLA compiles in the user's cache folder: the next start is quicker.

    JAX_COMPILATION_CACHE_DIR names another folder.
    """
    import jax

    if not jax.config.jax_compilation_cache_dir:
        jax.config.update('jax_compilation_cache_dir', str(default_cache_dir() / 'xla'))


def set_up_logging() -> None:
    """Shows this package's log lines as they are, on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter('%(message)s'))
    logger = logging.getLogger('n2n_jax')
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    # It logs every oddity of a file, and the errors that it raises as well.
    logging.getLogger('tifffile').setLevel(logging.CRITICAL)


def show_errors_only() -> None:
    """For all but one of the processes of a run, which have the same things to say."""
    logging.getLogger('n2n_jax').setLevel(logging.ERROR)


def silence_orbax() -> None:
    """Keeps Orbax from logging every folder it opens, and the failures that it raises as well."""
    absl_logging.set_verbosity(absl_logging.FATAL)


@contextlib.contextmanager
def errors_in_one_sentence() -> Iterator[None]:
    """Ends the program with a sentence in place of a traceback, for errors that need no other."""
    try:
        yield
    except UserError as error:
        _end(str(error), EXIT_USER_ERROR)
    except FloatingPointError as error:
        _end(str(error), EXIT_FAILED)
    except CheckpointError as error:
        # Not sys.exit: Orbax's threads would print a page of tracebacks on the way out.
        print(f'error: {error}', file=sys.stderr, flush=True)
        os._exit(EXIT_FAILED)
    except OSError as error:  # full disk, no permission: says which file
        _end(str(error), EXIT_FAILED)
    except KeyboardInterrupt:
        _end('Stopped.', EXIT_INTERRUPTED)


def _end(message: str, status: int) -> None:
    print(f'error: {message}', file=sys.stderr)
    sys.exit(status)

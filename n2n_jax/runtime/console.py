"""The console of both programs: plain log lines, and errors as one sentence with an exit status."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

from n2n_jax.runtime import interrupts
from n2n_jax.runtime.cache import default_cache_dir
from n2n_jax.runtime.errors import CheckpointError, UserError

EXIT_USER_ERROR = 2
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def keep_compiled_code() -> None:
    """Caches XLA's compiled code in the user's cache folder, so that the next start is faster.

    JAX_COMPILATION_CACHE_DIR selects another folder.
    """
    import jax

    if not jax.config.values['jax_compilation_cache_dir']:
        jax.config.update('jax_compilation_cache_dir', str(default_cache_dir() / 'xla'))


def set_up_logging() -> None:
    """Shows this package's log lines without prefixes, on standard error.

    File names that the terminal cannot show are escaped instead of raising an error.
    """
    if hasattr(sys.stdout, 'reconfigure'):
        sys.stdout.reconfigure(errors='backslashreplace')
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter('%(message)s'))
    logger = logging.getLogger('n2n_jax')
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def show_errors_only() -> None:
    """Hides the log lines of all processes of a run but the first, as they would be the same."""
    logging.getLogger('n2n_jax').setLevel(logging.ERROR)


def silence_orbax() -> None:
    """Keeps Orbax from logging every folder that it opens, and failures that it also raises."""
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.FATAL)


@contextlib.contextmanager
def errors_in_one_sentence() -> Iterator[None]:
    """Ends the program with a sentence instead of a traceback, for errors that need no traceback.

    Ctrl-C, SIGTERM and SIGHUP are handled likewise, after half-written files are cleaned up.
    """
    with interrupts.stoppable() as interruption:
        try:
            yield
        except Exception as error:
            if interruption.wanted:  # some libraries turn an interrupt into an error of their own
                _end('Stopped.', EXIT_INTERRUPTED)
            _end_with_sentence(error)
        except KeyboardInterrupt:
            _end('Stopped.', EXIT_INTERRUPTED)
        except SystemExit as end:  # stopped on request: no further signal may disturb the end
            interruption.wanted |= end.code == EXIT_INTERRUPTED
            raise


@contextlib.contextmanager
def ended_at_once_if_stopped() -> Iterator[None]:
    """Ends a program that was stopped, and has cleaned up, without finalizing JAX.

    While the device still computes abandoned results, finalizing JAX ends in a segmentation fault.
    """
    try:
        yield
    except SystemExit as end:
        if end.code != EXIT_INTERRUPTED:
            raise
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(EXIT_INTERRUPTED)


def _end_with_sentence(error: Exception) -> NoReturn:
    """Ends the program if the error is one for users; raises all others again."""
    match error:
        case UserError():
            _end(str(error), EXIT_USER_ERROR)
        case FloatingPointError():
            _end(str(error), EXIT_FAILED)
        case CheckpointError():
            # Not sys.exit: Orbax's threads would print a page of tracebacks on the way out.
            print(f'error: {error}', file=sys.stderr, flush=True)
            os._exit(EXIT_FAILED)
        case BrokenPipeError():  # the reader of the output, such as `head`, has closed it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(EXIT_FAILED)
        case OSError():  # full disk, no permission
            names_file = error.filename is not None and error.strerror
            _end(f'{error.filename}: {error.strerror}.' if names_file else str(error), EXIT_FAILED)
        case MemoryError():
            _end(f'There is not enough memory. {error}'.strip(), EXIT_FAILED)
    if sentence := _missing_devices():
        _end(sentence, EXIT_USER_ERROR)
    raise error


def _missing_devices() -> str:
    """Returns a sentence if the devices in JAX_PLATFORMS are not available; '' if they are.

    JAX raises errors of several kinds for that, even a bare AssertionError.
    """
    asked, jax = os.environ.get('JAX_PLATFORMS'), sys.modules.get('jax')
    if not asked or jax is None or not hasattr(jax, 'local_devices'):
        return ''
    try:
        jax.local_devices()
    except Exception as error:
        why = f' ({str(error).partition(". (set ")[0]})' if str(error) else ''
        return (
            f'JAX_PLATFORMS={asked} names devices that JAX cannot use here{why}. Set it to cpu, or '
            'unset it to use the best device; for a GPU, install JAX with CUDA.'
        )
    return ''


def _end(message: str, status: int) -> NoReturn:
    with contextlib.suppress(OSError):  # the program may end because the terminal is gone
        print(f'error: {message}', file=sys.stderr)
    sys.exit(status)

"""A sign of life from work that cannot say how far it is, such as compiling."""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator

from n2n_jax.runtime.progress import duration

_log = logging.getLogger(__name__)

_EVERY_SECONDS = 8.0


@contextlib.contextmanager
def heartbeat(what: str, *, every: float = _EVERY_SECONDS) -> Iterator[None]:
    """Logs 'Compiling the step.', and 'Compiling the step: 8 s' and so on until the body ends.

    Args:
      what: is done in the body, as the start of a sentence.
      every: so many seconds.
    """
    _log.info('%s.', what)
    start, over = time.monotonic(), threading.Event()

    def beat() -> None:
        while not over.wait(every):
            _log.info('%s: %s', what, duration(time.monotonic() - start))

    thread = threading.Thread(target=beat, name='heartbeat', daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()

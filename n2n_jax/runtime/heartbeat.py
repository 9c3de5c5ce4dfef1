"""Signs of life from work that cannot report its progress, such as compiling."""

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
    """Logs 'Compiling the step.', then 'Compiling the step: 8 s' and so on until the body ends.

    Args:
      what: the work of the body, as the start of a sentence.
      every: seconds between log lines.
    """
    _log.info('%s.', what)
    start, ended = time.monotonic(), threading.Event()

    def beat() -> None:
        while not ended.wait(every):
            _log.info('%s: %s', what, duration(time.monotonic() - start))

    thread = threading.Thread(target=beat, name='heartbeat', daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()

"""The request to stop a run that Ctrl-C, SIGTERM and SIGHUP make."""

import logging
import os
import signal
from typing import Any, Self

import jax

from n2n_jax.runtime import interrupts

_log = logging.getLogger(__name__)


class StopRequest:
    """Turns a signal into a request that the loop polls; a second Ctrl-C ends at once.

    With several processes SIGTERM is left to JAX, which makes them agree on the step to stop at
    (see `Checkpoints.preempted`), and Ctrl-C becomes a SIGTERM.

    Attributes:
      wanted: true once the run should stop.
      heeded: set by the loop once it has stopped; otherwise the signal is raised again on exit.
    """

    def __init__(self) -> None:
        self.wanted = self.heeded = False
        self._alone = jax.process_count() == 1
        self._count = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in interrupts.NUMBERS if self._alone else (signal.SIGINT,):
            handler = signal.getsignal(number)
            if handler != signal.SIG_IGN and interrupts.is_main_thread():
                self._previous[number] = handler
                signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self.wanted and not self.heeded and kind is None:  # requested after the last step
            signal.raise_signal(signal.SIGINT)

    def _handle(self, number: int, frame: object) -> None:
        # When a terminal closes, both the shell and the kernel send SIGHUP: not a second request.
        self._count += number != getattr(signal, 'SIGHUP', None)
        if self._count > 1:
            raise KeyboardInterrupt
        if self._alone:
            self.wanted = True
            _log.info('Stopping after this step. Press Ctrl-C again to stop at once.')
        else:
            os.kill(os.getpid(), signal.SIGTERM)

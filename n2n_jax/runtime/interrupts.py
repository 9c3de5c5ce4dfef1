"""Handles Ctrl-C, SIGTERM and SIGHUP alike: programs clean up, and never stop inside a save."""

import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

_NAMES = ('SIGINT', 'SIGTERM', 'SIGHUP')  # Windows has no SIGHUP
NUMBERS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_PATIENCE = 2.0  # seconds in which more signals count as the first


class Interruption:
    """Whether a signal has asked the program to stop.

    Attributes:
      wanted: true from the first signal on.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._raised = math.inf  # time of the KeyboardInterrupt; inf if others have set `wanted`

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Raises KeyboardInterrupt at the first signal; ignores more signals during cleanup.

        A KeyboardInterrupt that was lost, as in a callback of the garbage collector, where nothing
        can be raised, is raised again by the next signal.
        """
        now = time.monotonic()
        if self.wanted and (now - self._raised < _PATIENCE or _is_cleaning_up()):
            return
        self.wanted, self._raised = True, now
        raise KeyboardInterrupt

    def hang_up(self, number: int, frame: FrameType | None) -> None:
        """Forwards SIGHUP as SIGTERM, whose handler may have changed since."""
        os.kill(os.getpid(), signal.SIGTERM)


_active: list[Interruption] = []  # one for each `stoppable` that is running


def wanted() -> bool:
    """Checks whether this program was asked to stop, even if its KeyboardInterrupt was lost."""
    return any(interruption.wanted for interruption in _active)


@contextlib.contextmanager
def stoppable() -> Iterator[Interruption]:
    """Makes the signals raise KeyboardInterrupt in the main thread, once if it has an effect.

    Signals that the parent process ignores, as nohup does, stay ignored. After a stop all are
    ignored, so that nothing disturbs the end of the program; otherwise all handlers are restored.
    """
    interruption = Interruption()
    _active.append(interruption)
    previous = {}
    if is_main_thread():
        for number in NUMBERS:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                hangs_up = number == getattr(signal, 'SIGHUP', None)
                previous[number] = signal.signal(
                    number, interruption.hang_up if hangs_up else interruption.handle
                )
    try:
        yield interruption
    finally:
        _active.remove(interruption)
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_IGN if interruption.wanted else handler)


@contextlib.contextmanager
def deferred(*numbers: int) -> Iterator[None]:
    """Defers signals until the end of the context, so that they interrupt nothing inside.

    Args:
      numbers: the signals; by default all that end the program.
    """
    received: list[int] = []
    previous = {}
    if is_main_thread():
        for number in numbers or NUMBERS:
            handler = signal.getsignal(number)
            if callable(handler):  # else ignored, ends the process, or not set by Python
                previous[number] = handler
                signal.signal(number, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(received):
            signal.raise_signal(number)


def _is_cleaning_up() -> bool:
    """Checks whether a KeyboardInterrupt, or an error raised from it, is being handled."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def is_main_thread() -> bool:
    """Checks whether this is the main thread, which alone can handle signals."""
    return threading.current_thread() is threading.main_thread()

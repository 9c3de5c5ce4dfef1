"""Ctrl-C, SIGTERM and SIGHUP end a program alike: it cleans up, and never stops inside a save."""

import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

_NAMES = ('SIGINT', 'SIGTERM', 'SIGHUP')  # Windows knows no SIGHUP
NUMBERS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_PATIENCE = 2.0  # seconds in which more signals are taken for the first


class Stop:
    """Whether the program has been asked to stop.

    Attributes:
      wanted: true from the first signal on.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._raised = math.inf  # when; not by this, where `wanted` is set by others

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The first signal is a KeyboardInterrupt; more of them leave it the time to clean up.

        One that went nowhere, as in a callback of the garbage collector, which cannot raise
        anything, is raised again by the next signal.
        """
        now = time.monotonic()
        if self.wanted and (now - self._raised < _PATIENCE or _is_cleaning_up()):
            return
        self.wanted, self._raised = True, now
        raise KeyboardInterrupt

    def hang_up(self, number: int, frame: FrameType | None) -> None:
        """A terminal that is gone asks as SIGTERM does, whoever listens to that by now."""
        os.kill(os.getpid(), signal.SIGTERM)


_inside: list[Stop] = []  # of the `stoppable` that are running


def wanted() -> bool:
    """Whether this program has been asked to stop, whatever became of its KeyboardInterrupt."""
    return any(stop.wanted for stop in _inside)


@contextlib.contextmanager
def stoppable() -> Iterator[Stop]:
    """Inside, the signals raise KeyboardInterrupt in the main thread, once if it has an effect.

    Signals that the parent has told to be ignored, as nohup does, still are. After a stop they all
    are, so that nothing disturbs the end of the program; else all is as before.
    """
    stop = Stop()
    _inside.append(stop)
    previous = {}
    if is_main_thread():
        for number in NUMBERS:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                hangs_up = number == getattr(signal, 'SIGHUP', None)
                previous[number] = signal.signal(number, stop.hang_up if hangs_up else stop.handle)
    try:
        yield stop
    finally:
        _inside.remove(stop)
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_IGN if stop.wanted else handler)


@contextlib.contextmanager
def deferred(*numbers: int) -> Iterator[None]:
    """Inside, no signal interrupts anything; what came is heeded at the end.

    Args:
      numbers: the signals; by default all that end the program.
    """
    came: list[int] = []
    previous = {}
    if is_main_thread():
        for number in numbers or NUMBERS:
            handler = signal.getsignal(number)
            if callable(handler):  # others are ignored, end the process, or are not Python's
                previous[number] = handler
                signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(came):
            signal.raise_signal(number)


def _is_cleaning_up() -> bool:
    """Whether a KeyboardInterrupt, or what was made of it, is on its way up."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def is_main_thread() -> bool:
    """True where signals can be handled."""
    return threading.current_thread() is threading.main_thread()

"""Progress and time left: one live line on a terminal, plain lines elsewhere."""

import logging
import sys
import time
from types import TracebackType
from typing import Self, TextIO

_log = logging.getLogger(__name__)

_PLAIN_EVERY_SECONDS = 8.0  # if lines cannot be overwritten
_LIVE_EVERY_SECONDS = 0.1


def duration(seconds: float) -> str:
    """Formats a duration: '45 s', '3 min 20 s', '2 h 05 min'."""
    seconds = round(max(0.0, seconds))
    if seconds < 60:
        return f'{seconds} s'
    if seconds < 3600:
        return f'{seconds // 60} min {seconds % 60:02d} s'
    return f'{seconds // 3600} h {seconds % 3600 // 60:02d} min'


def _number(count: float) -> str:
    return f'{count:.1f}' if isinstance(count, float) else str(count)


class ProgressLine:
    """Shows the count and the time left; silent for work that takes less than a second.

    Also silent if warnings are not logged, as in all processes of a run but the first.

    Args:
      label: name of what is counted, such as 'step'.
      total: the count at the end; a float if the counts are floats.
      unit: unit of the counts, shown after both numbers.
      stream: stream to write to; standard error by default.
    """

    def __init__(
        self, label: str, total: float, *, unit: str = '', stream: TextIO | None = None
    ) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._start = self._last = time.monotonic()
        self._timed_from: tuple[float, float] | None = None  # count and time of the first update
        self._silent = not _log.isEnabledFor(logging.WARNING)
        self._shown: float | None = None  # the count shown last
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()

    def clear(self) -> None:
        """Ends the live line, so that other output starts on a new line."""
        if self._open:
            self._open = False
            self._write('\n')

    def rest(self, count: float, details: str = '') -> None:
        """Shows the count unless that was done a moment ago, then ends the line for other work."""
        long_ago = time.monotonic() - self._last >= _PLAIN_EVERY_SECONDS / 2
        if not self._silent and not self._live and long_ago and self._shown != count:
            self._last = time.monotonic()
            self.show(count, details)
        self.clear()

    def end_at(self, total: float) -> None:
        """Changes the count at the end."""
        self._total = total

    def update(self, count: float, details: str = '') -> None:
        """Shows the state at `count`, unless something was shown a moment ago."""
        now = time.monotonic()
        if self._timed_from is None:  # excludes one-time work before it, such as compiling
            self._timed_from = (count, now)
        if self._silent or now - self._start < 1.0:
            return
        due = now - self._last >= (_LIVE_EVERY_SECONDS if self._live else _PLAIN_EVERY_SECONDS)
        at_end = count >= self._total and self._shown is not None
        if not (due or at_end) or (count >= self._total and self._shown == count):
            return
        self._last = now
        self.show(count, details)

    def show(self, count: float, details: str = '') -> None:
        """Shows the state at `count` now."""
        self._shown = count
        line = f'{self._label} {_number(count)}/{_number(self._total)}{self._unit}'
        line += f'  {details}' if details else ''
        first, since = self._timed_from or (count, 0.0)
        if first < count < self._total:
            per_count = (time.monotonic() - since) / (count - first)
            line += f'  {duration(per_count * (self._total - count))} left'
        self._open = self._live
        self._write(f'\r\x1b[2K{line}' if self._live else line + '\n')

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:  # the terminal or the reader is gone; the work continues
            self._silent, self._open = True, False

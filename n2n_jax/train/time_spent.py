"""The training time and the devices of a run, summed over all times it was resumed."""

import time
from typing import Any

from n2n_jax.runtime.workdir import devices


class TimeSpent:
    """Continues the count of the last checkpoint; steps that a crash has lost do not count.

    Args:
      before: `as_dict` of the checkpoint that is resumed, {} if an early version saved it; None for
        a new run.
    """

    def __init__(self, before: dict[str, Any] | None = None):
        self._start = time.monotonic()
        before = {'wall_seconds': 0.0, 'devices': []} if before is None else before
        self._before: float | None = before.get('wall_seconds')
        now = devices()
        earlier = before.get('devices', [])
        self._devices = earlier if now in earlier else [*earlier, now]

    def as_dict(self) -> dict[str, Any]:
        """Returns the content for a checkpoint and DONE.json.

        'wall_seconds' is the time of steps, evaluations and saves, without start-up and compilation
        (None: unknown, because an early version started the run); 'devices' lists all that were
        used.
        """
        spent = None if self._before is None else self._before + time.monotonic() - self._start
        return {
            'wall_seconds': None if spent is None else round(spent, 3),
            'devices': self._devices,
        }

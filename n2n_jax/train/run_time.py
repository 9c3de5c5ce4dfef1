"""How long a run was trained, and on what, over all the times that it was stopped and resumed."""

import time
from typing import Any

from n2n_jax.runtime.workdir import devices


class RunTime:
    """Counts on from the last checkpoint; steps that were lost with a crash do not count.

    Args:
      before: `as_dict` of the checkpoint that is resumed, {} if an early version saved it, None for
        a run that begins.
    """

    def __init__(self, before: dict[str, Any] | None = None):
        self._start = time.monotonic()
        before = {'wall_seconds': 0.0, 'devices': []} if before is None else before
        self._before: float | None = before.get('wall_seconds')
        now = devices()
        earlier = before.get('devices', [])
        self._devices = earlier if now in earlier else [*earlier, now]

    def as_dict(self) -> dict[str, Any]:
        """For a checkpoint and DONE.json.

        Returns:
          'wall_seconds' of steps, evaluations and saves, without start-up and compilation (None:
          not known, as the run was begun by an early version), and 'devices', all that were used.
        """
        spent = None if self._before is None else self._before + time.monotonic() - self._start
        return {
            'wall_seconds': None if spent is None else round(spent, 3),
            'devices': self._devices,
        }

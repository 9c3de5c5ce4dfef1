"""The log of a run's steps: curves, the progress line, and a warning if the loss explodes."""

import logging
import math
from typing import Any

import jax
import numpy as np

from n2n_jax.runtime.config import Config
from n2n_jax.runtime.progress import ProgressLine
from n2n_jax.train import skipping
from n2n_jax.train.curves import Writer
from n2n_jax.train.divergence import LossWatch
from n2n_jax.train.throughput import Throughput

_log = logging.getLogger(__name__)

Metrics = dict[str, jax.Array]  # of the steps of one dispatch, each (K,)


class TrainingLog:
    """Collects the metrics of the steps, and writes their means at the end of each interval.

    The end of an interval is only marked when it is reached, and written once the next dispatch is
    under way: otherwise the device would be idle while the host reads the loss, and that would look
    like waiting for data.

    Attributes:
      throughput: times the steps.
      progress: the line with the step, the loss and the time left.
    """

    def __init__(self, config: Config, writers: list[Writer], progress: ProgressLine) -> None:
        self.throughput, self.progress = Throughput(), progress
        self._config, self._writers = config, writers
        self._loss_watch = LossWatch()
        self._interval: list[Metrics] = []
        self._num_images = 0
        self._ended: tuple[int, list[Metrics], int] | None = None
        self._details = ''

    def add(self, metrics: Metrics) -> None:
        """Adds the metrics of a dispatch, which may still be running."""
        self._interval.append(metrics)
        num_steps = next(iter(metrics.values())).shape[0]
        self._num_images += num_steps * self._config.data.batch_size

    def end_interval(self, step: int) -> None:
        """Ends the interval at `step`; `write` writes it."""
        if self._interval:
            self._ended = step, self._interval, self._num_images
            self._interval, self._num_images = [], 0

    def show(self, step: int) -> None:
        """Updates the progress line, with the metrics that were written last."""
        self.progress.update(step, self._details)

    def rest(self, step: int) -> None:
        """Ends the progress line before other output."""
        self.progress.rest(step, self._details)

    def write(self) -> bool:
        """Waits for the steps of the interval that has ended, if any, and writes their means.

        Returns:
          False if a loss or a gradient was not finite; then nothing is written.
        """
        if self._ended is None:
            return True
        step, interval, num_images = self._ended
        self._ended = None
        means, num_skipped = _means(jax.device_get(interval))
        if not all(map(math.isfinite, means.values())):
            return False
        means.update(self.throughput.finish(num_images))
        if num_skipped is not None:
            means['skipped'] = num_skipped
        for writer in self._writers:
            writer.write_scalars(step, means)
            writer.flush()
        self._details = (
            f'loss {means["loss"]:.5f}  {means["images_per_second"]:.1f} img/s '
            f'({means["data_wait"]:.0%} waiting for data)'
        )
        if num_skipped:
            self._details += f'  {skipping.said(num_skipped)}'
            self.progress.clear()
            above = self._config.optim.skip_above
            _log.info(
                'Up to step %d %s: a loss was more than %g times the median of the last ones.',
                step,
                skipping.said(num_skipped),
                above,
            )
        self.show(step)
        self._loss_watch.see(step, means['loss'], self._config)
        return True


def _means(interval: list[Any]) -> tuple[dict[str, float], int | None]:
    """Returns the mean of each metric over the steps of an interval that were not skipped.

    Also the number of those that were; None if the run skips none. Where all were skipped, the
    means are those of all, without the norm of gradients that nobody used and may be infinite.
    """
    metrics = {
        name: np.concatenate([metrics[name] for metrics in interval]) for name in interval[0]
    }
    skipped = metrics.pop('skipped', None)
    if skipped is None:
        return {name: float(np.mean(values)) for name, values in metrics.items()}, None
    used = skipped == 0
    if not used.any():
        used[:] = True
        metrics.pop('grad_norm', None)
    means = {name: float(np.mean(values[used])) for name, values in metrics.items()}
    return means, int(skipped.sum())

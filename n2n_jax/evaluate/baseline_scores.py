"""Scores baselines on clean images with synthetic noise, on the noisy images that networks see.

B batch, H height, W width, C channels.
"""

import dataclasses
import logging
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from n2n_jax.corruptions import Corruptor
from n2n_jax.evaluate.baselines import Baseline, Restore
from n2n_jax.evaluate.baselines.known_noise import KnownNoise
from n2n_jax.evaluate.baselines.noisy_pairs import drawer
from n2n_jax.evaluate.report import Report
from n2n_jax.evaluate.with_clean import Evaluator, RestoreBatch
from n2n_jax.runtime.config import Config
from n2n_jax.runtime.parallel import Layout

_log = logging.getLogger(__name__)


def score(baselines: Mapping[str, Baseline], config: Config, layout: Layout) -> Iterator[Report]:
    """Yields the report of each baseline, without pictures; its rows have the form of results.json.

    They have the protocol and the id of a network's rows, as the images, the noise and the metrics
    are the same; 'method' names the baseline and 'tuning' says where its parameters come from.

    Args:
      baselines: by the text that names them.
      config: supplies the sets, noises and protocol (`eval`) and the number of channels.
      layout: placement of arrays on devices.

    Raises:
      UserError: a set cannot be opened, or a noise is unknown or listed twice.
    """
    config = dataclasses.replace(config, eval=dataclasses.replace(config.eval, batch_size=1))
    evaluator = Evaluator(config, layout)
    for k, (text, baseline) in enumerate(baselines.items()):
        _log.info('%s, method %d of %d.', text, k + 1, len(baselines))
        tunings: dict[str, str] = {}
        restore = _restore_batch(baseline, config.model.channels, tunings)
        report = evaluator.score(restore, 0, draw_pictures=False)
        rows = [{**row, 'method': text, 'tuning': tunings[row['noise']]} for row in report.rows]
        yield dataclasses.replace(report, rows=rows)


def _restore_batch(baseline: Baseline, channels: int, tunings: dict[str, str]) -> RestoreBatch:
    """Returns the baseline for an evaluator, tuned once for each noise.

    Args:
      baseline: the baseline.
      channels: of the images.
      tunings: receives how it was tuned, by spec.
    """
    tuned: dict[str, Restore] = {}

    def restore(noisy_BHWC: jax.Array, corruptor: Corruptor) -> jax.Array:
        if corruptor.spec not in tuned:
            noise = KnownNoise.of(corruptor)
            tuned[corruptor.spec] = baseline.for_noise(noise, drawer(corruptor, channels))
            tunings[corruptor.spec] = baseline.tuning(noise)
        restored = [tuned[corruptor.spec](image) for image in np.asarray(noisy_BHWC)]
        return jnp.asarray(np.stack(restored))

    return restore

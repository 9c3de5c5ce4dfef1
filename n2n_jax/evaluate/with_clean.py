"""Evaluates weights on clean images with synthetic noise, during a run and after it.

B batch, H height, W width, C channels, P channels of auxiliary planes, I = C + P.

The noise is fixed (see `evaluation_noise`), and the protocol is printed with every number (see
`protocol_text`). 'PSNR' alone always means a score against a clean image; any other is called an
estimate.
"""

import dataclasses
import functools
import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from n2n_jax import corruptions, models
from n2n_jax.corruptions import Corruptor
from n2n_jax.data.sources import open_named_sets
from n2n_jax.evaluate import evaluation_noise, metrics, protocol_text
from n2n_jax.evaluate.clean_images import CleanImages
from n2n_jax.evaluate.metrics import Metric
from n2n_jax.evaluate.report import Report
from n2n_jax.images import pictures
from n2n_jax.models import noise_level, planes
from n2n_jax.models.weights import weights_hash
from n2n_jax.runtime import result_rows
from n2n_jax.runtime.config import Config
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import Layout
from n2n_jax.runtime.progress import ProgressLine
from n2n_jax.runtime.workdir import file_name

_log = logging.getLogger(__name__)

# Noisy images, (B, H, W, I), and their noise to restored images, (B, H, W, C).
RestoreBatch = Callable[[jax.Array, Corruptor], jax.Array]

# By metric: {'psnr': {'in': of the noisy image, 'out': of the output}}.
Scores = dict[str, dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Item:
    """One noisy image to score: the index of the clean image and of its noisy version."""

    image: int
    replica: int


class Evaluator:
    """Scores weights on the sets of a config.

    Args:
      config: supplies the sets, noises and protocol (`eval`) and the network.
      layout: placement of arrays on devices.

    Raises:
      UserError: a set cannot be opened, a noise or a metric is unknown or listed twice, an image is
        too small for a metric, or a metric lacks its weights.
    """

    def __init__(self, config: Config, layout: Layout):
        self._config, self._layout = config.eval, layout
        self._model_config = config.model
        self._realizations = config.noise.realizations
        self._corruptors = _parse_noises(config.eval.noise)
        self._metrics = metrics.parse_list(config.eval.metrics)
        weights = config.eval.metric_weights
        arrays = {metric.name: metric.arrays(weights) for metric in self._metrics}
        # They decide the scores, as the name of a metric does.
        self._metric_weights = {name: weights_hash(x) for name, x in arrays.items() if x}
        self._metric_arrays = jax.tree.map(lambda x: layout.place(x, batch_axis=None), arrays)
        demanding = max(self._metrics, key=lambda metric: metric.smallest_side)
        sources = open_named_sets(config.eval.sets, skip_bad=config.data.on_bad_file == 'skip')
        self._sets = [
            CleanImages(
                name,
                source,
                replicas or config.eval.replicas,
                model=config.model,
                most=config.eval.max_images,
                demanding=demanding,
            )
            for name, (source, replicas) in sources.items()
        ]
        self._model = models.build(config.model)
        shared = config.eval.batch_size % layout.num_devices == 0
        self._batch_axis = 0 if shared else None

    def __call__(self, variables: Any, step: int) -> Report:
        """Scores the weights of `step` on every set under every noise."""
        return self.score(lambda noisy_BHWI, _: _denoise(self._model, variables, noisy_BHWI), step)

    def score(self, restore: RestoreBatch, step: int, *, draw_pictures: bool = True) -> Report:
        """Scores any way to restore images on every set under every noise.

        Args:
          restore: maps noisy images and their noise to restored images.
          step: of the rows.
          draw_pictures: whether to restore the worst, median and best image again, for pictures.
        """
        report = Report([], [], {})
        for images in self._sets:
            for corruptor in self._corruptors:
                start = time.monotonic()
                items, scores = self._score_set(restore, images, corruptor)
                row = self._row(images, corruptor, items, scores)
                row = {'step': step, **row, 'seconds': time.monotonic() - start}
                report.rows.append(row)
                report.images.append(
                    [
                        {
                            'image': images.names[item.image],
                            'sha256': images.hash(item.image),
                            'replica': item.replica,
                            'metrics': scores[item],
                        }
                        for item in items
                    ]
                )
                stem = file_name(images.name, corruptor.spec, row['id'])
                shown = _worst_median_best(items, scores) if draw_pictures else ()
                for word, item in shown:
                    drawn = self._triptych(restore, images, corruptor, item, scores[item])
                    report.triptychs[f'{stem}_{word}.png'] = drawn
        return report

    def example(
        self, variables: Any, set_name: str, image: str, spec: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns one image as it is scored: clean, noisy and denoised, (H, W, C) each.

        Args:
          variables: the weights.
          set_name: name of the set.
          image: name of the image.
          spec: the noise.
        """
        images = next(one for one in self._sets if one.name == set_name)
        corruptor = next(one for one in self._corruptors if one.spec == spec)
        item = Item(list(images.names).index(image), 0)
        batch = self._denoised(
            lambda noisy_BHWI, _: _denoise(self._model, variables, noisy_BHWI),
            images,
            [item],
            corruptor,
        )
        clean, noisy, denoised = jax.device_get(_replicate(self._layout.replicated)(batch))
        return clean[0], noisy[0], denoised[0]

    def has_scored(self, rows: Sequence[dict[str, Any]], step: int) -> bool:
        """Checks whether rows hold all scores of the weights of `step`, by all metrics.

        Args:
          rows: rows of results.json, in today's form.
          step: step of the checkpoint.
        """
        known = {row.get('id') for row in rows if row['step'] == step and self._has_metrics(row)}
        return all(
            self._row_id(images, corruptor) in known
            for images in self._sets
            for corruptor in self._corruptors
        )

    def _has_metrics(self, row: dict[str, Any]) -> bool:
        weights = row.get('metric_weights', {})
        return all(
            metric.name in row.get('metrics', {})
            and weights.get(metric.name) == self._metric_weights.get(metric.name)
            for metric in self._metrics
        )

    def _row_id(self, images: CleanImages, corruptor: Corruptor) -> str:
        protocol = self._protocol(images, corruptor)
        return result_rows.row_id(images.name, corruptor.spec, protocol, images.hashes())

    def _protocol(self, images: CleanImages, corruptor: Corruptor) -> str:
        return protocol_text.in_words(
            self._config, self._model_config, corruptor, replicas=images.replicas
        )

    def _score_set(
        self, restore: RestoreBatch, images: CleanImages, corruptor: Corruptor
    ) -> tuple[list[Item], dict[Item, Scores]]:
        """Scores all noisy images of a set; returns them in order, and the scores of each."""
        items = [Item(i, r) for i in range(len(images.names)) for r in range(images.replicas)]
        scores: dict[Item, Scores] = {}
        scorer = _scorer(self._layout.replicated)
        with ProgressLine(f'evaluating {images.name}', len(items)) as progress:
            for batch in _batches(items, images, self._config.batch_size):
                clean, noisy, denoised = self._denoised(restore, images, batch, corruptor)
                values = jax.device_get(
                    scorer(self._metrics, self._metric_arrays, clean, noisy, denoised)
                )
                for b, item in enumerate(batch):
                    scores[item] = jax.tree.map(lambda value_B, b=b: float(value_B[b]), values)
                progress.update(len(scores))
        return items, scores

    def _row(
        self,
        images: CleanImages,
        corruptor: Corruptor,
        items: list[Item],
        scores: dict[Item, Scores],
    ) -> dict[str, Any]:
        means = jax.tree.map(lambda *values: float(np.mean(values)), *map(scores.get, items))
        psnr_I = np.array([scores[item][metrics.PSNR.name]['out'] for item in items])
        per_image = psnr_I.reshape(len(images.names), -1).mean(axis=1)
        hashes = sorted(images.hashes())
        return {
            'set': images.name,
            'noise': corruptor.spec,
            'metrics': {metric.name: means[metric.name] for metric in self._metrics},
            **({'metric_weights': self._metric_weights} if self._metric_weights else {}),
            'ci95': list(metrics.bootstrap_interval(per_image)),
            'n': len(images.names),
            'replicas': images.replicas,
            'protocol': self._protocol(images, corruptor),
            'seed': self._config.seed,
            **({'realizations': self._realizations} if self._realizations else {}),
            'images_sha256': hashlib.sha256(''.join(hashes).encode()).hexdigest(),
            'id': self._row_id(images, corruptor),
        }

    def _triptych(
        self,
        restore: RestoreBatch,
        images: CleanImages,
        corruptor: Corruptor,
        item: Item,
        scores: Scores,
    ) -> np.ndarray:
        batch = self._denoised(restore, images, [item], corruptor)
        _, noisy_BHWC, denoised_BHWC = jax.device_get(_replicate(self._layout.replicated)(batch))
        psnr = scores[metrics.PSNR.name]
        row = [
            (f'noisy {psnr["in"]:.2f} dB', noisy_BHWC[0]),
            (f'denoised {psnr["out"]:.2f} dB', denoised_BHWC[0]),
            (f'clean {images.names[item.image]}', images.read(item.image)),
        ]
        return pictures.grid([row])

    def _denoised(
        self, restore: RestoreBatch, images: CleanImages, items: list[Item], corruptor: Corruptor
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns the clean, noisy and denoised images of a batch, on the devices.

        A short batch is padded, so that each image size compiles only once.
        """
        clean_HWC = {item.image: images.read(item.image) for item in items}
        filled = [*items, *items[:1] * (self._config.batch_size - len(items))]
        identities = [
            evaluation_noise.identity(images.hash(item.image), item.replica) for item in filled
        ]
        clean_BHWC = self._layout.place(
            np.stack([clean_HWC[item.image] for item in filled]), batch_axis=self._batch_axis
        )
        identity_B3 = self._layout.place(
            np.array(identities, np.uint32), batch_axis=self._batch_axis
        )
        noisy_BHWC = _draw(corruptor, self._config.seed, clean_BHWC, identity_B3)
        noisy_BHWI = self._with_planes(noisy_BHWC, images, filled)
        return clean_BHWC, noisy_BHWC, restore(noisy_BHWI, corruptor)

    def _with_planes(
        self, noisy_BHWC: jax.Array, images: CleanImages, items: list[Item]
    ) -> jax.Array:
        """Returns noisy images with all that the network is shown beside them."""
        if planes.given(self._model_config):
            planes_BHWP = np.stack([images.read_planes(item.image) for item in items])
            placed_BHWP = self._layout.place(planes_BHWP, batch_axis=self._batch_axis)
            noisy_BHWI = jnp.concatenate([noisy_BHWC, placed_BHWP], axis=-1)
        else:
            noisy_BHWI = noisy_BHWC
        return _with_level(noisy_BHWC, noisy_BHWI) if self._model_config.noise_map else noisy_BHWI


def _parse_noises(specs: str) -> list[Corruptor]:
    """Parses a comma-separated list of noises.

    Raises:
      UserError: a noise is unknown or listed twice.
    """
    found: list[Corruptor] = []
    for corruptor in corruptions.parse_list(specs):
        if any(corruptor.stages == other.stages for other in found):
            raise UserError(f'eval.noise={specs} lists {corruptor.spec} twice: list it once.')
        found.append(corruptor)
    return found


def _worst_median_best(items: list[Item], scores: dict[Item, Scores]) -> Iterator[tuple[str, Item]]:
    """Yields the items whose pictures are kept, each with a word for its file name."""
    order = np.argsort([scores[item][metrics.PSNR.name]['out'] for item in items])
    for word, rank in (('worst', 0), ('median', len(order) // 2), ('best', -1)):
        yield word, items[order[rank]]


# Programs that all evaluators of this process share: the network is compiled once per image size,
# not once per noise, and the metrics not once per network.
_draw = jax.jit(evaluation_noise.draw, static_argnums=(0, 1))
_denoise = jax.jit(models.denoise, static_argnums=0)


@jax.jit
def _with_level(noisy_BHWC: jax.Array, noisy_BHWI: jax.Array) -> jax.Array:
    """Appends the estimated level of the noise, see `noise_level`."""
    return noise_level.with_plane(noisy_BHWI, noise_level.estimate(noisy_BHWC))


@functools.cache
def _scorer(replicated: jax.sharding.Sharding) -> jax.stages.Wrapped:
    """Returns the jitted `_score`; every process reads all of its results."""
    return jax.jit(_score, static_argnums=0, out_shardings=replicated)


@functools.cache
def _replicate(replicated: jax.sharding.Sharding) -> jax.stages.Wrapped:
    """Returns a jitted function that copies arrays to every device."""
    return jax.jit(lambda arrays: arrays, out_shardings=replicated)


def _score(
    scored_by: tuple[Metric, ...],
    arrays: dict[str, Any],
    clean_BHWC: jax.Array,
    noisy_BHWC: jax.Array,
    denoised_BHWC: jax.Array,
) -> dict[str, dict[str, jax.Array]]:
    """Returns the scores of each image, (B,), by metric: of the noisy image and of the output."""
    rounded_BHWC = metrics.round_to_uint8(denoised_BHWC)
    clamped_BHWC = denoised_BHWC.clip(0, 1)
    return {
        metric.name: {
            'in': metric(noisy_BHWC, clean_BHWC, arrays[metric.name]),
            'out': metric(
                rounded_BHWC if metric.rounded else clamped_BHWC, clean_BHWC, arrays[metric.name]
            ),
        }
        for metric in scored_by
    }


def _batches(items: list[Item], images: CleanImages, batch_size: int) -> list[list[Item]]:
    """Groups items into batches of one image size, at most `batch_size` each."""
    by_size: dict[tuple[int, int], list[Item]] = {}
    for item in items:
        by_size.setdefault(images.sizes[item.image], []).append(item)
    return [
        group[i : i + batch_size]
        for group in by_size.values()
        for i in range(0, len(group), batch_size)
    ]

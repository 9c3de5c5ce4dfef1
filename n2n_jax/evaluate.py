"""The metrics loop: one function for the in-loop check, the side-car and the tables.

B batch, H height, W width, C channels.

The protocol is fixed and printed with every number. The noise of a capture depends on the seed of
the evaluation, the image's name and the replica alone: every model, on any machine, in any batch,
sees the same noisy images. A score against a clean image is called PSNR; nothing else is.
"""

import dataclasses
import functools
import json
import logging
import re
import shlex
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from n2n_jax import corruptions, metrics, models, pair_metrics, path_list, pictures, streams
from n2n_jax.checkpoint import Checkpoints, abstract_like, open_for_reading
from n2n_jax.config import Config, EvalConfig
from n2n_jax.corruptions import Corruptor
from n2n_jax.data import open_named_sets
from n2n_jax.data.source import ImageSource, to_float, with_channels
from n2n_jax.errors import UserError
from n2n_jax.parallel import Layout, is_main_process, make_layout
from n2n_jax.progress import ProgressLine
from n2n_jax.workdir import Workdir, markdown_table, write_text

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Item:
    """One capture to be scored: which image, and which of its noisy versions."""

    image: int
    replica: int


@dataclasses.dataclass(frozen=True)
class Report:
    """The outcome of one evaluation.

    Attributes:
      rows: one per set and noise, as in results.json.
      images: per-image scores, one list per row.
      triptychs: by file name, worst, median and best of each row, uint8.
    """

    rows: list[dict[str, Any]]
    images: list[list[dict[str, Any]]]
    triptychs: dict[str, np.ndarray]


def protocol(config: EvalConfig, channels: int) -> str:
    """The protocol in words."""
    return (
        f'{"RGB" if channels == 3 else "gray"} whole images, all values, peak 1; noise not clipped '
        f'nor rounded, evaluation seed {config.seed}, {config.replicas} noisy version(s) of each '
        'image; psnr, ssim: output clamped and rounded to 8 bits; psnr_float: clamped only; '
        'psnr_input, ssim_input: the noisy image as it is; mean of per-image values; '
        'ci95: bootstrap over images'
    )


class Evaluator:
    """Scores weights on the sets of a config.

    Args:
      config: of the run.
      layout: where arrays go.

    Raises:
      UserError: a set cannot be opened or a noise is not understood.
    """

    def __init__(self, config: Config, layout: Layout):
        self._config, self._layout = config.eval, layout
        self._channels = config.model.channels
        self._realisations = config.noise.realisations
        self._corruptors = [
            corruptions.parse(spec.strip()) for spec in config.eval.noise.split(',')
        ]
        self._sets = open_named_sets(config.eval.sets, skip_bad=config.data.on_bad_file == 'skip')
        for set_name, source in self._sets.items():
            for i, name in enumerate(source.names):
                if min(source.size(i)) < metrics.SSIM_WINDOW:
                    height, width = source.size(i)
                    raise UserError(
                        f'{name} of the evaluation set {set_name} is {width}x{height}: leave it '
                        f'out, SSIM needs {metrics.SSIM_WINDOW} pixels a side.'
                    )
        self._model = models.build(config.model)
        shared = config.eval.batch_size % layout.num_devices == 0
        self._batch_axis = 0 if shared else None
        self._score = jax.jit(
            functools.partial(_score, self._model),
            static_argnames=('corruptor', 'seed'),
            out_shardings=layout.replicated,  # every process reads all of it
        )

    def __call__(self, variables: Any, step: int) -> Report:
        """Scores the weights of `step` on every set under every noise."""
        report = Report([], [], {})
        for set_name, source in self._sets.items():
            num_images = len(source.names)
            num_images = min(num_images, self._config.max_images or num_images)
            for corruptor in self._corruptors:
                self._score_set(report, variables, step, set_name, source, num_images, corruptor)
        return report

    def _score_set(
        self,
        report: Report,
        variables: Any,
        step: int,
        set_name: str,
        source: ImageSource,
        num_images: int,
        corruptor: Corruptor,
    ) -> None:
        items = [Item(i, r) for i in range(num_images) for r in range(self._config.replicas)]
        scores: dict[Item, dict[str, float]] = {}
        with ProgressLine(f'evaluating {set_name}', len(items)) as progress:
            for batch in _batches(items, source, self._config.batch_size):
                values, _, _ = self._score_items(variables, source, batch, corruptor)
                for b, item in enumerate(batch):
                    scores[item] = {name: float(value[b]) for name, value in values.items()}
                progress.update(len(scores))

        columns = {
            name: np.array([scores[item][name] for item in items]) for name in scores[items[0]]
        }
        per_image = columns['psnr'].reshape(num_images, -1).mean(axis=1)
        low, high = metrics.bootstrap_interval(per_image)
        report.rows.append(
            {
                'step': step,
                'set': set_name,
                'noise': corruptor.spec,
                **{name: float(values.mean()) for name, values in columns.items()},
                'ci95': [low, high],
                'n': num_images,
                'replicas': self._config.replicas,
                'protocol': protocol(self._config, self._channels),
                'seed': self._config.seed,
                **({'realisations': self._realisations} if self._realisations else {}),
            }
        )
        report.images.append(
            [
                {'image': source.names[item.image], 'replica': item.replica, **scores[item]}
                for item in items
            ]
        )
        order = np.argsort(columns['psnr'])
        for word, rank in (('worst', 0), ('median', len(order) // 2), ('best', -1)):
            item = items[order[rank]]
            _, noisy_BHWC, denoised_BHWC = self._score_items(variables, source, [item], corruptor)
            row = [
                (f'noisy {scores[item]["psnr_input"]:.2f} dB', noisy_BHWC[0]),
                (f'denoised {scores[item]["psnr"]:.2f} dB', denoised_BHWC[0]),
                (f'clean {source.names[item.image]}', self._clean(source, item.image)),
            ]
            name = re.sub(r'[^\w.-]+', '_', f'{set_name}_{corruptor.spec}_{word}')
            report.triptychs[f'{name}.png'] = pictures.grid([row])

    def _clean(self, source: ImageSource, i: int) -> np.ndarray:
        return to_float(with_channels(source.read(i), self._channels))

    def _score_items(
        self, variables: Any, source: ImageSource, items: list[Item], corruptor: Corruptor
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        # A short batch is filled up, so that each image size compiles once.
        filled = [*items, *items[:1] * (self._config.batch_size - len(items))]
        clean_BHWC = np.stack([self._clean(source, item.image) for item in filled])
        identity_B2 = np.array(
            [[zlib.crc32(source.names[item.image].encode()), item.replica] for item in filled],
            np.uint32,
        )
        outputs = self._score(
            variables,
            self._layout.place(clean_BHWC, batch_axis=self._batch_axis),
            self._layout.place(identity_B2, batch_axis=self._batch_axis),
            corruptor=corruptor,
            seed=self._config.seed,
        )
        return jax.device_get(outputs)


def _score(
    model: models.Restorer,
    variables: Any,
    clean_BHWC: jax.Array,
    identity_B2: jax.Array,
    *,
    corruptor: Corruptor,
    seed: int,
) -> tuple[dict[str, jax.Array], jax.Array, jax.Array]:
    """Scores of each capture, the noisy images and the denoised ones."""
    root = streams.stream(seed, streams.EVALUATION)
    keys_B = jax.vmap(
        lambda identity_2: jax.random.fold_in(
            jax.random.fold_in(root, identity_2[0]), identity_2[1]
        )
    )(identity_B2)
    noisy_BHWC = corruptor.sample_with_keys(keys_B, clean_BHWC).image_BHWC
    denoised_BHWC = model.apply(variables, noisy_BHWC)
    rounded_BHWC = metrics.round_to_uint8(denoised_BHWC)
    clamped_BHWC = denoised_BHWC.clip(0, 1)
    values = {
        'psnr': metrics.psnr(rounded_BHWC, clean_BHWC),
        'psnr_float': metrics.psnr(clamped_BHWC, clean_BHWC),
        'psnr_input': metrics.psnr(noisy_BHWC, clean_BHWC),
        'ssim': metrics.ssim(rounded_BHWC, clean_BHWC),
        'ssim_input': metrics.ssim(noisy_BHWC, clean_BHWC),
        'mse': metrics.mse(rounded_BHWC, clean_BHWC),
        'mse_input': metrics.mse(noisy_BHWC, clean_BHWC),
    }
    return values, noisy_BHWC, denoised_BHWC


def _batches(items: list[Item], source: ImageSource, batch_size: int) -> list[list[Item]]:
    """Items of one image size together, at most `batch_size` at a time."""
    by_size: dict[tuple[int, int], list[Item]] = {}
    for item in items:
        by_size.setdefault(tuple(source.size(item.image)), []).append(item)
    return [
        group[i : i + batch_size]
        for group in by_size.values()
        for i in range(0, len(group), batch_size)
    ]


def record(report: Report, step: int, workdir: Workdir) -> None:
    """Writes a report into the workdir and prints its table; the first process does."""
    if not is_main_process():
        return
    folder = workdir.evaluation_folder(step)
    for row, images in zip(report.rows, report.images, strict=True):
        write_text(workdir.scores_file(row), json.dumps({**row, 'images': images}, indent=1))
    for name, pixels in report.triptychs.items():
        pictures.save(folder / name, pixels)
    if not report.rows:
        _log.info('step %d: nothing can be measured; pictures in %s', step, folder)
        return
    workdir.add_rows(report.rows)  # last: a row means that its pictures are there
    lines = [summary(report)]
    if any('psnr' in row for row in report.rows):  # of an estimate the sentence says all
        lines.append(markdown_table(report.rows).split('\n\nProtocol')[0])
    _log.info('%s\nPictures in %s', '\n'.join(lines), folder)


def summary(report: Report) -> str:
    """One line per row, for the log."""
    return '\n'.join(_in_words(row) for row in report.rows)


def _in_words(row: dict[str, Any]) -> str:
    if 'psnr_estimate' in row:
        return (
            f'step {row["step"]}: held-out captures, PSNR estimated without a clean image: '
            f'{pair_metrics.with_gain_in_words(row)}'
        )
    return (
        f'step {row["step"]}: {row["set"]}, {row["noise"]}: PSNR {row["psnr"]:.2f} dB '
        f'({row["psnr"] - row["psnr_input"]:+.2f}), SSIM {row["ssim"]:.4f} '
        f'({row["ssim"] - row["ssim_input"]:+.4f})'
    )


def shipped_variables(checkpoints: Checkpoints, step: int, layout_sharding: Any) -> Any:
    """The weights of a checkpoint that are evaluated and shipped: the average if there is one."""
    config = checkpoints.config(step)
    shapes = jax.eval_shape(functools.partial(models.init, config.model), jax.random.key(0))
    name = 'ema' if config.optim.ema_decay > 0 else 'variables'
    return checkpoints.restore(step, {name: abstract_like(shapes, layout_sharding)})[name]


def _needs_clean_images(config: Config, path: Path) -> None:
    if config.captures.single:
        raise UserError(
            f'{path} was trained on single images: without a second capture or a clean image there '
            'is nothing to score it on. With captures of a scene: n2n score.'
        )
    if config.captures.paths:
        raise UserError(
            f'{path} was trained on captures, without clean images: write n2n score '
            f'{shlex.join(map(str, path_list.parted(config.captures.paths)))} --model {path}.'
        )


def evaluate_checkpoint(config: Config, path: Path) -> None:
    """Scores the last checkpoint of a workdir with the evaluation settings of `config`."""
    workdir = Workdir(path)
    layout = make_layout(batch_size=jax.device_count())
    with open_for_reading(path) as checkpoints:
        step = checkpoints.last_step
        config = dataclasses.replace(checkpoints.config(step), eval=config.eval)
        _needs_clean_images(config, path)
        evaluator = Evaluator(config, layout)
        variables = shipped_variables(checkpoints, step, layout.replicated)
    record(evaluator(variables, step), step, workdir)


def follow(config: Config, path: Path) -> None:
    """Scores each new checkpoint of a running workdir until the run is complete."""
    workdir = Workdir(path)
    layout = make_layout(batch_size=jax.device_count())
    config = dataclasses.replace(workdir.config(), eval=config.eval)
    _needs_clean_images(config, path)
    evaluator = Evaluator(config, layout)
    with Checkpoints(path) as checkpoints:
        for step in checkpoints.follow(finished=lambda: workdir.done, first_after=-1):
            try:
                variables = shipped_variables(checkpoints, step, layout.replicated)
            except FileNotFoundError:  # deleted by the run before its turn
                _log.warning('Checkpoint %d was deleted before it could be evaluated.', step)
                continue
            record(evaluator(variables, step), step, workdir)

"""How good a denoiser is, told from captures alone, beside what one would try first.

N captures of a scene, H height, W width, C channels.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from n2n_jax import baselines, io, metrics, pair_metrics, saturation, stacks, trust
from n2n_jax.baselines import Restore
from n2n_jax.data import fixes
from n2n_jax.data.own_captures import SceneCaptures
from n2n_jax.errors import UserError
from n2n_jax.progress import ProgressLine

MODEL = 'model'
MEAN = 'mean of the captures'
MEAN_OF_RESULTS = 'model, mean of two results'
ON_THE_MEAN = 'model on the mean of two'
# What can be left out, by the name that is typed.
OPTIONAL = {'nlm': baselines.NLM, 'bm3d': baselines.BM3D}

PROTOCOL = (
    'Whole images, peak 1 = white - black of the model, nothing clipped or rounded. Each method is '
    'applied to each capture by itself; its squared error is averaged over the captures of a scene '
    'and then turned into dB; over scenes, dB are averaged. The estimate uses no clean image (see '
    'n2n_jax.pair_metrics) and leaves out neighbourhoods where captures are clipped. Intervals, '
    '95 %: for these scenes and captures, patches drawn again; they do not speak of other scenes.'
)
PROTOCOL_WITH_TRUTH = (
    'PSNR against the clean image: the same average, over the same pixels; SSIM: over all pixels.'
)

_MOST_PAIRS = 4  # of captures that are combined


@dataclasses.dataclass(frozen=True)
class Method:
    """The outcome of one method on one scene.

    Attributes:
      name: of the method.
      map_HWC: whose mean estimates the mean squared error, averaged over the results.
      results_NHWC: what it makes of each capture, to be held against a clean image.
      explained_HWC: see `pair_metrics.explained_error`.
    """

    name: str
    map_HWC: np.ndarray
    results_NHWC: np.ndarray
    explained_HWC: np.ndarray | None = None


def score_scene(
    captures_NHWC: np.ndarray, restore: Restore, *, without: Sequence[str] = ()
) -> Iterator[Method]:
    """All methods on one scene.

    Args:
      captures_NHWC: float32 in the range of the network.
      restore: the model.
      without: names in `OPTIONAL` to leave out.

    Yields:
      The captures as they are, their mean, non-local means and BM3D (if it is installed) tuned on
      the captures themselves, the model; and of three captures or more the two ways to use two of
      them.
    """
    x = captures_NHWC
    denoised_NHWC = np.stack([restore(capture) for capture in x])
    raw_HWC = pair_metrics.error_maps(x, x).mean(axis=0)
    mean_NHWC = x.mean(axis=0, keepdims=True)
    yield Method('one capture', raw_HWC, x, pair_metrics.explained_error(x, denoised_NHWC, x))
    # The noise of a mean of N is an N-th of the mean of their noise.
    explained_HWC = pair_metrics.explained_error(mean_NHWC, denoised_NHWC, x)
    yield Method(MEAN, raw_HWC / len(x), mean_NHWC, explained_HWC)
    if 'nlm' not in without:
        yield _per_capture(baselines.NLM, x, _all(baselines.tuned_nlm(x), x), denoised_NHWC)
    if 'bm3d' not in without and baselines.bm3d_installed():
        yield _per_capture(baselines.BM3D, x, _all(baselines.tuned_bm3d(x), x), denoised_NHWC)
    yield _per_capture(MODEL, x, denoised_NHWC, denoised_NHWC)
    if len(x) > 2:
        pairs = [(i, (i + 1) % len(x)) for i in range(min(len(x), _MOST_PAIRS))]
        for name, combine in (
            (MEAN_OF_RESULTS, lambda pair: denoised_NHWC[list(pair)].mean(axis=0)),
            (ON_THE_MEAN, lambda pair: restore(x[list(pair)].mean(axis=0))),
        ):
            results_NHWC = np.stack([combine(pair) for pair in pairs])
            maps = [
                _against_the_rest(g, x, pair) for g, pair in zip(results_NHWC, pairs, strict=True)
            ]
            yield Method(name, np.mean(maps, axis=0), results_NHWC)


def _all(restore: Restore, captures_NHWC: np.ndarray) -> np.ndarray:
    return np.stack([restore(capture) for capture in captures_NHWC])


def _per_capture(
    name: str, captures_NHWC: np.ndarray, results_NHWC: np.ndarray, denoised_NHWC: np.ndarray
) -> Method:
    maps = pair_metrics.error_maps(results_NHWC, captures_NHWC)
    explained_HWC = None
    if len(captures_NHWC) > 2:  # two captures leave so much noise in the map that it is none less
        explained_HWC = pair_metrics.explained_error(results_NHWC, denoised_NHWC, captures_NHWC)
    return Method(name, maps.mean(axis=0), results_NHWC, explained_HWC)


def _against_the_rest(
    combined_HWC: np.ndarray, captures_NHWC: np.ndarray, pair: tuple[int, int]
) -> np.ndarray:
    """The error of what was made of two captures, seen by the others.

    Of one other x_k: E (g - x_k)^2 is the error plus the noise of x_k, and that is
    E (x_k - x_i)(x_k - x_j).
    """
    x = captures_NHWC.astype(np.float64)
    others = [k for k in range(len(x)) if k not in pair]
    if len(others) > 1:
        return pair_metrics.error_map(combined_HWC, x[others])
    (k,), (i, j) = others, pair
    return (combined_HWC - x[k]) ** 2 - (x[k] - x[i]) * (x[k] - x[j])


@dataclasses.dataclass
class _Sums:
    """What the rows over all scenes are made of."""

    patches: list[pair_metrics.Patches] = dataclasses.field(default_factory=list)
    truths: list[dict[str, float | None]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Scene:
    """What is scored.

    Attributes:
      name: of the scene.
      captures_NHWC: in the units of the files.
      mask_HWC: True where no capture is clipped.
      clean_HWC: in the units of the captures, if it is known.
      why: what makes an estimate from these captures worthless; '' if nothing is known to.
    """

    name: str
    captures_NHWC: np.ndarray
    mask_HWC: np.ndarray
    clean_HWC: np.ndarray | None
    why: str


def prepare(
    raw: Sequence[SceneCaptures],
    *,
    fixed: Sequence[SceneCaptures] | None = None,
    truth: dict[str, np.ndarray] | None = None,
    first_columns: Mapping[str, int] | None = None,
) -> list[Scene]:
    """Checks the captures before they are scored.

    Args:
      raw: captures as they were read, in the type of the files, which shows what is clipped.
      fixed: the same put right (see `n2n_jax.data.fixes`); None: nothing was.
      truth: clean images by scene.
      first_columns: by scene, where of the raw captures the part begins that is scored; 0 for the
        scenes that are not named.
    """
    fixed = raw if fixed is None else fixed
    scenes = []
    with ProgressLine('checking captures', len(raw)) as progress:
        for k, (of_raw, of_fixed) in enumerate(zip(raw, fixed, strict=True)):
            progress.update(k, of_raw.name)
            like = of_fixed.captures_NHWC[0]
            mask_HWC = fixes.middle(saturation.unsaturated_mask(of_raw.captures_NHWC), like=like)
        if of_fixed.measured_HWC is not None:
            mask_HWC = mask_HWC & of_fixed.measured_HWC
            clean_HWC = None if truth is None else fixes.middle(truth[of_raw.name], like=like)
            why = trust.why_not_trusted(of_fixed, raw=of_raw)
            first = (first_columns or {}).get(of_raw.name, 0)
            if first:  # what was shifted has lost a border on both sides
                cut_off = (of_raw.captures_NHWC.shape[2] - like.shape[1]) // 2
                first = min(max(first - cut_off, 0), like.shape[1] - 1)
            scenes.append(
                Scene(
                    of_raw.name,
                    of_fixed.captures_NHWC[:, :, first:],
                    mask_HWC[:, first:],
                    None if clean_HWC is None else clean_HWC[:, first:],
                    why,
                )
            )
            progress.update(k + 1)
    return scenes


def score(
    scenes: Sequence[Scene],
    to_network: Callable[[np.ndarray], np.ndarray],
    restore: Restore,
    *,
    without: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """One row per scene and method, and one per method over the scenes that can be trusted.

    The latter have the scene ''. If no scene can be trusted they are over all.

    Args:
      scenes: see `prepare`.
      to_network: pixel values to the range of the network, whose white is the peak.
      restore: the model.
      without: names in `OPTIONAL` to leave out.
    """
    rows: list[dict[str, Any]] = []
    overall: dict[str, _Sums] = {}
    trusted_only = not all(scene.why for scene in scenes)
    with ProgressLine('scoring', len(scenes)) as progress:
        for k, scene in enumerate(scenes):
            captures_NHWC = to_network(scene.captures_NHWC)
            clean_HWC = None if scene.clean_HWC is None else to_network(scene.clean_HWC)
            masked, why = float(1 - scene.mask_HWC.mean()), scene.why
            side = pair_metrics.patch_side(captures_NHWC)
            for method in score_scene(captures_NHWC, restore, without=without):
                patches = pair_metrics.patch_sums(
                    method.map_HWC, scene.mask_HWC, side=side, explained_HWC=method.explained_HWC
                )
                truths = _truths(method.results_NHWC, clean_HWC, scene.mask_HWC)
                rows.append(
                    _row(scene.name, method.name, [patches], truths, why) | {'masked': masked}
                )
                if not (why and trusted_only):
                    sums = overall.setdefault(method.name, _Sums())
                    sums.patches.append(patches)
                    sums.truths.append(truths)
                progress.update(k, f'{scene.name}: {method.name}')
            progress.update(k + 1)
    why = '' if trusted_only else 'no scene can be trusted'
    for name, sums in overall.items():
        truths = {key: _mean([t[key] for t in sums.truths]) for key in sums.truths[0]}
        rows.append(
            _row('', name, sums.patches, truths, why)
            | {'masked': _mean([r['masked'] for r in rows if r['scene'] and r['method'] == name])}
            | {'n': len(sums.patches)}
        )
    if ON_THE_MEAN in overall:
        pairs = zip(overall[ON_THE_MEAN].patches, overall[MEAN_OF_RESULTS].patches, strict=True)
        value, ci95 = pair_metrics.difference(list(pairs))
        numbers = [float(x) if np.isfinite(x) else None for x in (value, *ci95)]
        row = next(r for r in rows if (r['scene'], r['method']) == ('', ON_THE_MEAN))
        row |= {'over_mean_of_results': numbers[0], 'over_ci95': numbers[1:]}
    return rows


def _row(
    scene: str,
    method: str,
    patches: list[pair_metrics.Patches],
    truths: dict[str, float | None],
    why: str,
) -> dict[str, Any]:
    estimate = pair_metrics.estimate_psnr(patches)
    names = {'scene': scene, 'method': method}
    return {**names, **estimate.as_dict(), **truths, 'trusted': not why, 'why': why}


def _truths(
    results_NHWC: np.ndarray, clean_HWC: np.ndarray | None, mask_HWC: np.ndarray
) -> dict[str, float | None]:
    """Against the clean image: over what the estimate is about, and over all pixels."""
    if clean_HWC is None:
        return dict.fromkeys(('psnr_true', 'psnr_true_all', 'psnr_true_first', 'ssim_true'))
    squares_NHWC = (results_NHWC.astype(np.float64) - clean_HWC) ** 2
    clean_NHWC = np.broadcast_to(clean_HWC, results_NHWC.shape)
    ssim = float(np.mean(metrics.ssim(results_NHWC.astype(np.float32), clean_NHWC)))
    return {
        'psnr_true': _psnr(squares_NHWC[:, mask_HWC]) if mask_HWC.any() else None,
        'psnr_true_all': _psnr(squares_NHWC),
        'psnr_true_first': _psnr(squares_NHWC[0]),  # of the first result, all pixels
        'ssim_true': ssim if np.isfinite(ssim) else None,  # smaller than its window
    }


def _psnr(squares: np.ndarray) -> float:
    return float(-10 * np.log10(max(squares.mean(), 1e-12)))


def _mean(values: Sequence[float | None]) -> float | None:
    return None if None in values else float(np.mean(values))


def read_truth(folder: Path, scenes: Sequence[SceneCaptures]) -> dict[str, np.ndarray]:
    """Clean images by scene: a file named as the scene, or as its first capture.

    Raises:
      UserError: one is missing or there are several, it is of another size or number of channels,
        a stack of several images, or holds NaN.
    """
    files: dict[str, list[Path]] = {}
    for path in io.find_images(folder, also=stacks.OTHER_SUFFIXES):
        files.setdefault(path.relative_to(folder).with_suffix('').as_posix(), []).append(path)
    truth = {}
    for scene in scenes:
        file = _truth_of(scene.name, files, folder)
        stack = stacks.open_stack(file)
        if stack.num_images != 1:
            raise UserError(f'{file} holds {stack.num_images} images, and one clean one is needed.')
        clean_HWC = stack.read([0])[0]
        size, wanted = clean_HWC.shape, scene.captures_NHWC.shape[1:]
        if size[:2] != wanted[:2]:
            raise UserError(
                f'{file} is of another size than the captures of {scene.name}: {size[1]}x{size[0]} '
                f'pixels, not {wanted[1]}x{wanted[0]}.'
            )
        if size[2] != wanted[2]:
            raise UserError(
                f'{file} has {size[2]} channels, and the captures of {scene.name} have {wanted[2]}.'
            )
        if not np.isfinite(clean_HWC).all():
            raise UserError(f'{file} holds NaN or infinite pixels: no error can be told from it.')
        truth[scene.name] = clean_HWC
    return truth


def _truth_of(scene: str, files: Mapping[str, list[Path]], folder: Path) -> Path:
    """The clean image of a scene among files by path without suffix, else by name alone."""
    by_name: dict[str, list[Path]] = {}
    for name, paths in files.items():
        by_name.setdefault(name.rpartition('/')[2], []).extend(paths)
    for ending in ('', '_1', '_a'):
        for known in (files, by_name):
            found = known.get(f'{scene}{ending}', [])
            if len(found) > 1:
                raise UserError(
                    f'{folder} holds more than one clean image for {scene}: '
                    f'{", ".join(str(path.relative_to(folder)) for path in found[:3])}. Leave one.'
                )
            if found:
                return found[0]
    raise UserError(f'{folder} holds no clean image for {scene}: name it {scene}, any suffix.')


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A row per method over all scenes, one per scene, and what to make of them."""
    overall = [row for row in rows if not row['scene']]
    per_scene = [row for row in rows if row['scene']]
    with_truth = any(row['psnr_true_all'] is not None for row in overall)
    header = '| method | PSNR, estimated (95 %) |'
    header += ' PSNR against the clean image | SSIM |' if with_truth else ''
    lines = [header, '|---|---:|' + ('---:|---:|' if with_truth else '')]
    for row in overall:
        line = f'| {row["method"]} | {pair_metrics.in_words(row)} |'
        if with_truth:
            line += f' {_number(row["psnr_true"], 2)} | {_number(row["ssim_true"], 3)} |'
        lines.append(line)
    lines += ['', *_scene_table(per_scene, [row['method'] for row in overall], with_truth), '']
    names = list(dict.fromkeys(row['scene'] for row in per_scene))
    lines.append(f'First table: over {overall[0]["n"]} of {len(names)} scenes.')
    for row in per_scene:
        if row['method'] == MODEL:
            if row['why']:
                lines.append(f'Not to be trusted: {row["scene"]} ({row["why"]}).')
            if row['masked']:
                share = row['masked']
                words = f'{share:.1%}' if share >= 0.001 else 'under 0.1%'
                lines.append(f'{row["scene"]}: {words} left out, clipped.')
    lines += trust.explanations([row['why'] for row in per_scene])
    lines += ['', f'Protocol: {PROTOCOL}' + (f' {PROTOCOL_WITH_TRUTH}' if with_truth else '')]
    lines += ['', combining_in_words(overall)]
    return '\n'.join(lines)


def _scene_table(
    rows: Sequence[dict[str, Any]], methods: Sequence[str], with_truth: bool
) -> list[str]:
    lines = ['| scene | ' + ' | '.join(methods) + ' |', '|---|' + '---:|' * len(methods)]
    for scene in dict.fromkeys(row['scene'] for row in rows):
        found = {row['method']: row for row in rows if row['scene'] == scene}
        cells = []
        for method in methods:
            row = found.get(method)
            cell = '' if row is None else pair_metrics.in_words(row).replace('*', '')
            if row is not None and with_truth:
                cell += f', true {_number(row["psnr_true"], 2)}'
            cells.append(cell)
        mark = ' (!)' if any(row['why'] for row in found.values()) else ''
        lines.append(f'| {scene}{mark} | ' + ' | '.join(cells) + ' |')
    return lines


def combining_in_words(overall: Sequence[dict[str, Any]]) -> str:
    """Which way of using two captures is better, in a sentence.

    Args:
      overall: the rows over all scenes.
    """
    row = next((row for row in overall if row['method'] == ON_THE_MEAN), None)
    if row is None:
        return (
            'Which way of combining two captures is better, before or after denoising, takes a '
            'third capture of a scene to judge.'
        )
    value, ci95 = row['over_mean_of_results'], row['over_ci95']
    if value is None or None in ci95:
        return 'Which way of combining two captures is better cannot be measured here.'
    low, high = ci95
    if low <= 0 <= high:
        return (
            'The mean of two results and the result on the mean of two captures cannot be told '
            f'apart: {value:+.2f} dB ({low:+.2f} to {high:+.2f}) for the latter.'
        )
    better, worse = 'the model on the mean of both', 'the mean of both results'
    if value < 0:
        better, worse, value, low, high = worse, better, -value, -high, -low
    return (
        f'With two captures of a scene, {better} is better than {worse}, by {value:.2f} dB '
        f'({low:.2f} to {high:.2f}).'
    )


def _number(value: float | None, digits: int) -> str:
    return '' if value is None else f'{value:.{digits}f}'

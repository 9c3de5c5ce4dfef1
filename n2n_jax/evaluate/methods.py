"""The methods that are scored on a scene: the captures as they are, baselines and the model.

N captures of a scene, H height, W width, C channels.
"""

import dataclasses
import types
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from n2n_jax.evaluate import without_clean
from n2n_jax.evaluate.baselines import Baseline, Restore
from n2n_jax.evaluate.baselines.bm3d import BM3D
from n2n_jax.evaluate.baselines.nlm import NonLocalMeans

MODEL = 'model'
ONE = 'one capture'
MEAN = 'mean of the captures'
MEAN_OF_RESULTS = 'model, mean of two results'
ON_THE_MEAN = 'model on the mean of two'
NLM = NonLocalMeans.title
# Baselines that are scored unless --without leaves them out, by their name on the command line.
OPTIONAL: dict[str, type[Baseline]] = {'nlm': NonLocalMeans, 'bm3d': BM3D}

_MOST_PAIRS = 4  # of captures to combine


@dataclasses.dataclass(frozen=True)
class Method:
    """The outcome of one method on one scene.

    Attributes:
      name: one of the constants above, as shown in the table.
      map_HWC: error map, averaged over the results; its mean estimates the mean squared error.
      results_NHWC: denoised captures, to be compared with a clean image.
      made_of: for each result, the indices of the captures it was computed from.
      control_HWC: see `without_clean.control_variate`.
    """

    name: str
    map_HWC: np.ndarray
    results_NHWC: np.ndarray
    made_of: Sequence[Sequence[int]]
    control_HWC: np.ndarray | None = None


def run(
    captures_NHWC: np.ndarray,
    restore: Restore,
    *,
    without: Sequence[str] = (),
    more: Mapping[str, Baseline] = types.MappingProxyType({}),
) -> Iterator[Method]:
    """Runs all methods on one scene.

    Args:
      captures_NHWC: float32 in the range of the network.
      restore: the model.
      without: keys of `OPTIONAL` to skip.
      more: further baselines, by the name to show.

    Yields:
      The unprocessed captures, their mean, baselines tuned on the captures (non-local means, BM3D
      if installed, and `more`), the model; with three or more captures also the two ways of
      combining two of them.
    """
    x = captures_NHWC
    denoised_NHWC = np.stack([restore(capture) for capture in x])
    raw_HWC = without_clean.error_maps(x, x).mean(axis=0)
    mean_NHWC = x.mean(axis=0, keepdims=True)
    control_HWC = without_clean.control_variate(x, denoised_NHWC, x)
    yield Method(ONE, raw_HWC, x, _single_captures(x), control_HWC)
    # The noise variance of a mean of N captures is 1 / N of their mean noise variance.
    control_HWC = without_clean.control_variate(mean_NHWC, denoised_NHWC, x)
    yield Method(MEAN, raw_HWC / len(x), mean_NHWC, [range(len(x))], control_HWC)
    usual = [kind() for key, kind in OPTIONAL.items() if key not in without and kind.installed()]
    for name, baseline in ({one.title: one for one in usual} | dict(more)).items():
        yield _per_capture(name, x, _restore_each(baseline.for_captures(x), x), denoised_NHWC)
    yield _per_capture(MODEL, x, denoised_NHWC, denoised_NHWC)
    if len(x) > 2:
        pairs = [(i, (i + 1) % len(x)) for i in range(min(len(x), _MOST_PAIRS))]
        for name, combine in (
            (MEAN_OF_RESULTS, lambda pair: denoised_NHWC[list(pair)].mean(axis=0)),
            (ON_THE_MEAN, lambda pair: restore(x[list(pair)].mean(axis=0))),
        ):
            results_NHWC = np.stack([combine(pair) for pair in pairs])
            maps = [
                _error_from_others(g, x, pair) for g, pair in zip(results_NHWC, pairs, strict=True)
            ]
            yield Method(name, np.mean(maps, axis=0), results_NHWC, pairs)


def _single_captures(captures_NHWC: np.ndarray) -> list[tuple[int]]:
    return [(i,) for i in range(len(captures_NHWC))]


def _restore_each(restore: Restore, captures_NHWC: np.ndarray) -> np.ndarray:
    return np.stack([restore(capture) for capture in captures_NHWC])


def _per_capture(
    name: str, captures_NHWC: np.ndarray, results_NHWC: np.ndarray, denoised_NHWC: np.ndarray
) -> Method:
    maps = without_clean.error_maps(results_NHWC, captures_NHWC)
    control_HWC = None
    if len(captures_NHWC) > 2:  # with two, the noise of the map itself leaves nothing to gain
        control_HWC = without_clean.control_variate(results_NHWC, denoised_NHWC, captures_NHWC)
    return Method(
        name, maps.mean(axis=0), results_NHWC, _single_captures(captures_NHWC), control_HWC
    )


def _error_from_others(
    combined_HWC: np.ndarray, captures_NHWC: np.ndarray, pair: tuple[int, int]
) -> np.ndarray:
    """Returns the error map of a result of two captures, from the other captures.

    With a single other x_k: E (g - x_k)^2 is the error plus the noise variance of x_k, which is
    E (x_k - x_i)(x_k - x_j).
    """
    x = captures_NHWC.astype(np.float64)
    others = [k for k in range(len(x)) if k not in pair]
    if len(others) > 1:
        return without_clean.error_map(combined_HWC, x[others])
    (k,), (i, j) = others, pair
    return (combined_HWC - x[k]) ** 2 - (x[k] - x[i]) * (x[k] - x[j])

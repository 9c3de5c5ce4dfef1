"""The error against the clean image, estimated from noisy captures alone.

N captures of a scene, H height, W width, C channels, P patches.

Let x_i = s + n_i with noise of mean zero that is independent between captures given the scene s,
and f a denoiser that was not trained on these. Of three captures, for j and k other than i,

    E (f(x_i) - x_j)(f(x_i) - x_k) = E (f(x_i) - s)^2

and of two

    E 1/2 [(f(x_1) - x_2)^2 + (f(x_2) - x_1)^2 - (x_1 - x_2)^2]
        = E 1/2 [(f(x_1) - s)^2 + (f(x_2) - s)^2]

whatever the noise of each: it may depend on the signal and be correlated in space. They do not hold
where captures are clipped, shifted against each other or of different brightness; what all captures
share, such as a hot pixel, counts as signal.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

PATCH = 32  # pixels a side of the patches that are drawn again for intervals


def error_maps(denoised_NHWC: np.ndarray, captures_NHWC: np.ndarray) -> np.ndarray:
    """Maps whose means estimate the mean squared error of each denoised capture.

    Args:
      denoised_NHWC: f of each capture by itself, in the range of the captures.
      captures_NHWC: the captures, at least two.

    Returns:
      (N, H, W, C) float64. Of two captures both maps are equal: each is the error of both
      directions in the mean.
    """
    f, x = denoised_NHWC.astype(np.float64), captures_NHWC.astype(np.float64)
    num = len(x)
    if num < 2 or f.shape != x.shape:
        raise ValueError(f'two captures or more, and as many results: {x.shape}, {f.shape}')
    if num == 2:
        map_HWC = ((f[0] - x[1]) ** 2 + (f[1] - x[0]) ** 2 - (x[0] - x[1]) ** 2) / 2
        return np.stack([map_HWC, map_HWC])
    # The mean over all pairs of the others, from their sum and their sum of squares.
    sums, squares = x.sum(axis=0) - x, (x**2).sum(axis=0) - x**2
    others = num - 1
    total = others * f - sums
    own = others * f**2 - 2 * f * sums + squares
    return (total**2 - own) / (others * (others - 1))


def cross_moment_map(
    denoised_HWC: np.ndarray, input_HWC: np.ndarray, target_HWC: np.ndarray
) -> np.ndarray:
    """A map whose mean estimates the error of f(input) alone, from two captures of any noise.

    Less certain than `error_maps` by a factor of three to ten, for where only one direction exists.
    """
    f, a, b = (x.astype(np.float64) for x in (denoised_HWC, input_HWC, target_HWC))
    return (f - b) ** 2 - (b - b.mean()) * (b - a)


def patch_sums(
    map_HWC: np.ndarray, mask_HWC: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of a map over patches, and how many values each has, both (P,).

    Args:
      map_HWC: such as one of `error_maps`.
      mask_HWC: True where values count, such as where no capture is saturated.
    """
    mask_HWC = np.ones(map_HWC.shape, bool) if mask_HWC is None else mask_HWC
    h, w, _ = map_HWC.shape
    sums, counts = [], []
    for top in range(0, h, PATCH):
        for left in range(0, w, PATCH):
            window = slice(top, top + PATCH), slice(left, left + PATCH)
            sums.append(map_HWC[window][mask_HWC[window]].sum())
            counts.append(mask_HWC[window].sum())
    return np.array(sums), np.array(counts)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A PSNR that no clean image was needed for.

    Attributes:
      psnr: dB against the peak; infinite if the error is too small to be measured.
      ci95: ends of the 95 % interval, the upper one infinite likewise.
    """

    psnr: float
    ci95: tuple[float, float]

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity: what is not measurable is null."""
        numbers = [x if np.isfinite(x) else None for x in (self.psnr, *self.ci95)]
        return {'psnr_estimate': numbers[0], 'ci95': numbers[1:]}


def estimate_psnr(
    scenes: Sequence[tuple[np.ndarray, np.ndarray]], *, num_draws: int = 1000, seed: int = 0
) -> Estimate:
    """The mean of the scenes' PSNR, peak 1, with an interval over patches and scenes.

    Args:
      scenes: `patch_sums` of each.
      num_draws: of the bootstrap: scenes are drawn again, if there are several, and patches within
        each.
      seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    psnr = float(np.mean([_psnr(sums.sum() / counts.sum()) for sums, counts in scenes]))
    # Patches of each scene first, then scenes among those draws.
    drawn_SD = np.empty((len(scenes), num_draws))
    for row, (sums, counts) in zip(drawn_SD, scenes, strict=True):
        chosen_DP = rng.integers(len(sums), size=(num_draws, len(sums)))
        row[:] = _psnr(sums[chosen_DP].sum(axis=1) / np.maximum(counts[chosen_DP].sum(axis=1), 1))
    if len(scenes) > 1:
        chosen_SD = rng.integers(len(scenes), size=drawn_SD.shape)
        drawn_SD = np.take_along_axis(drawn_SD, chosen_SD, axis=0)
    drawn_D = np.sort(drawn_SD.mean(axis=0))  # some may be infinite, which np.percentile minds
    low, high = drawn_D[int(0.025 * num_draws)], drawn_D[int(0.975 * num_draws)]
    return Estimate(psnr, (float(low), float(high)))


def _psnr(mse: np.ndarray | float) -> np.ndarray:
    with np.errstate(divide='ignore'):
        return -10 * np.log10(np.maximum(mse, 0.0))


def gain_in_words(row: dict[str, Any]) -> str:
    """'+3.42' dB over the captures as they are, '' if either is not known."""
    ends = row['psnr_estimate'], row['psnr_estimate_input']
    return '' if None in ends else f'{ends[0] - ends[1]:+.2f}'


def in_words(row: dict[str, Any]) -> str:
    """'**31.2** (30.9 to 31.6)' from `Estimate.as_dict`, in dB."""
    if row['psnr_estimate'] is None:
        return 'not measurable'
    low, high = ('?' if end is None else f'{end:.2f}' for end in row['ci95'])
    return f'**{row["psnr_estimate"]:.2f}** ({low} to {high})'

"""Classical baselines by name: what a network has to beat.

N captures, H height, W width, C channels. Images are float32 in the range of the network.

A baseline is written as `n2n_jax.runtime.choices` reads it: `nlm`, `median:size=3`, `tv:0.1`. What
an option leaves open is tuned on noisy images alone, never on a clean one.

To add a baseline, write a module with a `Baseline` and add it to `REGISTRY`.
"""

from n2n_jax.evaluate.baselines.base import Baseline, Restore
from n2n_jax.evaluate.baselines.bm3d import BM3D
from n2n_jax.evaluate.baselines.dip import DeepImagePrior
from n2n_jax.evaluate.baselines.median import Median
from n2n_jax.evaluate.baselines.nlm import NonLocalMeans
from n2n_jax.evaluate.baselines.tv import TotalVariation
from n2n_jax.evaluate.baselines.wavelet import Wavelet
from n2n_jax.runtime import choices
from n2n_jax.runtime.errors import UserError

REGISTRY = choices.registry(
    'baseline',
    {
        'nlm': NonLocalMeans,
        'bm3d': BM3D,
        'wavelet': Wavelet,
        'tv': TotalVariation,
        'median': Median,
        'dip': DeepImagePrior,
    },
)

__all__ = ['REGISTRY', 'Baseline', 'Restore', 'make', 'make_list']


def make(text: str) -> Baseline:
    """Makes the baseline that a text names, such as 'median:size=3'.

    Raises:
      UserError: the name or an option is unknown or invalid, or a package is missing.
    """
    baseline: Baseline = choices.make('baseline', text, REGISTRY)
    baseline.check_installed()
    return baseline


def make_list(texts: str) -> dict[str, Baseline]:
    """Makes the baselines of a text with commas between them, by what was written for each.

    Args:
      texts: such as 'nlm,dip:steps=500,rate=0.01,tv'.

    Raises:
      UserError: see `make`; or one is written twice.
    """
    found = {}
    for part in choices.parted(texts):
        if part in found:
            raise UserError(f"Baseline '{part}' is written twice: write it once.")
        found[part] = make(part)
    return found

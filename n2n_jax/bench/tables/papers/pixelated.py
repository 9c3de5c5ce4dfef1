"""The task of the course EE-559 at EPFL, which two of the documents solve: pixelated images, 32x32.

The course gave 50,000 pairs of noisy images, which are not public. The stand-in: crops of BSDS500
of that size, with the noise `pixelated`, one reading of what the course calls "downsampled,
pixelated images". Its mean is a blurred image, so networks are compared on how well they learn
that, on noisy targets; the levels of PSNR are not those of the reports.
"""

from typing import Any

from n2n_jax.bench.tables import budgets
from n2n_jax.bench.tables.table import Budget, Changes

CHANGES: Changes = {
    'model.residual': False,
    'data.crop': 32,
    'data.augment': False,
    'noise.input': 'pixelated:2',
    'optim.loss': 'l2',
    'optim.schedule': 'constant',
    'optim.warmup_steps': 0,
    'optim.ema_decay': 0.0,
    'eval.noise': 'pixelated:2',
}

STAND_IN = (
    'on 50,000 pairs of 32x32 pixels that the course gave; ours are a stand-in (crops of BSDS500, '
    'pixelated noise), so compare the order of the arms, not the levels.'
)


def quick(steps: int, time: str) -> Budget:
    """Returns the budget `quick` of these tables."""
    return budgets.quick(steps, time, eval__max_images=2, optim__warmup_steps=0)


def cpu(steps: int, seeds: int, time: str, **changes: Any) -> Budget:
    """Returns the budget `cpu` of these tables."""
    return budgets.cpu(
        steps, seeds, time, eval__sets=budgets.KODAK_ONLY, eval__max_images=8, **changes
    )

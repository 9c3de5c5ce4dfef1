"""How long the runs of the tables are trained, and what they are trained and scored on.

quick   a check that a table works: built-in images, no download, minutes
cpu     enough for a trend on two CPU cores: BSDS500, scored on the papers' test sets
full    the recipe of the source, for a GPU
"""

from typing import Any

from n2n_jax.bench.tables import places
from n2n_jax.bench.tables.table import Budget

TEST_SETS = ','.join(
    f'{name}={spec}'
    for name, spec in (
        ('kodak24', places.KODAK24),
        ('bsds300', places.BSDS300_TEST),
        ('set14', places.SET14),
    )
)
KODAK_ONLY = f'kodak24={places.KODAK24}'
BSDS300_ONLY = f'bsds300={places.BSDS300_TEST}'
# As the field scores: every image several times, with noise of its own.
_REPLICATED = ','.join(
    f'{name}={spec}'
    for name, spec in (
        ('kodak24*10', places.KODAK24),
        ('bsds300*3', places.BSDS300_TEST),
        ('set14*20', places.SET14),
    )
)


def quick(steps: int, time: str, **changes: Any) -> Budget:
    """Returns a budget of a few minutes on built-in images.

    Args:
      steps: of each run.
      time: what the table takes, in words.
      **changes: further values, with __ in place of the dot: optim__learning_rate=0.002.
    """
    values = {
        'data.train': 'dead_leaves:100',
        'eval.sets': 'photos',
        'eval.max_images': 3,
        'optim.warmup_steps': min(50, steps // 5),
        'train.steps': steps,
        **_dotted(changes),
    }
    return Budget(values, 1, time, searches=False)


def cpu(steps: int, seeds: int, time: str, **changes: Any) -> Budget:
    """Returns a budget for two CPU cores; the arguments are those of `quick`."""
    values = {
        'data.train': places.BSDS500,
        'eval.sets': TEST_SETS,
        'train.steps': steps,
        **_dotted(changes),
    }
    return Budget(values, seeds, time)


def full(time: str, **changes: Any) -> Budget:
    """Returns the recipe of the Noise2Noise paper and its code, on BSDS500; see `quick`."""
    values = {
        'model.residual': False,
        'data.train': places.BSDS500,
        'data.crop': 256,
        'data.augment': False,
        'optim.learning_rate': 3e-4,
        'optim.warmup_steps': 0,
        'optim.schedule': 'ramp_down:0.5',
        'optim.ema_decay': 0.0,
        'train.steps': 500_000,
        'train.log_every': 500,
        'train.checkpoint_every': 10_000,
        'eval.sets': _REPLICATED,
        **_dotted(changes),
    }
    return Budget(values, 3, time)


def _dotted(changes: dict[str, Any]) -> dict[str, Any]:
    return {key.replace('__', '.'): value for key, value in changes.items()}

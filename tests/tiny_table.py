"""A table whose cells are done in seconds."""

from n2n_jax.bench.tables.table import Arm, Budget, Table

CHANGES = {
    'model.name': 'tiny',
    'data.train': 'dead_leaves:2',
    'data.crop': 16,
    'noise.input': 'gaussian:25',
    'optim.warmup_steps': 0,
    'eval.sets': 'leaves=dead_leaves:2',
    'train.steps': 4,
    'train.log_every': 4,
    'train.checkpoint_every': 4,
}


def tiny_table(*, arms=None, steps=4, rates=(), **changes):
    """Returns a table of two arms, noisy and clean targets, of these steps."""
    arms = arms or (
        Arm('clean', changes={'noise.target': 'clean'}, published={'leaves': 20.0}),
        Arm('noisy', control='clean', rates=rates),
    )
    return Table(
        name='tiny',
        title='Tiny',
        question='Does it work?',
        source='nowhere',
        arms=tuple(arms),
        budgets={'quick': Budget({**CHANGES, 'train.steps': steps, **changes}, 1, 'seconds')},
        rates='none was chosen.',
    )


if __name__ == '__main__':  # python -m tests.tiny_table STEPS run tiny -o FOLDER
    import sys

    from n2n_jax import models
    from n2n_jax.bench import tables
    from n2n_jax.cli import n2n
    from tests.tiny import TinyNet

    models.REGISTRY['tiny'] = TinyNet
    tables.REGISTRY['tiny'] = tiny_table(steps=int(sys.argv[1]))
    n2n.main(['bench', *sys.argv[2:]])

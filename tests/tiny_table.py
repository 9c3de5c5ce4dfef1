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


def tiny_table(*, arms=None, steps=4, rates=(), judged_by='', **changes):
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
        judged_by=judged_by,
    )


def _main():
    """Runs the table up to the middle of its second cell: python -m tests.tiny_table STEPS FOLDER.

    There it waits to be killed.
    """
    import sys
    import time
    from pathlib import Path

    from n2n_jax import models
    from n2n_jax.bench import tables
    from n2n_jax.cli import n2n
    from n2n_jax.train import run
    from tests.tiny import TinyNet

    steps, folder = int(sys.argv[1]), Path(sys.argv[2])
    models.REGISTRY['tiny'] = TinyNet
    tables.REGISTRY['tiny'] = tiny_table(steps=steps)
    save = run.Run.save

    def save_and_wait(self):
        save(self)
        if (folder / 'cells').exists():  # the first cell is done
            self._output.checkpoints.wait()
            time.sleep(600)

    run.Run.save = save_and_wait
    n2n.main(['bench', 'run', 'tiny', '-o', str(folder)])


if __name__ == '__main__':
    _main()

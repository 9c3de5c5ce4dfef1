"""Dai and Liu, EE-559 Mini-project 1: Noise2Noise Auto-encoder (EPFL)."""

from n2n_jax.bench.tables import budgets
from n2n_jax.bench.tables.papers import pixelated
from n2n_jax.bench.tables.table import ANY_SET, Arm, Table

_SOURCE = 'Dai and Liu, EE-559 Mini-project 1 (EPFL)'
_BASE = 'Adam, 0.001'
_OPTIMIZERS = {'Adam': 'adam', 'SGD': 'sgd:momentum=0.9,nesterov'}
# The report's row "0.0001" is 0.001 in its text and its figure.
_PUBLISHED = {
    ('SGD', 0.05): 12.68,
    ('SGD', 0.01): 25.08,
    ('SGD', 0.005): 24.85,
    ('SGD', 0.001): 24.58,
    ('SGD', 0.0005): 24.46,
    ('Adam', 0.05): -266.26,
    ('Adam', 0.01): 24.91,
    ('Adam', 0.005): 25.33,
    ('Adam', 0.001): 25.42,
    ('Adam', 0.0005): 25.42,
}

OPTIMIZERS = Table(
    name='optimizers',
    title='Optimizer, learning rate, initialization, loss, augmentation (EPFL, Dai and Liu)',
    question=(
        'Which optimizer and learning rate train the U-Net best in a short time, and do '
        'initialization, loss and added noise matter?'
    ),
    source=f'{_SOURCE}, Tables I to IV',
    changes={**pixelated.CHANGES, 'data.batch_size': 32},
    arms=(
        *(
            Arm(
                f'{name}, {rate:g}',
                changes={'optim.name': _OPTIMIZERS[name], 'optim.learning_rate': rate},
                control='' if f'{name}, {rate:g}' == _BASE else _BASE,
                published={ANY_SET: psnr},
            )
            for (name, rate), psnr in _PUBLISHED.items()
        ),
        Arm(
            'Xavier initialization',
            changes={'model.init': 'xavier'},
            control=_BASE,
            published={ANY_SET: 25.44},
        ),
        Arm('L1', changes={'optim.loss': 'l1'}, control=_BASE, published={ANY_SET: 24.59}),
        Arm(
            'added Gaussian noise',
            changes={'noise.input': 'pixelated:2+gaussian:10'},
            control=_BASE,
            published={ANY_SET: 24.51},
        ),
        # Newer choices, which the report does not have.
        Arm(
            'schedule: ramp-down',
            changes={'optim.schedule': 'ramp_down:0.7'},
            control=_BASE,
        ),
        Arm('AdamW, 0.001', changes={'optim.name': 'adamw'}, control=_BASE),
        Arm('Muon, 0.001', changes={'optim.name': 'muon'}, control=_BASE),
    ),
    budgets={
        'quick': pixelated.quick(30, '14 minutes by estimate'),
        'cpu': pixelated.cpu(200, 2, '70 minutes by estimate'),
        'full': budgets.cpu(1500, 3, 'one epoch of 50,000 crops; minutes per run on a GPU'),
    },
    rates='each arm has the rate in its name, else 0.001; that is what the table is about.',
    published_with=f'at the end of 10 minutes, batch 100, {pixelated.STAND_IN}',
)

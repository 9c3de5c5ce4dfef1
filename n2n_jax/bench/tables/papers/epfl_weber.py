"""Weber, Gürtler and Zakariya, Deep Learning Mini-project 1: Noise2Noise model (EPFL)."""

from n2n_jax.bench.tables import budgets
from n2n_jax.bench.tables.papers import pixelated
from n2n_jax.bench.tables.table import ANY_SET, Arm, Table

_SOURCE = 'Weber, Gürtler and Zakariya, Deep Learning Mini-project 1 (EPFL)'
_BASE = 'ResUNet of Table I'
_RESUNET = 'resunet_epfl'

RESUNET = Table(
    name='resunet',
    title='ResUNet: learning rate, batch size, rotations (EPFL, Weber, Gürtler, Zakariya)',
    question=(
        'Which learning rate and batch size suit this ResUNet, do rotations help, and is it better '
        'than the U-Net that it is made from?'
    ),
    source=f'{_SOURCE}, Figures 2 and 3, Tables I and II',
    changes={
        **pixelated.CHANGES,
        'model.name': _RESUNET,
        'data.batch_size': 8,
        'optim.learning_rate': 8e-4,
    },
    arms=(
        Arm(_BASE, published={ANY_SET: 24.6}),
        Arm(
            'as in its code: no residual additions, ReLU output',
            changes={'model.name': f'{_RESUNET}:residual_blocks=False,relu_output'},
            control=_BASE,
        ),
        Arm('U-Net', changes={'model.name': 'unet'}, control=_BASE),
        Arm('flips and rotations', changes={'data.augment': True}, control=_BASE),
        *(
            Arm(f'learning rate {rate:g}', changes={'optim.learning_rate': rate}, control=_BASE)
            for rate in (1e-4, 4e-4, 2e-3)
        ),
        # The same number of crops, so that what is compared is the batch size and not the time.
        *(
            Arm(
                f'batch {size}, as many crops',
                changes={'data.batch_size': size},
                by_budget={
                    budget: {'train.steps': steps * 8 // size}
                    for budget, steps in (('quick', 60), ('cpu', 400), ('full', 6400))
                },
                control=_BASE,
            )
            for size in (4, 16, 32)
        ),
    ),
    budgets={
        'quick': pixelated.quick(60, '6 minutes by estimate'),
        'cpu': pixelated.cpu(400, 2, '30 minutes by estimate'),
        'full': budgets.cpu(6400, 3, 'an epoch of 50,000 crops; minutes per run on a GPU'),
    },
    rates='0.0008, the best of the report, unless the arm names another.',
    published_with=f'one number for the final model, {pixelated.STAND_IN}',
)

"""A question of our own: which network and optimizer are best in a given time on two CPU cores?"""

from typing import Any

from n2n_jax.bench.tables import budgets
from n2n_jax.bench.tables.table import Arm, Table

_BASE = 'U-Net, Adam'
_RATES = (0.001, 0.002, 0.004)

# Crops of 64x64 that two cores of an AMD EPYC at 2.25 GHz train on per second, nothing else
# running, 8 to a step; measured over steps 40 to 120 (jax 0.10.2).
_CROPS_PER_SECOND = {
    'unet': 27,
    'resunet': 35,
    'dncnn:depth=10,width=48': 17,
    'nafnet_xs': 52,
    'nafnet_s': 18,
    'drunet_xs': 52,
}


def _steps(network: str, minutes: int) -> dict[str, Any]:
    return {'train.steps': _CROPS_PER_SECOND[network] * 60 * minutes // 8}


def _arm(name: str, network: str, **changes: Any) -> Arm:
    values = {'model.name': network, **{key.replace('__', '.'): x for key, x in changes.items()}}
    return Arm(
        name,
        changes=values,
        by_budget={'cpu': _steps(network, 4), 'full': _steps(network, 20)},
        control='' if name == _BASE else _BASE,
        rates=_RATES,
    )


MINUTES = Table(
    name='minutes',
    title='The best network for minutes on two CPU cores',
    question=(
        'Which network and which optimizer denoise best after the same time on two CPU cores, each '
        'with the best of three learning rates?'
    ),
    source='no paper: the question is ours, for the models that come with n2n_jax',
    changes={
        'data.batch_size': 8,
        'noise.input': 'gaussian:0-50',
        'eval.noise': 'gaussian:25',
        'optim.clip_norm': 1.0,
        'optim.ema_decay': 0.99,
    },
    arms=(
        _arm(_BASE, 'unet'),
        _arm('U-Net, Muon', 'unet', optim__name='muon'),
        _arm('ResUNet, Adam', 'resunet'),
        _arm('DnCNN, 10 layers of 48, Adam', 'dncnn:depth=10,width=48'),
        _arm('NAFNet of 0.3 M, Adam', 'nafnet_xs'),
        _arm('NAFNet of 1 M, Adam', 'nafnet_s'),
        _arm('DRUNet of 0.9 M on patches, Adam', 'drunet_xs'),
        _arm('DRUNet, AdamW', 'drunet_xs', optim__name='adamw'),
        _arm('DRUNet, Muon', 'drunet_xs', optim__name='muon'),
        _arm(
            'DRUNet, schedule-free',
            'drunet_xs',
            optim__name='schedule_free',
            optim__schedule='constant',
            optim__ema_decay=0.0,  # it averages itself
        ),
        _arm('DRUNet, shown the noise level', 'drunet_xs', model__noise_map=True),
    ),
    budgets={
        'quick': budgets.quick(30, '10 minutes by estimate'),
        'cpu': budgets.cpu(
            1560, 2, '3 hours by estimate', eval__sets=budgets.BSDS300_ONLY, eval__max_images=30
        ),
        'full': budgets.cpu(
            7800, 2, '14 hours on two CPU cores by estimate', eval__sets=budgets.BSDS300_ONLY
        ),
    },
    rates='for each arm the best of 0.001, 0.002 and 0.004, on photographs of no test set.',
)

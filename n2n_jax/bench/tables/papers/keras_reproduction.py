"""A reproduction of Noise2Noise in Keras: four corruptions, trained on Kodak or on BSDS300."""

from collections.abc import Iterator

from n2n_jax.bench.tables import budgets, places
from n2n_jax.bench.tables.table import Arm, Changes, Table

_SOURCE = 'the report on a reproduction of Noise2Noise in Keras'
_NOISES = {
    'gaussian': ('gaussian:0-50', 'gaussian:25'),
    'poisson': ('poisson:5-50', 'poisson:30'),
    'bernoulli': ('bernoulli:0.5', 'bernoulli:0.5'),
    'text': ('text:0.25', 'text:0.25'),
}
# What the code that the report is built on does, as far as it can be read.
_DEFECTS: dict[str, list[tuple[str, Changes]]] = {
    'gaussian': [
        (
            'targets clipped and rounded',
            {'noise.target': 'gaussian:0-50+quantize:8', 'optim.loss': 'l2'},
        ),
    ],
    'poisson': [
        (
            'both captures without lambda, in 8 bits that wrap',
            {
                'imports': places.file('defects'),
                'noise.input': 'wrapping_poisson',
                'optim.loss': 'l2',
            },
        ),
    ],
    'bernoulli': [('loss without mask', {'optim.loss': 'l2'})],
    'text': [('L2', {'optim.loss': 'l2'})],
}
_RIGHT = 'on BSDS500'


def _arms() -> Iterator[Arm]:
    for group, (training, scored) in _NOISES.items():
        noise = {'noise.input': training, 'eval.noise': scored}
        yield Arm(_RIGHT, group, noise)
        for name, changes in _DEFECTS[group]:
            yield Arm(f'{_RIGHT}, {name}', group, {**noise, **changes}, control=_RIGHT)
        yield Arm(
            'on Kodak, 24 images',
            group,
            {**noise, 'data.train': places.KODAK24},
            control=_RIGHT,
            budgets=('cpu', 'full'),
        )


KERAS = Table(
    name='keras',
    title='Four corruptions, and four defects of existing code (reproduction in Keras)',
    question=(
        'Which of the defects that are found in existing Noise2Noise code explain outputs that are '
        'too dark and letters that stay? And are 24 images enough to train on?'
    ),
    source=_SOURCE,
    changes={'eval.metrics': 'psnr,ssim,bias'},
    metrics='ssim,bias',
    judged_by='bias',
    arms=tuple(_arms()),
    budgets={
        'quick': budgets.quick(150, '8 minutes by estimate'),
        'cpu': budgets.cpu(
            1500,
            2,
            '2 hours by estimate',
            eval__sets=budgets.BSDS300_ONLY,
            eval__max_images=24,
        ),
        'full': budgets.full('hours per run on a GPU', eval__sets=budgets.BSDS300_ONLY),
    },
    rates='0.001 for all arms, 0.0003 in the budget full (0.0001 in the report).',
    published_with='pictures only: Bernoulli and Poisson come out too dark, text stays legible.',
)

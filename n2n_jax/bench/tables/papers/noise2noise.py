"""Lehtinen et al., Noise2Noise (ICML 2018, arXiv 1803.04189)."""

from collections.abc import Mapping
from typing import Any

from n2n_jax.bench.tables import budgets
from n2n_jax.bench.tables.table import Arm, Table

_SOURCE = 'Lehtinen et al. 2018, Noise2Noise'
_ONE_RATE = (
    'the same for both kinds of targets, that of the quick recipes (0.001; 0.0003 in the budget '
    'full); not searched for each arm.'
)

NOISY, CLEAN = 'noisy targets', 'clean targets'
_SETS = 'kodak24', 'bsds300', 'set14'


def _trained(
    group: str,
    noise: str,
    *,
    paper: str,
    scored: str,
    published: Mapping[str, tuple[float, float, float]],
) -> tuple[Arm, Arm]:
    """Returns the arms with clean and with noisy targets.

    Args:
      group: the kind of noise.
      noise: of the training, in short budgets.
      paper: of the training in the paper, for the budget full.
      scored: noise of the evaluation.
      published: PSNR on `_SETS` by arm.
    """

    def arm(name: str, target: str, control: str) -> Arm:
        return Arm(
            name,
            group,
            {'noise.input': noise, 'noise.target': target, 'eval.noise': scored},
            by_budget={'full': {'noise.input': paper}},
            control=control,
            published=dict(zip(_SETS, published[name], strict=True)),
        )

    return arm(CLEAN, 'clean', ''), arm(NOISY, 'same', CLEAN)


def _classical(
    name: str,
    group: str,
    method: str,
    *,
    scored: str,
    published: tuple[float, float, float],
    **changes: Any,
) -> Arm:
    return Arm(
        name,
        group,
        {'eval.noise': scored, **{key.replace('__', '.'): x for key, x in changes.items()}},
        method=method,
        published=dict(zip(_SETS, published, strict=True)),
        budgets=('cpu', 'full'),
    )


_RED30 = {'model.name': 'red30', 'eval.noise': 'gaussian:25', 'noise.input': 'gaussian:0-50'}

NOISE2NOISE = Table(
    name='noise2noise',
    title='Noisy targets against clean targets (Noise2Noise, Table 1)',
    question=(
        'Is a denoiser that has seen only noisy images as good as one that was trained on clean '
        'images, and are both better than classical methods?'
    ),
    source=f'{_SOURCE}, Table 1',
    arms=(
        *_trained(
            'gaussian',
            'gaussian:0-50',
            paper='gaussian:0-50',
            scored='gaussian:25',
            published={CLEAN: (32.50, 31.07, 31.31), NOISY: (32.48, 31.06, 31.28)},
        ),
        Arm(
            'RED30, clean targets',
            'gaussian',
            {**_RED30, 'noise.target': 'clean'},
            budgets=('full',),
        ),
        Arm(
            'RED30, noisy targets',
            'gaussian',
            _RED30,
            control='RED30, clean targets',
            budgets=('full',),
        ),
        _classical(
            'BM3D', 'gaussian', 'bm3d', scored='gaussian:25', published=(31.82, 30.34, 30.50)
        ),
        *_trained(
            'poisson',
            'poisson:5-50',
            paper='poisson:0.001-50',
            scored='poisson:30',
            published={CLEAN: (31.52, 30.18, 30.07), NOISY: (31.50, 30.16, 30.06)},
        ),
        _classical(
            'Anscombe and BM3D',
            'poisson',
            'bm3d',
            scored='poisson:30',
            published=(29.15, 27.56, 28.36),
        ),
        *_trained(
            'bernoulli',
            'bernoulli:0.5',
            paper='bernoulli:0-0.95',
            scored='bernoulli:0.5',
            published={CLEAN: (33.01, 31.04, 31.51), NOISY: (33.17, 31.16, 31.72)},
        ),
        _classical(
            'Deep Image Prior, 2 images of each set',
            'bernoulli',
            'dip',
            scored='bernoulli:0.5',
            published=(30.78, 28.97, 30.67),
            eval__max_images=2,
        ),
    ),
    budgets={
        'quick': budgets.quick(300, 'about 6 minutes'),
        'cpu': budgets.cpu(1500, 3, 'about 2 hours, and 2 more for the classical methods'),
        'full': budgets.full('a day per run on a GPU of 2018, about 20 minutes on an H100'),
    },
    rates=_ONE_RATE,
    published_with=(
        '50,000 ImageNet images, a length that the paper does not state, one noisy version of each '
        'test image; its Gaussian columns are RED30, ours are the U-Net unless the arm says RED30. '
        'The official code reports 32.39 (noisy) and 32.38 dB (clean) for the U-Net on Kodak, '
        '31.02 and 31.01 on BSD300.'
    ),
)

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
    published: Mapping[str, tuple[float, ...]],
) -> tuple[Arm, Arm]:
    """Returns the arms with clean and with noisy targets.

    Args:
      group: the kind of noise.
      noise: of the training, in short budgets.
      paper: of the training in the paper, for the budget full.
      scored: noise of the evaluation.
      published: PSNR on `_SETS`, or the first of them, by arm.
    """

    def arm(name: str, target: str, control: str) -> Arm:
        return Arm(
            name,
            group,
            {'noise.input': noise, 'noise.target': target, 'eval.noise': scored},
            by_budget={'full': {'noise.input': paper}},
            control=control,
            published=dict(zip(_SETS, published[name], strict=False)),
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
        by_budget={'cpu': {'eval.sets': budgets.KODAK_ONLY}},
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
    margin=0.15,
    arms=(
        *_trained(
            'gaussian',
            'gaussian:0-50',
            paper='gaussian:0-50',
            scored='gaussian:25',
            published={CLEAN: (32.38, 31.01), NOISY: (32.39, 31.02)},
        ),
        Arm(
            'RED30, clean targets',
            'gaussian',
            {**_RED30, 'noise.target': 'clean'},
            published=dict(zip(_SETS, (32.50, 31.07, 31.31), strict=True)),
            budgets=('full',),
        ),
        Arm(
            'RED30, noisy targets',
            'gaussian',
            _RED30,
            control='RED30, clean targets',
            published=dict(zip(_SETS, (32.48, 31.06, 31.28), strict=True)),
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
        'quick': budgets.quick(300, '8 minutes on two cores'),
        'cpu': budgets.cpu(
            1500, 3, '4 hours, and 2 more for the classical methods, on Kodak, by estimate'
        ),
        'full': budgets.full('hours per run on a GPU (7.5 on a Titan V, says the official code)'),
    },
    rates=_ONE_RATE,
    published_with=(
        '50,000 ImageNet images and all levels of noise; the paper does not state the length of '
        'its training. The Gaussian numbers of the U-Net are those of the official code after '
        "500,000 steps, as the paper's are of RED30. The short budgets train on Poisson noise of 5 "
        'to 50 and on Bernoulli noise of 0.5 alone.'
    ),
)

TEXT = Table(
    name='text',
    title='Overlaid text: which loss removes it (Noise2Noise, Figure 3)',
    question=(
        'Text over an image does not have mean zero, so L2 should fail where L1 succeeds. By how '
        'much, and does L1 on noisy targets reach clean targets?'
    ),
    source=f'{_SOURCE}, Figure 3',
    changes={'noise.input': 'text:0.25', 'eval.noise': 'text:0.25'},
    arms=(
        Arm(CLEAN, changes={'noise.target': 'clean', 'optim.loss': 'l2'}),
        Arm('L1', changes={'optim.loss': 'l1'}, control=CLEAN),
        Arm('L2', changes={'optim.loss': 'l2'}, control='L1'),
    ),
    budgets={
        'quick': budgets.quick(300, '5 minutes by estimate'),
        'cpu': budgets.cpu(1500, 2, '50 minutes by estimate', eval__sets=budgets.KODAK_ONLY),
        'full': budgets.full('hours per run on a GPU', noise__input='text:0-0.5'),
    },
    rates=_ONE_RATE,
    published_with=(
        'one image: 17.12 dB in, 26.89 with L2, 35.75 with L1, 35.82 with clean targets.'
    ),
)

IMPULSE = Table(
    name='impulse',
    title='Random-valued impulses: L2, L1 and annealed L0 (Noise2Noise, Figures 4 and 5)',
    question=(
        'When a share p of all pixels is replaced by random colors, which loss still finds the '
        'image, and up to which p?'
    ),
    source=f'{_SOURCE}, Figures 4 and 5',
    changes={
        'noise.input': 'impulse:0-0.95',
        'eval.noise': ','.join(f'impulse:{p}' for p in (0.1, 0.3, 0.5, 0.7, 0.9)),
    },
    arms=(
        Arm(CLEAN, changes={'noise.target': 'clean', 'optim.loss': 'l2'}),
        *(
            Arm(loss.upper(), changes={'optim.loss': loss}, control=control)
            for loss, control in (('l0', CLEAN), ('l1', 'L0'), ('l2', 'L0'))
        ),
    ),
    budgets={
        'quick': budgets.quick(150, '4 minutes by estimate'),
        'cpu': budgets.cpu(
            1200,
            2,
            '50 minutes by estimate',
            eval__sets=budgets.KODAK_ONLY,
            eval__max_images=8,
        ),
        'full': budgets.full('hours per run on a GPU'),
    },
    rates=_ONE_RATE,
    published_with=(
        'one image at p = 0.7: 8.89 dB in, 13.02 with L2, 16.36 with L1, 28.43 with L0, 28.86 with '
        'clean targets.'
    ),
    axis='p, the share of pixels that are replaced',
)

_BANDWIDTHS = '0', '1', '2', '4'

BROWN = Table(
    name='brown',
    title='Noise that neighbors share: convergence (Noise2Noise, section 3.1)',
    question=(
        'Noisy targets work if their noise is independent of that of the input, even if '
        'neighboring pixels share it. What does that correlation cost?'
    ),
    source=f'{_SOURCE}, section 3.1',
    arms=tuple(
        Arm(
            name,
            f'bandwidth {bandwidth}',
            {
                'noise.input': f'brown:25,bandwidth={bandwidth}',
                'eval.noise': f'brown:25,bandwidth={bandwidth}',
                'noise.target': target,
            },
            control=control,
        )
        for bandwidth in _BANDWIDTHS
        for name, target, control in ((CLEAN, 'clean', ''), (NOISY, 'same', CLEAN))
    ),
    budgets={
        'quick': budgets.quick(100, '7 minutes by estimate', eval__every=25),
        'cpu': budgets.cpu(
            800,
            2,
            '70 minutes by estimate',
            eval__every=250,
            eval__sets=budgets.KODAK_ONLY,
            eval__max_images=8,
        ),
        'full': budgets.full('hours per run on a GPU', eval__every=25_000),
    },
    rates=_ONE_RATE,
    published_with='curves only: slower than white noise, and within 0.1 dB of it at the end.',
    curves=True,
)

CAPTURES = Table(
    name='captures',
    title='A fixed budget of captures: clean targets or more pairs (Noise2Noise, section 3.1)',
    question=(
        'A clean image is the mean of many captures. If the number of captures is fixed, is it '
        'better to average them to clean targets, to pair them, or to photograph more scenes?'
    ),
    source=f'{_SOURCE}, section 3.1',
    changes={'noise.input': 'gaussian:25', 'eval.noise': 'gaussian:25'},
    arms=(
        Arm(
            'case 1: 20 scenes, one capture and one clean image each',
            changes={'data.max_images': 20, 'noise.target': 'clean', 'noise.realizations': 1},
        ),
        Arm(
            'case 2: 20 scenes, all pairs of 20 captures each',
            changes={'data.max_images': 20, 'noise.realizations': 20},
            control='case 1: 20 scenes, one capture and one clean image each',
        ),
        Arm(
            'case 3: 200 scenes, 2 captures each',
            changes={'data.max_images': 200, 'noise.realizations': 2},
            control='case 1: 20 scenes, one capture and one clean image each',
        ),
    ),
    budgets={
        'quick': budgets.quick(200, '4 minutes by estimate', data__train='dead_leaves:200'),
        'cpu': budgets.cpu(1500, 2, '45 minutes by estimate', eval__sets=budgets.KODAK_ONLY),
        'full': budgets.full('hours per run on a GPU'),
    },
    rates=_ONE_RATE,
    published_with=(
        'curves only: each case gains "several .1s of dB" over the one before. There a clean image '
        'costs 19 captures and the budget is 2,000; here it is 400.'
    ),
)

_BIASED = {'noise.input': 'gaussian:50+clip', 'eval.noise': 'gaussian:50+clip'}

CLAMPED = Table(
    name='clamped',
    title='Clamped targets: how a biased target makes L1 look better than L2',
    question=(
        'Noise that is clipped to [0, 1] no longer has the clean image as its mean. Recent reports '
        'find L1 better than L2 for Gaussian noise: is that so with unclamped targets?'
    ),
    source=f'{_SOURCE}, section 2, and github.com/dyshang/noise2noise-revisited',
    changes=_BIASED,
    arms=(
        Arm(CLEAN, changes={'noise.target': 'clean', 'optim.loss': 'l2'}),
        *(
            Arm(
                loss.upper(),
                group,
                {'noise.target': target, 'optim.loss': loss},
                control='L2' if loss == 'l1' else '',
            )
            for group, target in (
                ('unclamped targets', 'gaussian:50'),
                ('clamped targets', 'gaussian:50+clip'),
            )
            for loss in ('l2', 'l1')
        ),
    ),
    budgets={
        'quick': budgets.quick(200, '5 minutes by estimate'),
        'cpu': budgets.cpu(1000, 2, '50 minutes by estimate', eval__sets=budgets.KODAK_ONLY),
        'full': budgets.full('hours per run on a GPU'),
    },
    rates=_ONE_RATE,
    published_with='L1 ahead of L2 by about 0.5 dB, with clamped targets and real pairs.',
)

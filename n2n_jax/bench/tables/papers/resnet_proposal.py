"""Image denoising using Noise2Noise with ResNet-50 (Braude College)."""

from collections.abc import Iterator

from n2n_jax.bench.tables import budgets, places
from n2n_jax.bench.tables.table import Arm, Table

_SOURCE = 'the proposal and poster "Image denoising using Noise2Noise with ResNet-50" (Braude)'
_RATES = (1e-3, 2e-3, 4e-3)
_UNET = 'U-Net'
_FIRST = 'gaussian'  # the noise that rates are searched on
_NOISES = {
    _FIRST: ('gaussian:0-50', 'gaussian:25'),
    'poisson': ('poisson:5-50', 'poisson:30'),
    'bernoulli': ('bernoulli:0.5', 'bernoulli:0.5'),
    'impulse': ('impulse:0.5', 'impulse:0.5'),
    'text': ('text:0.25', 'text:0.25'),
}
_OTHERS = {
    'ResNet-101': 'resnet101',
    'ResNet-152': 'resnet152',
    'DnCNN, 10 layers of 48': 'dncnn:depth=10,width=48',
    'RED30, 20 layers of 32': 'red30:depth=20,width=32',
    'RedNet': 'rednet:depth=34,width=32,norm=none',
}


def _arms() -> Iterator[Arm]:
    for group, (training, scored) in _NOISES.items():
        noise = {'noise.input': training, 'eval.noise': scored}
        for name, network in ((_UNET, 'unet'), ('ResNet-50', 'resnet50')):
            yield Arm(
                name,
                group,
                {**noise, 'model.name': network},
                rates=_RATES if group == _FIRST else (),
                rate_of='' if group == _FIRST else f'{_FIRST} / {name}',
                control='' if name == _UNET else _UNET,
            )
        if group != _FIRST:
            continue
        for name, network in _OTHERS.items():
            yield Arm(
                name,
                group,
                {**noise, 'model.name': network, 'optim.pyramid': float(name == 'RedNet') * 0.5},
                rates=() if name.startswith('ResNet') else _RATES,
                rate_of=f'{_FIRST} / ResNet-50' if name.startswith('ResNet') else '',
                control=_UNET,
                most_seeds=1,
                budgets=('cpu', 'full') if name.startswith('ResNet') else (),
            )
        for depth in (50, 101, 152):
            weights = places.file(f'imagenet{depth}')
            yield Arm(
                f'ResNet-{depth}, ImageNet weights',
                group,
                {
                    **noise,
                    'model.name': f'resnet{depth}:norm=batch',
                    'model.encoder_weights': weights,
                },
                rate_of=f'{_FIRST} / ResNet-50',
                control=_UNET,
                budgets=('full',),
            )
        yield Arm('BM3D', group, {'eval.noise': scored}, method='bm3d', budgets=('cpu', 'full'))


RESNET50 = Table(
    name='resnet50',
    title='ResNet-50 against the U-Net (Braude College)',
    question=(
        'Does a U-Net with a ResNet encoder denoise better than the plain U-Net, when both are '
        'trained on noisy images alone, with a learning rate of their own?'
    ),
    source=_SOURCE,
    changes={'eval.metrics': 'psnr,ssim,mse'},
    metrics='ssim,mse',
    arms=tuple(_arms()),
    budgets={
        'quick': budgets.quick(40, '8 minutes by estimate', eval__max_images=2),
        'cpu': budgets.cpu(600, 2, '2 hours by estimate', eval__sets=budgets.KODAK_ONLY),
        'full': budgets.full('days on a GPU'),
    },
    rates=(
        'for each network the best of 0.001, 0.002 and 0.004 for Gaussian noise, on six '
        'photographs that are in no test set; the same for its other noises, and that of the '
        'ResNet-50 for the deeper ones.'
    ),
    published_with=(
        'MSE on Caltech101 at 224x224 of one fixed noisy version per image: U-Net 0.0077, '
        'ResNet-50 0.0106, ResNet-101 0.0109, ResNet-152 0.0079 for Gaussian noise of 76.5; '
        '0.0019, 0.0061, 0.0062, 0.0040 for Poisson 30; 0.0010, 0.0060, 0.0046, 0.0027 for 5 % '
        'salt-and-pepper, which it calls Bernoulli. The U-Net was trained at 0.001, the ResNets at '
        '0.00001, on noise clipped to [0, 1].'
    ),
)

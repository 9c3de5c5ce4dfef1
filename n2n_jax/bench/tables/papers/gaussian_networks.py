"""The field's own tables: Gaussian noise of known levels, color and gray."""

from n2n_jax.bench.tables import budgets
from n2n_jax.bench.tables.table import Arm, Table

_SIGMAS = 15, 25, 50
_NOISES = ','.join(f'gaussian:{sigma}' for sigma in _SIGMAS)
_UNET = 'U-Net'
_NETWORKS = {
    _UNET: 'unet',
    'DnCNN, 10 layers of 48': 'dncnn:depth=10,width=48',
    'NAFNet of 0.3 M': 'nafnet_xs',
    'ResUNet': 'resunet',
}
_FULL = {
    'DnCNN, 10 layers of 48': {'model.name': 'dncnn'},
    'NAFNet of 0.3 M': {'model.name': 'nafnet'},
}


def _published(*psnrs: float) -> dict[str | tuple[str, str], float]:
    return {
        ('kodak24', f'gaussian:{sigma}'): psnr for sigma, psnr in zip(_SIGMAS, psnrs, strict=True)
    }


NETWORKS = Table(
    name='networks',
    title='Networks on Gaussian noise of sigma 15, 25 and 50, color and gray',
    question=(
        'How do the networks compare at three levels of noise after the same number of steps, and '
        'how far is a training of minutes from published numbers?'
    ),
    source='the tables of DnCNN, FFDNet, DPIR, SwinIR and Restormer',
    changes={'noise.input': 'gaussian:0-55', 'eval.noise': _NOISES},
    arms=(
        *(
            Arm(
                name,
                group,
                {'model.name': network, 'model.channels': channels},
                by_budget={'full': _FULL.get(name, {})},
                control='' if name == _UNET else _UNET,
                published=_published(34.60, 32.14, 28.95)
                if group == 'color' and network.startswith('dncnn')
                else {},
            )
            for group, channels in (('color', 3), ('gray', 1))
            for name, network in _NETWORKS.items()
        ),
        Arm(
            'BM3D',
            'color',
            {'eval.noise': _NOISES},
            method='bm3d',
            published=_published(34.28, 31.68, 28.46),
            budgets=('cpu', 'full'),
        ),
    ),
    budgets={
        'quick': budgets.quick(40, '7 minutes by estimate', eval__max_images=2),
        'cpu': budgets.cpu(
            600,
            1,
            '40 minutes by estimate',
            eval__sets=budgets.KODAK_ONLY,
            eval__max_images=8,
        ),
        'full': budgets.full('days on a GPU', eval__sets=budgets.KODAK_ONLY),
    },
    rates='0.001 for all networks (0.0003 in the budget full); not searched for each.',
    published_with=(
        'clean targets, one network per level, other training images; Kodak24 in crops of 500x500 '
        'where ours are whole. BM3D at sigma 25 is printed as 32.15 or 31.68.'
    ),
)

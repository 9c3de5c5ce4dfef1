"""Zhou, Liu and Zhang, Residual U-Net and perceptual loss."""

from collections.abc import Mapping

from n2n_jax.bench.tables import budgets, places
from n2n_jax.bench.tables.table import Arm, Changes, Table

_SOURCE = (
    'Zhou, Liu and Zhang, Leveraging Residual Neural Network for UNet Image Denoising with '
    'Perceptual Loss'
)
_UNET, _RESUNET = 'U-Net', 'ResUNet'
_SIGMAS = {0.01: '2.55', 0.02: '5.1', 0.05: '12.75', 0.1: '25.5'}  # of 1: as noise specs have them
_LEFT_OUT = (0.01, 0.05)  # with blur, in the budget cpu: the levels between are enough for a trend
_LAYERS = 'vgg:relu1_2-relu2_2-relu3_3'

# PSNR on the 100 test images of BSDS300, by sigma.
_PUBLISHED: Mapping[tuple[str, str], tuple[float, ...]] = {
    ('denoising', _UNET): (43.1701, 38.7747, 32.8163, 29.3147),
    ('denoising', _RESUNET): (43.1752, 39.1049, 33.5873, 30.1055),
    ('deblurring and denoising', _UNET): (29.1276, 28.4789, 27.1468, 25.6711),
    ('deblurring and denoising', _RESUNET): (29.3524, 28.6914, 27.2149, 25.8606),
}
_WITH_PERCEPTUAL = {'denoising': 29.5025, 'deblurring and denoising': 25.4638}  # sigma 0.1


def _arms(task: str, blur: str) -> list[Arm]:
    found = []
    for k, (sigma, level) in enumerate(_SIGMAS.items()):
        spec = f'{blur}gaussian:{level}'
        group = f'{task}, sigma {sigma:g}'
        noise: Changes = {'noise.input': spec, 'eval.noise': spec}
        networks = {_UNET: 'unet', _RESUNET: 'resunet'}
        for name, network in networks.items():
            found.append(
                Arm(
                    name,
                    group,
                    {**noise, 'model.name': network},
                    control='' if name == _UNET else _UNET,
                    budgets=('quick', 'full') if blur and sigma in _LEFT_OUT else (),
                    published={'bsds300': _PUBLISHED[task, name][k]},
                )
            )
        if sigma != 0.1:
            continue
        for weight in (1, 10, 100):
            arm = Arm(
                f'ResUNet, {weight} MSE + perceptual',
                group,
                {
                    **noise,
                    'model.name': 'resunet',
                    'optim.loss': f'l2*{weight}+{_LAYERS}',
                    'optim.loss_weights': places.file('vgg'),
                },
                control=_RESUNET,
                published={'bsds300': _WITH_PERCEPTUAL[task]} if weight == 100 else {},
            )
            if weight == 100 or task == 'denoising':
                found.append(arm)
    return found


PERCEPTUAL = Table(
    name='perceptual',
    title='Residual blocks and a perceptual loss (Zhou, Liu, Zhang)',
    question=(
        'With clean targets: do residual blocks with added skips improve on the U-Net, and does a '
        'perceptual loss help, in PSNR, SSIM and LPIPS?'
    ),
    source=f'{_SOURCE}, Tables 1 and 2',
    changes={
        'noise.target': 'clean',
        'data.crop': 32,
        'data.batch_size': 16,
        'eval.metrics': 'psnr,ssim,lpips:alex',
        'eval.metric_weights': places.file('lpips'),
    },
    metrics='ssim,lpips:alex',
    judged_by='ssim,lpips:alex',
    arms=(*_arms('denoising', ''), *_arms('deblurring and denoising', 'motion_blur:8+')),
    budgets={
        'quick': budgets.quick(30, '10 minutes by estimate', eval__max_images=2),
        'cpu': budgets.cpu(
            400,
            2,
            '70 minutes by estimate',
            eval__sets=budgets.BSDS300_ONLY,
            eval__max_images=24,
        ),
        'full': budgets.cpu(15_000, 3, 'minutes per run on a GPU', data__batch_size=64),
    },
    rates='0.001 for all arms, as in the report (which takes 0.0005 for deblurring).',
    published_with=(
        'trained on the 200 training images of BSDS300 for 15 epochs; PSNR in floating point, '
        'without clamping; blur by handwritten digits of MNIST, here by motion strokes of 8 '
        'pixels, so only the order of the arms can be compared for deblurring.'
    ),
)

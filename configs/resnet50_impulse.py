r"""ResNet-50 with a U-Net decoder, random-valued impulses, up to 95 %, from noisy pairs only.

python -m n2n_jax.main --config configs/resnet50_impulse.py --workdir runs/resnet50_impulse
python -m n2n_jax.main --config configs/resnet50_impulse.py:quick --workdir runs/quick
"""

from ml_collections import ConfigDict

from configs import unet_impulse


def get_config(variant: str = '') -> ConfigDict:
    config = unet_impulse.get_config(variant)
    config.model.name = 'resnet50'
    config.model.residual = True
    return config

r"""ResNet-50 with a U-Net decoder, Gaussian noise, sigma up to 50/255, from noisy pairs only.

python -m n2n_jax.main --config configs/resnet50_gauss.py --workdir runs/resnet50_gauss
python -m n2n_jax.main --config configs/resnet50_gauss.py:quick --workdir runs/quick_resnet50_gauss
"""

from ml_collections import ConfigDict

from configs import default, unet_gauss


def get_config(variant: str = '') -> ConfigDict:
    return default.with_resnet50(unet_gauss.get_config(variant), variant)

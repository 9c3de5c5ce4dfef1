r"""ResNet-50 with a U-Net decoder on Gaussian noise (sigma up to 50/255), from noisy pairs only.

python -m n2n_jax.main --config configs/resnet50_gauss.py --workdir runs/resnet50_gauss
python -m n2n_jax.main --config configs/resnet50_gauss.py:quick --workdir runs/quick_resnet50_gauss

Quick, on the six photographs at sigma 25: 29.6 dB (20.2 in), 6 to 11 minutes on two cores. The full
recipe is not measured yet.
"""

from ml_collections import ConfigDict

from configs import default, unet_gauss


def get_config(variant: str = '') -> ConfigDict:
    return default.with_resnet(unet_gauss.get_config(variant), variant)

r"""ResNet-34 with a U-Net decoder on Gaussian noise (sigma up to 50/255), from noisy pairs only.

The recipe is that of the ResNet-50.

python -m n2n_jax.main --config configs/resnet34_gauss.py --workdir runs/resnet34_gauss
python -m n2n_jax.main --config configs/resnet34_gauss.py:quick --workdir runs/quick_resnet34_gauss

Quick, on the six photographs at sigma 25: 29.6 dB (20.2 in), in about 6 minutes on two cores. The
full recipe is not measured yet.
"""

from ml_collections import ConfigDict

from configs import default, unet_gauss


def get_config(variant: str = '') -> ConfigDict:
    return default.with_resnet(unet_gauss.get_config(variant), variant, depth=34)

r"""ResNet-50 with a U-Net decoder, overlaid text, covering up to half, from noisy pairs only.

python -m n2n_jax.main --config configs/resnet50_text.py --workdir runs/resnet50_text
python -m n2n_jax.main --config configs/resnet50_text.py:quick --workdir runs/quick
"""

from ml_collections import ConfigDict

from configs import unet_text


def get_config(variant: str = '') -> ConfigDict:
    config = unet_text.get_config(variant)
    config.model.name = 'resnet50'
    config.model.residual = True
    return config

r"""ResNet-50 with a U-Net decoder on overlaid text (covering up to half), from noisy pairs only.

python -m n2n_jax.main --config configs/resnet50_text.py --workdir runs/resnet50_text
python -m n2n_jax.main --config configs/resnet50_text.py:quick --workdir runs/quick_resnet50_text

Quick, on the six photographs at p = 0.25: 22.1 dB after 800 steps (15.1 in), 6 to 11 minutes on two
cores. The full recipe is not measured yet.
"""

from ml_collections import ConfigDict

from configs import default, unet_text


def get_config(variant: str = '') -> ConfigDict:
    config = default.with_resnet(unet_text.get_config(variant), variant)
    if 'quick' in variant:
        config.optim.learning_rate = 2e-3  # with L1 it diverges at the 4e-3 of the other configs
    return config

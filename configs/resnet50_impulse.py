r"""ResNet-50 with a U-Net decoder on random-valued impulses (up to 95 %), from noisy pairs only.

python -m n2n_jax.main --config configs/resnet50_impulse.py --workdir runs/resnet50_impulse
python -m n2n_jax.main --config configs/resnet50_impulse.py:quick \
    --workdir runs/quick_resnet50_impulse

Quick, on the six photographs at p = 0.5: 23.1 dB after 800 steps (11.1 in), 6 to 11 minutes on two
cores. The full recipe is not measured yet.
"""

from ml_collections import ConfigDict

from configs import default, unet_impulse


def get_config(variant: str = '') -> ConfigDict:
    config = default.with_resnet(unet_impulse.get_config(variant), variant)
    if 'quick' in variant:
        config.optim.learning_rate = 2e-3  # with L0 it diverges at the 4e-3 of the other configs
    return config

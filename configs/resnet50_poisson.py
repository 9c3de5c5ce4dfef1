r"""ResNet-50 with a U-Net decoder on Poisson noise (up to 50 photons at white), noisy pairs only.

python -m n2n_jax.main --config configs/resnet50_poisson.py --workdir runs/resnet50_poisson
python -m n2n_jax.main --config configs/resnet50_poisson.py:quick \
    --workdir runs/quick_resnet50_poisson

Quick, on the six photographs at 30 photons: 28.7 dB after 800 steps (18.6 in), 6 to 11 minutes on
two cores. The full recipe is not measured yet.
"""

from ml_collections import ConfigDict

from configs import default, unet_poisson


def get_config(variant: str = '') -> ConfigDict:
    return default.with_resnet(unet_poisson.get_config(variant), variant)

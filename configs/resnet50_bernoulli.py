r"""ResNet-50 with a U-Net decoder on missing pixels (up to 95 %), from noisy pairs only.

python -m n2n_jax.main --config configs/resnet50_bernoulli.py --workdir runs/resnet50_bernoulli
python -m n2n_jax.main --config configs/resnet50_bernoulli.py:quick \
    --workdir runs/quick_resnet50_bernoulli

Quick, on the six photographs at p = 0.5: 26.5 dB after 800 steps (9.4 in), 6 to 11 minutes on two
cores. The full recipe is not measured yet.
"""

from ml_collections import ConfigDict

from configs import default, unet_bernoulli


def get_config(variant: str = '') -> ConfigDict:
    return default.with_resnet(unet_bernoulli.get_config(variant), variant)

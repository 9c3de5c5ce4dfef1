r"""The paper's U-Net on Gaussian noise (sigma up to 50/255), from noisy pairs only.

Lehtinen et al. 2018.

python -m n2n_jax.main --config configs/unet_gauss.py --workdir runs/unet_gauss
python -m n2n_jax.main --config configs/unet_gauss.py:quick --workdir runs/quick_unet_gauss

Quick, on the six photographs at sigma 25: 29.9 dB (20.2 in), 3 to 8 minutes on two cores. The full
recipe is not measured yet; the official code reaches 32.39 dB on Kodak with it.
"""

from ml_collections import ConfigDict

from configs import default


def get_config(variant: str = '') -> ConfigDict:
    config = default.get_config(variant)
    config.noise.input = 'gaussian:0-50'
    config.eval.noise = 'gaussian:25'
    return config

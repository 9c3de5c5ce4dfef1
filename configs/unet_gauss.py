r"""The paper's U-Net, Gaussian noise, sigma up to 50/255, from noisy pairs only.

Lehtinen et al. 2018.

python -m n2n_jax.main --config configs/unet_gauss.py --workdir runs/unet_gauss
python -m n2n_jax.main --config configs/unet_gauss.py:quick --workdir runs/quick_unet_gauss
"""

from ml_collections import ConfigDict

from configs import default


def get_config(variant: str = '') -> ConfigDict:
    config = default.get_config(variant)
    config.noise.input = 'gaussian:0-50'
    config.eval.noise = 'gaussian:25'
    return config

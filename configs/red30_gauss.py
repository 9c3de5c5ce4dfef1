r"""RED30 on Gaussian noise (sigma up to 50/255), from noisy pairs only.

The network of Lehtinen et al. 2018 for Gaussian noise (section 3.1), by Mao et al. 2016.

python -m n2n_jax.main --config configs/red30_gauss.py --workdir runs/red30_gauss
python -m n2n_jax.main --config configs/red30_gauss.py:quick --workdir runs/quick_red30_gauss

Quick trains a smaller network: 28.9 dB (20.2 in) on the six photographs at sigma 25, in about 6
minutes on two cores. The full recipe is not measured yet.
"""

from ml_collections import ConfigDict

from configs import default, unet_gauss


def get_config(variant: str = '') -> ConfigDict:
    config = unet_gauss.get_config(variant)
    config.model.name = 'red30'
    config.model.residual = True
    if 'quick' in default.variants_of(variant):
        # The full one takes over an hour on two cores.
        config.model.name = 'red30:depth=20,width=32'
    return config

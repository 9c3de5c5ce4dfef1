r"""The ResUNet of Weber, Gürtler and Zakariya on Gaussian noise (sigma up to 50/255).

From noisy pairs only.

python -m n2n_jax.main --config configs/resunet_epfl_gauss.py --workdir runs/resunet_epfl_gauss
python -m n2n_jax.main --config configs/resunet_epfl_gauss.py:quick \
    --workdir runs/quick_resunet_epfl_gauss

Quick, on the six photographs at sigma 25: 29.8 dB (20.2 in), in about 5 minutes on two cores. The
full recipe is not measured yet. The authors train on 50,000 given pairs of 32x32 pixels (Adam at
8e-4, batch 8, turned by 90 degrees), and report 24.6 dB on the pairs' own noise.
"""

from ml_collections import ConfigDict

from configs import unet_gauss


def get_config(variant: str = '') -> ConfigDict:
    config = unet_gauss.get_config(variant)
    config.model.name = 'resunet_epfl'
    return config

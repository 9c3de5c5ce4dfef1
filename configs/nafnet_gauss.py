r"""NAFNet on Gaussian noise (sigma up to 50/255), from noisy pairs only.

Chen et al. 2022; the learning rate of the full recipe is theirs. Quick trains the smallest size,
nafnet_xs.

python -m n2n_jax.main --config configs/nafnet_gauss.py --workdir runs/nafnet_gauss
python -m n2n_jax.main --config configs/nafnet_gauss.py:quick --workdir runs/quick_nafnet_gauss

Quick, on the six photographs at sigma 25: 29.4 dB (20.2 in), at most 10 minutes on two cores. The
full recipe is not measured yet.
"""

from ml_collections import ConfigDict

from configs import default, unet_gauss


def get_config(variant: str = '') -> ConfigDict:
    config = unet_gauss.get_config(variant)
    quick = 'quick' in default.variants_of(variant)
    config.model.name = 'nafnet_xs' if quick else 'nafnet'
    config.model.residual = True
    config.optim.learning_rate = 2e-3 if quick else 1e-3
    return config

r"""The paper's U-Net on Poisson noise (up to 50 photons at white), from noisy pairs only.

Lehtinen et al. 2018.

python -m n2n_jax.main --config configs/unet_poisson.py --workdir runs/unet_poisson
python -m n2n_jax.main --config configs/unet_poisson.py:quick --workdir runs/quick_unet_poisson

Quick (5 to 50 photons), on the six photographs at 30: 29.0 dB (18.6 in), 3 to 8 minutes on two
cores. The full recipe is not measured yet.
"""

from ml_collections import ConfigDict

from configs import default


def get_config(variant: str = '') -> ConfigDict:
    config = default.get_config(variant)
    # Targets with only a few photons are too noisy to learn from with L2 in minutes.
    config.noise.input = 'poisson:5-50' if 'quick' in variant else 'poisson:0.001-50'
    config.eval.noise = 'poisson:30'
    return config

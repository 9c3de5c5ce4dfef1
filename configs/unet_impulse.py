r"""The paper's U-Net on random-valued impulses (up to 95 %), from noisy pairs only.

Lehtinen et al. 2018.

python -m n2n_jax.main --config configs/unet_impulse.py --workdir runs/unet_impulse
python -m n2n_jax.main --config configs/unet_impulse.py:quick --workdir runs/quick_unet_impulse

Quick (p = 0.5), on the six photographs: 23.5 dB (11.1 in), 3 to 8 minutes on two cores. The full
recipe is not measured yet.
"""

from ml_collections import ConfigDict

from configs import default


def get_config(variant: str = '') -> ConfigDict:
    config = default.get_config(variant)
    # A few minutes are enough for one level only; the full recipe learns the whole range.
    config.noise.input = 'impulse:0.5' if 'quick' in variant else 'impulse:0-0.95'
    config.eval.noise = 'impulse:0.5'
    return config

r"""The paper's U-Net on overlaid text (covering up to half), from noisy pairs only.

Lehtinen et al. 2018.

python -m n2n_jax.main --config configs/unet_text.py --workdir runs/unet_text
python -m n2n_jax.main --config configs/unet_text.py:quick --workdir runs/quick_unet_text

Quick (p = 0.25), on the six photographs: 24.1 dB (15.1 in), 3 to 8 minutes on two cores. The full
recipe is not measured yet.
"""

from ml_collections import ConfigDict

from configs import default


def get_config(variant: str = '') -> ConfigDict:
    config = default.get_config(variant)
    # A few minutes are enough for one level only; the full recipe learns the whole range.
    config.noise.input = 'text:0.25' if 'quick' in variant else 'text:0-0.5'
    config.eval.noise = 'text:0.25'
    return config

r"""The ResUNet of Zhou, Liu and Zhang on Gaussian noise (sigma up to 50/255).

From noisy pairs only.

python -m n2n_jax.main --config configs/resunet_gauss.py --workdir runs/resunet_gauss
python -m n2n_jax.main --config configs/resunet_gauss.py:quick --workdir runs/quick_resunet_gauss

Quick, on the six photographs at sigma 25: 30.0 dB (20.2 in), in about 8 minutes on two cores. The
full recipe is not measured yet. The authors train on clean targets, one network per sigma (32x32
patches of BSDS300, batch 64, Adam at 1e-3, 15 epochs), and report 30.11 dB on BSDS300 at sigma
25.5, not clamped; their U-Net has 29.31 dB.
"""

from ml_collections import ConfigDict

from configs import default, unet_gauss


def get_config(variant: str = '') -> ConfigDict:
    config = unet_gauss.get_config(variant)
    config.model.name = 'resunet'
    config.model.residual = True
    if 'quick' in default.variants_of(variant):
        config.optim.learning_rate = 5e-4  # at 1e-3 its loss explodes after 400 steps
        config.train.steps = 2000
    return config

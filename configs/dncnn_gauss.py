r"""DnCNN on Gaussian noise (sigma up to 50/255), from noisy pairs only.

Zhang et al. 2017, who train on clean targets: 20 layers for unknown noise levels, Adam at 1e-3.

python -m n2n_jax.main --config configs/dncnn_gauss.py --workdir runs/dncnn_gauss
python -m n2n_jax.main --config configs/dncnn_gauss.py:quick --workdir runs/quick_dncnn_gauss

Quick trains a smaller network: 29.1 dB (20.2 in) on the six photographs at sigma 25, in about 5
minutes on two cores. The full recipe is not measured yet.
"""

from ml_collections import ConfigDict

from configs import default, unet_gauss


def get_config(variant: str = '') -> ConfigDict:
    config = unet_gauss.get_config(variant)
    config.model.name = 'dncnn:depth=20'
    config.model.residual = True
    config.optim.learning_rate = 1e-3
    if 'quick' in default.variants_of(variant):
        # The full one takes over ten minutes on two cores.
        config.model.name = 'dncnn:depth=10,width=48'
    return config

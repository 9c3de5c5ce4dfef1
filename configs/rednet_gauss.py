r"""RedNet on Gaussian noise (sigma up to 50/255), from noisy pairs only.

Jiang et al. 2018: ResNet-50 encoder, residual decoder, a loss at each of its strides. The source
labels pixels with SGD at 2e-3; Adam and the schedule here are those of the paper's U-Net. A branch
for auxiliary planes comes with --config.model.planes=depth:1 and images that have them
(--config.data.train=guided:IMAGES,depth=FOLDER).

python -m n2n_jax.main --config configs/rednet_gauss.py --workdir runs/rednet_gauss
python -m n2n_jax.main --config configs/rednet_gauss.py:quick --workdir runs/quick_rednet_gauss

Quick trains a smaller network without norm, whose coarser answers weigh less: 28.7 dB (20.2 in) on
the six photographs at sigma 25, in about 8 minutes on two cores. The full recipe is not measured
yet.
"""

from ml_collections import ConfigDict

from configs import default, unet_gauss


def get_config(variant: str = '') -> ConfigDict:
    config = unet_gauss.get_config(variant)
    config.model.name = 'rednet'
    config.model.residual = True
    config.optim.pyramid = 1.0
    if 'quick' in default.variants_of(variant):
        # The full one takes over ten minutes on two cores.
        # Batch norm over few values learns slowly: 22.0 dB after 1000 steps at width 16.
        config.model.name = 'rednet:depth=34,width=32,norm=none'
        config.optim.learning_rate = 3e-3
        config.optim.pyramid = 0.1
        config.train.steps = 2000
    return config

r"""DRUNet on Gaussian noise (sigma up to 50/255), from noisy pairs only.

Zhang et al. 2021; the learning rate of the full recipe is theirs, as is the map of the noise level
that the network is shown. Quick trains the small one, drunet_xs, without the map.

python -m n2n_jax.main --config configs/drunet_gauss.py --workdir runs/drunet_gauss
python -m n2n_jax.main --config configs/drunet_gauss.py:quick --workdir runs/quick_drunet_gauss

The full recipe is not measured yet.
"""

from ml_collections import ConfigDict

from configs import default, unet_gauss


def get_config(variant: str = '') -> ConfigDict:
    config = unet_gauss.get_config(variant)
    quick = 'quick' in default.variants_of(variant)
    config.model.name = 'drunet_xs' if quick else 'drunet'
    config.model.noise_map = not quick
    config.optim.learning_rate = 2e-3 if quick else 1e-4
    return config

"""Base config of all experiments: the paper's recipe, and short variants of it.

Full recipe (Lehtinen et al. 2018, appendix A.2, and the official code): 4 crops of 256x256, Adam
(0.9, 0.99) at 3e-4, 500,000 steps, squared-cosine ramp-down over the second half; new noise of a
new level for every crop. The paper trains on 50,000 ImageNet validation images
(--config.data.train=folder:PATH). The default is BSDS500 without the 100 images of the BSDS300 test
split. Run `n2n prepare` for bsds500 first, and for kodak24 and set14, which the evaluation needs.

Variants follow the file name after a colon, separated by commas:
  quick   trains for a few minutes on two CPU cores, on built-in images without a download
  clean   clean targets: supervised training, for comparison
"""

from ml_collections import ConfigDict

from n2n_jax import Config, UserError, did_you_mean, to_config_dict

VARIANTS = ('quick', 'clean')


def get_config(variant: str = '') -> ConfigDict:
    config = to_config_dict(Config())
    variants = variants_of(variant)
    if 'quick' not in variants:
        config.model.residual = False
        config.data.train = 'tfds:bsds500/train+test'
        config.data.crop = 256
        config.data.batch_size = 4
        config.data.augment = False
        config.optim.learning_rate = 3e-4
        config.optim.warmup_steps = 0
        config.optim.schedule = 'ramp_down:0.5'
        config.optim.ema_decay = 0.0
        config.train.steps = 500_000
        config.train.log_every = 500
        config.train.checkpoint_every = 10_000
        config.eval.every = 50_000
        config.eval.sets = (
            'kodak24=tfds:kodak24/test,bsds300=tfds:bsds500/val,set14=tfds:set14/test'
        )
    if 'clean' in variants:
        config.noise.target = 'clean'
    return config


def with_resnet(config: ConfigDict, variant: str, depth: int = 50) -> ConfigDict:
    """Changes the experiment from the U-Net to one with a ResNet encoder."""
    config.model.name = f'resnet{depth}'
    config.model.residual = True
    if 'quick' in variants_of(variant):
        # Tuned for ResNet-50 and the U-Net: docs/results/README.md, 'ResNet-50 against the U-Net'.
        config.optim.learning_rate = 4e-3
    return config


def variants_of(variant: str) -> list[str]:
    """Splits the text after the colon into variants; raises UserError if one is unknown."""
    words = [word for word in variant.split(',') if word]
    for word in words:
        if word not in VARIANTS:
            raise UserError(f"Unknown variant ':{word}'. {did_you_mean(word, VARIANTS)}")
    return words

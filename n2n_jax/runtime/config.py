"""The schema of every config: typed, frozen dataclasses; their defaults are the default config.

A config file returns an `ml_collections.ConfigDict` made by `to_config_dict(Config())` with some
values changed, so that `--config.data.crop=64` works on the command line. `from_config_dict` checks
it and freezes it. Each field declares its help, bounds and choices; `n2n_jax.runtime.config_table`
prints them. Durations are in steps (one update of the weights each) unless the name says otherwise.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import config_dict

from n2n_jax.runtime import config_checks, config_field, config_versions
from n2n_jax.runtime.config_field import Bounds, above, at_least, field
from n2n_jax.runtime.config_versions import RENAMED, REPLACED
from n2n_jax.runtime.errors import UserError, did_you_mean

CLEAN = 'clean'  # as noise.target
NOT_MEASURED = 'none'  # as model.noise
MOST_CHANNELS = 8  # of captures: colors, or the channels of a microscope

_SEEDS = Bounds(0, 2**63 - 1)
_DECAY = Bounds(0, 1, open_high=True)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network."""

    name: str = field(
        'unet',
        'network: unet, resnet34, resnet50, resnet101, resnet152, rednet, dncnn, red30, '
        'resunet, resunet_epfl, drunet_xs, drunet, nafnet_xs, nafnet_s, nafnet_m or nafnet; with '
        'options after a colon, as in dncnn:depth=20,width=64',
    )
    channels: int = field(
        3,
        'channels of an image: 3 (color) or 1 (gray), and images are converted to match; other '
        'numbers only for captures',
        Bounds(1, MOST_CHANNELS),
    )
    planes: str = field(
        '',
        'what the network is shown beside the noisy image, such as depth:1,normal:3: names and '
        'channels of planes that data.train and eval.sets have, see guided: there',
    )
    noise_map: bool = field(
        False, 'show the network the level of the noise of its input as a further plane'
    )
    residual: bool = field(True, 'predict the noise instead of the image')
    dtype: str = field(
        'float32',
        'number format of the computation, the weights are always float32',
        choices=('float32', 'bfloat16'),
    )
    precision: str = field(
        'default',
        'precision of float32 products on accelerators: default is TF32 on NVIDIA and bfloat16 on '
        'TPUs, high is in between, highest is float32',
        choices=('default', 'high', 'highest'),
    )
    convolutions: str = field(
        'auto',
        'auto rewrites convolutions where that is faster, plain leaves them to XLA',
        choices=('auto', 'plain'),
    )
    remat: bool = field(False, 'compute activations twice to save memory: same numbers, but slower')
    encoder_weights: str = field(
        '', 'file of ImageNet weights for a ResNet encoder with batch norm (.npz, .safetensors)'
    )
    init: str = field(
        'he',
        'law that the initial kernels are drawn from',
        choices=('he', 'xavier', 'orthogonal'),
    )
    init_from: str = field(
        '',
        'model whose weights to start from: a workdir, a file or a name of n2n models; empty for '
        'random ones',
    )
    black: float = field(0.0, 'pixel value that the network sees as 0')
    white: float = field(
        0.0,
        'pixel value that the network sees as 1; black and white both 0 mean the range of the '
        "file's type, 0 to 1 for floating point",
    )
    noise: str = field(
        '',
        'standard deviation of the noise of captures, in units of white - black, one number or '
        'one per channel with commas; empty: measure it; none: do not scale by noise',
    )
    center: str = field('', 'middle of the values of captures, written as model.noise is')
    contrast: str = field('', 'extent of the values of captures, written as model.noise is')
    constants: str = field(
        '', 'comma-separated pixel values in captures that mark missing measurements'
    )
    zero_last: bool = field(
        True,
        'with residual, start the last layer at 0, so that the untrained network changes nothing',
    )


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The clean images that captures are made from, and how they are cut."""

    train: str = field(
        'dead_leaves:200',
        'sources of clean images, comma-separated: dead_leaves[:NUMBER], photos, folder:PATH, '
        'tfds:NAME/SPLIT, or with planes guided:PATH,NAME=PATH',
    )
    max_images: int = field(0, 'train on only the first images, this many; 0: on all', at_least(0))
    crop: int = field(64, 'side of the square crops, in pixels', at_least(1))
    batch_size: int = field(4, 'crops per step, over all devices', at_least(1))
    augment: bool = field(True, 'flip crops and turn them by 90 degrees at random')
    mix: float = field(
        0.0,
        'probability that a clean crop is blended with another one of the batch, before noise is '
        'added',
        Bounds(0, 1),
    )
    feed: str = field(
        'auto',
        'device keeps the images on the device, stream reads them when they are needed, auto '
        'chooses by their size',
        choices=('auto', 'device', 'stream'),
    )
    on_bad_file: str = field(
        'error',
        'what to do about unreadable files and images smaller than the crop: stop or skip them',
        choices=('error', 'skip'),
    )


@dataclasses.dataclass(frozen=True)
class CapturesConfig:
    """The user's captures, instead of clean images and synthetic noise."""

    paths: str = field('', 'files or folders of captures, comma-separated, empty for clean images')
    pattern: str = field('', 'pattern of file names in one folder, such as {scene}_{capture}.tif')
    interleaved: int = field(
        0, 'number of consecutive images of a stack that show one scene, 0 for all', at_least(0)
    )
    pairing: str = field(
        '1:1',
        'input and target of a pair: one capture each (1:1), or the mean of all the others as the '
        'target (1:X) or the input (X:1)',
        choices=('1:1', '1:X', 'X:1'),
    )
    fix: str = field(
        '', 'what to correct between the captures of a scene: gain, shift or gain,shift'
    )
    single: bool = field(False, 'one capture per scene: make pairs from neighboring pixels')
    allow_correlated_noise: bool = field(
        False, 'with single, train although neighboring pixels share noise'
    )
    held_out: float = field(
        0.2,
        'share that is not trained on, of the scenes, or of each scene if there are few',
        Bounds(0, 1, open_low=True, open_high=True),
    )


@dataclasses.dataclass(frozen=True)
class NoiseConfig:
    """The noise that the two captures of a pair are made with, as spec strings."""

    input: str = field(
        'gaussian:0-50',
        'noise of the input, such as gaussian:25, brown:25,bandwidth=2 or blur:1.6+poisson:5-50; '
        'n2n show-noise --help lists all',
    )
    target: str = field(
        'same', 'noise of the target: same as the input, clean for supervised training, or a spec'
    )
    realizations: int = field(
        0,
        'noisy versions of each image, drawn once and then fixed, 0 for fresh noise at every step',
        at_least(0),
    )


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """The loss, and how the weights follow it."""

    loss: str = field(
        'auto',
        'auto for what suits the noise of the targets, or a weighted sum such as l2*100+vgg of l2, '
        'l1, l0, masked_l2, masked_l1, masked_l0, charbonnier, hdr, cross_entropy, linear_light, '
        'fourier, vgg',
    )
    loss_weights: str = field(
        '', 'file of the weights of a VGG-16 for the loss vgg (.npz, names of torchvision or Keras)'
    )
    pyramid: float = field(
        0.0,
        'weight of the loss of each coarser answer, for networks that have them (rednet)',
        at_least(0),
    )
    name: str = field(
        'adam',
        'optimizer: adam, adamw, lion, muon, schedule_free or sgd, with options after a colon, as '
        'in sgd:momentum=0.9,nesterov',
    )
    learning_rate: float = field(1e-3, 'largest learning rate', above(0))
    schedule: str = field(
        'ramp_down:0.7',
        'learning rate over the run: ramp_down:SHARE (falls to 0 over that share at the end), '
        'cosine, one_cycle, exponential:END (share that it falls to) or constant',
    )
    warmup_steps: int = field(
        50, 'steps over which the learning rate rises from 0, fewer than train.steps', at_least(0)
    )
    clip_norm: float = field(0.0, 'largest global gradient norm, 0 for no clipping', at_least(0))
    skip_above: float = field(
        0.0,
        'skip a step whose loss is above this multiple of the median of the last 51, such as 5: '
        'it changes no weights; 0 for never',
        at_least(0),
    )
    ema_decay: float = field(
        0.99,
        'decay per step of the running mean of the weights that is evaluated and used, 0 for the '
        'weights themselves',
        _DECAY,
    )
    accumulate: int = field(
        1,
        'parts that a batch is cut into to save memory, a divisor of data.batch_size',
        at_least(1),
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The length of a run, and how often it logs, saves and stops."""

    steps: int = field(1000, 'length of the run, in steps', at_least(1))
    steps_per_dispatch: int = field(
        0, 'steps handed to the device at a time, 0 for 1 on a CPU and 10 elsewhere', at_least(0)
    )
    log_every: int = field(25, 'steps between lines of the log', at_least(1))
    checkpoint_every: int = field(250, 'steps between checkpoints', at_least(1))
    keep_checkpoints: int = field(
        2, 'earlier checkpoints to keep besides the last one (at least 1 is kept)', at_least(0)
    )
    patience: int = field(
        0,
        'evaluations in a row without gain that end a run on captures, 0 for none',
        at_least(0),
    )
    patience_from: int = field(
        0,
        'step after which train.patience counts evaluations, such as where a run was extended',
        at_least(0),
    )
    profile_steps: int = field(
        0,
        'steps to trace into WORKDIR/profile with the profiler of JAX, after ten steps of warm-up',
        at_least(0),
    )
    tensorboard: bool = field(True, 'write TensorBoard files, if TensorFlow is installed')
    distributed: str = field(
        'off',
        'how processes find each other: off if there is one, auto on a cluster (SLURM, Open MPI, '
        'Kubernetes, TPU pods), or HOST:PORT,NUM_PROCESSES,PROCESS_ID',
    )


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """The evaluation; its protocol is printed with every number."""

    sets: str = field(
        'photos',
        'clean images, as data.train, where NAME=SOURCE gives a set a name, and NAME*10=SOURCE ten '
        'noisy versions of each image instead of eval.replicas',
    )
    noise: str = field('gaussian:25', 'noise, as comma-separated spec strings')
    metrics: str = field(
        'psnr,psnr_float,ssim,mse',
        'scores of each image, comma-separated: psnr (always there), psnr_float (before rounding), '
        'ssim, mse, lpips:alex, lpips:squeeze, bias (brightness, of 255)',
    )
    metric_weights: str = field(
        '',
        'file of the weights of lpips (.npz): its state_dict() in PyTorch, or as ported to Keras',
    )
    every: int = field(500, 'steps between evaluations, 0 for only one at the end', at_least(0))
    in_loop: bool = field(True, 'evaluate while training, False to leave it to --mode follow')
    replicas: int = field(1, 'noisy versions of each image', at_least(1))
    max_images: int = field(0, 'largest number of images of each set, 0 for all', at_least(0))
    captures_area: int = field(
        0, 'held-out pixels of captures that are evaluated, 0 for all', at_least(0)
    )
    batch_size: int = field(1, 'images of one size that are denoised at a time', at_least(1))
    seed: int = field(0, 'seed of the evaluation noise, whatever the seed of the run is', _SEEDS)


@dataclasses.dataclass(frozen=True)
class Config:
    """One experiment."""

    seed: int = field(0, 'seed of the initial weights, the crops and the noise', _SEEDS)
    imports: str = field(
        '',
        'comma-separated paths of Python files of your own that add networks, noises, losses and '
        'more, see docs/extending.md; the run keeps a copy of each',
    )
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    captures: CapturesConfig = CapturesConfig()
    noise: NoiseConfig = NoiseConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()

    @property
    def target_spec(self) -> str:
        """The spec of the target's noise, 'clean' for none."""
        return self.noise.input if self.noise.target == 'same' else self.noise.target


def to_config_dict(config: Config) -> config_dict.ConfigDict:
    """Returns a locked ConfigDict with the values of `config`, to be changed key by key."""
    return config_dict.ConfigDict(dataclasses.asdict(config)).lock()


def from_config_dict(values: Any) -> Config:
    """Freezes and checks a ConfigDict or a nested dict.

    Args:
      values: the value of each key.

    Raises:
      UserError: unknown key, wrong type or invalid value; names the key and what to write.
    """
    if hasattr(values, 'to_dict'):
        values = values.to_dict()
    config: Config = _from_dict(Config, values, prefix='')
    check(config)
    return config


def to_saved(config: Config) -> dict[str, Any]:
    """Returns a config as a run saves it, with the version of its keys; serializable as JSON."""
    return {'version': config_versions.VERSION, 'config': dataclasses.asdict(config)}


def from_saved(content: Mapping[str, Any]) -> Config:
    """Returns the config that `to_saved` of this or an earlier version has saved.

    Its values are not checked: the weights of a run stay usable even if today's checks would refuse
    to start it.

    Args:
      content: holds 'config' and, unless it is of version 1, 'version'; other keys are ignored.

    Raises:
      UserError: unknown key or wrong type, or a later version has saved it.
    """
    values = config_versions.upgraded(content['config'], content.get('version', 1))
    config: Config = _from_dict(Config, values, prefix='')
    model = config.model
    if config.captures.paths and model.black != model.white and not model.noise:
        # Saved before noise was measured: resuming must not start to measure it.
        config = dataclasses.replace(config, model=dataclasses.replace(model, noise=NOT_MEASURED))
    return config


def flatten(config: Config) -> dict[str, Any]:
    """Returns the values by their full keys: {'data.crop': 64, ...}."""
    flat = {}
    for name, value in dataclasses.asdict(config).items():
        if isinstance(value, dict):
            flat.update({f'{name}.{key}': item for key, item in value.items()})
        else:
            flat[name] = value
    return flat


def changed(config: Config, values: Mapping[str, Any]) -> Config:
    """Returns a config with other values, by full key: {'data.crop': 32}.

    Raises:
      UserError: unknown key, wrong type or invalid value.
    """
    content = dataclasses.asdict(config)
    for key, value in values.items():
        section, _, name = key.rpartition('.')
        (content[section] if section else content)[name] = value
    return from_config_dict(content)


def fields() -> Iterator[tuple[str, config_field.Field]]:
    """Yields each key, such as 'data.crop', with its field, see `config_field.field`."""
    for item in dataclasses.fields(Config):
        if dataclasses.is_dataclass(item.type):
            for inner in dataclasses.fields(item.type):
                yield f'{item.name}.{inner.name}', inner
        else:
            yield item.name, item


def _from_dict(cls: type, values: dict[str, Any], prefix: str) -> Any:
    if not isinstance(values, dict):
        raise UserError(f"Config key '{prefix.rstrip('.')}' is a section: set the keys inside it.")
    known = {its_field.name: its_field for its_field in dataclasses.fields(cls)}
    arguments = {}
    for key, value in _with_new_names(values, prefix).items():
        name = prefix + key
        if name in REPLACED:
            raise UserError(f"Config key '{name}' is gone: {REPLACED[name]}.")
        if key not in known:
            raise UserError(f"Unknown config key '{name}'. {did_you_mean(key, known)}")
        kind = known[key].type
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            arguments[key] = _from_dict(kind, value, name + '.')
            continue
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:  # not isinstance, for which a bool is an int
            raise config_field.wrong_type(name, value, known[key])
        arguments[key] = value
    return cls(**arguments)


def _with_new_names(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Returns the values of a section with old key names replaced by new ones."""
    renamed = {}
    for key, value in values.items():
        name = prefix + key
        new = RENAMED.get(name, name).removeprefix(prefix)
        if new != key and new in values:
            raise UserError(f"Config key '{name}' is now called '{prefix}{new}': set only that.")
        renamed[new] = value
    return renamed


def check(config: Config) -> None:
    """Checks whether a config can be run.

    Raises:
      UserError: a value is invalid, or values exclude each other.
    """
    values = flatten(config)
    for key, its_field in fields():
        config_field.check_value(key, values[key], its_field)
    config_checks.check_together(config)

"""The schema of every config: typed, frozen dataclasses; their defaults are the default config.

A config file returns an `ml_collections.ConfigDict` made by `to_config_dict(Config())` with some
values changed, so that `--config.data.crop=64` works on the command line. `from_config_dict` checks
it and freezes it. Durations are in steps (one update of the weights each) unless the name says
otherwise.
"""

import dataclasses
import hashlib
import json
import math
import typing
from typing import Any

from ml_collections import config_dict

from n2n_jax.runtime.errors import UserError, did_you_mean

CLEAN = 'clean'  # as noise.target
MOST_CHANNELS = 8  # of captures: colors, or the channels of a microscope
_LARGEST_SEED = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class _Bounds:
    """What a number may be; floats are finite besides.

    Attributes:
      low, high: the ends.
      open_low, open_high: whether the ends themselves are left out.
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def hold(self, value: float) -> bool:
        """Whether the value is possible."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return (isinstance(value, int) or math.isfinite(value)) and above and below

    def advice(self, value: float) -> str:
        """What to write in place of a value that is not."""
        if math.isfinite(self.low) and math.isfinite(self.high) and isinstance(value, float):
            return f'it lies between {self.low:g} and {self.high:g}'
        if value > self.high:
            return f'write {self.high} or less'
        if not math.isfinite(self.low):
            return 'write a finite number'
        least = f'a number above {self.low:g}' if self.open_low else f'{self.low:g} or more'
        return f'write {least}{"" if value < math.inf else ", and a finite one"}'


def _bounded(default: Any, *ends: float, open_low: bool = False, open_high: bool = False) -> Any:
    """A field with a smallest value, and a largest one where there are two `ends`."""
    bounds = _Bounds(*ends, open_low=open_low, open_high=open_high)
    return dataclasses.field(default=default, metadata={'bounds': bounds})


def _one_of(default: Any, *choices: Any) -> Any:
    """A field with few possible values."""
    return dataclasses.field(default=default, metadata={'choices': choices})


NOT_MEASURED = 'none'  # as model.noise


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network."""

    name: str = 'unet'  # a name in n2n_jax.models.REGISTRY
    channels: int = _one_of(
        3, *range(1, MOST_CHANNELS + 1)
    )  # 3 color, 1 gray, images are converted on loading; captures: up to 8
    norm: str = _one_of('none', 'batch', 'group', 'none')  # resnet50: batch, group or none
    residual: bool = True  # predict the noise in place of the image
    dtype: str = _one_of(
        'float32', 'float32', 'bfloat16'
    )  # of the computation: float32 or bfloat16; weights are float32
    convolutions: str = _one_of(
        'auto', 'auto', 'plain'
    )  # auto: rewritten where that is quicker; plain: as XLA has them
    remat: bool = False  # compute activations twice to save memory: the same numbers, slower
    encoder_weights: str = ''  # resnet50: file with ImageNet weights (.npz, .safetensors)
    init_from: str = ''  # workdir of a run whose weights to start from; '': random ones
    # Pixel values that are 0 and 1 to the network; both 0: 0 and the largest of the file's type.
    black: float = 0.0
    white: float = 0.0
    # Of captures, in units where white - black is 1, a number or one per channel with commas: the
    # standard deviation of the noise, the middle and the extent of the values. '': to be measured.
    # 'none', and where there are no captures: the network sees the values as they are. See
    # n2n_jax.models.noise_units.
    noise: str = ''
    center: str = ''
    contrast: str = ''
    constants: str = ''  # values, with commas, that stand in place of measurements: see PixelRange
    # With residual: the last layer starts at 0 where the network names it, the whole as identity.
    zero_last: bool = True


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The clean images that captures are made from, and how they are cut."""

    train: str = 'dead_leaves:200'  # sources, comma-separated: see n2n_jax.data.sources
    crop: int = _bounded(64, 1)  # side of the square crops, in pixels
    batch_size: int = _bounded(4, 1)  # crops per step, over all devices
    augment: bool = True  # random flips and 90-degree rotations
    feed: str = _one_of(
        'auto', 'auto', 'device', 'stream'
    )  # device (set kept on the device), stream (read by Grain), auto
    on_bad_file: str = _one_of(
        'error', 'error', 'skip'
    )  # error or skip: unreadable files and images smaller than the crop


@dataclasses.dataclass(frozen=True)
class CapturesConfig:
    """Captures of one's own, in place of clean images and synthetic noise."""

    paths: str = ''  # files or folders, comma-separated: see n2n_jax.captures.find; '': none
    pattern: str = ''  # of the names inside one folder, with {scene} and {capture}
    interleaved: int = _bounded(0, 0)  # images of a stack in a row that are of one scene; 0: all
    pairing: str = _one_of(
        '1:1', '1:1', '1:X', 'X:1'
    )  # 1:X: the target is the mean of the other captures; X:1: the input is
    fix: str = ''  # put right first, comma-separated: gain, shift; see n2n_jax.captures.corrections
    single: bool = False  # unrelated images; pairs are made of neighboring pixels
    allow_correlated_noise: bool = False  # with single: train though neighbors share noise
    held_out: float = _bounded(
        0.2, 0, 1, open_low=True, open_high=True
    )  # share that is not trained on: of the scenes, or of each if few


@dataclasses.dataclass(frozen=True)
class NoiseConfig:
    """The corruptions of the two captures of a pair, as spec strings."""

    input: str = 'gaussian:0-50'
    target: str = 'same'  # 'same' as the input, 'clean' (the supervised control arm), or a spec
    realisations: int = _bounded(
        0, 0
    )  # fixed noisy versions of each image, drawn once; 0: anew at every step


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """Adam with the ramp-down of the official code."""

    loss: str = 'auto'  # a name in n2n_jax.train.losses.REGISTRY; auto: what the noise needs
    learning_rate: float = _bounded(1e-3, 0, open_low=True)
    b1: float = _bounded(0.9, 0, 1, open_high=True)
    b2: float = _bounded(0.99, 0, 1, open_high=True)
    eps: float = _bounded(1e-8, 0, open_low=True)
    warmup_steps: int = _bounded(50, 0)
    ramp_down: float = _bounded(
        0.7, 0, 1
    )  # share of the run, at its end, over which the rate falls to 0
    clip_norm: float = _bounded(0.0, 0)  # largest global gradient norm; 0: no clipping
    ema_decay: float = _bounded(
        0.99, 0, 1, open_high=True
    )  # of the weights that are evaluated and shipped; 0: the raw weights
    accumulate: int = _bounded(1, 1)  # parts that a batch is cut into to save memory


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Length and cadences."""

    steps: int = _bounded(1000, 1)
    steps_per_dispatch: int = _bounded(0, 0)  # 0: 1 on a CPU, 10 elsewhere
    log_every: int = _bounded(25, 1)
    checkpoint_every: int = _bounded(250, 1)
    keep_checkpoints: int = _bounded(2, 0)  # besides the last one; at least 1, older ones go
    patience: int = _bounded(
        0, 0
    )  # evaluations in a row without gain that end a training on captures; 0: none
    patience_from: int = _bounded(0, 0)  # step after which they count: where a run was extended
    tensorboard: bool = True  # where TensorFlow is installed
    distributed: str = 'off'  # off, auto, or HOST:PORT,NUM_PROCESSES,PROCESS_ID


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """The protocol, printed with every number."""

    sets: str = 'photos'  # sources, comma-separated; NAME=SOURCE to name one
    noise: str = 'gaussian:25'  # spec strings, comma-separated
    every: int = _bounded(500, 0)  # steps; 0: only at the end
    in_loop: bool = True  # False: leave it to `--mode follow`
    replicas: int = _bounded(1, 1)  # noisy versions of each image
    max_images: int = _bounded(0, 0)  # of each set, 0: all
    captures_area: int = _bounded(0, 0)  # pixels of held-out captures; 0: all
    batch_size: int = _bounded(1, 1)  # captures of one image size denoised at a time
    seed: int = _bounded(
        0, 0, _LARGEST_SEED
    )  # of the evaluation noise, whatever the seed of the training


@dataclasses.dataclass(frozen=True)
class Config:
    """One experiment."""

    seed: int = _bounded(0, 0, _LARGEST_SEED)
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    captures: CapturesConfig = CapturesConfig()
    noise: NoiseConfig = NoiseConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()

    @property
    def target_spec(self) -> str:
        """The target's corruption, 'clean' for none."""
        return self.noise.input if self.noise.target == 'same' else self.noise.target


# Sections and keys that may differ when a run is resumed: they do not enter the weights. (Off the
# CPU the cadences decide how many steps make a dispatch, which may change the last bits.)
_FREE_ON_RESUME = (
    'eval',
    'model.remat',
    'train.log_every',
    'train.checkpoint_every',
    'train.keep_checkpoints',
    'train.patience',
    'train.patience_from',
    'train.tensorboard',
    'train.distributed',
)


def to_config_dict(config: Config) -> config_dict.ConfigDict:
    """A locked ConfigDict with the values of `config`, to be changed key by key."""
    return config_dict.ConfigDict(dataclasses.asdict(config)).lock()


def from_config_dict(values: Any, *, saved: bool = False) -> Config:
    """Freezes and checks a ConfigDict or a nested dict, such as one read from JSON.

    Args:
      values: of each key.
      saved: they are those of a run that was started with them: its weights are of use even if we
        would refuse to start it today.

    Raises:
      UserError: unknown key, wrong type or impossible value; names the key and what to write.
    """
    if hasattr(values, 'to_dict'):
        values = values.to_dict()
    config = _from_dict(Config, values, prefix='')
    if not saved:
        check(config)
        return config
    model = config.model
    if config.captures.paths and model.black != model.white and not model.noise:
        # A run from before noise was measured; resumed, it is what it was.
        config = dataclasses.replace(config, model=dataclasses.replace(model, noise=NOT_MEASURED))
    return config


def flatten(config: Config) -> dict[str, Any]:
    """{'data.crop': 64, ...}."""
    flat = {}
    for name, value in dataclasses.asdict(config).items():
        if isinstance(value, dict):
            flat.update({f'{name}.{key}': item for key, item in value.items()})
        else:
            flat[name] = value
    return flat


def changes_on_resume(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """The keys that keep `new` from going on with a run of `old`: {key: (old value, new value)}."""
    old_flat, new_flat = flatten(old), flatten(new)
    return {
        key: (old_flat[key], new_flat[key])
        for key in old_flat
        if old_flat[key] != new_flat[key] and _enters_weights(key)
    }


def config_hash(config: Config) -> str:
    """SHA-256 of what enters the weights, the seed apart: runs that repeat each other share it."""
    kept = {k: v for k, v in flatten(config).items() if _enters_weights(k) and k != 'seed'}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _enters_weights(key: str) -> bool:
    return key not in _FREE_ON_RESUME and key.split('.')[0] not in _FREE_ON_RESUME


def _from_dict(cls: type, values: dict[str, Any], prefix: str) -> Any:
    if not isinstance(values, dict):
        raise UserError(f"Config key '{prefix.rstrip('.')}' is a section: set the keys inside it.")
    types = typing.get_type_hints(cls)
    for key in values:
        if key not in types:
            raise UserError(f"Unknown config key '{prefix}{key}'. {did_you_mean(key, types)}")
    arguments = {}
    for key, value in values.items():
        name, kind = prefix + key, types[key]
        if dataclasses.is_dataclass(kind):
            arguments[key] = _from_dict(kind, value, name + '.')
            continue
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:  # bool is an int to isinstance, but not to us
            raise UserError(
                f"Config key '{name}' takes {_ARTICLES[kind]}, not {value!r} "
                f'(default: {_default(cls, key)!r}).'
            )
        arguments[key] = value
    return cls(**arguments)


_ARTICLES = {int: 'a whole number', float: 'a number', str: 'text', bool: 'True or False'}


def _default(cls: type, key: str) -> Any:
    return next(field.default for field in dataclasses.fields(cls) if field.name == key)


def check(config: Config) -> None:
    """Checks whether a config can be run.

    Raises:
      UserError: a value that is not possible, or values that exclude each other.
    """
    _check_fields(config, prefix='')
    optim, batch_size = config.optim, config.data.batch_size
    if batch_size % optim.accumulate:
        raise UserError(
            f'data.batch_size={batch_size} cannot be cut into optim.accumulate='
            f'{optim.accumulate} equal parts: choose a divisor of {batch_size}.'
        )
    if optim.warmup_steps >= config.train.steps:
        raise UserError(
            f'optim.warmup_steps={optim.warmup_steps} leaves no step to train in train.steps='
            f'{config.train.steps}: write fewer, such as {config.train.steps // 10}.'
        )
    if config.model.channels not in (1, 3) and not config.captures.paths:
        raise UserError(
            f'model.channels={config.model.channels} is for captures: images are gray (1) or '
            'color (3).'
        )
    if config.noise.realisations:
        _check_realisations(config)
    if config.train.patience and not (
        config.captures.paths
        and not config.captures.single
        and config.eval.in_loop
        and config.eval.every
    ):
        raise UserError(
            f'train.patience={config.train.patience} needs captures of scenes, '
            'evaluated along the way (eval.in_loop=True, eval.every above 0): write 0.'
        )
    if config.model.encoder_weights and config.model.init_from:
        raise UserError('model.encoder_weights and model.init_from exclude each other: empty one.')
    if config.model.encoder_weights and (config.model.name, config.model.norm) != (
        'resnet50',
        'batch',
    ):
        raise UserError(
            'model.encoder_weights needs model.name=resnet50 and model.norm=batch, not '
            f'{config.model.name} and {config.model.norm}.'
        )


def _check_fields(section: Any, prefix: str) -> None:
    """Checks each value by itself; bounds and choices are those of its field."""
    for field in dataclasses.fields(section):
        name, value = prefix + field.name, getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            _check_fields(value, name + '.')
            continue
        choices = field.metadata.get('choices', (value,))
        if value not in choices:
            words = ', '.join(str(choice) for choice in choices)
            raise UserError(f'{name}={value!r} is not possible: choose from {words}.')
        bounds = field.metadata.get('bounds', _Bounds())
        if type(value) in (int, float) and not bounds.hold(value):
            number = f'{value:g}' if isinstance(value, float) else value
            raise UserError(f'{name}={number} is not possible: {bounds.advice(value)}.')


def _check_realisations(config: Config) -> None:
    key = f'noise.realisations={config.noise.realisations}'
    if config.captures.paths:
        raise UserError(f'{key} is for synthetic noise, and captures have their own: write 0.')
    if config.data.feed == 'stream':
        raise UserError(f'{key} keeps all versions on the device: write data.feed=auto.')
    if config.noise.realisations == 1 and config.target_spec == config.noise.input:
        raise UserError(
            f'{key} leaves no second noisy version for the target: write 2 or more, or '
            f'noise.target={CLEAN}.'
        )

"""Corruptions: synthetic noise and other degradations, drawn on the device from a key.

B batch, H height, W width, C channels.

A spec string names a corruption and its level; `+` chains several, applied left to right:

  gaussian:25              fixed level
  gaussian:0-50            level drawn uniformly, once per image (of `camera`, its logarithm)
  blur:1.6+gaussian:10     blur, then noise
  brown:25,bandwidth=4     options follow the level, with commas

To add a corruption, write a module and add it to `REGISTRY`.
"""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp

from n2n_jax.corruptions.base import Corrupted, Corruption
from n2n_jax.corruptions.bernoulli import BERNOULLI
from n2n_jax.corruptions.blur import BLUR
from n2n_jax.corruptions.brown import BROWN
from n2n_jax.corruptions.camera import CAMERA
from n2n_jax.corruptions.file_format import CLIP, QUANTIZE, STORED
from n2n_jax.corruptions.fixed_pattern import FIXED_PATTERN
from n2n_jax.corruptions.gaussian import GAUSSIAN
from n2n_jax.corruptions.impulse import IMPULSE
from n2n_jax.corruptions.jpeg import JPEG
from n2n_jax.corruptions.kernel_blur import KERNEL_BLUR
from n2n_jax.corruptions.motion_blur import MOTION_BLUR
from n2n_jax.corruptions.pixelated import PIXELATED
from n2n_jax.corruptions.poisson import POISSON
from n2n_jax.corruptions.poisson_gaussian import POISSON_GAUSSIAN
from n2n_jax.corruptions.rows import ROWS
from n2n_jax.corruptions.salt_pepper import SALT_PEPPER
from n2n_jax.corruptions.speckle import SPECKLE
from n2n_jax.corruptions.statistics import CleanStatistics, Stage, clean_statistics
from n2n_jax.corruptions.text import TEXT
from n2n_jax.runtime import choices
from n2n_jax.runtime.errors import UserError, did_you_mean
from n2n_jax.runtime.registry import Registry

REGISTRY = Registry(
    'noise',
    {
        corruption.name: corruption
        for corruption in (
            GAUSSIAN,
            BROWN,
            SPECKLE,
            POISSON,
            POISSON_GAUSSIAN,
            ROWS,
            FIXED_PATTERN,
            BERNOULLI,
            IMPULSE,
            SALT_PEPPER,
            TEXT,
            BLUR,
            MOTION_BLUR,
            KERNEL_BLUR,
            PIXELATED,
            CAMERA,
            CLIP,
            QUANTIZE,
            STORED,
            JPEG,
        )
    },
    takes='an instance of Corruption',
    holds=lambda entry: isinstance(entry, Corruption),
)

# Spellings of early versions. They keep their name in protocols, and with it the ids of old rows.
_EARLIER = {'quantise': dataclasses.replace(QUANTIZE, name='quantise')}

_FULLY_OBSERVED = 0.999  # least share of a mixed value that comes from observed values

_NUMBER = r'\d+(?:\.\d*)?|\.\d+'
_OPTION = re.compile(r'\s*[a-z_]+\s*=')  # where an option starts
_STAGE = re.compile(
    rf'(?P<name>[a-z_0-9]+)(?::(?P<low>{_NUMBER})(?:-(?P<high>{_NUMBER}))?)?'
    r'(?P<options>(?:\s*,\s*[a-z_]+\s*=[^,=]+)*)'
)


@dataclasses.dataclass(frozen=True)
class Corruptor:
    """Draws noisy captures of clean images, as specified by a spec string.

    Attributes:
      spec: the spec string.
      stages: its stages, applied from left to right.
    """

    spec: str
    stages: tuple[Stage, ...]

    @property
    def masks(self) -> bool:
        """Whether captures come with a mask of observed values."""
        return any(stage.observed < 1 for stage in self.stages)

    @functools.cached_property
    def clean_statistics(self) -> CleanStatistics:
        """The statistics of captures that equal the clean image."""
        return clean_statistics(self.stages)

    def sample_image(
        self, key: jax.Array, image_HWC: jax.Array
    ) -> tuple[jax.Array, jax.Array | None]:
        """Draws a capture of one image, and its mask of observed values (None: all observed)."""
        mask_HWC = None
        for i, stage in enumerate(self.stages):
            key_level, key_noise = jax.random.split(jax.random.fold_in(key, i))
            level = stage.level(key_level)
            image_HWC, observed_HWC = stage.corruption.draw(key_noise, image_HWC, level)
            if stage.corruption.spread and mask_HWC is not None:
                mask_HWC = stage.corruption.spread(mask_HWC, stage.corruption.options)
            elif stage.corruption.mixes and mask_HWC is not None:
                share_HWC, _ = stage.corruption.draw(key_noise, mask_HWC, level)
                mask_HWC = (share_HWC > _FULLY_OBSERVED).astype(mask_HWC.dtype)
            if observed_HWC is not None:
                mask_HWC = observed_HWC if mask_HWC is None else mask_HWC * observed_HWC
        return image_HWC, mask_HWC

    def sample_with_keys(self, keys_B: jax.Array, clean_BHWC: jax.Array) -> Corrupted:
        """Draws one capture per image, from one key per image."""
        return Corrupted(*jax.vmap(self.sample_image)(keys_B, clean_BHWC))

    def sample(self, key: jax.Array, clean_BHWC: jax.Array) -> Corrupted:
        """Draws one capture per image; levels and noise are independent between images.

        Capture i depends only on (key, i), not on the batch size or its sharding.
        """
        keys_B = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(clean_BHWC.shape[0]))
        return self.sample_with_keys(keys_B, clean_BHWC)


def parse(spec: str) -> Corruptor:
    """Parses a spec string such as 'gaussian:25' or 'blur:1.6+gaussian:0-10'.

    Raises:
      UserError: the string cannot be parsed, or a level is out of bounds.
    """
    return Corruptor(spec, tuple(_parse_stage(part.strip(), spec) for part in spec.split('+')))


def parse_list(specs: str) -> list[Corruptor]:
    """Parses spec strings with commas between them: 'gaussian:25,brown:25,bandwidth=4,text:0.25'.

    Raises:
      UserError: one of them cannot be parsed, or a level is out of bounds.
    """
    found: list[str] = []
    for item in specs.split(','):
        if found and _OPTION.match(item):  # of the noise before it
            found[-1] += f',{item.strip()}'
        else:
            found.append(item.strip())
    return [parse(spec) for spec in found]


def _parse_stage(part: str, spec: str) -> Stage:
    match = _STAGE.fullmatch(part)
    if match is None:
        raise UserError(
            f"Noise '{spec}' cannot be parsed at '{part}': write NAME:LEVEL or NAME:LOW-HIGH, "
            "such as 'gaussian:25' or 'poisson:5-50', and options as ',KEY=VALUE' after that."
        )
    name = match['name']
    corruption = REGISTRY.get(name) or _EARLIER.get(name)
    if corruption is None:
        raise UserError(f"Unknown noise '{name}' in '{spec}'. {did_you_mean(name, REGISTRY)}")
    if match['options']:
        corruption = _with_options(corruption, match['options'].lstrip(' ,'))
    if corruption.check:
        corruption.check(corruption.options)
    return Stage(corruption, *_levels(match, corruption, spec))


def _with_options(corruption: Corruption, text: str) -> Corruption:
    name = corruption.name
    if corruption.options is None:
        raise UserError(f"Noise '{name}' takes no options: leave out '{text}'.")
    registry = {name: type(corruption.options)}
    return dataclasses.replace(
        corruption, options=choices.make('noise', f'{name}:{text}', registry)
    )


def _levels(match: re.Match[str], corruption: Corruption, spec: str) -> tuple[float, float]:
    """Returns the smallest and the largest level."""
    name, part = corruption.name, match[0]
    if not corruption.level:
        if match['low'] is not None:
            raise UserError(f"'{name}' takes no level: write '{name}' instead of '{part}'.")
        return 0.0, 0.0
    if match['low'] is None:
        raise UserError(
            f"'{part}' in '{spec}' needs a level: write {name}:LEVEL, the {corruption.level}."
        )
    low = float(match['low'])
    high = low if match['high'] is None else float(match['high'])
    if low > high:
        raise UserError(
            f"The range in '{part}' is reversed: write '{name}:{match['high']}-{match['low']}'."
        )
    smallest, largest = corruption.bounds
    if low < smallest or high > largest:
        raise UserError(
            f"Level out of range in '{part}': the {corruption.level} must be between "
            f'{smallest:g} and {largest:g}.'
        )
    return low, high

"""Chooses the model for a picture, by the noise it has, if the user names none.

H height, W width, C channels.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from n2n_jax.captures.measure import image_noise
from n2n_jax.captures.measure.image_noise import ImageNoise
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.images import open_image
from n2n_jax.images.pixel_range import PixelRange
from n2n_jax.models import zoo
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError

_MOST_PIXELS = 512  # a side of the part that is looked at, in the middle of the image
_FILLED = 0.25  # share of the range of a type that images of full range reach
_OUTSIDE = 0.1  # how far, as a share of it, noise may lead out of that range

# Kinds of models for a kind of noise, best first.
_PREFERRED: dict[image_noise.Kind, tuple[zoo.Kind, ...]] = {
    'none': ('independent',),
    'independent': ('independent', 'signal-dependent'),
    'signal-dependent': ('signal-dependent', 'independent'),
    'shared': ('shared', 'independent'),
    'impulses': ('impulses', 'independent'),
}
_IN_WORDS: dict[image_noise.Kind, str] = {
    'none': 'no noise that can be seen',
    'independent': 'noise that is independent from pixel to pixel',
    'signal-dependent': 'noise that depends on brightness',
    'shared': 'noise that neighboring pixels share',
    'impulses': 'replaced pixels (impulses)',
}


class Use(NamedTuple):
    """A model, and how it should see an image.

    Attributes:
      model: name of the model.
      leave: whether the image is left as it is, as it has no noise.
      black: pixel value that it should see as 0.
      white: pixel value that it should see as 1; both 0 for the range of the file's type.
    """

    model: str
    leave: bool = False
    black: float = 0.0
    white: float = 0.0

    def load(self) -> Denoiser:
        """Returns the model, with that range."""
        found = Denoiser.load(self.model)
        config = dataclasses.replace(found.config, black=self.black, white=self.white)
        return dataclasses.replace(found, config=config)


class Choice(NamedTuple):
    """What was chosen for an image.

    Attributes:
      use: the model.
      noise: what was found, a clause.
      doubt: why it may be a poor choice, a sentence; '' if nothing is known against it.
    """

    use: Use
    noise: str
    doubt: str = ''

    def __str__(self) -> str:
        if self.use.leave:
            return f'{self.noise}. Left as it is.'
        return ' '.join(filter(None, (f'{self.noise}. Model {self.use.model}.', self.doubt)))


def of_file(path: Path) -> Choice:
    """Chooses a model for a file, by its first image.

    Raises:
      UserError: it cannot be read, or no model comes with n2n_jax.
    """
    with open_image(path) as source:
        frame = source.frames[0]
        rows = _middle_of(frame.height)
        pixels_HWC = source.read(0, rows.start, rows.stop)[..., : frame.channels]
    pixels_HWC = pixels_HWC[:, _middle_of(frame.width)]
    black, white = _range_of_values(pixels_HWC)
    known = dataclasses.replace(ModelConfig(), black=black, white=white)
    scale = PixelRange.of(frame.dtype, known, name=str(path))
    scale.check(pixels_HWC, name=str(path))
    chosen = choose(scale.to_network(pixels_HWC))
    return chosen._replace(use=chosen.use._replace(black=black, white=white))


def choose(image_HWC: np.ndarray) -> Choice:
    """Chooses a model for an image, which lies in [0, 1] but for its noise.

    Raises:
      UserError: no model comes with n2n_jax.
    """
    noise = image_noise.measure(image_HWC)
    channels = 3 if image_HWC.shape[-1] == 3 else 1
    there = [zoo.RECIPES[name] for name in zoo.names()]
    for kind in _PREFERRED[noise.kind]:
        # A gray model takes color images channel by channel, which is worse; and the other way.
        fitting = sorted(
            (recipe for recipe in there if recipe.kind == kind),
            key=lambda recipe: recipe.channels != channels,
        )
        if fitting:
            use = Use(fitting[0].name, leave=noise.kind == 'none')
            return Choice(use, _in_words(noise), _doubt(noise, kind))
    raise UserError(
        'No model that could be chosen comes with this version of n2n_jax: name one with --model, '
        'such as the folder of a run.'
    )


def _middle_of(length: int) -> slice:
    first = max(0, (length - _MOST_PIXELS) // 2)
    return slice(first, min(length, first + _MOST_PIXELS))


def _range_of_values(pixels_HWC: np.ndarray) -> tuple[float, float]:
    """Returns black and white for types whose range images seldom fill; 0, 0 for that of the type.

    Detectors fill little of 16 bits, and floats may have any unit: to a network that expects [0, 1]
    such images are black.
    """
    dtype = pixels_HWC.dtype
    if dtype.kind != 'f' and dtype.itemsize == 1:
        return 0.0, 0.0
    low, high = np.quantile(pixels_HWC[np.isfinite(pixels_HWC)], (0.001, 0.999)).astype(float)
    full = 1.0 if dtype.kind == 'f' else float(np.iinfo(dtype).max)
    inside = low > -_OUTSIDE * full and high < (1 + _OUTSIDE) * full
    if (inside and high > _FILLED * full) or low == high:
        return 0.0, 0.0
    return float(min(low, 0.0) if inside else low), float(high)


def _in_words(noise: ImageNoise) -> str:
    if noise.kind == 'impulses':
        return f'{_IN_WORDS[noise.kind]}, at least {noise.impulses:.0%} of them'
    return f'{_IN_WORDS[noise.kind]}, standard deviation {noise.level * 255:.1f} of 255'


def _doubt(noise: ImageNoise, kind: zoo.Kind) -> str:
    if noise.kind not in ('shared', 'impulses') or kind == noise.kind:
        return ''
    return 'No model for this noise comes with this version of n2n_jax, so much of it may stay.'

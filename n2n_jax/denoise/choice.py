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
from n2n_jax.images import ImageFile, open_image
from n2n_jax.images.pixel_range import PixelRange
from n2n_jax.models import zoo
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError

_MOST_SIDE = 512  # pixels of the part that is looked at, in the middle of the image
_FILLED = 0.25  # share of the range of a type that images of full range reach
_OUTSIDE = 0.1  # how far, as a share of it, noise may lead out of that range
_PEDESTAL = 0.5  # share of the highest value from which on the lowest is an offset of the detector

# Kinds of models for a kind of noise, best first.
_PREFERRED: dict[image_noise.Kind, tuple[zoo.Kind, ...]] = {
    'none': ('independent',),
    'independent': ('independent', 'signal-dependent'),
    # Models of cameras know noise that depends on brightness, also where no neighbors share it.
    'signal-dependent': ('signal-dependent', 'shared', 'independent'),
    'shared': ('shared', 'independent'),
    'impulses': ('impulses', 'shared', 'independent'),
}
_IN_WORDS: dict[image_noise.Kind, str] = {
    'none': 'no noise that can be seen',
    'independent': 'noise that is independent from pixel to pixel',
    'signal-dependent': 'noise that depends on brightness',
    'shared': 'noise that neighboring pixels share',
    'impulses': 'replaced pixels (impulses)',
}

_NO_MODEL = (
    'No model that could be chosen comes with this version of n2n_jax: name one with --model, such '
    'as the folder of a run.'
)


class Range(NamedTuple):
    """What a model that knows no range should see as 0 and 1.

    Attributes:
      black: pixel value that it sees as 0.
      white: pixel value that it sees as 1; both 0 for the range of the file's type.
    """

    black: float = 0.0
    white: float = 0.0

    def of(self, denoiser: Denoiser) -> Denoiser:
        """Returns the model with this range."""
        config = dataclasses.replace(denoiser.config, black=self.black, white=self.white)
        return dataclasses.replace(denoiser, config=config)


class Choice(NamedTuple):
    """What was chosen for an image.

    Attributes:
      model: name of the model.
      leave: whether the image is left as it is, as it has no noise.
      range: what the model should see as 0 and 1.
      noise: what was found, a clause.
      level: standard deviation of the noise, in units of that range.
      doubt: why the model may be a poor choice, a sentence; '' if nothing is known against it.
    """

    model: str
    leave: bool
    range: Range
    noise: str
    level: float
    doubt: str = ''

    def __str__(self) -> str:
        if self.leave:
            return f'{self.noise}. Left as it is.'
        return ' '.join(filter(None, (f'{self.noise}. Model {self.model}.', self.doubt)))


def of_file(path: Path, sigma: float | None = None) -> Choice:
    """Chooses a model for a file; of a stack, by its first, middle and last image.

    Args:
      path: the file.
      sigma: see `choose`.

    Raises:
      UserError: it cannot be read, or no model comes with n2n_jax.
    """
    images = _images(path)
    its_range = _range_of(images)
    known = dataclasses.replace(ModelConfig(), black=its_range.black, white=its_range.white)
    choices = []
    for image_HWC in images:
        if image_HWC.min() == image_HWC.max():
            continue  # such as the first of a stack, or a blank page
        scale = PixelRange.of(image_HWC.dtype, known, name=str(path))
        scale.check(image_HWC, name=str(path))
        choices.append(choose(scale.to_network(image_HWC), sigma))
    if not choices:
        return Choice('', True, Range(), 'a single value', 0.0)
    # The image with the most noise decides, and any noise is a reason not to leave it.
    found = max(choices, key=lambda each: (not each.leave, each.level))
    return found._replace(range=its_range)


def of_model(path: Path, model: str) -> Choice:
    """Returns what a model that comes with n2n_jax, chosen by the user, means for a file.

    Raises:
      UserError: as `of_file`.
    """
    return Choice(model, False, range_of_file(path), '', 0.0)


def range_of_file(path: Path) -> Range:
    """Returns what a model that knows no range should see as 0 and 1; raises as `of_file`."""
    return _range_of(_images(path))


def load(model: str) -> Denoiser:
    """Loads a model that comes with n2n_jax, even if a folder here has its name."""
    return Denoiser.load(zoo.file_of(model))


def any_model() -> str:
    """Returns the name of a model that is there; raises UserError if none is."""
    if not zoo.names():
        raise UserError(_NO_MODEL)
    return zoo.names()[0]


def choose(image_HWC: np.ndarray, sigma: float | None = None) -> Choice:
    """Chooses a model for an image.

    Args:
      image_HWC: the image, which lies in [0, 1] but for its noise.
      sigma: standard deviation of its noise in these units, in place of the measured one: 0 leaves
        the image as it is, and any other does not; None: it is measured.

    Raises:
      UserError: no model comes with n2n_jax.
    """
    channels = 3 if image_HWC.shape[-1] == 3 else 1
    if channels == 3 and image_noise.is_gray(image_HWC):
        # A model of color takes what all channels share for detail.
        channels, image_HWC = 1, image_HWC[..., :1]
    noise = image_noise.measure(image_HWC)
    if sigma is not None:
        noise = noise.with_level(sigma)
    preferred = _PREFERRED[noise.kind]
    there = [zoo.RECIPES[name] for name in zoo.names()]
    fitting = [recipe for recipe in there if recipe.kind in preferred]
    if not fitting:
        raise UserError(_NO_MODEL)
    # A gray model takes color images channel by channel, which is worse; and the other way.
    best = min(
        fitting,
        key=lambda recipe: (recipe.channels != channels, preferred.index(recipe.kind)),
    )
    leave, words, doubt = noise.kind == 'none', _in_words(noise), _doubt(noise, best.kind)
    return Choice(best.name, leave, Range(), words, noise.level, doubt)


def _images(path: Path) -> list[np.ndarray]:
    """Returns the middle of the first, middle and last image of a file, as stored.

    Raises:
      UserError: a value is NaN or infinite.
    """
    with open_image(path) as source:
        last = len(source.frames) - 1
        images = [_middle(source, index) for index in sorted({0, last // 2, last})]
    for image_HWC in images:
        num_bad = int(image_HWC.size - np.isfinite(image_HWC).sum())
        if num_bad:
            raise UserError(f'{path} holds NaN or infinite values ({num_bad}): replace them first.')
    return images


def _middle(source: ImageFile, index: int) -> np.ndarray:
    frame = source.frames[index]
    rows, columns = (_middle_of(side) for side in (frame.height, frame.width))
    return source.read(index, rows.start, rows.stop)[:, columns, : frame.channels]


def _middle_of(length: int) -> slice:
    first = max(0, (length - _MOST_SIDE) // 2)
    return slice(first, min(length, first + _MOST_SIDE))


def _range_of(images: list[np.ndarray]) -> Range:
    """Returns the range of the values, for types whose range images seldom fill.

    Detectors fill little of 16 bits, or add an offset, and floats may have any unit: to a network
    that expects [0, 1] such images are even and free of noise.
    """
    dtype = images[0].dtype
    if (dtype.kind != 'f' and dtype.itemsize == 1) or any(x.dtype != dtype for x in images):
        return Range()
    ends = np.array([np.quantile(image_HWC, (0.001, 0.999)) for image_HWC in images], float)
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    full = 1.0 if dtype.kind == 'f' else float(np.iinfo(dtype).max)
    inside = low > -_OUTSIDE * full and high < (1 + _OUTSIDE) * full
    has_offset = low > _PEDESTAL * high
    if low == high or (inside and high > _FILLED * full and not has_offset):
        return Range()
    return Range(low if has_offset or not inside else min(low, 0.0), high)


def _in_words(noise: ImageNoise) -> str:
    if noise.kind == 'impulses':
        return f'{_IN_WORDS[noise.kind]}, at least {noise.impulses:.0%} of them'
    return f'{_IN_WORDS[noise.kind]}, standard deviation {noise.level * 255:.1f} of 255'


def _doubt(noise: ImageNoise, kind: zoo.Kind) -> str:
    if noise.kind not in ('shared', 'impulses') or kind == noise.kind:
        return ''
    if kind == 'shared':
        return (
            'It is for photographs with much noise, which look like that too; this version has no '
            'model for impulses, which may remain.'
        )
    return 'This version has no model for such noise, so much of it may remain.'

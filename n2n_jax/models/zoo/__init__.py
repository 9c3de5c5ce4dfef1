"""The models that come with n2n_jax: what each is for, and where its file and its card are.

A model is two files in `shipped/`: NAME.safetensors, see `model_file`, and NAME.json, its card:
what it was trained on, and how well it denoises. `n2n models train` writes both.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from n2n_jax.models.model_file import SUFFIX
from n2n_jax.runtime.errors import UserError, did_you_mean

# Kinds of noise, as `n2n_jax.captures.measure.image_noise` tells them apart, and text, which is
# found by nothing but the eye.
Kind = Literal['independent', 'signal-dependent', 'shared', 'impulses', 'text']

FOLDER = Path(__file__).parent / 'shipped'


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A model: what it is for, and how it is trained.

    Attributes:
      name: its name.
      channels: of images: 3 (color) or 1 (gray).
      kind: the noise it removes.
      summary: what it is for, a clause that follows its name.
      not_for: what it is not for, in sentences.
      changes: of the config that all are trained with (`bench.zoo`), by key.
    """

    name: str
    channels: int
    kind: Kind
    summary: str
    not_for: str
    changes: Mapping[str, Any]


_STORED = '+stored:0.5'  # half of the inputs as a file of 8 bits holds them; targets never

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name='gaussian-color',
            channels=3,
            kind='independent',
            summary='color images with noise that is independent from pixel to pixel, of any level '
            'up to a standard deviation of 55 of 255',
            not_for='Noise that neighboring pixels share, as in most camera JPEGs: it is taken for '
            'detail and stays.',
            changes={
                'noise.input': f'gaussian:0-55{_STORED}',
                'noise.target': 'gaussian:0-55',
                'eval.noise': 'gaussian:15,gaussian:25,gaussian:50',
            },
        ),
        Recipe(
            name='gaussian-gray',
            channels=1,
            kind='independent',
            summary='gray images with noise that is independent from pixel to pixel, of any level '
            'up to a standard deviation of 55 of 255',
            not_for='Noise that neighboring pixels share: it is taken for detail and stays.',
            changes={
                'noise.input': f'gaussian:0-55{_STORED}',
                'noise.target': 'gaussian:0-55',
                'eval.noise': 'gaussian:15,gaussian:25,gaussian:50',
            },
        ),
        Recipe(
            name='poisson-gray',
            channels=1,
            kind='signal-dependent',
            summary='gray images of detectors, whose noise grows with the signal: 5 to 500 counts '
            'in a white pixel, and read noise of 2 counts',
            not_for='Noise that neighboring pixels share, as after a resampling or a blur.',
            changes={
                'noise.input': f'poisson_gaussian:5-500,read=2{_STORED}',
                'noise.target': 'poisson_gaussian:5-500,read=2',
                'eval.noise': 'poisson_gaussian:10,read=2,poisson_gaussian:30,read=2,'
                'poisson_gaussian:100,read=2',
            },
        ),
        Recipe(
            name='camera-color',
            channels=3,
            kind='shared',
            summary='photographs as cameras write them: noise of the sensor, which neighboring '
            'pixels share after color interpolation, and JPEG compression',
            not_for='Noise of one level everywhere, added to a finished image: gaussian-color '
            'removes more of it. Photographs that a camera has denoised and sharpened strongly.',
            changes={
                'noise.input': 'camera:30-6000,demosaic=any+jpeg:60-100,chroma=any',
                # As if nothing were interpolated, clipped or compressed: only then is some mean of
                # the target the scene, that in linear light. So optim.loss=auto is linear_light.
                'noise.target': 'camera:30-6000,demosaic=none',
                # Other gains, read noise and one quality, which training does not know.
                'eval.noise': ','.join(
                    f'camera:{photons},read=3,red=1.6,blue=2.2,demosaic=gradient+jpeg:90'
                    for photons in (60, 250, 1000)
                ),
            },
        ),
        Recipe(
            name='impulse-color',
            channels=3,
            kind='impulses',
            summary='color images in which up to 40 % of the pixels are replaced by random colors',
            not_for='Other noise: it is kept.',
            changes={
                'noise.input': f'impulse:0-0.4{_STORED}',
                'noise.target': 'impulse:0-0.4',
                # Its median is clean as well. L0 leaves impulses in short runs (docs/results).
                'optim.loss': 'l1',
                'eval.noise': 'impulse:0.05,impulse:0.2,impulse:0.4',
            },
        ),
        Recipe(
            name='text-color',
            channels=3,
            kind='text',
            summary='color images with text written over up to 40 % of the pixels',
            not_for='Noise: it is kept.',
            changes={
                'noise.input': f'text:0-0.4{_STORED}',
                'noise.target': 'text:0-0.4',
                'eval.noise': 'text:0.1,text:0.25',
            },
        ),
    )
}


def names() -> list[str]:
    """Returns the names of the models that are there."""
    return [name for name in RECIPES if file_of(name).is_file()]


def recipe(name: str) -> Recipe:
    """Returns the recipe of a model.

    Raises:
      UserError: there is none of that name.
    """
    if name not in RECIPES:
        raise UserError(f"There is no model '{name}'. {did_you_mean(name, RECIPES)}")
    return RECIPES[name]


def file_of(name: str) -> Path:
    """Returns the file of a model."""
    return FOLDER / f'{name}{SUFFIX}'


def existing(name: str) -> str:
    """Returns the name of a model that is there.

    Raises:
      UserError: there is none of that name.
    """
    if name not in names():
        raise UserError(f"No model '{name}' comes with n2n_jax. {did_you_mean(name, names())}")
    return name

"""Choices with options of their own, and what is said when they are written wrong."""

import dataclasses
import functools
from typing import Annotated, Literal

import pytest

from n2n_jax.runtime import choices
from n2n_jax.runtime.config_field import Bounds
from n2n_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True)
class Network:
    out_channels: int
    depth: Annotated[int, Bounds(1, 40)] = 17
    norm: Literal['none', 'batch'] = 'none'
    widths: tuple[int, ...] = (8, 8)
    pair: tuple[float, float] = (0.5, 0.5)
    linear: bool = False
    optional: int | None = None  # of a type that cannot be written


@dataclasses.dataclass(frozen=True)
class Features:
    layer: str = 'relu1_2'


@dataclasses.dataclass(frozen=True)
class Plain:
    pass


REGISTRY = {
    'network': Network,
    'deep': functools.partial(Network, depth=40),
    'features': Features,
    'plain': Plain,
}


def make(text, **settings):
    return choices.make('model.name', text, REGISTRY, settings=settings)


def test_options_have_the_types_of_their_fields():
    made = make('network:depth=3,norm=batch,widths=4-5-6,pair=0.1-2,linear', out_channels=3)
    assert made == Network(3, 3, 'batch', (4, 5, 6), (0.1, 2.0), linear=True)
    assert make('network', out_channels=1) == Network(1)
    assert make(' network : linear=no ', out_channels=1) == Network(1)


def test_a_value_alone_sets_the_first_option():
    assert make('network:20,linear', out_channels=1) == Network(1, 20, linear=True)
    assert make('features:relu2_2') == Features('relu2_2')
    assert make('network:linear', out_channels=1) == Network(1, linear=True)


def test_what_a_partial_sets_is_no_option():
    assert make('deep:norm=batch', out_channels=1) == Network(1, 40, 'batch')
    with pytest.raises(UserError, match="'deep' has no option 'depth'"):
        make('deep:depth=3', out_channels=1)
    assert 'out_channels' not in choices.options_of(Network)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('netwrk', "Unknown model.name 'netwrk'. Did you mean 'network'?"),
        ('network:dept=3', "'network' has no option 'dept'. Did you mean 'depth'?"),
        ('network:linaer', "'network' has no option 'linaer'. Did you mean 'linear'?"),
        ('network:optional=3', "has no option 'optional'. Choose from: depth, norm,"),
        ('network:depth=x', "'depth=x' is invalid: write a whole number (default: 17)"),
        ('network:depth=0', "'depth=0' is invalid: write between 1 and 40"),
        ('network:4.5', "'depth=4.5' is invalid: write a whole number"),
        ('network:norm=layer', 'choose from none, batch'),
        ('network:linear=maybe', 'write True or False'),
        ('network:pair=1-2-3', 'must hold 2 numbers with dashes between'),
        ('network:pair=1-nan', 'write a finite number'),
        ('network:depth=3,depth=4', "sets 'depth' twice"),
        ('network:depth=3,7', "cannot be parsed at '7'"),
        ('network:depth=', "cannot be parsed at 'depth='"),
        ('plain:3', "'plain' takes no options"),
        ('plain:x=3', "'plain' has no option 'x'. It takes no options."),
    ],
)
def test_a_wrong_text_says_what_to_write(text, words):
    with pytest.raises(UserError) as caught:
        make(text, out_channels=1) if text.startswith('netw') else make(text)
    assert words in str(caught.value)

"""Spec strings with options, and lists of them."""

import dataclasses
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from n2n_jax import corruptions
from n2n_jax.corruptions.base import Corruption
from n2n_jax.runtime.config_field import Bounds
from n2n_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True)
class Options:
    """An offset, the share of the values that get it, and a name."""

    offset: Annotated[float, Bounds(-1, 1)] = 0.25
    share: float = 0.0
    kind: Literal['plain', 'odd'] = 'plain'


@pytest.fixture(autouse=True)
def shifted(monkeypatch):
    def add(key, image_HWC, level, options):
        del key
        return image_HWC + level * options.offset, None

    corruption = Corruption(
        'shifted', 'times that the offset is added', (0.0, 9.0), add,
        statistics=lambda options: ('mode', 'median') if options.kind == 'odd' else (),
        options=Options(), untouched=lambda level, options: options.share,
    )  # fmt: skip
    monkeypatch.setitem(corruptions.REGISTRY, 'shifted', corruption)


def drawn(spec):
    clean_BHWC = jnp.full((1, 2, 2, 1), 0.5)
    return np.unique(corruptions.parse(spec).sample(jax.random.key(0), clean_BHWC).image_BHWC)


def test_options_follow_the_level():
    assert drawn('shifted:2') == 1.0
    assert drawn('shifted:2,offset=-0.125') == 0.25
    assert drawn('shifted:2 , offset = 0.5, kind=odd') == 1.5
    assert drawn('shifted:1,offset=0.125+shifted:1,share=1') == 0.875


def test_the_canonical_spec_holds_the_options_that_were_changed():
    def canonical(spec):
        return '+'.join(stage.spec for stage in corruptions.parse(spec).stages)

    assert canonical('shifted:2.0,offset=0.25') == 'shifted:2'
    assert canonical('shifted:2.0, kind=odd,offset=0.50') == 'shifted:2,offset=0.5,kind=odd'
    assert canonical('gaussian:5.0+shifted:0-1,share=1') == 'gaussian:5+shifted:0-1,share=1'
    one, other = (corruptions.parse(f'shifted:2,offset={x}').stages for x in ('0.5', '.50'))
    assert one == other
    assert hash(one) == hash(other)


def test_what_a_noise_says_of_its_statistics_may_depend_on_its_options():
    def kept(spec):
        return corruptions.parse(spec).clean_statistics.observed

    assert kept('shifted:1') == ()
    assert kept('shifted:1,share=0.4') == ('mode',)
    assert kept('shifted:1,share=0.4,kind=odd') == ('mode',)
    assert kept('shifted:1,share=0.6,kind=odd') == ('mode', 'median')


def test_a_list_of_noises_keeps_options_with_their_noise():
    specs = 'gaussian:25,brown:25,bandwidth=3, poisson:30'
    found = corruptions.parse_list(specs)
    assert [each.spec for each in found] == ['gaussian:25', 'brown:25,bandwidth=3', 'poisson:30']
    both = corruptions.parse_list('brown:5,bandwidth=3+shifted:1, offset=1 ,kind=odd,gaussian:5')
    assert [each.spec for each in both] == [
        'brown:5,bandwidth=3+shifted:1,offset=1,kind=odd',
        'gaussian:5',
    ]
    assert corruptions.parse_list('clip')[0].spec == 'clip'


@pytest.mark.parametrize(
    ('spec', 'words'),
    [
        ('shifted:2,offest=1', "Did you mean 'offset'"),
        ('shifted:2,offset=2', 'write between -1 and 1'),
        ('shifted:2,offset=big', 'write a number'),
        ('shifted:2,offset=nan', 'between -1 and 1'),
        ('shifted:2,kind=even', 'choose from plain, odd'),
        ('shifted:2,offset=1,offset=0', "sets 'offset' twice"),
        ('gaussian:25,bandwidth=2', "'gaussian' takes no options: leave out 'bandwidth=2'"),
        ('shifted:2,0.5', 'options as'),
        ('shifted:2,offset=', 'options as'),
        ('shifted,offset=1', 'needs a level'),
        ('shifted:10,offset=1', 'between 0 and 9'),
    ],
)
def test_a_wrong_option_says_what_to_write(spec, words):
    with pytest.raises(UserError, match='.') as caught:
        corruptions.parse(spec)
    assert words in str(caught.value)
    with pytest.raises(UserError, match='.'):
        corruptions.parse_list(f'gaussian:25,{spec}')


def test_an_option_without_a_noise_before_it_is_refused():
    with pytest.raises(UserError, match="cannot be parsed at 'bandwidth=2'"):
        corruptions.parse_list('bandwidth=2,brown:25')

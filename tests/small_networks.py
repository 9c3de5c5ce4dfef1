"""Every registered network, small where its options allow, for tests that hold for all of them."""

import pytest

from n2n_jax import models

# A network without an entry is tested as it is.
OPTIONS = {
    'dncnn': 'depth=4,width=8',
    'red30': 'depth=6,width=8',
    'resnet50': 'norm=batch',
    'rednet': 'depth=34,width=4',
    'resunet': 'width=4,levels=2',
    'drunet': 'width=4,levels=2,blocks=1',
    'nafnet': 'width=4,encoder=1,middle=1,decoder=1',
}

# More of the same blocks: tested as resnet50.
LARGER = ('resnet101', 'resnet152')


def with_options(name: str) -> str:
    """Returns the value of model.name for a small network."""
    return f'{name}:{OPTIONS[name]}' if name in OPTIONS else name


def every_network(*fast: str) -> pytest.MarkDecorator:
    """Runs a test for every network, named `name`; all but some are marked as slow."""
    slow = pytest.mark.slow
    return pytest.mark.parametrize(
        'name',
        [
            pytest.param(with_options(name), marks=() if name in fast else slow, id=name)
            for name in models.REGISTRY
            if name not in LARGER
        ],
    )

"""What may be imported from n2n_jax itself, whatever room it lives in."""

import subprocess
import sys

import pytest

import n2n_jax


@pytest.mark.parametrize('name', n2n_jax.__all__)
def test_a_public_name_is_there(name):
    assert name in dir(n2n_jax)
    assert getattr(n2n_jax, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Denoyser'"):
        _ = n2n_jax.Denoyser


def test_importing_the_package_loads_neither_jax_nor_numpy():
    program = (
        'import sys, n2n_jax\n'
        'assert n2n_jax.UserError\n'
        "print(sorted({'jax', 'numpy', 'flax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.stdout == '[]\n', done.stderr

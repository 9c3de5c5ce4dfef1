"""Which parameters decay."""

from typing import Any

import jax


def only_of_weights(params: Any) -> Any:
    """Returns True for kernels and False for biases, scales and other vectors, as a pytree."""
    return jax.tree.map(lambda x: x.ndim > 1, params)

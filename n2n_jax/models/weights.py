"""Weights as what they are: a tree of arrays with names."""

import hashlib
from typing import Any

import jax
import numpy as np


def weights_hash(variables: Any) -> str:
    """SHA-256 over all weights, in the order of their names: equal runs have equal hashes."""
    digest = hashlib.sha256()
    for path, value in jax.tree_util.tree_leaves_with_path(variables):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.asarray(value).tobytes())
    return digest.hexdigest()

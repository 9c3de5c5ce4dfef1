"""Tables of the source papers, and one of our own, each one command: `n2n bench run TABLE`.

To add a table, write a `Table` in a module of `papers` and add it to `REGISTRY`.
"""

from n2n_jax.bench.tables.papers import (
    epfl_dai_liu,
    epfl_weber,
    equal_time,
    gaussian_networks,
    keras_reproduction,
    noise2noise,
    perceptual,
    resnet_proposal,
)
from n2n_jax.bench.tables.table import Table
from n2n_jax.runtime.errors import UserError, did_you_mean

REGISTRY: dict[str, Table] = {
    table.name: table
    for table in (
        noise2noise.NOISE2NOISE,
        noise2noise.TEXT,
        noise2noise.IMPULSE,
        noise2noise.BROWN,
        noise2noise.CAPTURES,
        noise2noise.CLAMPED,
        resnet_proposal.RESNET50,
        epfl_weber.RESUNET,
        epfl_dai_liu.OPTIMIZERS,
        perceptual.PERCEPTUAL,
        keras_reproduction.KERAS,
        gaussian_networks.NETWORKS,
        equal_time.MINUTES,
    )
}


def find(name: str) -> Table:
    """Returns a table by name.

    Raises:
      UserError: there is no such table.
    """
    if name not in REGISTRY:
        raise UserError(f"Unknown table '{name}'. {did_you_mean(name, REGISTRY)}")
    return REGISTRY[name]

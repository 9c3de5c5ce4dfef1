"""Tables of the source papers, each one command: `n2n bench run TABLE`.

To add a table, write a `Table` in a module of `papers` and add it to `REGISTRY`.
"""

from n2n_jax.bench.tables.papers import noise2noise
from n2n_jax.bench.tables.table import Table
from n2n_jax.runtime.errors import UserError, did_you_mean

REGISTRY: dict[str, Table] = {table.name: table for table in (noise2noise.NOISE2NOISE,)}


def find(name: str) -> Table:
    """Returns a table by name.

    Raises:
      UserError: there is no such table.
    """
    if name not in REGISTRY:
        raise UserError(f"Unknown table '{name}'. {did_you_mean(name, REGISTRY)}")
    return REGISTRY[name]

"""Options of XLA that make its programs faster without changing what they compute."""

import os
from importlib import metadata

# jaxlib 0.10 and 0.11 give convolutions on a CPU to YNNPACK, which computes each of them on one
# core (0.10) or hardly more (0.11); XLA's own convolution takes all of them (docs/performance.md).
_ON_ALL_CORES = ('--xla_cpu_experimental_ynn_fusion_type', '-individual_convolution')
_SLOW_VERSIONS = ('0.10.', '0.11.')


def use_all_cores() -> None:
    """Lets convolutions on a CPU take all cores, by the environment variable XLA_FLAGS.

    XLA reads it when JAX first computes something. A value that the user has chosen stays.
    """
    name, value = _ON_ALL_CORES
    flags = os.environ.get('XLA_FLAGS', '')
    if name not in flags and _jaxlib().startswith(_SLOW_VERSIONS):
        os.environ['XLA_FLAGS'] = f'{flags} {name}={value}'.strip()


def _jaxlib() -> str:
    try:
        return metadata.version('jaxlib')
    except metadata.PackageNotFoundError:
        return ''

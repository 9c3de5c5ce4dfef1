"""Options of XLA for CPUs that some versions of jaxlib need, to be fast or to be right."""

import os
from importlib import metadata

# What XLA gives to the library YNNPACK, less some of it, by the start of jaxlib's version:
# 0.10, 0.11  YNNPACK computes a convolution on one core (0.10) or hardly more (0.11), XLA's own
#             convolution takes all of them (docs/performance.md).
# 0.12        Some fused sums of bfloat16 become NaN, such as those of the network resunet_epfl.
_OPTION = '--xla_cpu_experimental_ynn_fusion_type'
_VALUES = {
    '0.10.': '-individual_convolution',
    '0.11.': '-individual_convolution',
    '0.12.': '-reduce',
}


def set_defaults() -> None:
    """Sets what this version of jaxlib needs, in the environment variable XLA_FLAGS.

    XLA reads it when JAX first computes something. A value that the user has chosen stays.
    """
    flags = os.environ.get('XLA_FLAGS', '')
    version = _jaxlib()
    for start, value in _VALUES.items():
        if version.startswith(start) and _OPTION not in flags:
            os.environ['XLA_FLAGS'] = f'{flags} {_OPTION}={value}'.strip()


def _jaxlib() -> str:
    try:
        return metadata.version('jaxlib')
    except metadata.PackageNotFoundError:
        return ''

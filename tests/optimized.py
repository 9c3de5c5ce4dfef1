"""Compiles with some optimization, for tests that compute for longer than they compile."""

import functools

import jax

jit = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 1})

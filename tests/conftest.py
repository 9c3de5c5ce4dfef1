"""Eight virtual CPU devices for every test, and the strictness the code is written for."""

import jax

jax.config.update('jax_num_cpu_devices', 8)  # before any device query
jax.config.update('jax_numpy_rank_promotion', 'raise')

"""Random keys: one per seed, purpose and step."""

import zlib

import jax
import numpy as np

from n2n_jax.data.feeds import sampler
from n2n_jax.runtime import random_keys


def key(*arguments):
    return tuple(jax.random.key_data(random_keys.key_for(*arguments)).tolist())


def test_seeds_that_differ_give_different_noise_and_weights():
    seeds = [0, 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**33, 2**33 + 1, 2**63 - 1]
    keys = {
        key(seed, name, 3) for seed in seeds for name in (random_keys.INIT, random_keys.EVALUATION)
    }
    assert len(keys) == 2 * len(seeds)


def test_small_seeds_keep_their_numbers():
    for seed in (0, 7, 2**31 + 5, 2**32 - 1):
        want = jax.random.fold_in(jax.random.key(seed), zlib.crc32(b'init'))
        assert key(seed, random_keys.INIT) == tuple(jax.random.key_data(want).tolist())


def test_seeds_that_differ_give_different_crops():
    def crops(seed):
        sizes_N2 = np.full((50, 2), 400)
        plan = sampler.crops_of_step(3, sizes_N2, seed=seed, batch_size=8, crop=16, augment=True)
        return (*plan.image_B.tolist(), *plan.top_B.tolist())

    assert len({crops(seed) for seed in (0, 2**32, 2**33, 2**63 - 1)}) == 4

"""Crops that are blended with others before noise is added."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_step import setup
from tiny import moment, tiny_config

from n2n_jax.data.feeds import Batch
from n2n_jax.runtime import random_keys
from n2n_jax.runtime.errors import UserError
from n2n_jax.train.mixing import mixed
from n2n_jax.train.tasks import make_task

KEY = random_keys.key_for(0, random_keys.MIXING, 3)


def test_a_share_of_the_crops_is_blended_and_the_rest_is_untouched():
    first_B = jnp.arange(4000.0)
    clean_BHWI = jnp.stack([first_B, first_B], axis=-1)[:, None, None]  # 1 pixel and its plane
    made, target, mask = mixed(KEY, Batch(clean_BHWI, clean_BHWI[..., :1]), 0.3)
    assert mask is None
    np.testing.assert_array_equal(made[..., :1], target)
    np.testing.assert_array_equal(made[..., 0], made[..., 1])  # planes like their image
    # A crop differs by 1 from the one before it, so the change is the weight of that one.
    change_B = np.asarray(first_B - made[:, 0, 0, 0])[1:]
    blended_B = change_B != 0
    assert abs(blended_B.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 4000)
    weight_B = 1 - change_B[blended_B]
    assert 0.5 <= weight_B.min() < 0.51
    assert 0.99 < weight_B.max() < 1
    assert abs(weight_B.mean() - 0.75) < 4 * np.sqrt(1 / 48 / weight_B.size)


def test_blended_crops_have_the_noise_of_all_others_around_a_clean_blend():
    config = tiny_config(**{'data.mix': 1.0, 'noise.input': 'gaussian:25'})
    clean_BHWC = jnp.asarray(np.random.default_rng(0).random((8, 64, 64, 3), np.float32))
    noisy, target, _ = make_task(config).pair(Batch(clean_BHWC, clean_BHWC), moment(3))
    blend, _, _ = mixed(KEY, Batch(clean_BHWC, clean_BHWC), 1.0)
    assert np.abs(blend - clean_BHWC).mean() > 0.05
    noises = np.stack([noisy - blend, target - blend])
    np.testing.assert_allclose(noises.std(axis=(2, 3, 4)), 25 / 255, rtol=0.02)
    assert abs(noises.mean()) < 4 * 25 / 255 / np.sqrt(noises.size)
    assert abs(np.corrcoef(noises[0].ravel(), noises[1].ravel())[0, 1]) < 0.02


def test_without_mixing_pairs_are_what_they_were_and_the_noise_is_the_same_with_it():
    clean = Batch(jnp.zeros((2, 8, 8, 3)), jnp.zeros((2, 8, 8, 3)))
    without, with_mix = (
        make_task(tiny_config(**{'data.mix': mix})).pair(clean, moment(3)) for mix in (0.0, 1.0)
    )
    np.testing.assert_array_equal(without.input_BHWI, with_mix.input_BHWI)  # of black crops


def test_one_device_and_eight_blend_the_same_crops():
    config = tiny_config(**{'data.mix': 0.7})
    pairs = []
    for num_devices in (1, 8):
        _, _, feed = setup(config, num_devices)
        sample = jax.jit(
            lambda constants, inputs, feed=feed: make_task(config).pair(
                feed.batch(constants, inputs), moment(3)
            )
        )
        made = sample(feed.constants, jax.tree.map(lambda x: x[0], feed.inputs(3, 1)))
        assert len(made.input_BHWI.sharding.device_set) == num_devices
        pairs.append(jax.device_get(made[:2]))
    np.testing.assert_allclose(pairs[0], pairs[1], atol=1e-6)


@pytest.mark.parametrize(
    ('others', 'said'),
    [
        ({'captures.paths': 'x'}, 'a blend of two captures has less noise than one'),
        ({'noise.realizations': 2}, 'noise.realizations=0 or data.mix=0'),
        ({'data.batch_size': 1}, 'data.batch_size=2 or more'),
    ],
)
def test_what_cannot_be_blended_is_refused(others, said):
    with pytest.raises(UserError, match=said):
        tiny_config(**{'data.mix': 0.5, **others})

"""Pairs out of one image: which pixels, which noise, which gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import moment, tiny_config

from n2n_jax import models
from n2n_jax.data.feeds import placed_captures
from n2n_jax.data.feeds.capture_feed import CaptureFeed
from n2n_jax.runtime import random_keys
from n2n_jax.runtime.config import DataConfig
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import make_layout
from n2n_jax.train import neighbor_pairs
from n2n_jax.train import step as steps
from n2n_jax.train.tasks import make_task


def places(height, width):
    """An image whose channels are the row and the column of each pixel."""
    return jnp.stack(jnp.indices((height, width)), axis=-1)[None].astype(jnp.float32)


def test_the_two_pixels_are_different_neighbors_of_one_cell():
    choice_Bhw = neighbor_pairs.choose(jax.random.key(0), 1, 40, 24)
    first, second = neighbor_pairs.split(places(40, 24), choice_Bhw)
    assert first.shape == second.shape == (1, 20, 12, 2)
    np.testing.assert_array_equal(jnp.abs(first - second).sum(axis=-1), 1)  # no diagonal, not one
    cell = places(20, 12)
    np.testing.assert_array_equal(first // 2, cell)
    np.testing.assert_array_equal(second // 2, cell)


def test_each_of_the_eight_choices_is_equally_likely():
    image = jnp.tile(jnp.array([[0.0, 1.0], [2.0, 3.0]]), (128, 128))[None, ..., None]
    choice_Bhw = neighbor_pairs.choose(jax.random.key(1), 1, 256, 256)
    first, second = neighbor_pairs.split(image, choice_Bhw)
    pairs, counts = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1, return_counts=True)
    assert {tuple(pair) for pair in pairs.T} == {
        (0, 1), (1, 0), (2, 3), (3, 2), (0, 2), (2, 0), (1, 3), (3, 1),
    }  # fmt: skip
    expected = counts.sum() / 8
    assert np.sum((counts - expected) ** 2 / expected) < 30  # chi-square, 7 degrees


def test_an_odd_side_is_an_error():
    with pytest.raises(ValueError, match='9x8'):
        neighbor_pairs.choose(jax.random.key(0), 1, 9, 8)


def test_independent_noise_stays_independent_and_correlated_noise_does_not():
    noise = jax.random.normal(jax.random.key(2), (4, 128, 128, 1))
    choice_Bhw = neighbor_pairs.choose(jax.random.key(3), 4, 128, 128)

    def correlation(noise):
        first, second = neighbor_pairs.split(noise, choice_Bhw)
        return np.corrcoef(first.ravel(), second.ravel())[0, 1]

    assert abs(correlation(noise)) < 4 / np.sqrt(noise.size / 4)
    blurred = noise + jnp.roll(noise, 1, axis=1) + jnp.roll(noise, 1, axis=2)
    assert correlation(blurred) > 0.2


def test_gamma_is_a_function_of_the_step_alone():
    np.testing.assert_allclose(
        [neighbor_pairs.gamma_at(k / 200) for k in (0, 50, 100, 200)], [0, 0.5, 1, 2]
    )
    traced = jax.jit(neighbor_pairs.gamma_at)(jnp.float32(0.25))
    assert float(traced) == 0.5


def two_terms(f, target, difference, gamma):
    """Equation 6, as it is printed."""
    return jnp.mean((f - target) ** 2) + gamma * jnp.mean((f - target - difference) ** 2)


@pytest.mark.parametrize('gamma', [0.0, 0.7, 2.0])
def test_one_target_stands_for_both_terms(gamma):
    f, target, difference = jax.random.normal(jax.random.key(4), (3, 2, 6, 6, 1))
    want = jax.grad(two_terms)(f, target, difference, gamma)
    one = neighbor_pairs.corrected_target(target, difference, gamma)
    got = (1 + gamma) * jax.grad(lambda f: jnp.mean((f - one) ** 2))(f)
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_an_image_without_noise_that_is_even_is_left_alone():
    """On a constant image both halves and the corrected target are that constant."""
    image = jnp.full((1, 8, 8, 1), 0.3)
    choice_Bhw = neighbor_pairs.choose(jax.random.key(0), 1, 8, 8)
    first, second = neighbor_pairs.split(image, choice_Bhw)
    target = neighbor_pairs.corrected_target(second, first - second, 2.0)
    np.testing.assert_array_equal(first, target)


def single_config(**changes):
    return tiny_config(
        **{'model.channels': 1, 'captures.paths': 'x', 'captures.single': True, **changes}
    )


def setup(config, num_devices=1):
    images = np.random.default_rng(0).random((3, 1, 40, 30, 1), np.float32)
    layout = make_layout(config.data.batch_size, jax.devices()[:num_devices])
    feed = CaptureFeed(
        placed_captures.place(list(images), layout, pairing='1:1'),
        config.data,
        seed=0,
        layout=layout,
    )
    return feed, layout


@pytest.mark.slow
def test_the_step_has_the_gradient_of_equation_6_and_none_through_the_denoised_image():
    config = single_config(**{'train.steps': 4})
    feed, layout = setup(config)
    task = make_task(config)
    state = jax.jit(lambda: steps.init_state(config))().replace(step=jnp.int32(2))
    inputs = feed.inputs(2, 1)
    model = models.build(config.model)
    gamma = neighbor_pairs.gamma_at(0.5)
    noisy = feed.batch(feed.constants, inputs[0]).input_BHWI
    key = random_keys.key_for(config.seed, random_keys.NEIGHBORS, 2)
    choice = neighbor_pairs.choose(key, *noisy.shape[:3])

    def loss(params, held):
        first, second = neighbor_pairs.split(noisy, choice)
        whole = model.apply({'params': params}, noisy)
        whole = jax.lax.stop_gradient(whole) if held else whole
        a, b = neighbor_pairs.split(whole, choice)
        return two_terms(model.apply({'params': params}, first), second, a - b, gamma)

    def norm(held):
        grads = jax.grad(loss)(state.variables['params'], held)
        return float(jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(grads))))

    held, through = norm(True), norm(False)
    _, metrics = steps.make_train_step(config, task, feed, layout)(state, feed.constants, inputs)
    got = float(metrics['grad_norm'][0] * (1 + gamma))
    assert got == pytest.approx(held, rel=1e-4)
    assert abs(through / held - 1) > 1e-2  # the check can tell the two apart


def test_eight_devices_choose_the_same_pixels_as_one():
    config = single_config()
    task = make_task(config)
    pairs = []
    for num_devices in (1, 8):
        feed, _ = setup(config, num_devices)

        @jax.jit
        def pair(constants, inputs, feed=feed):
            now = moment(1, progress=0.25, denoise=lambda x: 0.5 * x)
            return task.pair(feed.batch(constants, inputs), now)

        pairs.append(pair(feed.constants, feed.inputs(1, 1)[0])[:2])
    for one, eight in zip(*pairs, strict=True):
        assert len(eight.sharding.device_set) == 8
        np.testing.assert_array_equal(one, eight)


def test_the_feed_gives_single_captures():
    data = DataConfig(crop=8, batch_size=4)
    layout = make_layout(4, jax.devices()[:1])
    image = np.arange(12 * 10, dtype=np.float32).reshape(1, 12, 10, 1)
    feed = CaptureFeed(
        placed_captures.place([image], layout, pairing='1:1'), data, seed=0, layout=layout
    )
    crops = np.asarray(feed.batch(feed.constants, feed.inputs(0, 1)[0]).input_BHWI)
    assert crops.shape == (4, 8, 8, 1)
    assert np.isin(crops, image).all()
    assert (np.sort(np.abs(crops[:, 0, 0] - crops[:, 0, 1]).ravel())[[0, -1]] == [1, 10]).all()


def test_another_loss_is_refused():
    with pytest.raises(UserError, match='needs optim.loss=l2, not l1'):
        make_task(single_config(**{'optim.loss': 'l1'}))

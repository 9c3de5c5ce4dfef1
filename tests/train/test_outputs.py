"""Steps of networks that are shown more than the image, or answer at several scales."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from tiny import TinyNet, moment, tiny_config

from n2n_jax import models
from n2n_jax.data.feeds import Batch, DeviceFeed
from n2n_jax.data.sources.photos import photos
from n2n_jax.data.sources.source import ArraySource
from n2n_jax.models.outputs import Outputs
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import make_layout
from n2n_jax.train import run_checks
from n2n_jax.train import step as steps
from n2n_jax.train.tasks import make_task


class Pyramid(TinyNet):
    """Answers 0 to the network, plus a bias of its own at each stride."""

    has_pyramid = True

    @nn.compact
    def __call__(self, x_BHWC, *, train=False):
        del train
        biases = {s: self.param(f'bias{s}', nn.initializers.zeros, ()) for s in (1, 2, 4)}
        coarse = {s: 0 * x_BHWC[:, ::s, ::s] + biases[s] for s in (2, 4)}
        return Outputs(0 * x_BHWC + biases[1], coarse)


def first_step(config, source=None):
    layout = make_layout(config.data.batch_size, jax.devices()[:1])
    feed = DeviceFeed(
        source or ArraySource(photos()), config.data, channels=3, seed=0, layout=layout
    )
    state = jax.jit(lambda: steps.init_state(config), out_shardings=layout.replicated)()
    train_step = steps.make_train_step(config, make_task(config), feed, layout)
    state, metrics = train_step(state, feed.constants, feed.inputs(0, 1))
    clean_BHWC = feed.batch(feed.constants, feed.inputs(0, 1)[0]).input_BHWI
    return state.variables['params']['network'], float(metrics['loss'][0]), clean_BHWC


@pytest.mark.parametrize('weight', [0.0, 0.5])
def test_the_coarser_answers_learn_from_single_pixels_of_the_target(weight, monkeypatch):
    monkeypatch.setitem(models.REGISTRY, 'pyramid', Pyramid)
    config = tiny_config(
        **{
            'model.name': 'pyramid',
            'model.residual': False,
            'noise.target': 'clean',
            'optim.pyramid': weight,
        }
    )
    params, loss, clean_BHWC = first_step(config)
    # All answers are 0.5 at first.
    errors = [np.mean(np.square(clean_BHWC[:, ::s, ::s] - 0.5)) for s in (1, 2, 4)]
    np.testing.assert_allclose(loss, errors[0] + weight * (errors[1] + errors[2]), rtol=1e-5)
    assert params['bias1'] != 0
    assert (params['bias4'] != 0) == (weight > 0)


def test_pyramid_supervision_needs_a_network_with_coarser_answers():
    with pytest.raises(UserError, match=r'optim.pyramid=1.0 needs .*model.name=rednet, not tiny'):
        run_checks.check_new(tiny_config(**{'optim.pyramid': 1.0}))


def test_planes_are_shown_but_neither_corrupted_nor_learned():
    config = tiny_config(**{'model.planes': 'depth:1', 'model.noise_map': True})
    rng = np.random.default_rng(0)
    stacked_BHWI = jnp.asarray(rng.random((4, 16, 16, 4), np.float32))
    noisy_BHWI, target_BHWC, mask = make_task(config).pair(
        Batch(stacked_BHWI, stacked_BHWI), moment()
    )
    assert mask is None
    assert noisy_BHWI.shape == (4, 16, 16, 5)
    assert target_BHWC.shape == (4, 16, 16, 3)
    np.testing.assert_array_equal(noisy_BHWI[..., 3], stacked_BHWI[..., 3])
    noise_BHWC = noisy_BHWI[..., :3] - stacked_BHWI[..., :3]
    np.testing.assert_allclose(np.std(noise_BHWC), 25 / 255, rtol=0.05)
    level_B = np.sqrt(np.mean(np.square(noise_BHWC), axis=(1, 2, 3)))
    level_BHW = np.broadcast_to(level_B[:, None, None], (4, 16, 16))
    np.testing.assert_allclose(noisy_BHWI[..., 4], level_BHW, rtol=1e-5)


@pytest.mark.parametrize('key', ['model.planes=depth:1', 'model.noise_map=True'])
@pytest.mark.parametrize(
    ('others', 'said'),
    [({'captures.paths': 'x'}, 'not captures'), ({'noise.realizations': 2}, 'fresh noise')],
)
def test_planes_need_clean_images_and_fresh_noise(key, others, said):
    name, value = key.split('=')
    with pytest.raises(UserError, match=said):
        tiny_config(**{name: value == 'True' or value, **others})

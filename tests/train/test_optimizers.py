"""Optimizers and schedules by name: what they do to weights, and to the learning rate."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_runs import done, interrupted_before
from tiny import tiny_config

from n2n_jax.data.feeds import DeviceFeed
from n2n_jax.models import weights
from n2n_jax.runtime.checkpoint import Checkpoints
from n2n_jax.runtime.errors import UserError
from n2n_jax.train import loop, optimizers, schedules
from n2n_jax.train.optimizers.muon import Muon
from n2n_jax.train.run_checks import check_new

pytestmark = pytest.mark.usefixtures('steps_shared')

PARAMS = {'kernel': jnp.array([[3.0, -2.0], [1.0, 4.0]]), 'bias': jnp.array([1.0, -1.0])}
TARGET = {'kernel': jnp.array([[1.0, 0.5], [-1.0, 2.0]]), 'bias': jnp.array([0.2, 0.4])}


def config_of(name, **changes):
    return tiny_config(
        **{'optim.name': name, 'train.steps': 400, 'optim.ema_decay': 0.0, **changes}
    )


def loss(params):
    return sum(jnp.sum((params[key] - TARGET[key]) ** 2) for key in params)


def trained(config, num_steps):
    """(weights, average of the optimizer) after some steps."""
    transformation = optimizers.transformation(config, schedules.make_schedule(config))

    def step(carry, _):
        params, state = carry
        updates, state = transformation.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    carry = (PARAMS, transformation.init(PARAMS))
    (params, state), _ = jax.lax.scan(step, carry, length=num_steps)
    return params, optimizers.average(config, state, params)


@pytest.mark.parametrize(
    ('name', 'rate'),
    [
        ('adam', 0.05), ('adamw:weight_decay=0', 0.05), ('lion:b2=0.9', 0.02), ('muon', 0.2),
        ('sgd', 0.02), ('sgd:momentum=0', 0.1), ('sgd:momentum=0.9,nesterov', 0.02),
        ('schedule_free', 0.1),
    ],
)  # fmt: skip
@pytest.mark.parametrize('clip_norm', [0.0, 1.0])
def test_every_optimizer_finds_the_minimum(name, rate, clip_norm):
    config = config_of(name, **{'optim.learning_rate': rate, 'optim.clip_norm': clip_norm})
    params, average = trained(config, 400)
    assert loss(params if average is None else average) < 1e-2
    assert (average is not None) == (name == 'schedule_free')


def test_the_registry_is_tested_whole():
    assert set(optimizers.REGISTRY) == {'adam', 'adamw', 'lion', 'muon', 'schedule_free', 'sgd'}


def test_momentum_is_that_of_the_textbook():
    config = config_of('sgd:momentum=0.5', **{'optim.schedule': 'constant'})
    rate = config.optim.learning_rate
    params, _ = trained(config, 2)
    first = PARAMS['bias'] - rate * 2 * (PARAMS['bias'] - TARGET['bias'])
    velocity = 0.5 * 2 * (PARAMS['bias'] - TARGET['bias']) + 2 * (first - TARGET['bias'])
    np.testing.assert_allclose(params['bias'], first - rate * velocity, rtol=1e-6)


@pytest.mark.parametrize('name', ['adamw', 'lion', 'muon', 'sgd'])
def test_kernels_decay_and_biases_do_not(name):
    changes = {'optim.schedule': 'constant', 'optim.learning_rate': 1e-2}
    plain, _ = trained(config_of(f'{name}:weight_decay=0', **changes), 1)
    decayed, _ = trained(config_of(f'{name}:weight_decay=0.5', **changes), 1)
    np.testing.assert_array_equal(plain['bias'], decayed['bias'])
    np.testing.assert_allclose(
        plain['kernel'] - decayed['kernel'], 1e-2 * 0.5 * PARAMS['kernel'], rtol=1e-3
    )


def test_muon_treats_a_convolution_as_a_matrix():
    params = {'conv': jnp.zeros((3, 3, 8, 4)), 'bias': jnp.zeros(4)}
    conv = jax.random.normal(jax.random.key(0), (3, 3, 8, 4)) * jnp.array(
        [[[[1.0, 2.0, 5.0, 10.0]]]]
    )
    transformation = Muon().transformation(lambda step: 1.0)
    grads = {'conv': conv, 'bias': jnp.ones(4)}
    updates, _ = transformation.update(grads, transformation.init(params), params)
    assert spread(conv) > 5
    assert spread(updates['conv']) < 2


def spread(kernel_HWIO):
    """Ratio of the largest singular value of a convolution to the smallest."""
    singular = np.linalg.svd(np.asarray(kernel_HWIO).reshape(-1, 4), compute_uv=False)
    return singular.max() / singular.min()


def rates(schedule, num_steps=100, **changes):
    config = tiny_config(
        **{'optim.schedule': schedule, 'train.steps': num_steps, 'optim.learning_rate': 1.0,
           **changes}
    )  # fmt: skip
    rate = schedules.learning_rate(schedules.shape_of(config), schedules.make_schedule(config))
    return np.array([float(rate(step)) for step in range(num_steps + 1)])


def test_schedules_have_the_shapes_of_their_names():
    np.testing.assert_array_equal(rates('constant'), 1)
    cosine = rates('cosine:end=0.1')
    assert (cosine[0], cosine[50], cosine[100]) == pytest.approx((1, 0.55, 0.1))
    one_cycle = rates('one_cycle:peak=0.4')
    assert np.argmax(one_cycle) == 40
    assert (one_cycle[0], one_cycle[20], one_cycle[40]) == pytest.approx((0.04, 0.52, 1))
    assert (one_cycle[70], one_cycle[100]) == pytest.approx((0.5, 0), abs=1e-6)
    ramp = rates('ramp_down:0.5')
    assert (ramp[:51] == 1).all()
    assert (ramp[75], ramp[100]) == pytest.approx((0.25, 0), abs=1e-6)
    np.testing.assert_array_equal(rates('ramp_down:0'), 1)
    decay = rates('exponential:0.01')
    assert (decay[0], decay[50], decay[100]) == pytest.approx((1, 0.1, 0.01), rel=1e-4)
    rise = rates('exponential:start=1e-06,end=1')
    assert (rise[0], rise[50], rise[100]) == pytest.approx((1e-6, 1e-3, 1), rel=1e-4)
    assert rates('constant', **{'optim.warmup_steps': 10})[:3] == pytest.approx((0.1, 0.2, 0.3))


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'optim.name': 'adm'}, "Unknown optim.name 'adm'. Did you mean 'adam'?"),
        ({'optim.name': 'adam:beta=0.9'}, "'adam' has no option 'beta'"),
        ({'optim.name': 'adam:b1=1'}, "'b1=1' is invalid: write 0 or more and below 1"),
        ({'optim.schedule': 'cosin'}, "Did you mean 'cosine'?"),
        ({'optim.schedule': 'ramp_down:1.5'}, "'share=1.5' is invalid: write between 0 and 1"),
        ({'optim.name': 'schedule_free', 'optim.ema_decay': 0.9}, 'write optim.ema_decay=0.'),
    ],
)
def test_wrong_names_and_options_are_told_of(changes, words):
    with pytest.raises(UserError) as caught:
        check_new(tiny_config(**changes))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    'name',
    [
        'sgd:momentum=0.9,nesterov',
        *(pytest.param(name, marks=pytest.mark.slow) for name in ('schedule_free', 'muon')),
    ],
)
def test_a_run_resumes_with_every_optimizer_as_if_undisturbed(tmp_path, image_folder, name):
    config = tiny_config(
        **{'data.train': f'folder:{image_folder}', 'eval.in_loop': False, 'optim.name': name,
           'optim.ema_decay': 0.0 if name == 'schedule_free' else 0.9}
    )  # fmt: skip
    assert loop.train(config, tmp_path / 'straight')
    with interrupted_before(2, DeviceFeed):
        assert not loop.train(config, tmp_path / 'stopped')
    assert loop.train(config, tmp_path / 'stopped')
    assert weights_of(tmp_path / 'straight') == weights_of(tmp_path / 'stopped')


def weights_of(run):
    """Hash of the weights, and of the average that ships."""
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    with Checkpoints(run) as checkpoints:
        shipped = weights.shipped_variables(checkpoints, checkpoints.last_step, sharding)
    return done(run)['weights_sha256'], weights.weights_hash(shipped)

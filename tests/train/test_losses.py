"""Each loss is known by the constant that minimizes it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from n2n_jax import corruptions
from n2n_jax.runtime.errors import UserError, did_you_mean
from n2n_jax.train import losses

NOISE_SHAPE = (1, 128, 128, 1)


def best_constant(loss_fn, target_BHWC, mask_BHWC=None, progress=0.0):
    """The constant image that minimizes the loss, on a grid of 1/500."""
    candidates = jnp.linspace(0, 2, 1001)

    def value(constant):
        image_BHWC = jnp.full_like(target_BHWC, constant)
        return loss_fn(image_BHWC, target_BHWC, mask_BHWC, jnp.float32(progress))[0]

    return float(candidates[jnp.argmin(jax.lax.map(value, candidates))])


def captures(spec, value, seed=0):
    return corruptions.parse(spec).sample(jax.random.key(seed), jnp.full(NOISE_SHAPE, value))


def test_l2_finds_the_mean_and_l1_the_median():
    target_BHWC = jax.random.gamma(jax.random.key(0), 0.5, NOISE_SHAPE)
    assert best_constant(losses.REGISTRY['l2'], target_BHWC) == pytest.approx(
        float(target_BHWC.mean()), abs=2e-3
    )
    want = float(jnp.median(target_BHWC))
    assert best_constant(losses.REGISTRY['l1'], target_BHWC) == pytest.approx(want, abs=4e-3)
    assert abs(want - float(target_BHWC.mean())) > 0.2


def test_l1_is_biased_for_poisson_noise_and_l2_is_not():
    # Rate 2.5: the median is 2. A whole rate would hide the bias.
    target_BHWC = captures('poisson:2.5', 1.0).image_BHWC
    assert best_constant(losses.REGISTRY['l1'], target_BHWC) == pytest.approx(0.8, abs=2e-3)
    assert best_constant(losses.REGISTRY['l2'], target_BHWC) == pytest.approx(1.0, abs=0.02)


def test_masked_l2_needs_the_mask_of_the_target():
    target = captures('bernoulli:0.5', 0.7)
    wrong = captures('bernoulli:0.5', 0.7, seed=1).mask_BHWC
    found = {
        name: best_constant(losses.REGISTRY['masked_l2'], target.image_BHWC, mask)
        for name, mask in (('target', target.mask_BHWC), ('input', wrong), ('none', None))
    }
    assert found['target'] == pytest.approx(0.7, abs=2e-3)
    assert found['input'] == pytest.approx(0.35, abs=0.02)
    assert found['none'] == pytest.approx(0.35, abs=0.02)


@pytest.mark.parametrize('name', [name for name, loss in losses.REGISTRY.items() if loss.uses_mask])
def test_masked_losses_have_no_gradient_where_the_target_is_missing(name):
    loss_fn = losses.REGISTRY[name]
    target = captures('bernoulli:0.5', 0.7)
    gradient, num_values = jax.grad(loss_fn, has_aux=True)(
        jnp.zeros(NOISE_SHAPE), target.image_BHWC, target.mask_BHWC, jnp.float32(0)
    )
    assert float(num_values) == float(target.mask_BHWC.sum())
    missing = np.asarray(target.mask_BHWC) == 0
    assert (np.asarray(gradient)[missing] == 0).all()
    assert (np.asarray(gradient)[~missing] != 0).all()
    empty, _ = loss_fn(jnp.ones(NOISE_SHAPE), jnp.ones(NOISE_SHAPE), jnp.zeros(NOISE_SHAPE), 0.0)
    assert float(empty) == 0


@pytest.mark.parametrize('name', ['l2', 'l1', 'l0'])
def test_without_a_mask_a_masked_loss_is_the_plain_one(name):
    images = jax.random.uniform(jax.random.key(0), (2, *NOISE_SHAPE))
    masked, plain = (losses.REGISTRY[prefix + name] for prefix in ('masked_', ''))
    assert masked(*images, None, 0.5) == plain(*images, None, 0.5)


@pytest.mark.parametrize(
    ('p', 'progress', 'want'),
    [
        (0.7, 0.0, 0.62),  # gamma 2: the mean
        (0.7, 0.75, 0.9),  # gamma 0.5 finds the mode at 70 %
        (0.9, 0.75, 0.59),  # but not at 90 %,
        (0.9, 1.0, 0.9),  # where gamma 0.1 does
    ],
)
def test_l0_moves_from_the_mean_to_the_mode(p, progress, want):
    target_BHWC = captures(f'impulse:{p}', 0.9).image_BHWC
    assert best_constant(losses.REGISTRY['l0'], target_BHWC, None, progress) == pytest.approx(
        want, abs=0.03
    )


def test_l0_has_finite_gradients_at_a_perfect_fit():
    image_BHWC = jnp.full(NOISE_SHAPE, 0.5)
    gradient, _ = jax.grad(losses.REGISTRY['l0'], has_aux=True)(
        image_BHWC, image_BHWC, None, jnp.float32(1.0)
    )
    assert np.isfinite(np.asarray(gradient)).all()


@pytest.mark.parametrize('loss_fn', losses.REGISTRY.values())
def test_a_target_of_another_shape_is_refused(loss_fn):
    with pytest.raises(ValueError, match='Shapes differ'):
        loss_fn(jnp.zeros((2, 8, 8, 3)), jnp.zeros((1, 8, 8, 3)), None, jnp.float32(0))


def test_did_you_mean_names_the_closest_or_all():
    assert did_you_mean('masked_l3', losses.REGISTRY).startswith("Did you mean 'masked_l")
    assert did_you_mean('huber', ['l2', 'l1']) == 'Choose from: l2, l1.'
    assert issubclass(UserError, ValueError)

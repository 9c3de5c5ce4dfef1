"""Each loss is known by the constant that minimizes it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import random_weights
from tiny import tiny_config

from n2n_jax import corruptions
from n2n_jax.corruptions.tone_curve import slope_of_linear, to_linear
from n2n_jax.runtime.errors import UserError, did_you_mean
from n2n_jax.train import loop, losses
from n2n_jax.train import step as steps
from n2n_jax.train.losses.vgg import features
from n2n_jax.train.run_checks import check_new
from n2n_jax.train.tasks import make_task

NOISE_SHAPE = (1, 128, 128, 1)


def best_constant(loss_fn, target_BHWC, mask_BHWC=None, progress=0.0):
    """The constant image that minimizes the loss, on a grid of 1/500."""
    return float(_best_constant(target_BHWC, mask_BHWC, progress, loss_fn=loss_fn))


@functools.partial(jax.jit, static_argnames='loss_fn')
def _best_constant(target_BHWC, mask_BHWC, progress, *, loss_fn):
    candidates = jnp.linspace(0, 2, 1001)

    def value(constant):
        image_BHWC = jnp.full_like(target_BHWC, constant)
        return loss_fn(image_BHWC, target_BHWC, mask_BHWC, jnp.float32(progress))[0]

    return candidates[jnp.argmin(jax.lax.map(value, candidates))]


@functools.cache
def sampler(spec):
    return jax.jit(corruptions.parse(spec).sample)


def captures(spec, value, seed=0):
    return sampler(spec)(jax.random.key(seed), jnp.full(NOISE_SHAPE, value))


def test_l2_finds_the_mean_and_l1_the_median():
    target_BHWC = np.random.default_rng(0).gamma(0.5, size=NOISE_SHAPE).astype(np.float32)
    assert best_constant(losses.make('l2'), target_BHWC) == pytest.approx(
        float(target_BHWC.mean()), abs=2e-3
    )
    want = float(np.median(target_BHWC))
    assert best_constant(losses.make('l1'), target_BHWC) == pytest.approx(want, abs=4e-3)
    assert abs(want - float(target_BHWC.mean())) > 0.2


def test_l1_is_biased_for_poisson_noise_and_l2_is_not():
    # Rate 2.5: the median is 2. A whole rate would hide the bias.
    target_BHWC = captures('poisson:2.5', 1.0).image_BHWC
    assert best_constant(losses.make('l1'), target_BHWC) == pytest.approx(0.8, abs=2e-3)
    assert best_constant(losses.make('l2'), target_BHWC) == pytest.approx(1.0, abs=0.02)


def test_masked_l2_needs_the_mask_of_the_target():
    target = captures('bernoulli:0.5', 0.7)
    wrong = captures('bernoulli:0.5', 0.7, seed=1).mask_BHWC
    found = {
        name: best_constant(losses.make('masked_l2'), target.image_BHWC, mask)
        for name, mask in (('target', target.mask_BHWC), ('input', wrong), ('none', None))
    }
    assert found['target'] == pytest.approx(0.7, abs=2e-3)
    assert found['input'] == pytest.approx(0.35, abs=0.02)
    assert found['none'] == pytest.approx(0.35, abs=0.02)


@pytest.mark.parametrize('name', [name for name in losses.REGISTRY if losses.make(name).uses_mask])
def test_masked_losses_have_no_gradient_where_the_target_is_missing(name):
    loss_fn = losses.make(name)
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
    masked, plain = (losses.make(prefix + name) for prefix in ('masked_', ''))
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
    assert best_constant(losses.make('l0'), target_BHWC, None, progress) == pytest.approx(
        want, abs=0.03
    )


def test_l0_has_finite_gradients_at_a_perfect_fit():
    image_BHWC = jnp.full(NOISE_SHAPE, 0.5)
    gradient, _ = jax.grad(losses.make('l0'), has_aux=True)(
        image_BHWC, image_BHWC, None, jnp.float32(1.0)
    )
    assert np.isfinite(np.asarray(gradient)).all()


@pytest.mark.parametrize('name', losses.REGISTRY)
def test_a_target_of_another_shape_is_refused(name):
    with pytest.raises(ValueError, match='Shapes differ'):
        losses.make(name)(jnp.zeros((2, 8, 8, 3)), jnp.zeros((1, 8, 8, 3)), None, jnp.float32(0))


def test_did_you_mean_names_the_closest_or_all():
    assert did_you_mean('masked_l3', losses.REGISTRY).startswith("Did you mean 'masked_l")
    assert did_you_mean('huber', ['l2', 'l1']) == 'Choose from: l2, l1.'
    assert issubclass(UserError, ValueError)


def learned(name, target_BHWC, start=0.5, rate=0.3, num_steps=400):
    """The constant that gradient descent with a falling rate ends at."""
    return float(_learned(target_BHWC, jnp.float32(start), name, rate, num_steps))


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _learned(target_BHWC, start, name, rate, num_steps):
    objective = losses.make(name)

    def value(constant):
        image_BHWC = jnp.full_like(target_BHWC, constant)
        return objective(image_BHWC, target_BHWC, None, jnp.float32(0))[0]

    def step(i, constant):
        gradient = jax.grad(value)(constant)
        return constant - rate * (1 - i / num_steps) * gradient / (1 + jnp.abs(gradient))

    return jax.lax.fori_loop(0, num_steps, step, start)


def test_hdr_learns_the_mean_of_long_tailed_noise():
    rng = np.random.default_rng(0)
    target_BHWC = rng.gamma(0.5, 2, size=NOISE_SHAPE).astype(np.float32)  # of mean 1
    mean, second = float(target_BHWC.mean()), float(np.square(target_BHWC).mean())
    assert learned('hdr', target_BHWC) == pytest.approx(mean, abs=0.02)
    # What it would learn with a gradient through its denominator.
    assert (second + 0.01 * mean) / (mean + 0.01) == pytest.approx(2.98, abs=0.2)


@pytest.mark.parametrize('clean', [pytest.param(0.02, marks=pytest.mark.slow), 0.3])
def test_linear_light_learns_the_scene_of_a_camera(clean):
    target_BHWC = captures('camera:100,demosaic=none', clean).image_BHWC
    light = float(to_linear(target_BHWC).mean())
    found = learned('linear_light', target_BHWC, num_steps=1500)
    assert float(to_linear(jnp.float32(found))) == pytest.approx(light, abs=2e-3)
    assert found == pytest.approx(clean, abs=0.01)
    assert float(target_BHWC.mean()) < found - 0.01  # what L2 would learn


def test_the_slope_of_linear_light_is_its_derivative():
    for value in (-0.3, 0.0, 0.03, 0.05, 0.5, 1.0, 1.3):
        want = jax.grad(to_linear)(jnp.float32(value))
        assert slope_of_linear(jnp.float32(value)) == pytest.approx(float(want), rel=1e-5)


@pytest.mark.parametrize('clean', [0.05, 0.5, 0.9])
def test_cross_entropy_learns_the_mean_of_targets_beyond_0_and_1(clean):
    target_BHWC = captures('gaussian:60', clean).image_BHWC[:1, :8]
    assert float(target_BHWC.min()) < 0 or float(target_BHWC.max()) > 1
    for start in (-0.5, 0.5, 1.5):  # also from outside
        found = learned('cross_entropy', target_BHWC, start, rate=0.05, num_steps=1500)
        assert found == pytest.approx(float(target_BHWC.mean()), abs=0.01)


def test_charbonnier_is_l1_for_large_errors_and_l2_for_small_ones():
    charbonnier = losses.make('charbonnier:0.01')

    def at(error):
        images = jnp.full((1, 8, 8, 1), error), jnp.zeros((1, 8, 8, 1))
        return float(charbonnier(*images, None, 0.0)[0])

    assert at(0.5) == pytest.approx(0.5, rel=1e-3)
    assert at(0.001) - at(0.0) == pytest.approx(0.001**2 / (2 * 0.01), rel=0.01)
    assert (charbonnier.statistic, losses.make('charbonnier:0.1').statistic) == ('median', None)
    target_BHWC = captures('poisson:2.5', 1.0).image_BHWC
    found = best_constant(losses.make('charbonnier'), target_BHWC)
    assert found == pytest.approx(0.8, abs=4e-3)


def test_the_fourier_loss_of_white_noise_is_that_of_a_rayleigh_distribution():
    noise_BHWC = np.random.default_rng(0).normal(0, 0.1, (4, 64, 64, 1)).astype(np.float32)
    fourier = losses.make('fourier')
    found, num = jax.jit(lambda x: fourier(x, jnp.zeros_like(x), None, 0.0))(noise_BHWC)
    assert float(found) == pytest.approx(0.1 * np.sqrt(np.pi) / 2, rel=0.02)
    assert num == noise_BHWC.size
    gradient = jax.jit(jax.grad(lambda x: fourier(x, x, None, 0.0)[0]))(noise_BHWC)
    assert np.isfinite(gradient).all()


def test_a_sum_is_that_of_its_weighted_terms():
    images = jax.random.uniform(jax.random.key(0), (2, 1, 16, 16, 3))
    l2, l1 = (losses.make(name)(*images, None, 0.0)[0] for name in ('l2', 'l1'))
    total, _ = losses.make('l2*100+l1 * 0.5')(*images, None, 0.0)
    assert float(total) == pytest.approx(100 * float(l2) + 0.5 * float(l1), rel=1e-6)
    assert losses.make('l2+hdr').statistic == 'mean'
    assert losses.make('l2+l1').statistic is None
    assert not losses.make('masked_l2+l2').uses_mask
    assert losses.make('l2:masked') == losses.Objective('l2:masked', losses.make('masked_l2').terms)


@pytest.mark.parametrize(
    ('spec', 'words'),
    [
        ('l2*', "cannot be parsed at 'l2*'"),
        ('l2+', "cannot be parsed at ''"),
        ('l2*x+l1', "cannot be parsed at 'l2*x'"),
        ('l3', 'Unknown optim.loss'),
        ('charbonnier:0', "'eps=0' is invalid: write above 0"),
        ('l2:eps=3', "'l2' has no option 'eps'"),
    ],
)
def test_a_loss_that_cannot_be_read_says_what_to_write(spec, words):
    with pytest.raises(UserError) as caught:
        losses.make(spec)
    assert words in str(caught.value)


@pytest.fixture
def vgg_weights(tmp_path):
    """A file of random weights with the names and shapes of a VGG-16."""
    arrays = random_weights.vgg16('1_1', '1_2', '2_1')
    np.savez(tmp_path / 'vgg.npz', **arrays)
    return tmp_path / 'vgg.npz'


def relu2_1_written_anew(image_HWC, given):
    y_CHW = (255 * image_HWC[..., ::-1] - (103.939, 116.779, 123.68)).transpose(2, 0, 1)
    for key in ('block1_conv1', 'block1_conv2', 'block2_conv1'):
        if key == 'block2_conv1':
            y_CHW = y_CHW.reshape(64, 3, 2, 4, 2).max(axis=(2, 4))
        padded = np.pad(y_CHW, ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        y_CHW = np.einsum('ihwyx,oiyx->ohw', windows, given[f'{key}_k'])
        y_CHW = np.maximum(y_CHW + given[f'{key}_b'][:, None, None], 0)
    return y_CHW


def test_features_are_those_of_a_network_written_anew(vgg_weights):
    loss = losses.make('vgg:relu2_1')
    arrays = loss.arrays(str(vgg_weights))
    images_BHWC = np.random.default_rng(1).random((2, 6, 8, 3)).astype(np.float32)
    found_BHWC = features(arrays[0], jnp.asarray(images_BHWC), ['2_1'])[0]
    first, second = (relu2_1_written_anew(image, np.load(vgg_weights)) for image in images_BHWC)
    np.testing.assert_allclose(found_BHWC[0].transpose(2, 0, 1), first, rtol=1e-4, atol=1e-3)
    # In units of images in [0, 1], though this network saw them in 0 to 255.
    value, _ = loss(*jnp.asarray(images_BHWC)[:, None], None, 0.0, arrays)
    assert float(value) == pytest.approx(np.mean(((first - second) / 255) ** 2), rel=1e-4)


@pytest.mark.slow
def test_a_perceptual_loss_trains_and_its_weights_do_not_change(
    vgg_weights, image_folder, tmp_path
):
    config = tiny_config(
        **{'data.train': f'folder:{image_folder}', 'eval.in_loop': False, 'noise.target': 'clean',
           'optim.loss': 'l2*100+vgg:relu1_2-relu2_1', 'optim.loss_weights': str(vgg_weights)}
    )  # fmt: skip
    assert loop.train(config, tmp_path / 'run')
    assert loop.train(
        dataclasses.replace(config, train=dataclasses.replace(config.train, steps=6)),
        tmp_path / 'run',
    )
    state = steps.init_state(config)
    images = jax.random.uniform(jax.random.key(0), (2, 1, 16, 16, 1))  # gray ones too
    loss, _ = losses.make(config.optim.loss)(*images, None, 0.0, state.loss_arrays)
    assert float(loss) > 0


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'optim.loss': 'vgg:relu1_2'}, 'needs the weights of a VGG-16: write optim.loss_weights='),
        ({'optim.loss': 'vgg:relu1_2', 'optim.loss_weights': 'gone.npz'}, 'gone.npz: no such file'),
        ({'optim.loss': 'vgg:relu3_3', 'optim.loss_weights': 'HERE'}, "lacks 'block2_conv2_k'"),
        ({'optim.loss': 'vgg:relu9_9', 'optim.loss_weights': 'HERE'}, "no layer '9_9'"),
    ],
)
def test_a_perceptual_loss_without_its_weights_ends_in_a_sentence(changes, words, vgg_weights):
    changes = {key: str(vgg_weights) if x == 'HERE' else x for key, x in changes.items()}
    with pytest.raises(UserError) as caught:
        steps.init_state(tiny_config(**changes))
    assert words in str(caught.value)


def test_losses_that_make_no_sense_are_refused():
    captures = {'captures.paths': 'a.tif,b.tif'}
    for loss in ('l2+vgg', 'charbonnier', 'fourier', 'l2*100+l1', 'masked_l2+l1'):
        with pytest.raises(UserError, match='learns from values that were not measured'):
            make_task(tiny_config(**captures, **{'optim.loss': loss}))
    masked = make_task(tiny_config(**captures, **{'optim.loss': 'charbonnier:masked'}))
    assert masked.loss_name == 'charbonnier:masked'
    mixed = {'optim.loss': 'l1+masked_l2', 'noise.input': 'bernoulli:0.5', 'optim.accumulate': 2}
    with pytest.raises(UserError, match='uses the mask of the targets and another does not'):
        check_new(tiny_config(**mixed))

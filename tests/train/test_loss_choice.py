"""What a noise says of its statistics is true, and every loss is checked against it."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimized
import pytest
from tiny import tiny_config

from n2n_jax import corruptions
from n2n_jax.corruptions.base import Corruption
from n2n_jax.corruptions.statistics import Stage
from n2n_jax.runtime.errors import UserError
from n2n_jax.train import loss_choice, losses
from n2n_jax.train.losses.pointwise import L1
from n2n_jax.train.tasks import make_task

# Of 255, over some 16,000 captures of a value; none of the shifts that are told of is smaller.
TOLERANCE = 2.5

# Of 255: all would take four times as long. These are denser than the tolerance around every clean
# value, and hold those that a noise likes to leave: 0, 85, 170 and 255.
CANDIDATES = sorted({*range(-64, 320, 4), 85, 170, 255})

# Of each statistic one loss with and one without a mask.
LOSSES = ('l2', 'l1', 'l0', 'masked_l2', 'masked_l1', 'masked_l0')

# The loss that 'auto' takes, and all that learn the clean image (the masked ones as well).
SUITABLE = {
    'gaussian:10': ('l2', 'l2 l1 l0'),
    'poisson:0.5': ('l2', 'l2'),
    'impulse:0.3': ('l0', 'l1 l0'),
    'impulse:0.9': ('l0', 'l0'),
    'impulse:0-0.95': ('l0', 'l1 l0'),
    'text:0.25': ('l1', 'l1 l0'),
    'text:0.5': ('l0', 'l0'),
    'bernoulli:0.3': ('masked_l2', 'l1 l0 masked_l2 masked_l1 masked_l0'),
    'bernoulli:0.6': ('masked_l2', 'masked_l2 masked_l1 masked_l0'),
    'gaussian:60+clip': ('l1', 'l1'),
    'gaussian:60+quantize:8': ('l1', 'l1'),
    'quantize:2': (None, ''),
    'blur:0': ('l2', 'l2 l1 l0'),
    'gaussian:25+poisson:30': (None, ''),
    'text:0.25+bernoulli:0.6': ('masked_l1', 'masked_l1 masked_l0'),
    'impulse:0.7+bernoulli:0.6': ('masked_l0', 'masked_l0'),
    'bernoulli:0.6+poisson:2.5': ('masked_l2', 'masked_l2'),
    'gaussian:5+bernoulli:0.6': ('masked_l2', 'masked_l2 masked_l1 masked_l0'),
    'impulse:0.4+gaussian:5': ('l0', 'l0'),
    'brown:5,bandwidth=1': ('l2', 'l2 l1 l0'),
    'rows:3': ('l2', 'l2 l1 l0'),
    'speckle:0.05': ('l2', 'l2 l1 l0'),
    'poisson_gaussian:2.5,read=2': ('l2', 'l2'),
    'salt_pepper:0.3': ('l1', 'l1 l0'),
    'salt_pepper:0.6': ('l1', 'l1 l0'),
    'salt_pepper:0.8': ('l1', 'l1'),
    'salt_pepper:0.55,white=1': (None, ''),
}
# Those that are two noises of the table in a row, or a level between two others.
SLOW = {
    'text:0.5',
    'gaussian:25+poisson:30',
    'gaussian:60+quantize:8',
    'text:0.25+bernoulli:0.6',
    'impulse:0.7+bernoulli:0.6',
    'bernoulli:0.6+poisson:2.5',
    'impulse:0.4+gaussian:5',
    'impulse:0-0.95',
    'salt_pepper:0.6',
    'brown:5,bandwidth=1',
    'rows:3',
}


@pytest.fixture(autouse=True, scope='module')
def _few_candidates():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_choice, '_CANDIDATES', CANDIDATES)
        jax.clear_caches()  # what was compiled with all of them
        # Losses share the captures of a noise, and are computed for longer than they are compiled.
        patch.setattr(loss_choice, '_flat_captures', _remembering(loss_choice._flat_captures))
        best_candidate = loss_choice._best_candidate.__wrapped__
        patch.setattr(
            loss_choice,
            '_best_candidate',
            optimized.jit(best_candidate, static_argnames='loss'),
        )
        yield


def _remembering(flat_captures):
    known = {}

    def remembered(key, value, *, target):
        name = (*np.asarray(jax.random.key_data(key)).tolist(), value, target)
        if name not in known:
            known[name] = flat_captures(key, value, target=target)
        return known[name]

    return remembered


@pytest.mark.parametrize(
    'spec',
    [pytest.param(spec, marks=[pytest.mark.slow] if spec in SLOW else []) for spec in SUITABLE],
)
def test_a_loss_suits_a_noise_if_and_only_if_it_learns_the_clean_image(spec):
    target = corruptions.parse(spec)
    best, suitable = SUITABLE[spec]
    assert loss_choice.suitable_loss(target) == best
    for name in LOSSES:
        loss = losses.make(name)
        if loss.uses_mask and not target.masks:  # the same as without
            assert loss_choice.suits(loss, target) == (name.removeprefix('masked_') in suitable)
            continue
        assert loss_choice.suits(loss, target) == (name in suitable.split()), name
        # The ends first: most losses that learn something else show it there.
        learns_clean = all(
            abs(loss_choice.best_constant(loss, target, value) - value) < TOLERANCE
            for value in (0, 255, 64, 192, 128)
        )
        assert learns_clean == (name in suitable.split()), name


def test_flat_images_do_not_show_that_a_blur_changes_the_image_but_we_know():
    blurred = ('blur:1', 'blur:1.6+gaussian:10', 'gaussian:10+blur:1', 'bernoulli:0.3+blur:1')
    for spec in (
        *blurred,
        'motion_blur:9',
        'pixelated:2',
        'gaussian:5+pixelated:4',
        'camera:100',
        'jpeg:90',
    ):
        target = corruptions.parse(spec)
        assert loss_choice.suitable_loss(target) is None
        assert not any(loss_choice.suits(losses.make(name), target) for name in losses.REGISTRY)


def test_captures_share_a_fixed_pattern_so_no_loss_can_tell_it_from_the_image(caplog):
    for spec in ('fixed_pattern:5', 'gaussian:25+fixed_pattern:5', 'fixed_pattern:5+poisson:30'):
        with pytest.raises(UserError, match='No loss learns the clean image from targets with'):
            make_task(tiny_config(**{'noise.input': spec}))
    make_task(tiny_config(**{'noise.input': 'fixed_pattern:5', 'optim.loss': 'l2'}))
    assert 'No loss learns the clean image' in caplog.text
    assert loss_choice.suitable_loss(corruptions.parse('fixed_pattern:0')) == 'l2'


@pytest.mark.parametrize(
    ('spec', 'loss'),
    [
        ('brown:0-50,bandwidth=4', 'l2'),
        ('motion_blur:0', 'l2'),
        ('pixelated:1', 'l2'),
        ('salt_pepper:0.9+clip', 'l1'),
        ('salt_pepper:0.4+gaussian:5', 'l0'),  # the peak at the clean value is the highest
        ('salt_pepper:0.8+gaussian:5', None),
        ('gaussian:5+salt_pepper:0.4', None),  # no value is exactly clean
        ('salt_pepper:1', None),
        ('gaussian:0-50', 'l2'),
        ('poisson:0.001-50', 'l2'),
        ('text:0-0.5', 'l1'),  # the published recipes keep their losses
        ('bernoulli:0-0.95', 'masked_l2'),
        ('bernoulli:0.6+text:0.25', 'masked_l1'),
        ('bernoulli:0.2+gaussian:5', 'masked_l2'),
        ('gaussian:5+gaussian:5', 'l2'),
        ('poisson:30+gaussian:5', 'l2'),
        ('clip+gaussian:5', 'l2'),
        ('impulse:0.7+clip', 'l0'),
        ('impulse:1', None),
        ('poisson:30+clip', None),
        ('gaussian:5+clip+gaussian:5', None),
        ('blur:0-1', None),
    ],
)
def test_auto_takes_the_loss_that_suits_what_is_left(spec, loss):
    assert loss_choice.suitable_loss(corruptions.parse(spec)) == loss


@pytest.mark.parametrize('name', corruptions.REGISTRY)
def test_every_corruption_says_which_values_it_leaves_and_which_it_marks_as_missing(
    name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    np.save('kernels.npy', np.ones((1, 3, 3)))  # which kernel_blur reads by default
    corruption = corruptions.REGISTRY[name]
    draw = jax.jit(jax.vmap(corruption.draw, (0, 0, None)))
    low, high = corruption.bounds
    for level in {low, 0.25, 0.5, min(high, 8.0)} & {x for x in (low, 0.25, 0.5, 8.0) if x <= high}:
        if level < low:
            continue
        clean_BHWC = jnp.full((4, 64, 64, 1), 128 / 255)
        stage = Stage(corruption, level, level)
        image_BHWC, mask_BHWC = draw(jax.random.split(jax.random.key(0), 4), clean_BHWC, level)
        seen = np.ones(clean_BHWC.shape, bool) if mask_BHWC is None else np.asarray(mask_BHWC) > 0
        assert seen.mean() == pytest.approx(stage.observed, abs=0.03)
        same = np.abs(np.asarray(image_BHWC) - 128 / 255)[seen] < 1e-6
        if not corruption.mixes:  # which leaves flat images as they are
            assert same.mean() >= stage.untouched - 0.03
        if corruption.nonnegative:
            assert np.asarray(image_BHWC).min() >= 0


def test_a_mask_goes_through_a_blur_too():
    clean_BHWC = jnp.full((1, 64, 64, 1), 0.5)
    sampler = jax.jit(corruptions.parse('bernoulli:0.02+blur:0.5').sample)
    image, mask = (np.asarray(x) for x in sampler(jax.random.key(0), clean_BHWC))
    assert 0.5 < mask.mean() < 0.98  # what a missing value has a part in is missing as well
    np.testing.assert_allclose(image[mask == 1], 0.5, atol=1e-3)
    assert np.abs(image[mask == 0] - 0.5).min() > 1e-4


@pytest.mark.parametrize(
    ('noise', 'loss', 'words'),
    [
        ('poisson:0.5', 'l1', 'a clean 255 of 255 becomes 0. optim.loss=l2 suits them'),
        ('bernoulli:0.5', 'l1', 'including missing values'),
        ('bernoulli:0.6', 'l0', 'optim.loss=masked_l2 suits them'),
        ('impulse:0.9', 'l1', 'optim.loss=l0 suits them'),
        ('text:0.25', 'l2', 'the mean of the targets'),
        ('text:0.25+bernoulli:0.6', 'l1', 'optim.loss=masked_l1 suits them'),
        ('impulse:0.6', 'masked_l2', 'the observed values'),
        ('blur:1+gaussian:10', 'l2', 'No loss learns the clean image from these targets'),
    ],
)
def test_a_loss_that_does_not_learn_the_clean_image_is_told_of(noise, loss, words, caplog):
    task = make_task(tiny_config(**{'noise.input': noise, 'optim.loss': loss}))
    assert task.loss_name == loss
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f'optim.loss={loss} learns' in record.message
    assert words in record.message


@pytest.mark.parametrize(
    ('noise', 'target', 'loss'),
    [
        ('poisson:0.5', 'clean', 'l1'),
        ('blur:1.6+gaussian:10', 'gaussian:10', 'auto'),  # to deblur
        ('bernoulli:0.6', 'gaussian:10', 'l1'),
        ('impulse:0.9', 'same', 'auto'),
        ('bernoulli:0.3', 'same', 'l1'),
    ],
)
def test_it_is_the_noise_of_the_target_that_counts(noise, target, loss, caplog):
    changes = {'noise.input': noise, 'noise.target': target, 'optim.loss': loss}
    make_task(tiny_config(**changes))
    assert not caplog.records


@pytest.mark.parametrize(
    ('noise', 'words'),
    [
        ('blur:1.6+gaussian:10', "'blur:1.6+gaussian:10': from 'blur:1.6' on, neither"),
        ('gaussian:25+poisson:5-50', 'noise.target=gaussian:25'),
        ('quantize:2', 'noise.target=clean'),
    ],
)
def test_targets_that_no_loss_suits_are_refused_and_the_culprit_is_named(noise, words):
    with pytest.raises(UserError, match='No loss learns the clean image') as caught:
        make_task(tiny_config(**{'noise.input': noise}))
    assert words.replace("from 'blur:1.6' on, ", '') in str(caught.value)


def test_a_camera_without_interpolation_is_learned_in_linear_light():
    for spec, want in (('camera:9-900,demosaic=none', 'linear_light'), ('camera:9', None)):
        assert loss_choice.suitable_loss(corruptions.parse(spec)) == want


def test_captures_are_warned_of_a_loss_that_learns_no_mean(caplog):
    captures = {'captures.paths': 'a.tif,b.tif'}
    assert make_task(tiny_config(**captures)).loss_name == 'masked_l2'
    assert not caplog.records
    make_task(tiny_config(**captures, **{'optim.loss': 'l1'}))
    assert 'learns the median of the captures' in caplog.text


def test_a_new_noise_and_a_new_loss_are_one_entry_each(monkeypatch, caplog):
    def log_normal(key, image_HWC, sigma):  # its median is the clean value, its mean is not
        return image_HWC * jnp.exp(sigma * jax.random.normal(key, image_HWC.shape)), None

    glare = Corruption('glare', 'sigma of the logarithm', (0.0, 3.0), log_normal, ('median',))
    monkeypatch.setitem(corruptions.REGISTRY, 'glare', glare)
    assert make_task(tiny_config(**{'noise.input': 'glare:1'})).loss_name == 'l1'
    missing = {'noise.input': 'glare:1+bernoulli:0.5'}
    assert make_task(tiny_config(**missing)).loss_name == 'masked_l1'
    behind = {'noise.input': 'gaussian:5+glare:1'}
    with pytest.raises(UserError, match="from 'glare:1' on"):
        make_task(tiny_config(**behind))

    class Huber(L1):
        def penalty(self, denoised_BHWC, target_BHWC, progress):
            return optax.huber_loss(denoised_BHWC, target_BHWC, delta=0.001)

    monkeypatch.setitem(losses.REGISTRY, 'huber', Huber)
    make_task(tiny_config(**{'noise.input': 'poisson:2.5', 'optim.loss': 'huber'}))
    assert 'optim.loss=huber learns the median' in caplog.text


def test_noise_that_scales_with_noisy_values_is_no_longer_symmetric():
    for spec in ('gaussian:50+speckle:1', 'speckle:0.5+speckle:0.5'):
        assert corruptions.parse(spec).clean_statistics.observed == ('mean',)
    symmetric = corruptions.parse('speckle:0.5+gaussian:50').clean_statistics.observed
    assert symmetric == ('mean', 'median', 'mode')
    # The mean of the noise's third power is 6 x^2 (50/255)^2, where that of symmetric noise is 0.
    sampler = jax.jit(corruptions.parse('gaussian:50+speckle:1').sample)
    noisy = sampler(jax.random.key(0), jnp.ones((4, 256, 256, 1))).image_BHWC
    third = ((np.asarray(noisy, np.float64) - 1) ** 3).mean()
    assert third == pytest.approx(6 * (50 / 255) ** 2, abs=0.04)

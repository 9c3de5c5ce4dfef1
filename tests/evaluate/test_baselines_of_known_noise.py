"""Baselines that are told the noise, as on clean images with synthetic noise."""

import functools
import importlib.util
import sys
import types

import jax
import numpy as np
import pytest
from flax import linen as nn
from tiny import tiny_config

from n2n_jax import corruptions, models
from n2n_jax.evaluate import baseline_scores, baselines, results_table, with_clean
from n2n_jax.evaluate.baselines import base, noisy_pairs
from n2n_jax.evaluate.baselines.bm3d import BM3D
from n2n_jax.evaluate.baselines.known_noise import KnownNoise, estimated_sigma
from n2n_jax.images import pictures
from n2n_jax.models.outputs import Outputs
from n2n_jax.runtime import result_rows
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import make_layout


def piecewise_smooth(side=96):
    """Ramps with edges between them, in color."""
    y, x = np.mgrid[:side, :side] / side
    disc = ((x - 0.4) ** 2 + (y - 0.5) ** 2 < 0.08)[..., None]
    ramps_HWC = np.stack([0.2 + 0.5 * x, 0.3 + 0.4 * y, 0.7 - 0.3 * x], axis=-1)
    return np.where(disc, 1 - 0.8 * ramps_HWC, ramps_HWC).astype(np.float32)


def drawn(spec, clean_HWC, seed):
    sample = jax.jit(corruptions.parse(spec).sample)
    return np.asarray(sample(jax.random.key(seed), clean_HWC[None]).image_BHWC)[0]


@functools.cache
def noisy(spec, seed=3):
    return drawn(spec, piecewise_smooth(), seed)


def restored(text, spec):
    corruptor = corruptions.parse(spec)
    baseline = baselines.make(text)
    restore = baseline.for_noise(KnownNoise.of(corruptor), noisy_pairs.drawer(corruptor, 3))
    return restore(noisy(spec))


def error(image_HWC):
    return np.mean((image_HWC - piecewise_smooth()) ** 2)


@pytest.mark.parametrize(
    ('text', 'spec', 'share'),
    [
        ('nlm', 'gaussian:25', 0.12),
        ('wavelet', 'gaussian:25', 0.25),
        ('tv', 'gaussian:25', 0.12),
        pytest.param('tv', 'poisson:30', 0.12, marks=pytest.mark.slow),
        ('tv:0.1', 'gaussian:25', 0.12),
        pytest.param('tv', 'gaussian:10-40', 0.2, marks=pytest.mark.slow),
        ('median:size=3', 'gaussian:25', 0.35),
        ('median', 'impulse:0.3', 0.08),
        ('median', 'salt_pepper:0.3', 0.08),
    ],
)
def test_each_baseline_removes_the_noise_it_is_for(text, spec, share):
    if text == 'wavelet':
        pytest.importorskip('pywt')
    image_HWC = restored(text, spec)
    assert image_HWC.dtype == np.float32
    assert error(image_HWC) < share * error(noisy(spec))


def test_the_median_beats_the_others_on_impulses():
    others = [name for name in ('nlm', 'tv', 'wavelet') if baselines.REGISTRY[name].installed()]
    median = error(restored('median', 'impulse:0.3'))
    assert all(median < 0.5 * error(restored(name, 'impulse:0.3')) for name in others)


@pytest.mark.parametrize('spec', ['gaussian:25', 'poisson:30'])
def test_bm3d_removes_known_noise(spec):
    pytest.importorskip('bm3d')
    assert error(restored('bm3d', spec)) < 0.06 * error(noisy(spec))


@pytest.mark.parametrize('spec', ['gaussian:25', 'poisson:30', 'poisson_gaussian:30,read=10'])
def test_bm3d_is_told_the_noise_it_sees(spec, monkeypatch):
    seen = []

    def bm3d_rgb(stable_HWC, sigma):
        seen.append((stable_HWC, sigma))
        return stable_HWC

    module = types.ModuleType('bm3d')
    module.bm3d_rgb = bm3d_rgb
    monkeypatch.setitem(sys.modules, 'bm3d', module)
    noise = KnownNoise.of(corruptions.parse(spec))
    BM3D().for_noise(noise, list)(noisy(spec))
    BM3D().for_noise(noise, list)(noisy(spec, seed=4))
    (first, sigma), (second, _) = seen
    assert np.std(first - second) / np.sqrt(2) == pytest.approx(sigma, rel=0.05)


def test_a_gray_image_stays_one():
    clean_HWC = piecewise_smooth().mean(axis=-1, keepdims=True)
    corruptor = corruptions.parse('gaussian:25')
    noisy_HWC = drawn('gaussian:25', clean_HWC, 0)
    for name in ('nlm', 'tv', 'median'):
        restore = baselines.make(name).for_noise(
            KnownNoise.of(corruptor), noisy_pairs.drawer(corruptor, 1)
        )
        assert np.mean((restore(noisy_HWC) - clean_HWC) ** 2) < 0.004, name


def test_what_is_known_follows_from_the_spec():
    known = {
        'gaussian:51': KnownNoise(0.0, 0.04),
        'poisson:20': KnownNoise(0.05, 0.0),
        'poisson_gaussian:20,read=51': KnownNoise(0.05, 0.04),
        'blur:1.6+gaussian:51+quantize:8': KnownNoise(0.0, 0.04),
        'brown:51,bandwidth=2': KnownNoise(0.0, 0.04, independent=False),
        'gaussian:0-50': KnownNoise(0.0, None),
        'impulse:0.3': KnownNoise(0.0, None),
        'gaussian:51+blur:1.6': KnownNoise(0.0, None),
        'camera:1000': KnownNoise(0.0, None),
        'jpeg:50': KnownNoise(0.0, None),
    }
    for spec, expected in known.items():
        found = KnownNoise.of(corruptions.parse(spec))
        assert (found.square is None) == (expected.square is None), spec
        assert found.gain == pytest.approx(expected.gain), spec
        assert found.square is None or found.square == pytest.approx(expected.square), spec
        assert found.independent == expected.independent, spec


def test_an_unknown_level_is_estimated_from_the_image():
    assert estimated_sigma(noisy('gaussian:25')) == pytest.approx(25 / 255, rel=0.05)
    noise = KnownNoise.of(corruptions.parse('gaussian:0-50'))
    assert 'estimated from each noisy image' in noise.in_words()
    assert noise.sigma(noisy('gaussian:25')) == pytest.approx(25 / 255, rel=0.05)


def test_nothing_is_drawn_for_what_is_set():
    def draw():
        raise AssertionError

    noise = KnownNoise.of_sigma(0.1)
    for text in ('nlm:strength=0.6', 'tv:0.1', 'median:size=3'):
        assert baselines.make(text).for_noise(noise, draw)(noisy('gaussian:25')).shape


class Hourglass(nn.Module):
    """A network that compiles quickly and is smooth at first, which the tiny one is not."""

    out_channels: int
    stride = 4

    @nn.compact
    def __call__(self, x_BHWC, *, train=False):
        y = nn.relu(nn.Conv(16, (3, 3))(x_BHWC))
        y = nn.relu(nn.Conv(32, (3, 3))(nn.avg_pool(y, (4, 4), (4, 4))))
        y = jax.image.resize(y, (*x_BHWC.shape[:3], 32), 'linear')
        return nn.Conv(self.out_channels, (3, 3))(nn.relu(nn.Conv(16, (3, 3))(y)))


@pytest.mark.slow
@pytest.mark.parametrize(
    'spec', ['gaussian:50', pytest.param('bernoulli:0.3', marks=pytest.mark.slow)]
)
def test_deep_image_prior_fits_the_image_before_the_noise(spec, monkeypatch):
    monkeypatch.setitem(models.REGISTRY, 'hourglass', Hourglass)
    clean_HWC = piecewise_smooth(32)
    corruptor = corruptions.parse(spec)
    noisy_HWC = drawn(spec, clean_HWC, 0)
    prior = baselines.make('dip:steps=80,network=hourglass,rate=0.01,average=0.9')
    image_HWC = prior.for_noise(KnownNoise.of(corruptor), list)(noisy_HWC)
    assert image_HWC.shape == clean_HWC.shape
    before = np.mean((noisy_HWC - clean_HWC) ** 2)
    assert np.mean((image_HWC - clean_HWC) ** 2) < 0.5 * before


@pytest.mark.slow
def test_deep_image_prior_ends_before_it_fits_the_noise(monkeypatch):
    monkeypatch.setitem(models.REGISTRY, 'hourglass', Hourglass)
    clean_HWC = piecewise_smooth(32)
    noisy_HWC = clean_HWC + np.random.default_rng(0).normal(0, 0.3, clean_HWC.shape)
    text = 'dip:steps=200,network=hourglass,rate=0.01,average=0.5'
    results = [
        baselines.make(one).for_noise(KnownNoise.of_sigma(0.3), list)(np.float32(noisy_HWC))
        for one in (text, text + ',whole')
    ]
    ended, whole = (np.mean((image_HWC - noisy_HWC) ** 2) for image_HWC in results)
    assert whole < ended < 0.3**2


def test_deep_image_prior_takes_a_network_with_coarser_answers(monkeypatch):
    class WithCoarse(Hourglass):
        @nn.compact
        def __call__(self, x_BHWC, *, train=False):
            y_BHWC = Hourglass(self.out_channels)(x_BHWC, train=train)
            return Outputs(y_BHWC, {2: y_BHWC[:, ::2, ::2]})

    monkeypatch.setitem(models.REGISTRY, 'with_coarse', WithCoarse)
    prior = baselines.make('dip:steps=1,network=with_coarse')
    image_HWC = prior.for_noise(KnownNoise.of_sigma(0.1), list)(piecewise_smooth(32))
    assert image_HWC.shape == (32, 32, 3)


def test_an_unknown_baseline_is_refused_with_a_suggestion():
    with pytest.raises(UserError, match="Did you mean 'median'"):
        baselines.make('medain')
    with pytest.raises(UserError, match="has no option 'sise'"):
        baselines.make('median:sise=3')
    with pytest.raises(UserError, match='twice'):
        baselines.make_list('tv,tv')


def test_commas_separate_baselines_and_their_options():
    found = baselines.make_list('nlm,dip:steps=500,rate=0.01,tv:0.1')
    assert list(found) == ['nlm', 'dip:steps=500,rate=0.01', 'tv:0.1']


@pytest.mark.parametrize(
    ('name', 'package', 'words'),
    [
        ('bm3d', 'bm3d', r"pip install 'n2n_jax\[baselines\]'.*non-commercial"),
        ('wavelet', 'pywt', r"pip install 'n2n_jax\[wavelet\]'.*MIT"),
    ],
)
def test_a_missing_package_is_named_with_its_license(name, package, words, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        base.importlib.util, 'find_spec', lambda n: None if n == package else find(n)
    )
    with pytest.raises(UserError, match=words):
        baselines.make(name)


@pytest.fixture
def config(tmp_path):
    for i in range(2):
        pixels = np.uint8(255 * np.roll(piecewise_smooth(48), 9 * i, axis=1))
        pictures.save(tmp_path / 'clean' / f'{i}.png', pixels)
    return tiny_config(
        **{'eval.sets': f'drawn=folder:{tmp_path / "clean"}', 'eval.noise': 'gaussian:25'}
    )


def test_baselines_see_the_noisy_images_of_networks_and_share_their_table(config):
    layout = make_layout(8)
    evaluator = with_clean.Evaluator(config, layout)
    (network,) = evaluator.score(lambda noisy_BHWC, _: noisy_BHWC, 500).rows
    of_all = list(
        baseline_scores.score(baselines.make_list('tv:0.1,median:size=3'), config, layout)
    )
    rows = [network, *(row for report in of_all for row in report.rows)]
    assert [row['id'] for row in rows] == [network['id']] * 3
    before, *after = (row['metrics']['psnr'] for row in rows)
    assert [score['in'] for score in after] == pytest.approx([before['in']] * 2)
    assert all(score['out'] > before['out'] + 3 for score in after)
    assert rows[1]['tuning'] == 'weight 0.1'
    table = results_table.markdown(result_rows.merged(rows, []))
    for first in ('| method |', '| step 500 |', '| tv:0.1 |', '| median:size=3 |'):
        assert first in table


def test_the_table_of_networks_alone_has_a_column_of_steps(config):
    evaluator = with_clean.Evaluator(config, make_layout(8))
    rows = evaluator.score(lambda noisy_BHWC, _: noisy_BHWC, 500).rows
    assert results_table.markdown(rows).startswith('| step | set |')


def test_a_median_over_an_even_window_is_refused():
    with pytest.raises(UserError, match=r'median:size=4 has no pixel in the middle.* such as 5'):
        baselines.make('median:size=4')

"""LPIPS against the values of its authors' code, and weights that are of another network.

The weights and the example images are not part of the project: what needs them is skipped where
they are not found.
"""

import os
from pathlib import Path

import jax
import numpy as np
import pytest
from random_weights import lpips_alex
from tiny import tiny_config, zero_variables

from n2n_jax.evaluate import metrics, with_clean
from n2n_jax.images import image_io
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import make_layout

DATA = Path(os.environ.get('N2N_DATA', Path(__file__).parents[3] / 'shared' / 'data')) / 'lpips'

needs_weights = pytest.mark.skipif(
    not DATA.is_dir(), reason='needs weights of LPIPS and its example images in $N2N_DATA/lpips'
)


def weights_of(net):
    return str(DATA / f'lpips_{net}_v0.1.npz')


def made(net):
    return metrics.parse_list(f'lpips:{net}')[1]


def example(name):
    return image_io.read_image(DATA / f'ex_{name}.png').pixels[None] / np.float32(255)


@needs_weights
@pytest.mark.parametrize(
    ('net', 'want'), [('alex', (0.7219, 0.1376)), ('squeeze', (0.7110, 0.1479))]
)
def test_lpips_is_that_of_its_authors(net, want):
    metric = made(net)
    arrays = metric.arrays(weights_of(net))
    clean = np.repeat(example('ref'), 3, axis=0)
    images = np.concatenate([example('p0'), example('p1'), example('ref')])
    scores = jax.jit(metric)(images, clean, arrays)
    np.testing.assert_allclose(scores, [*want, 0], atol=1e-3)


@needs_weights
def test_a_gray_image_has_three_equal_channels():
    metric, arrays = jax.jit(made('alex')), made('alex').arrays(weights_of('alex'))
    a, b = (example(name)[..., :1] for name in ('p0', 'ref'))
    gray = metric(a, b, arrays)
    color = metric(*(np.repeat(x, 3, axis=-1) for x in (a, b)), arrays)
    np.testing.assert_array_equal(gray, color)


@needs_weights
@pytest.mark.parametrize('net', ['alex', 'squeeze'])
def test_weights_with_the_names_of_pytorch_are_the_same(net, tmp_path):
    ported = made(net).arrays(weights_of(net))
    state = {'scaling_layer.shift': np.zeros((1, 3, 1, 1), np.float32)}
    for name, array in ported.items():
        if name.startswith('lin'):
            state[f'{name}.model.1.weight'] = array.reshape(1, -1, 1, 1)
        else:
            state[f'net.{name}'] = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
    np.savez(tmp_path / 'state.npz', **state)
    read = made(net).arrays(str(tmp_path / 'state.npz'))
    assert ported.keys() == read.keys()
    for name, array in ported.items():
        np.testing.assert_array_equal(read[name], array)


@needs_weights
def test_a_run_is_evaluated_by_lpips_too(tmp_path):
    rng = np.random.default_rng(0)
    image_io.write_pixels(tmp_path / 'a.png', rng.integers(0, 256, (32, 40, 3), np.uint8))
    config = tiny_config(
        **{'eval.sets': f'folder:{tmp_path}', 'eval.metrics': 'psnr,lpips',
           'eval.metric_weights': weights_of('alex'), 'model.residual': True}
    )  # fmt: skip
    evaluator = with_clean.Evaluator(config, make_layout(8, devices=jax.devices()[:1]))
    (row,) = evaluator(zero_variables(config.model), 0).rows
    score = row['metrics']['lpips:alex']
    assert 0 < score['out'] <= score['in'] * 1.1  # the output is the noisy image, clamped
    assert evaluator.has_scored([row], 0)
    other = {**row, 'metric_weights': {'lpips:alex': 'of other weights'}}
    assert not evaluator.has_scored([other], 0)


@needs_weights
def test_weights_of_another_network_are_refused():
    with pytest.raises(UserError, match=r"AlexNet: 'lin0' is missing|AlexNet: 'lin1' has shape"):
        made('alex').arrays(weights_of('squeeze'))
    with pytest.raises(UserError, match='does not hold the weights of LPIPS with SqueezeNet'):
        made('squeeze').arrays(weights_of('alex'))


def test_lpips_without_weights_says_what_to_write(image_folder, tmp_path):
    values = {'eval.sets': f'folder:{image_folder}', 'eval.metrics': 'lpips'}
    with pytest.raises(UserError, match=r'LPIPS with AlexNet: write eval\.metric_weights=FILE'):
        with_clean.Evaluator(tiny_config(**values), make_layout(8))
    with pytest.raises(UserError, match=r'metric_weights=.*gone\.npz: no such file'):
        made('alex').arrays(str(tmp_path / 'gone.npz'))
    for content in ('weights', ''):
        (tmp_path / 'text.npz').write_text(content)
        with pytest.raises(UserError, match=r'text\.npz is not a readable \.npz file: write it'):
            made('alex').arrays(str(tmp_path / 'text.npz'))
    np.savez(tmp_path / 'other.npz', kernel=np.zeros(3))
    with pytest.raises(UserError, match=r"other\.npz does not hold .* AlexNet: 'lin0' is missing"):
        made('alex').arrays(str(tmp_path / 'other.npz'))


def test_an_image_that_is_too_small_for_lpips_is_named(tmp_path):
    image_io.write_pixels(tmp_path / 'dot.png', np.zeros((30, 40, 3), np.uint8))
    np.savez_compressed(tmp_path / 'weights.npz', **lpips_alex())
    config = tiny_config(
        **{'eval.sets': f'folder:{tmp_path}', 'eval.metrics': 'lpips',
           'eval.metric_weights': str(tmp_path / 'weights.npz')}
    )  # fmt: skip
    with pytest.raises(UserError, match=r'dot\.png .* 40x30, but LPIPS needs at least 31 pixels'):
        with_clean.Evaluator(config, make_layout(8))

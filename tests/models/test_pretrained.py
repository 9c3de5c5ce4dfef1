import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from random_weights import RESNET_STAGES, resnet, resnet_blocks, resnet_shapes

from n2n_jax import models
from n2n_jax.models.pretrained import load_encoder, torch_names
from n2n_jax.models.resnet import IMAGENET_MEAN, IMAGENET_STD, ResNet, ResNetUNet
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError


def _windows(x_BCHW, size, stride, padding, fill):
    padded = np.pad(x_BCHW, ((0, 0), (0, 0), *[(padding, padding)] * 2), constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))
    return windows[:, :, ::stride, ::stride]


def _numpy_features(depth, weights, x_BCHW):
    """The five feature maps of a ResNet (v1.5) in inference, in numpy."""

    def conv(name, x_BCHW, stride=1, padding=0):
        kernel_OIHW = weights[f'{name}.weight']
        windows = _windows(x_BCHW, kernel_OIHW.shape[-1], stride, padding, 0)
        return np.einsum('bihwkl,oikl->bohw', windows, kernel_OIHW, optimize=True)

    def batch_norm(name, x_BCHW):
        scale, bias, mean, var = (
            weights[f'{name}.{leaf}'][:, None, None]
            for leaf in ('weight', 'bias', 'running_mean', 'running_var')
        )
        return (x_BCHW - mean) / np.sqrt(var + 1e-5) * scale + bias

    def relu(x_BCHW):
        return np.maximum(x_BCHW, 0)

    x_BCHW = relu(batch_norm('bn1', conv('conv1', x_BCHW, 2, 3)))
    features = [x_BCHW]
    x_BCHW = _windows(x_BCHW, 3, 2, 1, -np.inf).max(axis=(-2, -1))
    for name, _, stage, block in resnet_blocks(depth):
        stride = 2 if stage > 1 and block == 0 else 1
        if stage > 1 and block == 0:
            features.append(x_BCHW)
        if depth == 34:
            y_BCHW = relu(batch_norm(f'{name}.bn1', conv(f'{name}.conv1', x_BCHW, stride, 1)))
            y_BCHW = batch_norm(f'{name}.bn2', conv(f'{name}.conv2', y_BCHW, 1, 1))
        else:
            y_BCHW = relu(batch_norm(f'{name}.bn1', conv(f'{name}.conv1', x_BCHW)))
            y_BCHW = relu(batch_norm(f'{name}.bn2', conv(f'{name}.conv2', y_BCHW, stride, 1)))
            y_BCHW = batch_norm(f'{name}.bn3', conv(f'{name}.conv3', y_BCHW))
        if f'{name}.downsample.0.weight' in weights:
            x_BCHW = conv(f'{name}.downsample.0', x_BCHW, stride)
            x_BCHW = batch_norm(f'{name}.downsample.1', x_BCHW)
        x_BCHW = relu(x_BCHW + y_BCHW)
    return [*features, x_BCHW]


@pytest.fixture(scope='module')
def weights():
    return resnet()


def _shapes(depth):
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    return jax.eval_shape(ResNetUNet(3, depth, norm='batch').init, jax.random.key(0), image)


def _zeros(depth):
    # Zeros instead of `init`, which takes half a minute to compile its random draws.
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), _shapes(depth))


@pytest.fixture(scope='module')
def variables():
    return _zeros(50)


@pytest.fixture(scope='module')
def npz(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'resnet50.npz'
    np.savez(path, **weights)
    return path


@pytest.mark.parametrize('channels', [1, pytest.param(3, marks=pytest.mark.slow)])
def test_features_are_those_of_an_independent_resnet50(weights, variables, npz, channels):
    _check_features(50, weights, load_encoder(npz, variables), channels)


@pytest.mark.slow
def test_features_are_those_of_an_independent_resnet34(tmp_path):
    weights = resnet(34)
    np.savez(tmp_path / 'resnet34.npz', **weights)
    _check_features(34, weights, load_encoder(tmp_path / 'resnet34.npz', _zeros(34)), channels=3)


def _check_features(depth, weights, loaded, channels):
    encoder = {name: loaded[name]['encoder'] for name in ('params', 'batch_stats')}
    image_BHWC = np.random.default_rng(1).uniform(size=(1, 64, 64, channels)).astype(np.float32)
    features = jax.jit(ResNet(depth).apply)(encoder, image_BHWC - 0.5)

    rgb_BHWC = np.broadcast_to(image_BHWC, (1, 64, 64, 3))
    normalized_BHWC = (rgb_BHWC - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    expected = _numpy_features(depth, weights, normalized_BHWC.transpose(0, 3, 1, 2))
    assert len(features) == len(expected) == 5
    for ours_BHWC, theirs_BCHW in zip(features, expected, strict=True):
        theirs_BHWC = theirs_BCHW.transpose(0, 2, 3, 1)
        assert np.abs(ours_BHWC - theirs_BHWC).max() < 1e-3 * np.abs(theirs_BHWC).max()


@pytest.mark.parametrize('depth', RESNET_STAGES)
def test_the_arrays_have_the_names_and_sizes_of_torchvisions(depth):
    ours = {}
    for collection in _shapes(depth).values():
        encoder = collection['encoder']
        ours |= zip(torch_names(encoder), map(np.size, jax.tree.leaves(encoder)), strict=True)
    theirs = {
        name: int(np.prod(shape))
        for name, shape in resnet_shapes(depth).items()
        if not name.startswith('fc.') and not name.endswith('num_batches_tracked')
    }
    assert ours == theirs


@pytest.mark.parametrize('depth', [34, 101])
def test_weights_of_another_encoder_say_which_network_takes_them(depth, variables, tmp_path):
    arrays = {name: np.zeros(1, np.float32) for name in resnet_shapes(depth)}
    np.savez(tmp_path / 'a.npz', **arrays)
    words = f'holds the weights of a ResNet-{depth}, .* ResNet-50: .*=resnet{depth}:norm=batch'
    with pytest.raises(UserError, match=words):
        load_encoder(tmp_path / 'a.npz', variables)


def test_only_the_encoder_is_replaced(variables, npz):
    loaded = load_encoder(npz, variables)
    assert jax.tree.structure(loaded) == jax.tree.structure(variables)
    for name, module in variables['params'].items():
        same = jax.tree.map(np.array_equal, module, loaded['params'][name])
        assert any(jax.tree.leaves(same)) == all(jax.tree.leaves(same)) == (name != 'encoder')


def test_safetensors_and_npz_agree(weights, variables, npz, tmp_path):
    path = tmp_path / 'resnet50.safetensors'
    safetensors.numpy.save_file(weights, path)
    a, b = load_encoder(path, variables), load_encoder(npz, variables)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


def test_missing_arrays_are_counted(weights, variables, tmp_path):
    path = tmp_path / 'a.npz'
    np.savez(path, **{k: v for k, v in weights.items() if not k.startswith('layer4.1.conv')})
    with pytest.raises(UserError, match=r"lacks 3 of the 265 arrays.*'layer4\.1\.conv1\.weight'"):
        load_encoder(path, variables)


def test_wrong_shape_is_named(weights, variables, tmp_path):
    path = tmp_path / 'a.npz'
    np.savez(path, **{**weights, 'layer2.0.bn1.bias': np.zeros(64, np.float32)})
    with pytest.raises(UserError, match=r"1 arrays.*'layer2\.0\.bn1\.bias': \(64,\).*\(128,\)"):
        load_encoder(path, variables)


def test_not_a_number_is_named(weights, variables, tmp_path):
    path = tmp_path / 'a.npz'
    np.savez(path, **{**weights, 'bn1.bias': np.full(64, np.nan, np.float32)})
    with pytest.raises(
        UserError, match=r"NaN or infinite values in 1 arrays, the first is 'bn1\.bias'"
    ):
        load_encoder(path, variables)


@pytest.mark.parametrize('norm', ['group', 'none'])
def test_network_without_batch_norm_is_refused(npz, norm):
    shapes = jax.eval_shape(
        ResNetUNet(3, norm=norm).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3))
    )
    with pytest.raises(UserError, match='resnet50:norm=batch'):
        load_encoder(npz, shapes)


@pytest.mark.parametrize('suffix', ['.npz', '.safetensors'])
@pytest.mark.parametrize('content', [b'not weights', b''])
def test_damaged_file_is_named(variables, tmp_path, suffix, content):
    path = tmp_path / f'broken{suffix}'
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf'broken\{suffix} is not a readable'):
        load_encoder(path, variables)


def test_other_kinds_of_file_are_refused(variables, tmp_path):
    path = tmp_path / 'resnet50.pth'
    with pytest.raises(UserError, match='no such file'):
        load_encoder(path, variables)
    path.write_bytes(b'')
    with pytest.raises(UserError, match=r'neither \.npz nor \.safetensors'):
        load_encoder(path, variables)


def test_the_encoder_of_a_whole_model_is_replaced_and_nothing_else(tmp_path):
    config = ModelConfig(name='resnet50:norm=batch')
    shapes = jax.eval_shape(lambda key: models.init(config, key), jax.random.key(0))
    variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    weights = resnet()
    np.savez(tmp_path / 'resnet50.npz', **weights)
    loaded = models.with_encoder(tmp_path / 'resnet50.npz', variables)
    assert jax.tree.structure(loaded) == jax.tree.structure(variables)
    network = loaded['params']['network']
    kernel_HWIO = np.asarray(network['encoder']['conv1']['kernel'])
    np.testing.assert_array_equal(kernel_HWIO.transpose(3, 2, 0, 1), weights['conv1.weight'])
    assert not np.asarray(network['out_conv']['kernel']).any()

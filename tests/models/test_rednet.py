"""RedNet: the layers of its source, its branch for planes and its coarser answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_variables import random_variables
from test_resampling import assert_equal, params_of

from n2n_jax import models
from n2n_jax.models import pretrained
from n2n_jax.models.resampling import TransposedConv3x3
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError

SMALL = 'rednet:depth=34,width=4'


def shapes_of(config):
    return jax.eval_shape(lambda key: models.init(config, key), jax.random.key(0))


def torch_rednet(torch, blocks, *, bottleneck, width, num_out, num_planes):
    """The network, written from the layer list of the authors' code (RedNet_model.py)."""
    nn = torch.nn
    grown = 4 if bottleneck else 1

    class Block(nn.Module):
        def __init__(self, layers, shortcut=None):
            super().__init__()
            self.layers, self.shortcut = nn.Sequential(*layers), shortcut

        def forward(self, x):
            before = x if self.shortcut is None else self.shortcut(x)
            return torch.relu(self.layers(x) + before)

    def conv(i, o, k, s=1):
        return nn.Conv2d(i, o, k, s, k // 2, bias=False)

    def down(i, f, s):
        o = grown * f
        if bottleneck:
            layers = [conv(i, f, 1), nn.BatchNorm2d(f), nn.ReLU(), conv(f, f, 3, s)]
            layers += [nn.BatchNorm2d(f), nn.ReLU(), conv(f, o, 1), nn.BatchNorm2d(o)]
        else:
            layers = [conv(i, f, 3, s), nn.BatchNorm2d(f), nn.ReLU(), conv(f, o, 3)]
            layers += [nn.BatchNorm2d(o)]
        projects = s > 1 or i != o
        shortcut = nn.Sequential(conv(i, o, 1, s), nn.BatchNorm2d(o)) if projects else None
        return Block(layers, shortcut)

    def up(i, o, doubles):
        second = nn.ConvTranspose2d(i, o, 3, 2, 1, 1, bias=False) if doubles else conv(i, o, 3)
        layers = [conv(i, i, 3), nn.BatchNorm2d(i), nn.ReLU(), second, nn.BatchNorm2d(o)]
        shortcut = None
        if doubles:
            shortcut = nn.ConvTranspose2d(i, o, 2, 2, bias=False)
            shortcut = nn.Sequential(shortcut, nn.BatchNorm2d(o))
        return Block(layers, shortcut)

    def encoder(i):
        stages = [nn.Sequential(conv(i, width, 7, 2), nn.BatchNorm2d(width), nn.ReLU())]
        i = width
        for stage, num in enumerate(blocks):
            f, layers = width * 2**stage, []
            for k in range(num):
                layers.append(down(i, f, 2 if stage and not k else 1))
                i = grown * f
            stages.append(nn.Sequential(*layers))
        return nn.ModuleList(stages)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.image, self.planes = encoder(3), encoder(num_planes)
            widths = [width, width, 2 * width, 4 * width, 8 * width]
            if bottleneck:
                inputs = [width] + [4 * w for w in widths[1:]]
                self.agents = nn.ModuleList(
                    nn.Sequential(conv(i, o, 1), nn.BatchNorm2d(o), nn.ReLU())
                    for i, o in zip(inputs, widths, strict=True)
                )
            outs = [4 * width, 2 * width, width, width]
            ins = [8 * width, 4 * width, 2 * width, width]
            self.up = nn.ModuleList(
                nn.Sequential(*[up(i, i, False) for _ in range(num - 1)], up(i, o, True))
                for i, o, num in zip(ins, outs, (6, 4, 3, 3), strict=True)
            )
            self.final = nn.Sequential(*[up(width, width, False) for _ in range(3)])
            self.last = nn.ConvTranspose2d(width, num_out, 2, 2)
            self.heads = nn.ModuleList(nn.Conv2d(o, num_out, 1) for o in outs)

        def forward(self, image, planes):
            pool, fused = nn.MaxPool2d(3, 2, 1), []
            for k, (of_image, of_planes) in enumerate(zip(self.image, self.planes, strict=True)):
                if k == 1:
                    image, planes = pool(image), pool(planes)
                image, planes = of_image(image), of_planes(planes)
                image = image + planes
                fused.append(image)
            if bottleneck:
                fused = [agent(x) for agent, x in zip(self.agents, fused, strict=True)]
            x, coarse = fused.pop(), []
            for stage, head in zip(self.up, self.heads, strict=True):
                x = stage(x)
                coarse.append(head(x))
                x = x + fused.pop()
            return self.last(self.final(x)), coarse

    return Net().eval()


def weights_in_order(params, stats, depth_34):
    """The arrays of our network in the order of the modules above, in PyTorch's layouts."""
    kinds = {'kernel': lambda k: k.transpose(3, 2, 0, 1), 'bias': lambda k: k}

    def norm(tree, of_stats):
        return [tree['scale'], tree['bias'], of_stats['mean'], of_stats['var'], np.array(0)]

    def encoder(name):
        found, tree, run = [], params[name], stats[name]
        found += [kinds['kernel'](tree['conv1']['kernel']), *norm(tree['norm1'], run['norm1'])]
        for stage, num in enumerate((3, 4, 6, 3)):
            for block in range(num):
                key = f'layer{stage + 1}_{block}'
                for k in (1, 2) if depth_34 else (1, 2, 3):
                    found.append(kinds['kernel'](tree[key][f'conv{k}']['kernel']))
                    found += norm(tree[key][f'norm{k}'], run[key][f'norm{k}'])
                if 'downsample_conv' in tree[key]:
                    found.append(kinds['kernel'](tree[key]['downsample_conv']['kernel']))
                    found += norm(tree[key]['downsample_norm'], run[key]['downsample_norm'])
        return found

    def transposed(kernel):  # (V, U, I, O) -> (I, O, V, U)
        return kernel.transpose(2, 3, 0, 1)

    def block(key):
        tree, run = params[key], stats[key]
        doubles = 'upsample_conv' in tree
        second = tree['conv2']['kernel']
        # A dilated convolution correlates: PyTorch's transposed kernel is turned by 180 degrees.
        second = transposed(second[::-1, ::-1]) if doubles else kinds['kernel'](second)
        found = [kinds['kernel'](tree['conv1']['kernel']), *norm(tree['norm1'], run['norm1'])]
        found += [second, *norm(tree['norm2'], run['norm2'])]
        if doubles:
            found.append(transposed(tree['upsample_conv']['kernel']))
            found += norm(tree['upsample_norm'], run['upsample_norm'])
        return found

    found = encoder('encoder') + encoder('planes_encoder')
    for i in () if depth_34 else range(5):
        found.append(kinds['kernel'](params[f'agent{i}']['kernel']))
        found += norm(params[f'agent_norm{i}'], stats[f'agent_norm{i}'])
    for stage, num in enumerate((6, 4, 3, 3)):
        for i in range(num):
            found += block(f'deconv{stage + 1}_{i}')
    for i in range(3):
        found += block(f'final_conv_{i}')
    found += [transposed(params['final_deconv']['kernel']), params['final_deconv']['bias']]
    for i in (5, 4, 3, 2):
        head = params[f'out{i}_conv']
        found += [head['kernel'].T[:, :, None, None], head['bias']]
    return found


@pytest.mark.parametrize('depth', [34, pytest.param(50, marks=pytest.mark.slow)])
def test_it_computes_what_the_source_does(depth):
    torch = pytest.importorskip('torch')
    config = ModelConfig(name=f'rednet:depth={depth},width=4', planes='depth:2', residual=False)
    variables = random_variables(config)
    twin = torch_rednet(
        torch, (3, 4, 6, 3), bottleneck=depth == 50, width=4, num_out=3, num_planes=2
    )
    arrays = weights_in_order(
        variables['params']['network'], variables['batch_stats']['network'], depth == 34
    )
    names = list(twin.state_dict())
    twin.load_state_dict({k: torch.tensor(np.array(v)) for k, v in zip(names, arrays, strict=True)})
    image_BHWI = np.random.default_rng(0).uniform(0, 1, (1, 64, 96, 5)).astype(np.float32)
    model = models.build(config)
    # All of the normalization to ImageNet, which the source leaves to its data loader.
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    colors = ((image_BHWI[..., :3] - mean) / std).astype(np.float32)
    with torch.no_grad():
        image, coarse = twin(
            torch.tensor(colors).permute(0, 3, 1, 2),
            torch.tensor(image_BHWI[..., 3:]).permute(0, 3, 1, 2),
        )
    compiled = jax.jit(
        lambda v, x: model.apply(v, x, method=model.outputs),
        compiler_options={'xla_backend_optimization_level': 0},
    )
    ours = compiled(variables, image_BHWI)
    scale = float(image.abs().max())
    np.testing.assert_allclose(
        ours.image_BHWC - 0.5, image.permute(0, 2, 3, 1).numpy(), atol=2e-4 * scale
    )
    assert sorted(ours.coarse) == [2, 4, 8, 16]
    for stride, expected in zip((16, 8, 4, 2), coarse, strict=True):
        expected = expected.permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(
            ours.coarse[stride] - 0.5, expected, atol=2e-4 * float(np.abs(expected).max())
        )


def test_it_has_the_parameters_of_the_source():
    torch = pytest.importorskip('torch')
    with torch.device('meta'):
        twin = torch_rednet(torch, (3, 4, 6, 3), bottleneck=True, width=64, num_out=3, num_planes=1)
    expected = sum(parameter.numel() for parameter in twin.parameters())
    shapes = shapes_of(ModelConfig(name='rednet', planes='depth:1'))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes['params'])) == expected == 81_943_951


def test_without_planes_there_is_no_second_encoder():
    params = shapes_of(ModelConfig(name=SMALL))['params']['network']
    assert 'encoder' in params
    assert 'planes_encoder' not in params


def test_the_encoder_has_torchvisions_names():
    shapes = shapes_of(ModelConfig(name='rednet:depth=34'))['params']['network']['encoder']
    names = pretrained.torch_names(shapes)
    assert {'conv1.weight', 'layer4.2.conv2.weight'} <= set(names)


def test_the_coarser_answers_have_the_sizes_of_their_strides():
    config = ModelConfig(name=SMALL, channels=1)
    model = models.build(config)
    answers = jax.eval_shape(
        lambda v, x: model.apply(v, x, method=model.outputs),
        shapes_of(config),
        jax.ShapeDtypeStruct((2, 33, 50, 1), jnp.float32),
    )
    assert answers.image_BHWC.shape == (2, 33, 50, 1)
    sizes = {stride: leaf.shape[1:3] for stride, leaf in answers.coarse.items()}
    assert sizes == {2: (17, 25), 4: (9, 13), 8: (5, 7), 16: (3, 4)}


def test_another_depth_is_refused():
    with pytest.raises(UserError, match='34 or 50'):
        models.build(ModelConfig(name='rednet:depth=40'))


@pytest.mark.parametrize('shape', [(2, 4, 6, 5), (1, 1, 1, 3)])
def test_the_3x3_transposed_convolution_is_the_dilated_one(shape):
    x_BHWI = jax.random.normal(jax.random.key(0), shape)
    layer = TransposedConv3x3(4)
    assert_equal(
        layer.apply, TransposedConv3x3(4, plain=True).apply, params_of(layer, x_BHWI), x_BHWI
    )

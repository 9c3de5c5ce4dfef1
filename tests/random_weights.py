"""Weights that mean nothing, with the names and shapes of networks that others have trained."""

import numpy as np

VGG16_WIDTHS = {
    '1_1': (3, 64), '1_2': (64, 64), '2_1': (64, 128), '2_2': (128, 128),
    '3_1': (128, 256), '3_2': (256, 256), '3_3': (256, 256),
}  # fmt: skip
RESNET_STAGES = {34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def resnet_blocks(depth):
    return [
        (f'layer{stage}.{block}', 64 * 2 ** (stage - 1), stage, block)
        for stage, number in enumerate(RESNET_STAGES[depth], start=1)
        for block in range(number)
    ]


def resnet_shapes(depth):
    """The shapes in a ResNet's state_dict, derived from the architecture, not from our network."""
    shapes = {}

    def conv(name, num_out, num_in, size):
        shapes[f'{name}.weight'] = (num_out, num_in, size, size)

    def batch_norm(name, num_channels):
        for leaf in ('weight', 'bias', 'running_mean', 'running_var'):
            shapes[f'{name}.{leaf}'] = (num_channels,)
        shapes[f'{name}.num_batches_tracked'] = ()

    conv('conv1', 64, 3, 7)
    batch_norm('bn1', 64)
    num_in = 64
    for name, width, _, _ in resnet_blocks(depth):
        # Sizes and numbers of channels of the convolutions of a block.
        layers = (
            ((3, width), (3, width)) if depth == 34 else ((1, width), (3, width), (1, 4 * width))
        )
        num_between = num_in
        for i, (size, num_out) in enumerate(layers, start=1):
            conv(f'{name}.conv{i}', num_out, num_between, size)
            batch_norm(f'{name}.bn{i}', num_out)
            num_between = num_out
        if num_in != num_out:
            conv(f'{name}.downsample.0', num_out, num_in, 1)
            batch_norm(f'{name}.downsample.1', num_out)
        num_in = num_out
    shapes['fc.weight'] = (1000, num_in)
    shapes['fc.bias'] = (1000,)
    return shapes


def resnet(depth=50):
    """A ResNet's state_dict."""
    rng = np.random.default_rng(0)

    def draw(name, shape):
        if name.endswith('num_batches_tracked'):
            return np.array(7)
        if name.startswith('fc.'):
            return np.zeros(shape, np.float32)
        if len(shape) == 4:
            scale = np.sqrt(2 / np.prod(shape[1:]))
            return rng.standard_normal(shape, np.float32) * np.float32(scale)
        if name.endswith(('running_mean', 'bias')):
            return rng.normal(0, 0.2, shape).astype(np.float32)
        return rng.uniform(0.5, 2 if name.endswith('running_var') else 1.5, shape).astype(
            np.float32
        )

    return {name: draw(name, shape) for name, shape in resnet_shapes(depth).items()}


def vgg16(*layers):
    """Some layers of a VGG-16 of the Caffe family, as in '1_2'; all up to 3_3 if none is named."""
    rng = np.random.default_rng(0)
    arrays = {}
    for layer in layers or VGG16_WIDTHS:
        num_in, num_out = VGG16_WIDTHS[layer]
        key = f'block{layer[0]}_conv{layer[2]}'
        kernel = rng.normal(0, (9 * num_in) ** -0.5, (num_out, num_in, 3, 3))
        arrays[f'{key}_k'] = np.float32(kernel)
        arrays[f'{key}_b'] = np.float32(rng.normal(0, 0.1, num_out))
    return arrays


def lpips_alex():
    """LPIPS with AlexNet, all zero."""
    names = ['slice1.0', 'slice2.3', 'slice3.6', 'slice4.8', 'slice5.10']
    sides, widths = [11, 5, 3, 3, 3], [3, 64, 192, 384, 256, 256]
    state = {}
    for i, (name, side) in enumerate(zip(names, sides, strict=True)):
        state[f'net.{name}.weight'] = np.zeros((widths[i + 1], widths[i], side, side), np.float16)
        state[f'net.{name}.bias'] = np.zeros(widths[i + 1], np.float16)
        state[f'lin{i}.model.1.weight'] = np.zeros((1, widths[i + 1], 1, 1), np.float16)
    return state

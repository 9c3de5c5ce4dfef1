"""A U-Net with a ResNet encoder and a full-resolution skip connection.

B batch, H height, W width, C channels, P channels of auxiliary planes.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from n2n_jax.models.convolutions import Conv, UpConv
from n2n_jax.models.geometry import padded
from n2n_jax.models.initializers import relu_gain, unit_gain
from n2n_jax.models.layers import leaky_relu, max_pool_3x3_stride_2, run_stage, strided

Norm = Literal['batch', 'group', 'none']

_MAX_MATMUL_SIDE = 4  # pixels; maps up to this size are convolved by a matrix product


class Layout(NamedTuple):
    """The blocks of an encoder (He et al. 2016, table 1).

    Attributes:
      blocks: number of blocks of each of the four stages.
      bottleneck: whether they are of the kind `Bottleneck` or `BasicBlock`.
    """

    blocks: tuple[int, int, int, int]
    bottleneck: bool


# By the number of layers, with the classifier that is left out here.
LAYOUTS: dict[int, Layout] = {
    34: Layout((3, 4, 6, 3), bottleneck=False),
    50: Layout((3, 4, 6, 3), bottleneck=True),
    101: Layout((3, 4, 23, 3), bottleneck=True),
    152: Layout((3, 8, 36, 3), bottleneck=True),
}
# Of RGB in [0, 1]: the normalization that torchvision's ImageNet weights were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def _convolve(x_BHWC: jax.Array, kernel_HWIO: jax.Array, stride: int) -> jax.Array:
    """Convolves with padding size // 2 on every side; the input's sides are multiples of stride.

    The padding is symmetric: 'SAME' at stride 2 pads only at the bottom and the right, which would
    shift the features of pretrained weights by a pixel.

    1x1 kernels and small maps are computed as one matrix product over shifted copies. XLA:CPU
    differentiates 1x1 convolutions slowly; for maps smaller than the kernel it falls back to a loop
    about 60 times slower; and transposing the weights of a deep layer takes it longer than the
    product of a 4x4 map.
    """
    size, _, in_features, num_features = kernel_HWIO.shape
    pad = size // 2
    out_h, out_w = (side // stride for side in x_BHWC.shape[1:3])
    # A side that is still unknown, as in an exported program, counts as large.
    small = any(isinstance(side, int) and side <= _MAX_MATMUL_SIDE for side in (out_h, out_w))
    if size > 1 and not small:
        return jax.lax.conv_general_dilated(
            x_BHWC,
            kernel_HWIO,
            (stride, stride),
            ((pad, pad), (pad, pad)),
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        )
    padded_BHWC = jnp.pad(x_BHWC, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    taps = [
        strided(padded_BHWC, (i, j), (out_h * stride, out_w * stride), stride)
        for i in range(size)
        for j in range(size)
    ]
    matrix = kernel_HWIO.reshape(size * size * in_features, num_features)
    return jnp.concatenate(taps, axis=-1) @ matrix


class EncoderConv(nn.Module):
    """A convolution whose parameters are those of nn.Conv, with a bias where no norm follows.

    Without a norm, the last convolution of a residual branch starts at zero (Fixup, Zhang et al.
    2019), so that variance does not grow with depth.
    """

    num_features: int
    size: int
    norm: Norm
    dtype: jax.typing.DTypeLike
    stride: int = 1
    last_in_branch: bool = False

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """Maps (B, H, W, C) to (B, H / stride, W / stride, num_features); no activation."""
        starts_at_zero = self.last_in_branch and self.norm == 'none'
        kernel_HWIO = self.param(
            'kernel',
            nn.initializers.zeros if starts_at_zero else relu_gain,
            (self.size, self.size, x_BHWC.shape[-1], self.num_features),
        )
        y_BHWC = _convolve(x_BHWC.astype(self.dtype), kernel_HWIO.astype(self.dtype), self.stride)
        if self.norm != 'none':
            return y_BHWC
        bias_C = self.param('bias', nn.initializers.zeros, (self.num_features,))
        return y_BHWC + bias_C.reshape(1, 1, 1, -1).astype(self.dtype)


def normalized(
    x_BHWC: jax.Array,
    name: str,
    *,
    norm: Norm,
    train: bool,
    last_in_branch: bool = False,
) -> jax.Array:
    """Returns a map after its norm; as it is if there is none."""
    # A zero scale at the end of a residual branch makes the block start as its shortcut
    # (Goyal et al. 2017, section 5.1).
    scale_init = nn.initializers.zeros if last_in_branch else nn.initializers.ones
    if norm == 'batch':
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            scale_init=scale_init,
            dtype=x_BHWC.dtype,
            name=name,
        )(x_BHWC)
    if norm == 'group':
        return nn.GroupNorm(
            num_groups=32, epsilon=1e-5, scale_init=scale_init, dtype=x_BHWC.dtype, name=name
        )(x_BHWC)
    return x_BHWC


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2016, figure 5 left).

    Attributes:
      width: channels of the block and of its result.
      stride: stride of the first convolution and of the shortcut.
      project: whether the shortcut is a 1x1 convolution rather than the identity.
      norm: 'batch', 'group' or 'none'.
      dtype: type of the computation; parameters stay float32.
    """

    width: int
    stride: int
    project: bool
    norm: Norm
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps (B, H, W, C) to (B, H / stride, W / stride, width)."""
        conv = partial(EncoderConv, norm=self.norm, dtype=self.dtype)
        normalize = partial(normalized, norm=self.norm, train=train)

        y_BHWC = conv(self.width, 3, stride=self.stride, name='conv1')(x_BHWC)
        y_BHWC = nn.relu(normalize(y_BHWC, 'norm1'))
        y_BHWC = conv(self.width, 3, last_in_branch=True, name='conv2')(y_BHWC)
        y_BHWC = normalize(y_BHWC, 'norm2', last_in_branch=True)
        if self.project:
            x_BHWC = conv(self.width, 1, stride=self.stride, name='downsample_conv')(x_BHWC)
            x_BHWC = normalize(x_BHWC, 'downsample_norm')
        return nn.relu(x_BHWC + y_BHWC)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut (He et al. 2016, figure 5 right).

    The 3x3 convolution has the stride (torchvision's v1.5), not the first 1x1 convolution.

    Attributes:
      width: channels of the 3x3 convolution; the block returns four times as many.
      stride: stride of the 3x3 convolution and of the shortcut.
      project: whether the shortcut is a 1x1 convolution rather than the identity.
      norm: 'batch', 'group' or 'none'.
      dtype: type of the computation; parameters stay float32.
    """

    width: int
    stride: int
    project: bool
    norm: Norm
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps (B, H, W, C) to (B, H / stride, W / stride, 4 * width)."""
        conv = partial(EncoderConv, norm=self.norm, dtype=self.dtype)
        normalize = partial(normalized, norm=self.norm, train=train)

        y_BHWC = nn.relu(normalize(conv(self.width, 1, name='conv1')(x_BHWC), 'norm1'))
        y_BHWC = conv(self.width, 3, stride=self.stride, name='conv2')(y_BHWC)
        y_BHWC = nn.relu(normalize(y_BHWC, 'norm2'))
        y_BHWC = conv(4 * self.width, 1, last_in_branch=True, name='conv3')(y_BHWC)
        y_BHWC = normalize(y_BHWC, 'norm3', last_in_branch=True)
        if self.project:
            x_BHWC = conv(4 * self.width, 1, stride=self.stride, name='downsample_conv')(x_BHWC)
            x_BHWC = normalize(x_BHWC, 'downsample_norm')
        return nn.relu(x_BHWC + y_BHWC)


class ResNet(nn.Module):
    """A ResNet of He et al. 2016 without its classifier.

    For RGB, with a norm, it has the parameters of torchvision's: 21,284,672 with 34 layers,
    23,508,032 with 50, 42,500,160 with 101 and 58,143,808 with 152.

    With norm='batch', an input of one or three channels is first normalized to the mean and
    standard deviation of ImageNet. This must precede the stem's zero padding: scaled stem weights
    would give other results at the border. The same step turns one channel into three, so gray
    images can use ImageNet weights unchanged too.

    Attributes:
      depth: a key of `LAYOUTS`.
      norm: 'batch', 'group' (32 groups, same parameter shapes) or 'none' (a bias per convolution
        instead).
      width: channels of the stem and of the first stage; 64 in the source.
      imagenet: whether to normalize to ImageNet with norm='batch'.
      dtype: type of the computation; parameters stay float32.
      remat: recompute activations inside the blocks for the gradients, see `run_stage`.
    """

    depth: int = 50
    norm: Norm = 'batch'
    width: int = 64
    imagenet: bool = True
    dtype: jax.typing.DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        x_BHWC: jax.Array,
        *,
        planes_BHWP: jax.Array | None = None,
        added: Sequence[jax.Array] = (),
        train: bool = False,
    ) -> tuple[jax.Array, ...]:
        """Maps (B, H, W, C), image minus 0.5, to features at strides 2, 4, 8, 16 and 32.

        They have 64, 256, 512, 1024 and 2048 channels, with basic blocks 64, 64, 128, 256 and 512;
        the first is the stem before its pooling.

        Args:
          x_BHWC: the images.
          planes_BHWP: further channels of the input, which are not normalized.
          added: features of another encoder to add to each before the next stage; () for none.
          train: use the statistics of the batch for the norm.
        """
        layout = LAYOUTS[self.depth]

        def run_block(y_BHWC: jax.Array, *, stage: int, block: int) -> jax.Array:
            stride = 2 if stage > 0 and block == 0 else 1
            return (Bottleneck if layout.bottleneck else BasicBlock)(
                width=self.width * 2**stage,
                stride=stride,
                project=block == 0 and (layout.bottleneck or stride > 1),
                norm=self.norm,
                dtype=self.dtype,
                name=f'layer{stage + 1}_{block}',
            )(y_BHWC, train=train)

        if self.imagenet and self.norm == 'batch' and x_BHWC.shape[-1] in (1, 3):
            mean_111C = jnp.asarray(IMAGENET_MEAN).reshape(1, 1, 1, 3)
            std_111C = jnp.asarray(IMAGENET_STD).reshape(1, 1, 1, 3)
            x_BHWC = (x_BHWC + 0.5 - mean_111C) / std_111C
        if planes_BHWP is not None:
            x_BHWC = jnp.concatenate([x_BHWC, planes_BHWP], axis=-1)
        stem = EncoderConv(self.width, 7, norm=self.norm, dtype=self.dtype, stride=2, name='conv1')
        y_BHWC = nn.relu(normalized(stem(x_BHWC), 'norm1', norm=self.norm, train=train))
        if added:
            y_BHWC += added[0]
        features = [y_BHWC]
        y_BHWC = max_pool_3x3_stride_2(y_BHWC)
        for stage, num_blocks in enumerate(layout.blocks):
            for block in range(num_blocks):
                function = partial(run_block, stage=stage, block=block)
                y_BHWC = run_stage(self, function, y_BHWC, remat=self.remat)
            if added:
                y_BHWC += added[stage + 1]
            features.append(y_BHWC)
        return tuple(features)


def encoder_reach(depth: int, reach: int, *, behind: bool = False) -> int:
    """Returns how many pixels around an area the features at stride 32 of it depend on.

    Args:
      depth: a key of `LAYOUTS`.
      reach: pixels of stride 32 around the features that are used too.
      behind: below and to the right of the area, where a layer of stride 2 reaches one pixel less
        far than in front of it.
    """
    more = 0 if behind else 1
    blocks, bottleneck = LAYOUTS[depth]
    convolutions = 1 if bottleneck else 2  # of 3x3, in a block
    for num_blocks in blocks[:0:-1]:
        reach += convolutions * num_blocks - 1
        reach = 2 * reach + more  # the first has stride 2
    reach = 2 * (reach + convolutions * blocks[0]) + more  # the pooling
    return 2 * reach + 2 + more  # the stem


class ResNetUNet(nn.Module):
    """A ResNet encoder, a light decoder and a full-resolution path; the output is linear.

    The stem halves the resolution immediately, which loses detail that a denoiser needs, so two 3x3
    convolutions of the input bypass the encoder. The decoder has no norm.

    Attributes:
      out_channels: channels of the output.
      depth: layers of the encoder, a key of `LAYOUTS`.
      norm: norm of the encoder, 'batch', 'group' or 'none', see `ResNet`.
      decoder_widths: channels of the decoder at strides 16, 8, 4, 2 and 1. Skips at strides 4 to 16
        are first reduced to this width by a 1x1 convolution.
      dtype: type of the computation; parameters and the last layer stay float32.
      plain: use plain convolutions, see `Conv`.
      remat: recompute activations inside blocks and stages for the gradients, see `run_stage`.
    """

    out_channels: int
    depth: int = 50
    norm: Norm = 'none'
    decoder_widths: tuple[int, int, int, int, int] = (128, 96, 64, 64, 32)
    dtype: jax.typing.DTypeLike = jnp.float32
    plain: bool = False
    remat: bool = False

    stride = 32  # sides of the input must be multiples of this
    has_branch = True  # for what is not normalized like an image
    # No `last_layer`: if it starts at zero, like the residual branches, runs diverge within 500
    # steps from half the best learning rate on.

    @property
    def takes_imagenet_weights(self) -> bool:
        """Whether the encoder is that of torchvision's weights."""
        return self.norm == 'batch'

    @property
    def halo(self) -> int | None:
        """Pixels around an area, cut at multiples of the stride, that its output depends on.

        None with group norm, which averages over the whole image.
        """
        if self.norm == 'group':
            return None
        # 2 for the decoder: 3 convolutions, then 2 at each stride.
        return padded(encoder_reach(self.depth, 2), self.stride)

    @nn.compact
    def __call__(
        self, x_BHWC: jax.Array, *, planes_BHWP: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """Maps (B, H, W, C), centered on 0, to (B, H, W, out_channels) float32.

        With norm='batch' and train=True, the collection 'batch_stats' must be mutable.
        """

        def conv(y_BHWC: jax.Array, num_features: int, name: str, size: int = 3) -> jax.Array:
            layer: nn.Conv | Conv
            if size == 1:
                layer = nn.Conv(
                    num_features, (1, 1), kernel_init=relu_gain, dtype=self.dtype, name=name
                )
            else:
                layer = Conv(num_features, dtype=self.dtype, plain=self.plain, name=name)
            return leaky_relu(layer(y_BHWC))

        def decode(
            y_BHWC: jax.Array, skip_BHWC: jax.Array, *, stride: int, width: int
        ) -> jax.Array:
            layer = UpConv(width, dtype=self.dtype, plain=self.plain, name=f'dec{stride}_conv0')
            return conv(leaky_relu(layer(y_BHWC, skip_BHWC)), width, f'dec{stride}_conv1')

        encoder = ResNet(
            self.depth, norm=self.norm, dtype=self.dtype, remat=self.remat, name='encoder'
        )
        features = encoder(x_BHWC, planes_BHWP=planes_BHWP, train=train)
        if planes_BHWP is not None:
            x_BHWC = jnp.concatenate([x_BHWC, planes_BHWP], axis=-1)
        x_BHWC = x_BHWC.astype(self.dtype)
        full_BHWC = conv(x_BHWC, self.decoder_widths[-1], 'full_conv0')
        full_BHWC = conv(full_BHWC, self.decoder_widths[-1], 'full_conv1')
        full_BHWC = jnp.concatenate([full_BHWC, x_BHWC], axis=-1)

        *skips, y_BHWC = (full_BHWC, *features)
        y_BHWC = conv(y_BHWC, self.decoder_widths[0], 'reduce32', size=1)
        for stride, width in zip((16, 8, 4, 2, 1), self.decoder_widths, strict=True):
            skip_BHWC = skips.pop()
            if stride >= 4:
                skip_BHWC = conv(skip_BHWC, width, f'reduce{stride}', size=1)
            function = partial(decode, stride=stride, width=width)
            y_BHWC = run_stage(self, function, y_BHWC, skip_BHWC, remat=self.remat)
        return Conv(self.out_channels, kernel_init=unit_gain, plain=self.plain, name='out_conv')(
            y_BHWC
        )

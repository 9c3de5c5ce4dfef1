"""RedNet: a residual encoder and decoder with a branch for auxiliary planes and coarser answers.

Jiang et al. 2018, 'RedNet: Residual encoder-decoder network for indoor RGB-D semantic
segmentation', arXiv:1806.01054. Not RED-Net of Mao et al. 2016, which is `n2n_jax.models.red30`.

B batch, H height, W width, C channels, P channels of the planes.
"""

import functools
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from n2n_jax.models.geometry import padded
from n2n_jax.models.initializers import unit_gain
from n2n_jax.models.layers import run_stage
from n2n_jax.models.outputs import Outputs
from n2n_jax.models.resampling import TransposedConv, TransposedConv3x3
from n2n_jax.models.resnet import LAYOUTS, EncoderConv, Norm, ResNet, encoder_reach, normalized
from n2n_jax.runtime.config_field import Bounds
from n2n_jax.runtime.errors import UserError

# Blocks of each decoder stage, at strides 32, 16, 8, 4 and 2; the first four double the size.
_DECODER_BLOCKS = (6, 4, 3, 3, 3)
_DEPTHS = (34, 50)


class UpBlock(nn.Module):
    """A basic block of the decoder, which may double the size (Jiang et al. 2018, figure 3).

    Attributes:
      width: channels of the result.
      doubles: whether the second convolution and the shortcut are transposed, with stride 2.
      norm: 'batch', 'group' or 'none', see `ResNet`.
      dtype: type of the computation; parameters stay float32.
      plain: use plain transposed convolutions.
    """

    width: int
    doubles: bool
    norm: Norm
    dtype: jax.typing.DTypeLike = jnp.float32
    plain: bool = False

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps (B, H, W, C) to (B, H, W, width), or to twice the size."""
        conv = functools.partial(EncoderConv, norm=self.norm, dtype=self.dtype)
        normalize = functools.partial(normalized, norm=self.norm, train=train)

        y_BHWC = nn.relu(normalize(conv(x_BHWC.shape[-1], 3, name='conv1')(x_BHWC), 'norm1'))
        if self.doubles:
            up = TransposedConv3x3(self.width, dtype=self.dtype, plain=self.plain, name='conv2')
            y_BHWC = up(y_BHWC)
            shortcut = TransposedConv(
                self.width,
                use_bias=False,
                dtype=self.dtype,
                plain=self.plain,
                name='upsample_conv',
            )
            x_BHWC = normalize(shortcut(x_BHWC), 'upsample_norm')
        else:
            y_BHWC = conv(self.width, 3, last_in_branch=True, name='conv2')(y_BHWC)
        y_BHWC = normalize(y_BHWC, 'norm2', last_in_branch=True)
        return nn.relu(x_BHWC + y_BHWC)


class RedNet(nn.Module):
    """Two ResNet encoders whose features are added at every stride, and a residual decoder.

    With one plane of one channel and three output channels, the source's network with ResNet-50
    encoders has 81,943,951 parameters. Without auxiliary planes there is no second encoder.

    The source labels pixels; here the answer at the size of the image is a denoised image, and so
    are those of the coarser strides, which `optim.pyramid` weights.

    Attributes:
      out_channels: channels of the output.
      depth: layers of the encoders, 34 or 50. With 50, 1x1 convolutions ('agents') first reduce
        the features to the width of the decoder.
      width: channels of the first stage; 64 in the source.
      norm: 'batch', 'group' or 'none', see `ResNet`.
      dtype: type of the computation; parameters and the last layer stay float32.
      plain: use plain transposed convolutions.
      remat: recompute activations inside the blocks for the gradients, see `run_stage`.
    """

    out_channels: int
    depth: Annotated[int, Bounds(34, 50)] = 50
    width: Annotated[int, Bounds(1, 256)] = 64
    norm: Literal['batch', 'group', 'none'] = 'batch'
    dtype: jax.typing.DTypeLike = jnp.float32
    plain: bool = False
    remat: bool = False

    stride = 32  # sides of the input must be multiples of this
    last_layer = 'final_deconv'
    has_branch = True
    has_pyramid = True

    def __post_init__(self) -> None:
        """Checks the options."""
        if self.depth not in _DEPTHS:
            raise UserError(f'rednet:depth={self.depth}: the encoders have 34 or 50 layers.')
        super().__post_init__()

    @property
    def takes_imagenet_weights(self) -> bool:
        """Whether the encoder of the image is that of torchvision's weights."""
        return self.norm == 'batch' and self.width == 64

    @property
    def halo(self) -> int | None:
        """Pixels around an area, cut at multiples of the stride, that its output depends on.

        None with group norm, which averages over the whole image.
        """
        if self.norm == 'group':
            return None
        before = behind = 2 * _DECODER_BLOCKS[-1]  # in pixels of stride 2
        for num_blocks in reversed(_DECODER_BLOCKS[:-1]):
            # An odd pixel of a doubled map also depends on the next pixel of the smaller one.
            before = (before + 1) // 2 + 2 * num_blocks - 1
            behind = behind // 2 + 1 + 2 * num_blocks - 1
        before = encoder_reach(self.depth, before)
        behind = encoder_reach(self.depth, behind, behind=True)
        return padded(max(before, behind), self.stride)

    @nn.compact
    def __call__(
        self, x_BHWC: jax.Array, *, planes_BHWP: jax.Array | None = None, train: bool = False
    ) -> Outputs:
        """Maps (B, H, W, C), centered on 0, to answers at strides 1, 2, 4, 8 and 16, float32.

        With norm='batch' and train=True, the collection 'batch_stats' must be mutable.
        """

        def answer(y_BHWC: jax.Array, name: str) -> jax.Array:
            # A 1x1 convolution; XLA:CPU differentiates the matrix product faster.
            layer = nn.Dense(self.out_channels, kernel_init=unit_gain, dtype=jnp.float32, name=name)
            return layer(y_BHWC)

        def block(y_BHWC: jax.Array, *, name: str, width: int, doubles: bool) -> jax.Array:
            layer = UpBlock(
                width, doubles, self.norm, dtype=self.dtype, plain=self.plain, name=name
            )
            return layer(y_BHWC, train=train)

        widths = [self.width * 2**stage for stage in (3, 2, 1, 0, 0)]  # at strides 32 to 2
        *skips, y_BHWC = self._encode(x_BHWC, planes_BHWP, train=train)
        coarse = {}
        for stage, num_blocks in enumerate(_DECODER_BLOCKS):
            last = stage == len(_DECODER_BLOCKS) - 1
            for i in range(num_blocks):
                doubles = not last and i == num_blocks - 1
                y_BHWC = run_stage(
                    self,
                    functools.partial(
                        block,
                        name=f'final_conv_{i}' if last else f'deconv{stage + 1}_{i}',
                        width=widths[stage + doubles],
                        doubles=doubles,
                    ),
                    y_BHWC,
                    remat=self.remat,
                )
            if not last:
                coarse[2 ** (4 - stage)] = answer(y_BHWC, f'out{5 - stage}_conv')
                y_BHWC += skips.pop()
        last_layer = TransposedConv(self.out_channels, plain=self.plain, name=self.last_layer)
        return Outputs(last_layer(y_BHWC), coarse)

    def _encode(
        self, x_BHWC: jax.Array, planes_BHWP: jax.Array | None, *, train: bool
    ) -> list[jax.Array]:
        """Returns features at strides 2 to 32, with the widths of the decoder."""
        encoder = functools.partial(
            ResNet, self.depth, self.norm, self.width, dtype=self.dtype, remat=self.remat
        )
        added: tuple[jax.Array, ...] = ()
        if planes_BHWP is not None:
            branch = encoder(imagenet=False, name='planes_encoder')
            added = branch(planes_BHWP.astype(self.dtype), train=train)
        features = encoder(name='encoder')(x_BHWC, added=added, train=train)
        if not LAYOUTS[self.depth].bottleneck:
            return list(features)
        reduced = []
        for i, y_BHWC in enumerate(features):
            width = self.width * 2 ** max(i - 1, 0)
            conv = EncoderConv(width, 1, norm=self.norm, dtype=self.dtype, name=f'agent{i}')
            y_BHWC = normalized(conv(y_BHWC), f'agent_norm{i}', norm=self.norm, train=train)
            reduced.append(nn.relu(y_BHWC))
        return reduced

"""3x3 convolutions in forms that XLA executes fast; mathematically equal to `nn.Conv`.

B batch, H height, W width, I input channels, O output channels.

There are three optimizations, measured in docs/performance.md:

* After nearest upsampling, a 3x3 convolution reads every value four times. Each of the four outputs
  at a low-resolution pixel depends on only 2x2 different values, so a convolution of the small map
  with summed weights gives the same result with 4 multiplications instead of 9.
* XLA:CPU computes the gradient with respect to the weights at a half to a tenth of the speed of its
  matrix product, so it is written as a matrix product.
* XLA:GPU does not recognize the gradient with respect to the weights of the 2x2 convolution, which
  is larger than its input, and runs it as a convolution with a window of the whole map.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from n2n_jax.models.initializers import relu_gain
from n2n_jax.models.layers import upsample_2x

_BLOCK_PIXELS = 4096  # per block of the weight gradient; its operands then fit a core's caches


class Conv(nn.Module):
    """A 3x3 convolution with zero padding; the parameters are those of `nn.Conv`.

    Attributes:
      num_features: output channels.
      kernel_init: initializer of the weights.
      use_bias: whether to add a bias.
      dtype: type of the computation; parameters stay float32.
      plain: use the plain convolution, without the optimizations of this file.
    """

    num_features: int
    kernel_init: nn.initializers.Initializer = relu_gain
    use_bias: bool = True
    dtype: jax.typing.DTypeLike = jnp.float32
    plain: bool = False

    @nn.compact
    def __call__(self, x_BHWI: jax.Array) -> jax.Array:
        """(B, H, W, I) -> (B, H, W, O)."""
        shape = (3, 3, x_BHWI.shape[-1], self.num_features)
        kernel_HWIO = self.param('kernel', self.kernel_init, shape).astype(self.dtype)
        function = _convolve if self.plain else convolve
        y_BHWO = function(x_BHWI.astype(self.dtype), kernel_HWIO)
        if not self.use_bias:
            return y_BHWO
        bias_O = self.param('bias', nn.initializers.zeros, (self.num_features,)).astype(self.dtype)
        return y_BHWO + bias_O.reshape(1, 1, 1, -1)


class UpConv(nn.Module):
    """A 3x3 convolution of the concatenation [upsampled `low`, `skip`]; attributes as in `Conv`."""

    num_features: int
    dtype: jax.typing.DTypeLike = jnp.float32
    plain: bool = False

    @nn.compact
    def __call__(self, low_BHWI: jax.Array, skip_BHWI: jax.Array) -> jax.Array:
        """(B, H, W, I), (B, 2H, 2W, J) -> (B, 2H, 2W, O)."""
        num_low = low_BHWI.shape[-1]
        shape = (3, 3, num_low + skip_BHWI.shape[-1], self.num_features)
        kernel_HWIO = self.param('kernel', relu_gain, shape)
        bias_O = self.param('bias', nn.initializers.zeros, (self.num_features,)).astype(self.dtype)
        low_BHWI, skip_BHWI = low_BHWI.astype(self.dtype), skip_BHWI.astype(self.dtype)
        if self.plain:
            x_BHWI = jnp.concatenate([upsample_2x(low_BHWI), skip_BHWI], axis=-1)
            y_BHWO = _convolve(x_BHWI, kernel_HWIO.astype(self.dtype))
        else:
            y_BHWO = upsample_and_convolve_3x3(low_BHWI, kernel_HWIO[:, :, :num_low])
            y_BHWO += convolve(skip_BHWI, kernel_HWIO[:, :, num_low:].astype(self.dtype))
        return y_BHWO + bias_O.reshape(1, 1, 1, -1)


def upsample_and_convolve_3x3(low_BHWI: jax.Array, kernel_HWIO: jax.Array) -> jax.Array:
    """Computes `convolve(upsample_2x(low_BHWI), kernel_HWIO)` without the upsampled map.

    Along one axis, outputs 2i and 2i + 1 depend on pixels (i - 1, i) and (i, i + 1), with weights
    (k0, k1 + k2) and (k0 + k1, k2). One 2x2 convolution computes all four kinds of output for every
    2x2 window; each output is then picked from its window.

    Args:
      low_BHWI: (B, H, W, I), in the type of the computation.
      kernel_HWIO: (3, 3, I, O) float32; cast only after summation.

    Returns:
      (B, 2H, 2W, O).
    """
    b, h, w, num_in = low_BHWI.shape
    num_out = kernel_HWIO.shape[-1]
    folded = _fold(_fold(kernel_HWIO, axis=0), axis=1)
    # Four kinds of output as channels: (even row, even column), (even, odd), (odd, even), ...
    folded = folded.reshape(2, 2, num_in, 4 * num_out).astype(low_BHWI.dtype)
    windows = convolve(low_BHWI, folded).reshape(b, h + 1, w + 1, 2, 2, num_out)
    return _pick(windows).reshape(b, 2 * h, 2 * w, num_out)


@jax.custom_vjp
def _pick(windows_BHWVUO: jax.Array) -> jax.Array:
    """Picks each output from its window: (B, H + 1, W + 1, 2, 2, O) -> (B, H, 2, W, 2, O)."""
    _, h1, w1, *_ = windows_BHWVUO.shape
    h, w = h1 - 1, w1 - 1
    rows = [
        jnp.stack([windows_BHWVUO[:, v : v + h, u : u + w, v, u] for u in (0, 1)], axis=3)
        for v in (0, 1)
    ]
    return jnp.stack(rows, axis=2)


def _pick_forward(windows_BHWVUO: jax.Array) -> tuple[jax.Array, None]:
    return _pick(windows_BHWVUO), None


def _pick_backward(saved: None, grad_BHVWUO: jax.Array) -> tuple[jax.Array]:
    # One pass; the gradient that JAX derives adds four maps of which three quarters are zero.
    del saved
    rows = [
        jnp.stack(
            [
                jnp.pad(grad_BHVWUO[:, :, v, :, u], ((0, 0), (v, 1 - v), (u, 1 - u), (0, 0)))
                for u in (0, 1)
            ],
            axis=3,
        )
        for v in (0, 1)
    ]
    return (jnp.stack(rows, axis=3),)


_pick.defvjp(_pick_forward, _pick_backward)


def _fold(kernel: jax.Array, axis: int) -> jax.Array:
    """Folds three taps along `axis` to two; even and odd outputs form a new axis before the last.

    Sums slices, because in a deep layer a product with a constant costs more than folding saves.
    """
    k0, k1, k2 = jnp.split(kernel, 3, axis=axis)
    even = jnp.concatenate([k0, k1 + k2], axis=axis)
    odd = jnp.concatenate([k0 + k1, k2], axis=axis)
    return jnp.stack([even, odd], axis=-2)


def convolve(x_BHWI: jax.Array, kernel_HWIO: jax.Array) -> jax.Array:
    """Convolves a map padded by one zero on every side, with a fast gradient.

    Args:
      x_BHWI: (B, H, W, I).
      kernel_HWIO: (size, size, I, O), size 2 or 3.

    Returns:
      (B, H + 3 - size, W + 3 - size, O).
    """
    if platform() == 'cpu':
        return _convolve_with_product(x_BHWI, kernel_HWIO)
    return (_convolve_2x2 if kernel_HWIO.shape[0] == 2 else _convolve)(x_BHWI, kernel_HWIO)


def platform() -> str:
    """Returns the platform that the traced program is for, if it is traced under a mesh."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform


def num_devices() -> int:
    """Returns how many devices the traced program is for; 1 without a mesh."""
    return jax.sharding.get_abstract_mesh().size or 1


def _convolve(x_BHWI: jax.Array, kernel_HWIO: jax.Array, *, padding: int = 1) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x_BHWI,
        kernel_HWIO,
        window_strides=(1, 1),
        padding=((padding, padding), (padding, padding)),
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )


@jax.custom_vjp
def _convolve_2x2(x_BHWI: jax.Array, kernel_HWIO: jax.Array) -> jax.Array:
    return _convolve(x_BHWI, kernel_HWIO)


@jax.custom_vjp
def _convolve_with_product(x_BHWI: jax.Array, kernel_HWIO: jax.Array) -> jax.Array:
    return _convolve(x_BHWI, kernel_HWIO)


def _forward(
    x_BHWI: jax.Array, kernel_HWIO: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve(x_BHWI, kernel_HWIO), (x_BHWI, kernel_HWIO)


def _backward_2x2(
    saved: tuple[jax.Array, jax.Array], grad_BHWO: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x_BHWI, kernel_HWIO = saved
    _, input_vjp = jax.vjp(lambda x: _convolve(x, kernel_HWIO), x_BHWI)
    # The gradient's map, one larger than the input, is the window of this convolution. XLA would
    # exchange the two and then no longer find cuDNN's function for the gradient of weights. So the
    # input is padded first, and the barrier keeps XLA from moving the padding into the convolution.
    padded_BHWI = jnp.pad(x_BHWI, ((0, 0), (1, 1), (1, 1), (0, 0)))
    padded_BHWI = jax.lax.optimization_barrier(padded_BHWI)
    _, kernel_vjp = jax.vjp(lambda k: _convolve(padded_BHWI, k, padding=0), kernel_HWIO)
    return (*input_vjp(grad_BHWO), *kernel_vjp(grad_BHWO))


_convolve_2x2.defvjp(_forward, _backward_2x2)


def _backward(
    saved: tuple[jax.Array, jax.Array], grad_BHWO: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x_BHWI, kernel_HWIO = saved
    _, input_vjp = jax.vjp(lambda x: _convolve(x, kernel_HWIO), x_BHWI)
    kernel_grad = weight_gradient(x_BHWI, grad_BHWO, size=kernel_HWIO.shape[0])
    return (*input_vjp(grad_BHWO), kernel_grad.astype(kernel_HWIO.dtype))


_convolve_with_product.defvjp(_forward, _backward)


def weight_gradient(x_BHWI: jax.Array, grad_BHWO: jax.Array, *, size: int) -> jax.Array:
    """Computes the gradient of `convolve` with respect to its weights.

    This is the correlation of the input with the gradient of the output at size x size shifts. With
    `size` copies of the input shifted horizontally and `size` copies of the gradient shifted
    vertically, one matrix product over the pixels contains all of them.

    Args:
      x_BHWI: input, (B, H, W, I).
      grad_BHWO: gradient of the output, (B, H + 3 - size, W + 3 - size, O).
      size: side of the kernel, 2 or 3.

    Returns:
      (size, size, I, O), float32 or better.
    """
    dtype = jnp.promote_types(x_BHWI.dtype, jnp.float32)
    b, h, w, num_in = x_BHWI.shape
    out_h, out_w, num_out = grad_BHWO.shape[1:]
    images, rows = b, h
    if num_devices() == 1:  # slicing a batch sharded over devices would gather it
        images = largest_divisor(b, _BLOCK_PIXELS // (h * w))
        rows = largest_divisor(h, _BLOCK_PIXELS // w)
    # A block of rows needs the gradient's rows around it; around a whole image these are zero.
    grad_rows, margin = out_h, 1
    if rows < h:
        grad_rows, margin = rows + size - 1, size - 1
        grad_BHWO = jnp.pad(grad_BHWO, ((0, 0), (size - 2, size - 2), (0, 0), (0, 0)))

    def product(block: jax.Array | int) -> jax.Array:
        image, row = block // (h // rows) * images, block % (h // rows) * rows
        x_bhwi = jax.lax.dynamic_slice(x_BHWI, (image, row, 0, 0), (images, rows, w, num_in))
        grad_bhwo = jax.lax.dynamic_slice(
            grad_BHWO, (image, row, 0, 0), (images, grad_rows, out_w, num_out)
        )
        x_copies = [_shift(x_bhwi, 1 - j, out_w, axis=2) for j in range(size)]
        grad_copies = [_shift(grad_bhwo, i - margin, rows, axis=1) for i in range(size)]
        x_NI = jnp.concatenate(x_copies, axis=-1).reshape(-1, size * num_in)
        grad_NO = jnp.concatenate(grad_copies, axis=-1).reshape(-1, size * num_out)
        # The narrow operand first: XLA:CPU takes twice as long the other way round.
        narrow, wide = (x_NI, grad_NO) if num_in < num_out else (grad_NO, x_NI)
        return jnp.matmul(narrow.T, wide, preferred_element_type=dtype)

    num_blocks = b // images * (h // rows)
    if num_blocks == 1:
        total = product(0)
    else:
        shape = tuple(sorted((size * num_in, size * num_out)))
        total = jax.lax.fori_loop(
            0, num_blocks, lambda n, so_far: so_far + product(n), jnp.zeros(shape, dtype)
        )
    if num_in < num_out:
        return total.reshape(size, num_in, size, num_out).transpose(2, 0, 1, 3)
    return total.reshape(size, num_out, size, num_in).transpose(0, 2, 3, 1)


def _shift(x: jax.Array, offset: int, length: int, *, axis: int) -> jax.Array:
    """Returns `length` elements along `axis`; element t is x[t - offset], or 0 outside x."""
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (offset, length - x.shape[axis] - offset, 0)  # negative padding crops
    return jax.lax.pad(x, jnp.zeros((), x.dtype), config)


def largest_divisor(number: int, limit: int) -> int:
    """Returns the largest divisor of `number` up to `limit`; at least 1."""
    return next(d for d in range(max(1, min(number, limit)), 0, -1) if number % d == 0)

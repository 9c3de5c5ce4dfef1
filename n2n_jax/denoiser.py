"""A trained denoiser, ready to be used on images.

B batch, H height, W width, C channels.
"""

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np

from n2n_jax import evaluate, io, models
from n2n_jax.checkpoint import open_for_reading
from n2n_jax.config import ModelConfig
from n2n_jax.errors import UserError

_MEMORY_SHARE = 0.9  # of the free memory that one image may take


@dataclasses.dataclass(frozen=True)
class Denoiser:
    """Weights with the network they belong to.

    `denoiser(image)` takes and gives an array; `denoiser.restore(image_file)` an image as it lies
    on disk, with alpha and metadata.

    Attributes:
      config: the network's.
      variables: its weights.
      step: of the training they come from.
    """

    config: ModelConfig
    variables: Any
    step: int

    @classmethod
    def load(cls, run: str | Path) -> Self:
        """Loads the last checkpoint of a run; nothing but the folder is needed.

        Raises:
          UserError: the folder holds no whole checkpoint.
        """
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        with open_for_reading(Path(run)) as checkpoints:
            step = checkpoints.last_step
            variables = evaluate.shipped_variables(checkpoints, step, sharding)
            return cls(checkpoints.config(step).model, variables, step)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Denoises an array: same shape and dtype.

        Args:
          image: (H, W) or (H, W, C) with C = 1 to 4, the second or fourth channel alpha, which is
            kept. uint8 and uint16 use their full range; floats are in [0, 1], with noise beyond.

        Raises:
          UserError: the shape, type or range does not fit, or the memory.
        """
        channels = 1 if image.ndim == 2 else image.shape[-1]
        if image.ndim not in (2, 3) or channels not in (1, 2, 3, 4):
            raise UserError(f'An image has shape (H, W) or (H, W, 1 to 4), not {image.shape}.')
        mode = ('gray', 'gray+alpha', 'rgb', 'rgba')[channels - 1]
        return self.restore(io.ImageFile(image, mode, Path('image'))).pixels

    def restore(self, image: io.ImageFile) -> io.ImageFile:
        """Denoises an image file: same size, type, mode and metadata; alpha is kept.

        Raises:
          UserError: floating-point values are not in the range [0, 1], or the image needs more
            memory than there is.
        """
        black, white = self.config.black, self.config.white
        color_HWC, _ = io.color_and_alpha(image)
        if black == white:
            io.check_range(image, margin=1.0)
            return io.with_color(image, self.denoise(color_HWC, name=str(image.path)))
        # The network's range is that of the pixel values it was trained on, in the file's units.
        full_scale = io.full_scale(image.pixels.dtype)
        noisy_HWC = (color_HWC * full_scale - black) / (white - black)
        denoised_HWC = self.denoise(noisy_HWC.astype(np.float32), name=str(image.path))
        return io.with_color(image, (denoised_HWC * (white - black) + black) / full_scale)

    def denoise(self, noisy_HWC: np.ndarray, *, name: str = 'image') -> np.ndarray:
        """Denoises colours in [0, 1]: (H, W, 1 or 3) float32 to the same, not clipped.

        A colour network sees a gray image as three equal channels, and its answer is averaged; a
        gray network sees the channels of a colour image one by one.
        """
        channels = noisy_HWC.shape[-1]
        if channels == self.config.channels:
            return self._apply(noisy_HWC[None], name)[0]
        if self.config.channels not in (1, 3):
            raise UserError(
                f'{name} has {channels} channel{"s" * (channels > 1)}, and the model was trained '
                f'on {self.config.channels}.'
            )
        if self.config.channels == 3:
            rgb_HWC = np.repeat(noisy_HWC, 3, axis=-1)
            return self._apply(rgb_HWC[None], name)[0].mean(axis=-1, keepdims=True)
        planes = [self._apply(noisy_HWC[None, ..., i : i + 1], name)[0] for i in range(channels)]
        return np.concatenate(planes, axis=-1)

    def _apply(self, noisy_BHWC: np.ndarray, name: str) -> np.ndarray:
        compiled, needed = _compiled(self.config, noisy_BHWC.shape)
        available = _available_memory()
        if needed > _MEMORY_SHARE * available:
            _, h, w, _ = noisy_BHWC.shape
            raise UserError(
                f'{name} ({w}x{h}) needs {needed / 2**30:.1f} GiB of memory at once, and '
                f'{available / 2**30:.1f} GiB are free: cut it into smaller images.'
            )
        return np.asarray(compiled(self.variables, noisy_BHWC))


@functools.lru_cache(maxsize=64)
def _compiled(config: ModelConfig, shape: tuple[int, ...]) -> tuple[Any, int]:
    """The network for one image size, and the bytes it takes to run it."""
    model = models.build(config)
    variables = jax.eval_shape(functools.partial(models.init, config), jax.random.key(0))
    image = jax.ShapeDtypeStruct(shape, np.float32)
    compiled = jax.jit(model.apply).lower(variables, image).compile()
    memory = compiled.memory_analysis()
    return compiled, memory.temp_size_in_bytes + memory.output_size_in_bytes


def _available_memory() -> int:
    stats = jax.local_devices()[0].memory_stats()
    if stats and 'bytes_limit' in stats:
        return stats['bytes_limit'] - stats['bytes_in_use']
    try:
        for line in Path('/proc/meminfo').read_text().splitlines():
            if line.startswith('MemAvailable:'):
                return int(line.split()[1]) * 1024
    except OSError:  # not Linux
        pass
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')

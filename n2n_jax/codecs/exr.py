"""OpenEXR, the float images of renderers; their reader is an optional package.

H height, W width, C channels.
"""

from pathlib import Path

import numpy as np

from n2n_jax.errors import UserError


def read(path: Path) -> np.ndarray:
    """The colours of an image, (H, W, 3), or (H, W, 1) if it has no others than Y.

    float16, float32 or uint32 as in the file; values above 1 stay. Alpha and render layers
    (albedo.R, ...) are left out; of several parts the first is read.

    Raises:
      UserError: the reader is not installed, the file is damaged, or it holds no colours.
    """
    try:
        import OpenEXR
    except ImportError:
        raise UserError(
            f"{path}: EXR files need one more package: pip install 'n2n_jax[exr]'."
        ) from None
    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            channels = {name: channel.pixels for name, channel in file.channels().items()}
    except Exception as error:  # RuntimeError, in most cases
        raise UserError(f'{path} is damaged or no EXR file ({error}).') from error
    for names in ('RGB', 'Y'):
        if all(name in channels for name in names):
            return np.stack([channels[name] for name in names], axis=-1)
    raise UserError(
        f'{path} holds the channels {", ".join(channels)}: R, G and B are needed, or Y.'
    )

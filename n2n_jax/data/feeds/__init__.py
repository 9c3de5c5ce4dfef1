"""Ways to feed one training step with the same batches.

`DeviceFeed` keeps a small set on every device and cuts it there, `StreamFeed` reads a large one
through Grain, `CaptureFeed` (in `capture_feed`) cuts pairs of captures, which `placed_captures` has
laid out.
"""

from concurrent import futures

import numpy as np

from n2n_jax.data.feeds.base import DEVICE_SHARE, MAX_DEVICE_PIXELS, Batch, Feed
from n2n_jax.data.feeds.device import DeviceFeed
from n2n_jax.data.feeds.stream import StreamFeed
from n2n_jax.data.sources.source import ImageSource
from n2n_jax.runtime import device_memory
from n2n_jax.runtime.config import DataConfig
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import Layout

__all__ = ['Batch', 'DeviceFeed', 'Feed', 'StreamFeed', 'make_feed']


def _all_8_bit(source: ImageSource) -> bool:
    with futures.ThreadPoolExecutor() as pool:
        types = pool.map(lambda i: source.read(i).dtype, range(len(source.names)))
        found = all(dtype == np.uint8 for dtype in types)
        pool.shutdown(cancel_futures=True)
    return found


def make_feed(
    source: ImageSource, config: DataConfig, *, channels: int, seed: int, layout: Layout
) -> Feed:
    """The feed that `config.feed` names; 'auto' chooses by size."""
    num_pixels = sum(int(np.prod(source.size(i))) for i in range(len(source.names)))
    kind = config.feed
    if kind == 'auto':
        limit = DEVICE_SHARE * device_memory.device_bytes()
        num_values = num_pixels * channels
        # The whole set is float32 if one image is: they are looked at where that would be too much.
        fits = 4 * num_values <= limit or (num_values <= limit and _all_8_bit(source))
        kind = 'device' if fits and num_pixels <= MAX_DEVICE_PIXELS else 'stream'
    elif kind == 'device' and num_pixels > MAX_DEVICE_PIXELS:
        raise UserError(
            f'The {num_pixels} pixels of data.train are too many to keep on a device (at most '
            f'{MAX_DEVICE_PIXELS}): write data.feed=stream.'
        )
    make: type[DeviceFeed] | type[StreamFeed] = DeviceFeed if kind == 'device' else StreamFeed
    return make(source, config, channels=channels, seed=seed, layout=layout)

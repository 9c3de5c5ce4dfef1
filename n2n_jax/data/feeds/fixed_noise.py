"""K noisy versions of each clean image, drawn once: what a fixed set of pairs can teach.

Noise that is drawn again at every step shows a network more pairs than any data set holds. Here a
pixel has the same K noisy values for the whole training, whatever crop it lies in.

K realizations of an image, H height, W width, C channels.
"""

import functools

import jax
import numpy as np

from n2n_jax import corruptions
from n2n_jax.corruptions import Corruptor
from n2n_jax.data.feeds import placed_captures
from n2n_jax.data.feeds.base import DEVICE_SHARE, MAX_DEVICE_PIXELS
from n2n_jax.data.feeds.capture_feed import CaptureFeed
from n2n_jax.data.sources.source import ImageSource, to_float, with_channels
from n2n_jax.runtime import device_memory, random_keys
from n2n_jax.runtime.config import CLEAN, Config
from n2n_jax.runtime.device_memory import readable
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import Layout
from n2n_jax.runtime.progress import ProgressLine


def realization_feed(source: ImageSource, config: Config, layout: Layout) -> CaptureFeed:
    """Feeds pairs out of `noise.realizations` noisy versions of each image.

    Input and target are two of the K versions. Targets of a noise of their own are K versions of
    that; clean targets are the images. One level is drawn per version, where levels have a range.

    Args:
      source: clean images.
      config: of the run.
      layout: where arrays go.

    Raises:
      UserError: the versions do not fit into the share of a device's memory that data may take.
    """
    of_input = corruptions.parse(config.noise.input)
    of_target = None if config.target_spec == CLEAN else corruptions.parse(config.target_spec)
    same = config.target_spec == config.noise.input
    masked = of_target is not None and of_target.masks
    num, channels = config.noise.realizations, config.model.channels
    _check_fits(source, num, 0 if same else num if of_target else 1, channels, masked=masked)

    scenes, masks = [], []
    num_images = len(source.names)
    with ProgressLine('drawing noise', num_images) as progress:
        for i in range(num_images):
            clean_HWC = to_float(with_channels(source.read(i), channels))
            key = random_keys.key_for(config.seed, random_keys.CORRUPTION_INPUT, i)
            versions, observed = _draw(of_input, key, clean_HWC, num)
            if of_target is None:
                versions.append(clean_HWC)
            elif not same:
                key = random_keys.key_for(config.seed, random_keys.CORRUPTION_TARGET, i)
                more_versions, more_observed = _draw(of_target, key, clean_HWC, num)
                versions += more_versions
                observed += more_observed
            scenes.append(np.stack(versions))
            if masked:
                masks.append(np.stack(observed))
            progress.update(i + 1)
    placed = placed_captures.place(scenes, layout, pairing='1:1', masks=masks if masked else None)
    num_inputs = 0 if same else num
    feed = CaptureFeed(placed, config.data, seed=config.seed, layout=layout, num_inputs=num_inputs)
    num_bytes = sum(array.nbytes for array in jax.tree.leaves(feed.constants))
    feed.description = (
        f'{num_images} images, {num} fixed noisy version{"s" * (num > 1)} of each on the device, '
        f'{readable(num_bytes)}'
    )
    return feed


def _draw(
    corruptor: Corruptor, key: jax.Array, clean_HWC: np.ndarray, num: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """K versions of an image and their masks; version k depends on (key, k) alone."""
    versions, observed = [], []
    for k in range(num):
        noisy_HWC, mask_HWC = _draw_one(jax.random.fold_in(key, k), clean_HWC, corruptor=corruptor)
        versions.append(np.asarray(noisy_HWC))
        observed.append(
            np.ones(clean_HWC.shape, np.uint8)
            if mask_HWC is None
            else np.asarray(mask_HWC).astype(np.uint8)
        )
    return versions, observed


@functools.partial(jax.jit, static_argnames='corruptor')
def _draw_one(
    key: jax.Array, clean_HWC: jax.Array, *, corruptor: Corruptor
) -> tuple[jax.Array, jax.Array | None]:
    return corruptor.sample_image(key, clean_HWC)


def _check_fits(
    source: ImageSource, num: int, num_targets: int, channels: int, *, masked: bool
) -> None:
    area = sum(int(np.prod(source.size(i))) for i in range(len(source.names)))
    num_pixels = area * (num + num_targets)
    num_bytes = num_pixels * channels * (5 if masked else 4)
    limit = int(DEVICE_SHARE * device_memory.device_bytes())
    if num_bytes > limit or num_pixels > MAX_DEVICE_PIXELS:
        raise UserError(
            f'noise.realizations={num} of {len(source.names)} images take '
            f'{readable(num_bytes)} ({num_bytes} bytes, {num_pixels} pixels); on a device '
            f'there is room for {readable(limit)} and {MAX_DEVICE_PIXELS} pixels of them: '
            'write fewer realizations, or fewer images in data.train.'
        )

"""Training throughput from image files to updated weights: the U-Net with its input pipeline.

PyTorch uses the typical DataLoader, whose workers read a PNG, crop it and add noise twice.
"""

import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from n2n_jax.bench.speed import training
from n2n_jax.bench.speed.report import Row
from n2n_jax.bench.speed.timing import calls_per_wait, medians_in_turns
from n2n_jax.data.sources import dead_leaves
from n2n_jax.images import image_io

_NUM_IMAGES = 24
_BATCH_SIZE, _CROP = 16, 64
_DISPATCHES = 12  # per measurement; many more than the batches prefetched during others' turns


def _ours(folder: Path, feed: str) -> tuple[Callable[[], None], int]:
    config = training.benchmark_config('unet', _BATCH_SIZE, _CROP, 'float32')
    data = dataclasses.replace(config.data, train=f'folder:{folder}', feed=feed)
    return training.our_step(dataclasses.replace(config, data=data), dispatches=_DISPATCHES)


def _theirs(folder: Path) -> tuple[Callable[[], None], int]:
    import torch

    from n2n_jax.bench.speed import twins
    from n2n_jax.bench.speed.noisy_pairs import NoisyPairs

    device = twins.device()
    network = twins.build('unet', device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, betas=(0.9, 0.99), fused=True)
    loader = torch.utils.data.DataLoader(
        NoisyPairs(folder, _CROP),
        batch_size=_BATCH_SIZE,
        num_workers=os.cpu_count() or 1,
        multiprocessing_context='spawn',  # forking a process with JAX's threads may hang
    )
    batches = iter(loader)
    num_steps = _DISPATCHES * calls_per_wait()

    def run() -> None:
        for _ in range(num_steps):
            noisy, target = (
                part.to(device, memory_format=torch.channels_last) for part in next(batches)
            )
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.mse_loss(network(noisy), target).backward()
            optimizer.step()
        if device == 'cuda':
            torch.cuda.synchronize()

    return run, num_steps


def rows(quick: bool) -> Iterator[Row]:
    """Measures images per second, with the images stored on the device and with streaming."""
    del quick
    with tempfile.TemporaryDirectory() as folder:
        for i, image in enumerate(dead_leaves.dead_leaves(_NUM_IMAGES)):
            image_io.write_pixels(Path(folder) / f'{i}.png', image)
        sides, num_steps = {}, {}
        name = 'PyTorch DataLoader'
        sides[name], num_steps[name] = _theirs(Path(folder))
        for feed in ('device', 'stream'):
            sides[feed], num_steps[feed] = _ours(Path(folder), feed)
        seconds = medians_in_turns(sides, repeats=7, warm_ups=1)
        per_second = {name: num_steps[name] * _BATCH_SIZE / seconds[name] for name in sides}
        for feed in ('device', 'stream'):
            yield Row(
                f'files to weights, unet, {_BATCH_SIZE} x {_CROP}x{_CROP}, feed={feed}',
                per_second[feed],
                per_second['PyTorch DataLoader'],
                'images/s',
                'PyTorch DataLoader',
            )

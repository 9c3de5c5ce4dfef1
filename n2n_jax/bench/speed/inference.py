"""Inference on whole images, with initial weights."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp

from n2n_jax import models
from n2n_jax.bench.speed.report import Row
from n2n_jax.bench.speed.timing import calls_per_wait, medians_in_turns
from n2n_jax.runtime.config import ModelConfig

_SIZE = (512, 768)  # rows, columns


def _ours(name: str, dtype: str) -> Callable[[], None]:
    config = ModelConfig(name=name, dtype=dtype)
    model = models.build(config)
    variables = jax.jit(lambda: models.init(config, jax.random.key(0)))()
    apply = jax.jit(model.apply)
    image_BHWC = jnp.full((1, *_SIZE, 3), 0.5)

    def run() -> None:
        answers = [apply(variables, image_BHWC) for _ in range(calls_per_wait())]
        answers[-1].block_until_ready()

    return run


def _theirs(name: str, dtype: str, *, compiled: bool) -> Callable[[], None]:
    import torch

    from n2n_jax.bench.speed import twins

    device = twins.device()
    network = twins.build(name, device).eval()
    forward = twins.compiled(network) if compiled else network
    image = torch.full((1, 3, *_SIZE), 0.5, device=device).to(memory_format=torch.channels_last)

    def run() -> None:
        enabled = dtype == 'bfloat16'
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=enabled):
            for _ in range(calls_per_wait()):
                forward(image)
        if device == 'cuda':
            torch.cuda.synchronize()

    return run


def rows(quick: bool) -> Iterator[Row]:
    """Measures megapixels per second of both sides."""
    megapixels = calls_per_wait() * _SIZE[0] * _SIZE[1] / 1e6
    for dtype in ('float32',) if jax.default_backend() == 'cpu' else ('float32', 'bfloat16'):
        for name in ('unet', 'resnet50'):
            sides = {'ours': _ours(name, dtype)}
            sides['PyTorch, eager'] = _theirs(name, dtype, compiled=False)
            if not quick:
                sides['PyTorch, compiled'] = _theirs(name, dtype, compiled=True)
            seconds = medians_in_turns(sides)
            best = min((side for side in sides if side != 'ours'), key=seconds.__getitem__)
            yield Row(
                f'inference, {name}, {_SIZE[1]}x{_SIZE[0]}, {dtype}',
                megapixels / seconds['ours'],
                megapixels / seconds[best],
                'Mpixel/s',
                best,
            )

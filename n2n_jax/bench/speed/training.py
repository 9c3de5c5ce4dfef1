"""The training step: noise, forward, backward, Adam.

Our step draws crops and noise; PyTorch's gets the same two tensors every time, so the comparison
favors PyTorch. Neither keeps an average of the weights. Both wait for the device equally often:
after every step on a CPU, after every ten on a GPU.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from n2n_jax import models
from n2n_jax.bench.speed import peaks
from n2n_jax.bench.speed.report import Row
from n2n_jax.bench.speed.timing import calls_per_wait, medians_in_turns
from n2n_jax.data.feeds import make_feed
from n2n_jax.data.sources import open_source
from n2n_jax.runtime.config import Config, from_config_dict, to_config_dict
from n2n_jax.runtime.parallel import make_layout
from n2n_jax.train.step import init_state, make_train_step
from n2n_jax.train.tasks import make_task


def benchmark_config(name: str, batch_size: int, crop: int, dtype: str) -> Config:
    """Returns the quick Gaussian recipe, without the average of the weights."""
    values = to_config_dict(Config())
    values.update_from_flattened_dict(
        {
            'model.name': name,
            'model.dtype': dtype,
            'data.train': 'photos',
            'data.batch_size': batch_size,
            'data.crop': crop,
            'optim.learning_rate': 1e-4,
            'optim.ema_decay': 0.0,
            'optim.warmup_steps': 0,
        }
    )
    return from_config_dict(values)


def our_step(config: Config, dispatches: int = 1) -> tuple[Callable[[], None], int]:
    """Returns a function that trains and then waits for the weights, and its number of steps."""
    layout = make_layout(config.data.batch_size)
    source = open_source(config.data.train)
    feed = make_feed(source, config.data, channels=3, seed=0, layout=layout)
    train_step = make_train_step(config, make_task(config), feed, layout)
    num_steps = calls_per_wait()
    state = jax.jit(lambda: init_state(config), out_shardings=layout.replicated)()
    holder = {'state': state, 'step': 0}

    def run() -> None:
        for _ in range(dispatches):
            inputs = feed.inputs(holder['step'], num_steps)
            holder['state'], _ = train_step(holder['state'], feed.constants, inputs)
            holder['step'] += num_steps
        jax.block_until_ready(holder['state'])

    return run, num_steps * dispatches


def their_step(
    name: str, batch_size: int, crop: int, dtype: str, *, compiled: bool
) -> tuple[Callable[[], None], int]:
    """Returns a function that trains the PyTorch network and waits, and its number of steps."""
    import torch

    from n2n_jax.bench.speed import twins

    device = twins.device()
    network = twins.build(name, device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, betas=(0.9, 0.99), fused=True)
    forward = twins.compiled(network) if compiled else network
    noisy, target = (
        torch.rand(batch_size, 3, crop, crop, device=device).to(memory_format=torch.channels_last)
        for _ in range(2)
    )
    num_steps = calls_per_wait()

    def run() -> None:
        for _ in range(num_steps):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == 'bfloat16'):
                denoised = forward(noisy)
            torch.nn.functional.mse_loss(denoised.float(), target).backward()
            optimizer.step()
        if device == 'cuda':
            torch.cuda.synchronize()

    return run, num_steps


def flops_of_step(config: Config) -> float:
    """Counts the operations of forward and backward pass with plain convolutions."""
    size = (config.data.batch_size, config.data.crop, config.data.crop, 3)
    values = {**to_config_dict(config).to_dict()['model'], 'convolutions': 'plain'}
    plain = from_config_dict({'model': values}).model
    model = models.build(plain)
    variables = jax.eval_shape(lambda key: models.init(plain, key), jax.random.key(0))

    def loss(params: Any, rest: Any, image_BHWC: jax.Array) -> jax.Array:
        variables = {'params': params, **rest}
        return jnp.mean(jnp.square(models.denoise(model, variables, image_BHWC)))

    rest = {name: tree for name, tree in variables.items() if name != 'params'}
    image_BHWC = jax.ShapeDtypeStruct(size, jnp.float32)
    with jax.default_device(jax.devices('cpu')[0]):  # XLA:GPU reports no count
        lowered = jax.jit(jax.grad(loss)).lower(variables['params'], rest, image_BHWC)
    analysis = lowered.cost_analysis()
    if analysis is None:
        raise RuntimeError('XLA counts no operations on this platform')
    return analysis['flops']


def _cases(quick: bool) -> list[tuple[str, str, int, int]]:
    """Lists (type of the computation, network, batch size, crop)."""
    if jax.default_backend() == 'cpu':
        cases = [('unet', 4, 64), ('unet', 16, 64), ('unet', 4, 128), ('resnet50', 4, 64)]
        cases += [(name, 4, 64) for name in ('resunet', 'dncnn', 'nafnet_xs')]
        if not quick:
            cases += [('unet', 4, 256), ('resnet50', 16, 64)]
        return [('float32', *case) for case in cases]
    cases = [('unet', 32, 256), ('resnet50', 32, 256)]
    cases += [(name, 32, 256) for name in ('resunet', 'nafnet_xs')]
    if not quick:
        cases += [('unet', 16, 64), ('unet', 4, 256)]
    return [(dtype, *case) for dtype in ('bfloat16', 'float32') for case in cases]


def rows(quick: bool) -> Iterator[Row]:
    """Measures images per second of both sides, for several batches and crops."""
    for dtype, name, batch_size, crop in _cases(quick):
        config = benchmark_config(name, batch_size, crop, dtype)
        ours, num_steps = our_step(config)
        sides = {'ours': ours}
        arguments = (name, batch_size, crop, dtype)
        sides['PyTorch, eager'], _ = their_step(*arguments, compiled=False)
        if not quick:
            sides['PyTorch, compiled'], _ = their_step(*arguments, compiled=True)
        seconds = medians_in_turns(sides)
        best = min((side for side in sides if side != 'ours'), key=seconds.__getitem__)
        step = seconds['ours'] / num_steps
        yield Row(
            f'training step, {name}, {batch_size} x {crop}x{crop}, {dtype}',
            batch_size / step,
            batch_size * num_steps / seconds[best],
            'images/s',
            best,
            {'of the peak': flops_of_step(config) / step / peaks.flops_per_second(dtype)},
        )

"""Each corruption compared with the usual implementation in NumPy and PyTorch.

B batch, H height, W width, C channels.
"""

import itertools
from collections.abc import Callable, Iterator

import jax
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from n2n_jax import corruptions
from n2n_jax.bench.speed.report import Row
from n2n_jax.bench.speed.timing import calls_per_wait, medians_in_turns

_SHAPE_BHWC = (16, 256, 256, 3)
_SPECS = ('gaussian:25', 'poisson:30', 'bernoulli:0.5', 'impulse:0.5', 'text:0.25')


def _ours(spec: str, clean_BHWC: np.ndarray) -> Callable[[], None]:
    corruptor = corruptions.parse(spec)
    sample = jax.jit(corruptor.sample)
    clean = jax.numpy.asarray(clean_BHWC)
    keys = itertools.cycle(list(jax.random.split(jax.random.key(0), 100)))

    def run() -> None:
        drawn = [sample(next(keys), clean) for _ in range(calls_per_wait())]
        jax.block_until_ready(drawn[-1])

    return run


def _numpy(spec: str, x_BHWC: np.ndarray) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    random = lambda *shape: rng.random(shape, np.float32)  # noqa: E731
    one_channel = (*x_BHWC.shape[:3], 1)
    return {
        'gaussian:25': lambda: (
            x_BHWC + np.float32(25 / 255) * rng.standard_normal(x_BHWC.shape, np.float32)
        ),
        'poisson:30': lambda: rng.poisson(x_BHWC * 30).astype(np.float32) / 30,
        'bernoulli:0.5': lambda: x_BHWC * (random(*one_channel) >= 0.5),
        'impulse:0.5': lambda: np.where(random(*one_channel) < 0.5, random(*x_BHWC.shape), x_BHWC),
        'text:0.25': lambda: [_draw_text(image, rng) for image in x_BHWC],
    }[spec]


def _draw_text(image_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws strings one by one until a quarter is covered, as in the code of the paper."""
    picture = Image.fromarray((255 * image_HWC).astype(np.uint8))
    covered = Image.new('L', picture.size)
    draw, draw_covered = ImageDraw.Draw(picture), ImageDraw.Draw(covered)
    letters = np.array(list('abcdefghijklmnopqrstuvwxyz0123456789'))
    while np.asarray(covered).mean() < 0.25 * 255:
        font = ImageFont.load_default(size=int(rng.integers(10, 31)))
        words = ''.join(rng.choice(letters, int(rng.integers(10, 25))))
        left, top = (int(v) for v in rng.integers(-20, picture.size[0], 2))
        draw.text((left, top), words, tuple(int(v) for v in rng.integers(0, 256, 3)), font=font)
        draw_covered.text((left, top), words, 255, font=font)
    return np.asarray(picture, np.float32) / 255


def _torch(spec: str, clean_BHWC: np.ndarray) -> Callable[[], object] | None:
    import torch

    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    x = torch.tensor(clean_BHWC, device=device)
    one_channel = (*x.shape[:3], 1)
    rand = lambda shape: torch.rand(shape, device=device)  # noqa: E731
    function = {
        'gaussian:25': lambda: x + 25 / 255 * torch.randn_like(x),
        'poisson:30': lambda: torch.poisson(x * 30) / 30,
        'bernoulli:0.5': lambda: x * (rand(one_channel) >= 0.5),
        'impulse:0.5': lambda: torch.where(rand(one_channel) < 0.5, rand(x.shape), x),
    }.get(spec)
    if function is None or device == 'cpu':
        return function

    def run() -> None:
        for _ in range(calls_per_wait()):
            function()
        torch.cuda.synchronize()

    return run


def rows(quick: bool) -> Iterator[Row]:
    """Measures megapixels per second of each corruption, compared with the fastest other side."""
    del quick
    clean_BHWC = np.random.default_rng(0).random(_SHAPE_BHWC, np.float32)
    megapixels = np.prod(_SHAPE_BHWC[:3]) / 1e6
    for spec in _SPECS:
        sides = {'ours': _ours(spec, clean_BHWC), 'NumPy': _numpy(spec, clean_BHWC)}
        in_torch = _torch(spec, clean_BHWC)
        if in_torch is not None:
            sides['PyTorch'] = in_torch
        seconds = medians_in_turns(sides)
        for name in set(sides) - {'NumPy'}:  # whose one call waits for nothing
            seconds[name] /= calls_per_wait()
        best = min((side for side in sides if side != 'ours'), key=seconds.__getitem__)
        other = 'Pillow' if spec.startswith('text') else best
        yield Row(
            f'noise, {spec}',
            megapixels / seconds['ours'],
            megapixels / seconds[best],
            'Mpixel/s',
            other,
        )

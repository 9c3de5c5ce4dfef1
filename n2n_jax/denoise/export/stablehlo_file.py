"""Exports a network to StableHLO, the portable programs of JAX.

B batch, H height, W width, C channels, P channels of a plane.
"""

from pathlib import Path

import jax

from n2n_jax.denoise.export.description import description
from n2n_jax.denoise.export.program import Program, sizes_may_be_unknown
from n2n_jax.runtime import json_files
from n2n_jax.runtime.atomic_files import write_bytes, write_text

PLATFORMS = ('cpu', 'cuda', 'rocm', 'tpu')


def files(path: Path) -> list[Path]:
    """Returns what `write` writes: the program and a description in JSON."""
    return [path, path.with_name(f'{path.name}.json')]


def write(program: Program, path: Path) -> list[Path]:
    """Writes a program for JAX without Flax and n2n_jax, and a description beside it.

    `jax.export.deserialize(path.read_bytes()).call(image_BHWC)` denoises (B, H, W, C) float32 in
    the units of the program, whose sides are multiples of its stride; what the program takes beside
    the image follows it. JAX says so if a size does not suit.

    Returns:
      The files: `path` and the JSON file beside it.
    """
    with sizes_may_be_unknown(program):
        exported = jax.export.export(jax.jit(program), platforms=PLATFORMS)(*program.shapes())
    path, facts = files(path)
    write_text(facts, json_files.dumps(description(program), indent=1) + '\n')
    write_bytes(path, bytes(exported.serialize()))
    return [path, facts]

"""What an exported network says of itself: how to prepare images, and what it needs."""

from typing import Any

import n2n_jax
from n2n_jax.denoise.export.program import NOISE_LEVEL, Program


def description(program: Program) -> dict[str, Any]:
    """Returns facts for programs, and 'text', the same in words."""
    config, geometry = program.config, program.geometry
    low, high = program.black, program.white
    known = config.black != config.white
    sentences = [
        f'A denoiser of {config.channels} channel{"s" * (config.channels > 1)} '
        f'({config.name}, step {program.step}), exported by n2n_jax {n2n_jax.__version__}.',
        f'Values are those of the captures it was trained on, roughly {low:g} to {high:g}, '
        'neither scaled nor clipped.'
        if known
        else 'Values are in [0, 1], where noise may exceed that: divide those of 8 bits by 255, '
        'of 16 bits by 65535.',
    ]
    sentences += [
        f"The plane '{name}', {channels} channel{'s' * (channels > 1)}, is in [0, 1]."
        for name, channels in program.planes.items()
    ]
    if config.noise_map:
        sentences.append(
            f"'{NOISE_LEVEL}' is the standard deviation of the noise of each image, in units of "
            'its values.'
        )
    if config.constants:
        sentences.append(
            f'Values that stand for no measurement ({config.constants}) must be filled in first.'
        )
    if geometry.halo is None:
        sentences.append('The result depends on the whole image: tiles do not make up the whole.')
    else:
        begin = f'begin at multiples of {geometry.stride} px, ' if geometry.stride > 1 else ''
        sentences.append(
            f'Tiles make up the whole if they {begin}overlap by {geometry.halo} px on each side, '
            'and these are cut off again.'
        )
    return {
        'network': config.name,
        'step': program.step,
        'n2n_jax': n2n_jax.__version__,
        'channels': config.channels,
        'planes': program.planes,
        'value_range': [low, high],
        'stride': geometry.stride,
        'halo': geometry.halo,
        'minimum_side': program.minimum,
        'text': ' '.join(sentences),
    }

"""`n2n show-noise`: draws a contact sheet of noise specs."""

import argparse
import logging
from pathlib import Path
from typing import Any

from n2n_jax.cli import options

_log = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        'show-noise',
        help='draw a contact sheet of noise specs',
        description='Draws images beside the same images with each kind of noise.',
    )
    parser.add_argument(
        'specs', nargs='+', metavar='SPEC', help='noise to add, such as gaussian:25 or text:0.25'
    )
    parser.add_argument(
        '-o', dest='output', type=options.path, default=Path('noise.png'), metavar='OUT',
        help='image file to write (default: noise.png)',
    )  # fmt: skip
    parser.add_argument(
        '--image',
        type=options.path,
        metavar='FILE',
        help='a clean image to use instead of the built-in photographs',
    )
    parser.add_argument(
        '--seed', type=int, default=0, metavar='N', help='seed of the noise (default: 0)'
    )
    parser.add_argument('--force', action='store_true', help='overwrite OUT')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    import jax

    from n2n_jax import corruptions
    from n2n_jax.data.sources import photos
    from n2n_jax.images import image_io, pictures
    from n2n_jax.runtime import random_keys

    corruptors = [corruptions.parse(spec) for spec in arguments.specs]
    options.check_free(arguments.output, '-o', arguments)
    if arguments.image:
        image = image_io.read_image(arguments.image)
        image_io.check_range(image, margin=1.0)
        color_HWC, _ = image_io.color_and_alpha(image)
        clean = {arguments.image.name: color_HWC}
    else:
        images = photos.photos()
        clean = {name: images[name][:256, :256] / 255.0 for name in ('chelsea', 'astronaut')}
    key = random_keys.key_for(arguments.seed, random_keys.EVALUATION)
    rows = []
    for name, clean_HWC in clean.items():
        row = [(name, clean_HWC)]
        for corruptor in corruptors:
            noisy = corruptor.sample(key, jax.numpy.asarray(clean_HWC, 'float32')[None]).image_BHWC
            row.append((corruptor.spec, jax.device_get(noisy[0])))
        rows.append(row)
    pictures.save(arguments.output, pictures.grid(rows))
    _log.info('%s', arguments.output)

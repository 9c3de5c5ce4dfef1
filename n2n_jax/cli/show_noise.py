"""`n2n show-noise`: draws a contact sheet of noise specs."""

import argparse
import logging
from pathlib import Path
from typing import Any

from n2n_jax.cli import options

# A test checks that every noise and every option is named.
_NOISES = """noises, with the meaning of the number in a spec:
  gaussian:25                 standard deviation, of 255
  brown:25,bandwidth=2        the same, correlated over that many pixels
  rows:10,axis=rows           offsets of rows, or of columns: axis=columns
  speckle:0.2                 standard deviation, as a share of the value
  poisson:30                  expected count of a white pixel
  poisson_gaussian:30,read=5  with read noise, of 255
  fixed_pattern:5,sensor=0    standard deviation, of 255; the same in every capture of a sensor
  bernoulli:0.5               probability that a pixel is missing
  impulse:0.5                 probability that a pixel gets a random color
  salt_pepper:0.3,white=0.5   probability of black or white, and the share of white
  text:0.25                   share of the pixels that is covered
  blur:1.6                    standard deviation in pixels
  motion_blur:9               length of a random stroke in pixels
  kernel_blur,file=kernels.npy
                              kernels drawn from an array (N, H, W) in a file (.npy, .npz)
  pixelated:4                 side of a block in pixels
  camera:1000,read=2,red=2,blue=1.5,demosaic=linear
                              photons of a white pixel, read noise in electrons, gains of the
                              white balance: noise in raw values, then missing colors are
                              interpolated: linear, gradient, none (none are missing), any
  clip                        clipped to [0, 1]
  quantize:8                  the same, and rounded to 8 bits
  stored:0.5                  the same as quantize:8, for a share of the images
  jpeg:75,chroma=420          quality of a JPEG, with color at half (420) or all (444) pixels, or
                              any of these

LOW-HIGH instead of a number draws one for each image (of a camera, its logarithm).
+ chains noises, from left to right.
"""

_log = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        'show-noise',
        help='draw a contact sheet of noise specs',
        description='Draws images beside the same images with each kind of noise.',
        epilog=_NOISES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
    options.add_imports(parser)
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

    options.run_imports(arguments)
    corruptors = [corruptions.parse(spec) for spec in arguments.specs]
    # One program for each noise, not one for each of its operations.
    samplers = [jax.jit(corruptor.sample) for corruptor in corruptors]
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
        for corruptor, sample in zip(corruptors, samplers, strict=True):
            noisy = sample(key, clean_HWC.astype('float32')[None]).image_BHWC
            row.append((corruptor.spec, jax.device_get(noisy[0])))
        rows.append(row)
    pictures.save(arguments.output, pictures.grid(rows))
    _log.info('%s', arguments.output)

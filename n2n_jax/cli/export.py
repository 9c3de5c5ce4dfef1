"""`n2n export`: writes a trained model as one file, for n2n_jax or other programs."""

import argparse
import logging
from typing import Any

from n2n_jax.cli import options
from n2n_jax.runtime import console

_log = logging.getLogger(__name__)

_EXAMPLES = """examples:
  n2n export runs/quick -o denoiser.safetensors for n2n_jax, without the run
  n2n export runs/quick -o denoiser.onnx        for ONNX Runtime, OpenVINO, TensorRT, ...
  n2n export runs/quick -o denoiser.stablehlo   for JAX, without Flax and n2n_jax
  n2n export runs/cells -o denoiser.zip --author 'Ada Lovelace' --license CC-BY-4.0
                                                for bioimage.io, ImageJ (deepImageJ), Ilastik, ...

In Python:
  session = onnxruntime.InferenceSession('denoiser.onnx')
  denoised, = session.run(None, {'image': image})      # (batch, channels, height, width) float32

  program = jax.export.deserialize(open('denoiser.stablehlo', 'rb').read())
  denoised = program.call(image)                       # (batch, height, width, channels) float32

FILE.safetensors holds the weights in float16, for n2n denoise --model FILE.safetensors. The others
compute in float32, on images of any size (StableHLO: sides are multiples of the stride). What
values they expect, and how to cut images into tiles, is printed, and stored in the file (ONNX: its
metadata) or beside it.
"""


def add_parser(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        'export',
        help='write a model as one file: safetensors, ONNX, StableHLO, or for bioimage.io',
        description='Writes a trained model as one file, for n2n_jax or other programs.',
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'model', type=options.run_folder, metavar='MODEL',
        help='folder of a trained run (its --workdir), or a name that n2n models lists',
    )  # fmt: skip
    parser.add_argument(
        '-o', dest='output', type=options.path, required=True, metavar='FILE',
        help='FILE.safetensors, FILE.onnx (needs the extra n2n_jax[onnx]), FILE.stablehlo, or '
        'FILE.zip for bioimage.io (needs n2n_jax[bioimage])',
    )  # fmt: skip
    parser.add_argument(
        '--author', action='append', default=[], metavar='NAME',
        help='who made the model, in FILE.zip; may be repeated',
    )  # fmt: skip
    parser.add_argument(
        '--license', default='', metavar='ID',
        help='license of the model, in FILE.zip: an SPDX identifier, such as CC-BY-4.0',
    )  # fmt: skip
    parser.add_argument('--force', action='store_true', help='overwrite FILE')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    options.check_free(arguments.output, '-o', arguments)
    console.keep_compiled_code()
    from n2n_jax.denoise import export
    from n2n_jax.denoise.denoiser import Denoiser

    for file in export.files(arguments.output):
        options.check_free(file, '-o', arguments)
    exported = export.export(
        Denoiser.load(arguments.model),
        arguments.output,
        authors=arguments.author,
        license=arguments.license,
    )
    for sentence in filter(None, (exported.text, exported.checked)):
        _log.info('%s', sentence)
    for file in exported.files:
        _log.info('%s', file)

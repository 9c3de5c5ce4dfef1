"""Compares an exported ONNX model with the network that it was made from.

H height, W width, C channels.
"""

import jax
import numpy as np

from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.denoise.export.program import IMAGE, NOISE_LEVEL, OUTPUT, Program
from n2n_jax.runtime.errors import UserError

_TOLERANCE = 1e-4  # of the range of the values
_LEVEL = 0.1  # of the range of the values: the noise of the image that is compared


def largest_difference(denoiser: Denoiser, content: bytes) -> float | None:
    """Denoises an image of noise with both; returns by how much the results differ at most.

    Args:
      denoiser: the model that was exported.
      content: of the ONNX file.

    Returns:
      The difference, as a share of the range of the values; None if onnxruntime is not installed.

    Raises:
      UserError: the results differ.
    """
    try:
        import onnxruntime
    except ImportError:
        return None
    program = Program.of(denoiser)
    extent = program.white - program.black
    # Odd sides, so that padding is compared too.
    shape_HW = (program.minimum + 5, program.minimum + 2 * program.geometry.stride + 3)
    draw = np.random.default_rng(0)
    given = {
        name: draw.normal(0.5, _LEVEL, (*shape_HW, channels)).astype(np.float32)
        for name, channels in program.inputs.items()
        if channels
    }
    noisy_HWC = given.pop(IMAGE)
    feed = {name: part.transpose(2, 0, 1)[None] for name, part in given.items()}
    feed[IMAGE] = (noisy_HWC * extent + program.black).transpose(2, 0, 1)[None].astype(np.float32)
    shown = list(given.values())
    if NOISE_LEVEL in program.inputs:
        feed[NOISE_LEVEL] = np.array([_LEVEL * abs(extent)], np.float32)
        shown.append(np.full((*shape_HW, 1), _LEVEL, np.float32))
    planes_HWP = np.concatenate(shown, axis=-1) if shown else None
    with jax.default_matmul_precision('highest'):
        expected_HWC = denoiser.denoise(noisy_HWC, planes_HWP)
    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    (found_BCHW,) = session.run([OUTPUT], feed)
    found_HWC = (found_BCHW[0].transpose(1, 2, 0) - program.black) / extent
    difference = float(np.abs(found_HWC - expected_HWC).max())
    largest = max(1.0, float(np.abs(expected_HWC).max()))
    if not difference <= _TOLERANCE * largest:
        raise UserError(
            f'ONNX Runtime {onnxruntime.__version__} denoises with this file differently, by up to '
            f'{difference:.3g} of the range of the values: nothing was written. Export to '
            'StableHLO (FILE.stablehlo) instead.'
        )
    return difference

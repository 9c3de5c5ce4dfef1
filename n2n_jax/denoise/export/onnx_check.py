"""Compares an exported ONNX model with the network that it was made from.

B batch, H height, W width, C channels.
"""

import dataclasses

import jax
import numpy as np

from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.denoise.export.program import IMAGE, NOISE_LEVEL, OUTPUT, Program
from n2n_jax.runtime.errors import UserError

HOW_TO_INSTALL = 'This needs the package onnxruntime: pip install "n2n_jax[onnx]".'
_TOLERANCE = 1e-4  # of the range of the values
_LEVEL = 0.1  # of the range of the values: the noise of the image that is compared


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What both make of an image of noise.

    Attributes:
      inputs: of the ONNX model, by name.
      output_BCHW: what ONNX Runtime returns, in the units of the image.
      difference: from the model at most, as a share of the range of the values.
    """

    inputs: dict[str, np.ndarray]
    output_BCHW: np.ndarray
    difference: float


def is_possible() -> bool:
    """Returns whether ONNX Runtime is installed."""
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        return False
    return True


def compared(
    denoiser: Denoiser, content: bytes, shape_HW: tuple[int, int] | None = None
) -> Comparison:
    """Denoises an image of noise with a model and with its ONNX file.

    Args:
      denoiser: the model that was exported.
      content: of the ONNX file.
      shape_HW: size of the image; None for a small one with odd sides, which have to be padded.

    Raises:
      UserError: the results differ, or onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(HOW_TO_INSTALL) from error
    program = Program.of(denoiser)
    stride, least = program.geometry.stride, program.minimum
    shape_HW = shape_HW or (least + 5, least + 2 * stride + 3)
    extent = program.white - program.black
    draw = np.random.default_rng(0)
    drawn = {
        name: draw.normal(0.5, _LEVEL, (*shape_HW, channels)).astype(np.float32)
        for name, channels in program.inputs.items()
        if channels
    }
    noisy_HWC = drawn.pop(IMAGE)
    inputs = {IMAGE: _first(noisy_HWC * extent + program.black)}
    inputs |= {name: _first(plane_HWP) for name, plane_HWP in drawn.items()}
    shown = list(drawn.values())
    if NOISE_LEVEL in program.inputs:
        inputs[NOISE_LEVEL] = np.array([_LEVEL * abs(extent)], np.float32)
        shown.append(np.full((*shape_HW, 1), _LEVEL, np.float32))
    planes_HWP = np.concatenate(shown, axis=-1) if shown else None
    with jax.default_matmul_precision('highest'):
        expected_HWC = denoiser.denoise(noisy_HWC, planes_HWP)
    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    (output_BCHW,) = session.run([OUTPUT], inputs)
    found_HWC = (output_BCHW[0].transpose(1, 2, 0) - program.black) / extent
    difference = float(np.abs(found_HWC - expected_HWC).max())
    largest = max(1.0, float(np.abs(expected_HWC).max()))
    if not difference <= _TOLERANCE * largest:
        raise UserError(
            f'ONNX Runtime {onnxruntime.__version__} denoises with this file differently, by up to '
            f'{difference:.3g} of the range of the values: nothing was written. Export to '
            'StableHLO (FILE.stablehlo) instead.'
        )
    return Comparison(inputs, output_BCHW, difference)


def _first(image_HWC: np.ndarray) -> np.ndarray:
    """Returns a batch of one image, (1, C, H, W) float32."""
    return image_HWC.transpose(2, 0, 1)[None].astype(np.float32)

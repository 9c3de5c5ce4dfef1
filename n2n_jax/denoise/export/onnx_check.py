"""Compares an exported ONNX model with the network that it was made from.

B batch, H height, W width, C channels, P channels of planes, I = C + P.
"""

import dataclasses

import numpy as np

from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.denoise.export.program import IMAGE, NOISE_LEVEL, OUTPUT, Program
from n2n_jax.runtime.errors import UserError

HOW_TO_INSTALL = 'This needs the package onnxruntime: pip install "n2n_jax[onnx]".'
_TOLERANCE = 1e-4  # of the range of the values, or of the largest that is beyond it
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
    denoiser: Denoiser,
    content: bytes,
    shape_HW: tuple[int, int] | None = None,
    *,
    batch: int = 2,
) -> Comparison:
    """Denoises images of noise with a model, in float32, and with its ONNX file.

    Args:
      denoiser: the model that was exported.
      content: of the ONNX file.
      shape_HW: size of the images; None for small ones, one side even and one odd, which have to be
        padded.
      batch: number of images.

    Raises:
      UserError: the results differ, or onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(HOW_TO_INSTALL) from error
    program = Program.of(denoiser)
    exact = dataclasses.replace(denoiser, config=program.config)
    stride, least = program.geometry.stride, program.minimum
    height, width = shape_HW or (least + 4, least + 2 * stride + 5)
    extent = program.white - program.black
    draw = np.random.default_rng(0)
    drawn = {
        name: draw.normal(0.5, _LEVEL, (batch, channels, height, width)).astype(np.float32)
        for name, channels in program.inputs.items()
        if channels
    }
    image_BCHW = (drawn[IMAGE] * extent + program.black).astype(np.float32)
    inputs = drawn | {IMAGE: image_BCHW}
    shown = list(drawn.values())
    if NOISE_LEVEL in program.inputs:
        inputs[NOISE_LEVEL] = np.full(batch, _LEVEL * abs(extent), np.float32)
        shown.append(np.full((batch, 1, height, width), _LEVEL, np.float32))
    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    (output_BCHW,) = session.run([OUTPUT], inputs)
    difference, largest = 0.0, 1.0
    for shown_IHW, output_CHW in zip(np.concatenate(shown, axis=1), output_BCHW, strict=True):
        noisy_HWC, planes_HWP = np.split(shown_IHW.transpose(1, 2, 0), [len(output_CHW)], axis=-1)
        expected_HWC = exact.denoise(noisy_HWC, planes_HWP if planes_HWP.size else None)
        found_HWC = (output_CHW.transpose(1, 2, 0) - program.black) / extent
        difference = max(difference, float(np.abs(found_HWC - expected_HWC).max()))
        largest = max(largest, float(np.abs(expected_HWC).max()))
    if not difference <= _TOLERANCE * largest:
        raise UserError(
            f'ONNX Runtime {onnxruntime.__version__} denoises with this file differently, by up to '
            f'{difference:.3g} of the range of the values: nothing was written. Export to '
            'StableHLO (FILE.stablehlo) instead.'
        )
    return Comparison(inputs, output_BCHW, difference)

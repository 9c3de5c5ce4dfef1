"""Contact sheets: images side by side, with captions.

H height, W width, C channels.
"""

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from n2n_jax.images import image_io

_CAPTION_PIXELS = 22
_GAP_PIXELS = 6
_CELL_PIXELS = 150  # wide enough for most captions
_MOST_TIMES = 4


def displayed(image_HWC: np.ndarray) -> np.ndarray:
    """Converts an image in [0, 1] to 8-bit color, (H, W, 3); others are clipped, NaN is black.

    Images that are neither gray nor RGB are shown by their first channel.
    """
    if image_HWC.shape[-1] not in (1, 3):
        image_HWC = image_HWC[..., :1]
    finite_HWC = np.nan_to_num(np.asarray(image_HWC, np.float32), posinf=1, neginf=0)
    pixels = np.rint(np.clip(finite_HWC, 0, 1) * 255).astype(np.uint8)
    return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels


def grid(rows: list[list[tuple[str, np.ndarray]]]) -> np.ndarray:
    """Lays out images (H, W, C) in [0, 1] with a caption above each; returns uint8 (H, W, 3).

    Narrow images, such as held-out strips, are magnified.
    """
    font = ImageFont.load_default(size=14)
    shown = [[(caption, _magnified(displayed(image))) for caption, image in row] for row in rows]
    cells = [
        [max(image.shape[1], min(_CELL_PIXELS, _width(caption, font))) for caption, image in row]
        for row in shown
    ]
    heights = [max(image.shape[0] for _, image in row) for row in shown]
    width = max(sum(cell + _GAP_PIXELS for cell in row) for row in cells)
    page = Image.new(
        'RGB', (width + _GAP_PIXELS, sum(heights) + _CAPTION_PIXELS * len(rows)), 'white'
    )
    draw = ImageDraw.Draw(page)
    top = 0
    for row, row_cells, height in zip(shown, cells, heights, strict=True):
        left = _GAP_PIXELS
        for (caption, image), cell in zip(row, row_cells, strict=True):
            while caption and _width(caption, font) > cell:
                caption = caption[:-1]
            draw.text((left, top + 3), caption, fill='black', font=font)
            page.paste(Image.fromarray(image), (left, top + _CAPTION_PIXELS))
            left += cell + _GAP_PIXELS
        top += height + _CAPTION_PIXELS
    return np.asarray(page)


def _width(caption: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return math.ceil(font.getlength(caption))


def _magnified(image_HWC: np.ndarray) -> np.ndarray:
    times = min(_MOST_TIMES, math.ceil(_CELL_PIXELS / image_HWC.shape[1]))
    return image_HWC.repeat(times, axis=0).repeat(times, axis=1)


def save(path: Path, pixels: np.ndarray) -> None:
    """Writes 8-bit color pixels as a PNG, creating the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image_io.write_pixels(path, pixels)

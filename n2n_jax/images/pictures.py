"""Contact sheets: images side by side, with captions.

H height, W width, C channels.
"""

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from n2n_jax.images import image_io

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_CAPTION_PIXELS = 22  # of one line; each further one adds _LINE_PIXELS
_LINE_PIXELS = 17
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

    Narrow images, such as held-out strips, are magnified; long captions take several lines.
    """
    font = ImageFont.load_default(size=14)
    shown = [[(caption, _magnified(displayed(image))) for caption, image in row] for row in rows]
    cells = [
        [max(image.shape[1], min(_CELL_PIXELS, _width(caption, font))) for caption, image in row]
        for row in shown
    ]
    captions = [
        [_lines(caption, cell, font) for (caption, _), cell in zip(row, widths, strict=True)]
        for row, widths in zip(shown, cells, strict=True)
    ]
    above = [
        _CAPTION_PIXELS + _LINE_PIXELS * (max(len(lines) for lines in row) - 1) for row in captions
    ]
    heights = [max(image.shape[0] for _, image in row) for row in shown]
    width = max(sum(cell + _GAP_PIXELS for cell in row) for row in cells)
    page = Image.new('RGB', (width + _GAP_PIXELS, sum(heights) + sum(above)), 'white')
    draw = ImageDraw.Draw(page)
    top = 0
    for k, row in enumerate(shown):
        left = _GAP_PIXELS
        for (_, image), cell, lines in zip(row, cells[k], captions[k], strict=True):
            for i, line in enumerate(lines):
                draw.text((left, top + 3 + _LINE_PIXELS * i), line, fill='black', font=font)
            page.paste(Image.fromarray(image), (left, top + above[k]))
            left += cell + _GAP_PIXELS
        top += heights[k] + above[k]
    return np.asarray(page)


def _lines(caption: str, width: int, font: Font) -> list[str]:
    """Breaks a caption between words, and inside of those that are too wide."""
    lines = ['']
    for word in caption.split(' '):
        longer = f'{lines[-1]} {word}' if lines[-1] else word
        if _width(longer, font) <= width:
            lines[-1] = longer
            continue
        lines += [''] if lines[-1] else []
        for letter in word:
            if lines[-1] and _width(lines[-1] + letter, font) > width:
                lines.append('')
            lines[-1] += letter
    return lines


def _width(caption: str, font: Font) -> int:
    return math.ceil(font.getlength(caption))


def _magnified(image_HWC: np.ndarray) -> np.ndarray:
    times = min(_MOST_TIMES, math.ceil(_CELL_PIXELS / image_HWC.shape[1]))
    return image_HWC.repeat(times, axis=0).repeat(times, axis=1)


def save(path: Path, pixels: np.ndarray) -> None:
    """Writes 8-bit color pixels as a PNG, creating the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image_io.write_pixels(path, pixels)

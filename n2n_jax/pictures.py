"""Pictures for people: images side by side, with captions.

H height, W width, C channels.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from n2n_jax import io

_CAPTION_PIXELS = 22
_GAP_PIXELS = 6


def displayed(image_HWC: np.ndarray) -> np.ndarray:
    """An image in [0, 1] as 8-bit colour, (H, W, 3); values outside the range are clipped.

    Of an image that is neither gray nor colour the first channel is shown.
    """
    if image_HWC.shape[-1] not in (1, 3):
        image_HWC = image_HWC[..., :1]
    pixels = np.rint(np.clip(np.asarray(image_HWC, np.float32), 0, 1) * 255).astype(np.uint8)
    return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels


def grid(rows: list[list[tuple[str, np.ndarray]]]) -> np.ndarray:
    """Images (H, W, C) in [0, 1] on a white page, a caption over each; uint8 (H, W, 3)."""
    heights = [max(image.shape[0] for _, image in row) for row in rows]
    width = max(sum(image.shape[1] + _GAP_PIXELS for _, image in row) for row in rows)
    page = Image.new(
        'RGB', (width + _GAP_PIXELS, sum(heights) + _CAPTION_PIXELS * len(rows)), 'white'
    )
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=14)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = _GAP_PIXELS
        for caption, image in row:
            while caption and draw.textlength(caption, font=font) > image.shape[1]:
                caption = caption[:-1]
            draw.text((left, top + 3), caption, fill='black', font=font)
            page.paste(Image.fromarray(displayed(image)), (left, top + _CAPTION_PIXELS))
            left += image.shape[1] + _GAP_PIXELS
        top += height + _CAPTION_PIXELS
    return np.asarray(page)


def save(path: Path, pixels: np.ndarray) -> None:
    """Writes 8-bit colour pixels as a PNG, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    io.write_pixels(path, pixels)

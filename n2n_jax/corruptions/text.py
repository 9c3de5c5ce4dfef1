"""Random text drawn over the image until a given fraction of the pixels is covered.

The text is laid out and drawn on the device, from an atlas of glyphs that is rendered once per
process. It is drawn in layers, each made of lines of strings across the image. The strings of a
layer never overlap, so a layer takes only a few operations on whole arrays. Every layer has a new
random layout, so strings of different layers overlap freely.

The font is Aileron Regular by Sora Sagano, which is included in Pillow (CC0, no rights reserved).

H height, W width, C channels of the image; Y height, X width of the atlas; S font sizes, G glyphs;
A layers, L lines of a layer, N strings of a line, K maximum letters of a string,
T = K + 1 slots of a string: its letters, then the gap after it; M = N T slots of a line.
"""

import functools
import math
import string
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from n2n_jax.corruptions.base import Corruption

FONT_SIZES = (12, 16, 20, 24, 28)  # pixels per em
GLYPHS = string.ascii_letters + string.digits + '!#$%&()*+,-./:;<=>?@'
MIN_LETTERS, MAX_LETTERS = 4, 12
SLOTS = MAX_LETTERS + 1  # of a string: its letters, then the gap after it
MAX_GAP = 48  # pixels between neighbors on a line
LINE_PITCH = 36  # pixels; the tallest glyphs have 27, the rest is for random vertical offsets
NUM_LAYERS = 32  # each covers about a tenth of the uncovered area; nine tenths take about 25


# Next layer, image_HWC, clear_HW (share of the image that shows through), covered pixels.
_Canvas = tuple[jax.Array, jax.Array, jax.Array, jax.Array]


class Atlas(NamedTuple):
    """All glyphs in all sizes, side by side.

    Attributes:
      ink_YX: opacity, uint8; `LINE_PITCH` blank rows, then `LINE_PITCH` rows of glyphs. Column 0
        is blank.
      first_SG: first column of each glyph.
      width_SG: number of columns of each glyph.
      height_S: number of rows, below the blank ones, that may hold ink.
    """

    ink_YX: np.ndarray
    first_SG: np.ndarray
    width_SG: np.ndarray
    height_S: np.ndarray


@functools.cache
def atlas() -> Atlas:
    """Renders the atlas, antialiased; it takes about 300 kB."""
    columns = [np.zeros((2 * LINE_PITCH, 1), np.uint8)]
    width_SG = np.zeros((len(FONT_SIZES), len(GLYPHS)), np.int32)
    height_S = np.zeros(len(FONT_SIZES), np.int32)
    for s, size in enumerate(FONT_SIZES):
        font = ImageFont.load_default(size)
        _, top, _, bottom = font.getbbox(GLYPHS, anchor='ls')
        height_S[s] = bottom - top
        for g, glyph in enumerate(GLYPHS):
            left, _, right, _ = font.getbbox(glyph, anchor='ls')
            left = min(left, 0)
            width_SG[s, g] = max(right, round(font.getlength(glyph))) - left
            cell = Image.new('L', (int(width_SG[s, g]), 2 * LINE_PITCH))
            baseline = (-left, LINE_PITCH - top)
            ImageDraw.Draw(cell).text(baseline, glyph, fill=255, font=font, anchor='ls')
            columns.append(np.asarray(cell))
    first_SG = 1 + np.cumsum(width_SG, dtype=np.int32).reshape(width_SG.shape) - width_SG
    return Atlas(np.concatenate(columns, axis=1), first_SG, width_SG, height_S)


class Layout(NamedTuple):
    """Layers of text over a whole image, of which as much is drawn as the level requires.

    Attributes:
      shift_A: the row of the first line at the top of the image.
      slot_ALW: which of the M slots of its line each column of pixels belongs to.
      origin_ALW: index into the flattened atlas where each column of a line starts.
      color_ALNC: color of each string, in [0, 1].
      rank_ALN: the strings of a layer are drawn by ascending rank.
      stop_A: uniform draw in [0, 1) that decides whether the letter that passes the level is drawn.
    """

    shift_A: jax.Array
    slot_ALW: jax.Array
    origin_ALW: jax.Array
    color_ALNC: jax.Array
    rank_ALN: jax.Array
    stop_A: jax.Array


def lay_out(key: jax.Array, h: int, w: int, c: int) -> Layout:
    """Draws random strings of random size and color, enough for an image of shape (h, w, c)."""
    ink_YX, first_SG, width_SG, height_S = atlas()
    lines = (NUM_LAYERS, -(-h // LINE_PITCH) + 1)
    strings = (*lines, w // 96 + 2)  # a string and its gap take 110 pixels on average

    # A single, flat draw: several draws, or one in four dimensions, take seconds longer to compile.
    shape = (*strings, MAX_LETTERS + c + 8)
    uniform_ALNU = jax.random.uniform(key, (math.prod(shape),)).reshape(shape)
    glyph, color_ALNC, size, length, gap, top, rank, turn, shift, stop = jnp.split(
        uniform_ALNU, MAX_LETTERS + np.array([0, *range(c, c + 8)]), axis=3
    )

    def integer(uniform: jax.Array, low: int, high: int | jax.Array) -> jax.Array:
        return low + (uniform * (high - low)).astype(jnp.int32)

    glyph_ALNK = integer(glyph, 0, len(GLYPHS))
    size_ALN1 = integer(size, 0, len(FONT_SIZES))
    length_ALN1 = integer(length, MIN_LETTERS, MAX_LETTERS + 1)
    gap_ALN1 = integer(gap, 1, MAX_GAP + 1)
    top_ALN1 = integer(top, 0, LINE_PITCH + 1 - jnp.asarray(height_S)[size_ALN1])

    used_ALNK = jnp.arange(MAX_LETTERS).reshape(1, 1, 1, -1) < length_ALN1
    width_ALNK = jnp.where(used_ALNK, jnp.asarray(width_SG)[size_ALN1, glyph_ALNK], 0)
    width_ALM = jnp.concatenate([width_ALNK, gap_ALN1], axis=3).reshape(*lines, -1)
    end_ALM = jnp.cumsum(width_ALM, axis=2)

    # A line is a ring, rotated at random, so that all columns are equally likely to be covered. It
    # is at least as long as the image is wide, so nothing appears twice.
    length_AL1 = jnp.maximum(end_ALM[:, :, -1:], w)
    along_ALW = jnp.arange(w).reshape(1, 1, -1) + integer(turn[:, :, 0], 0, length_AL1)
    along_ALW = along_ALW % length_AL1
    search = functools.partial(jnp.searchsorted, side='right')
    slot_ALW = jax.vmap(jax.vmap(search))(end_ALM, along_ALW)
    slot_ALW = jnp.minimum(slot_ALW, width_ALM.shape[2] - 1)  # extends the last gap

    # A string is moved down by `top` rows by starting `top` rows higher in the atlas.
    origin_ALNK = jnp.asarray(first_SG)[size_ALN1, glyph_ALNK]
    origin_ALNK = origin_ALNK + (LINE_PITCH - top_ALN1) * ink_YX.shape[1]
    origin_ALM = jnp.pad(origin_ALNK, ((0, 0), (0, 0), (0, 0), (0, 1))).reshape(*lines, -1)
    origin_ALM = origin_ALM - (end_ALM - width_ALM)
    origin_ALW = along_ALW + jnp.take_along_axis(origin_ALM, slot_ALW, axis=2)
    is_gap_ALW = slot_ALW % SLOTS == MAX_LETTERS
    origin_ALW = jnp.where(is_gap_ALW, 0, origin_ALW)

    shift_A = integer(shift[:, 0, 0, 0], 0, LINE_PITCH)
    return Layout(shift_A, slot_ALW, origin_ALW, color_ALNC, rank[..., 0], stop[:, 0, 0, 0])


def letters_within(
    budget: jax.Array, new_LNT: jax.Array, rank_LN: jax.Array, stop: jax.Array
) -> jax.Array:
    """Selects the letters to draw, string after string, so that they cover `budget` new pixels.

    Args:
      budget: number of pixels to cover.
      new_LNT: number of pixels that each letter newly covers.
      rank_LN: strings are drawn by ascending rank.
      stop: uniform draw in [0, 1). The letter that passes the budget is drawn with the probability
        that makes the expected total equal to the budget.

    Returns:
      True for the letters to draw, (L, N, T).
    """
    total = new_LNT.sum(axis=2).reshape(-1)
    rank = rank_LN.reshape(-1)
    before = jnp.where(rank[None, :] < rank[:, None], total[None, :], 0).sum(axis=1)
    before_LNT = before.reshape(*rank_LN.shape, 1) + jnp.cumsum(new_LNT, axis=2) - new_LNT
    return before_LNT + stop * new_LNT < budget


def sample_image(
    key: jax.Array, image_HWC: jax.Array, level: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """Draws string after string until the fraction `level` of the pixels is covered.

    Lehtinen et al. 2018, section 3.2, 'text removal': random strings of random size and color at
    random positions, which may overlap, in one font and orientation. A pixel counts as covered if
    at most half of the clean value shows through. The covered fraction is within a letter of the
    level, and equals it on average; as letters have soft edges, about 1.4 times as many pixels are
    changed.

    Args:
      key: determines everything but the amount of text.
      image_HWC: the clean image.
      level: fraction of the pixels to cover.

    Returns:
      The image with text, in [0, 1] if the image is, and no mask, as in the paper.
    """
    h, w, c = image_HWC.shape
    target = level * (h * w)
    ink_YX = atlas().ink_YX
    layout = lay_out(key, h, w, c)
    lines_L1 = jnp.arange(layout.slot_ALW.shape[1])[:, None]

    def unfinished(state: _Canvas) -> jax.Array:
        i, _, _, covered = state
        return (covered < target) & (i < NUM_LAYERS)

    def draw_layer(state: _Canvas) -> _Canvas:
        i, image_HWC, clear_HW, covered = state
        shift, slot_LW, origin_LW, color_LNC, rank_LN, stop = jax.tree.map(lambda x: x[i], layout)
        line_H, row_H = jnp.divmod(jnp.arange(h) + shift, LINE_PITCH)
        index_HW = origin_LW[line_H] + row_H[:, None] * ink_YX.shape[1]
        ink_HW = jnp.asarray(ink_YX).reshape(-1)[index_HW].astype(jnp.float32) / 255.0

        # Number of pixels that each letter would newly cover; small integers, exact in float32.
        new_HW = (clear_HW > 0.5) & (clear_HW * (1.0 - ink_HW) <= 0.5)
        new_LW = jnp.einsum(
            'lh,hw->lw', (line_H[None] == lines_L1).astype(jnp.float32), new_HW.astype(jnp.float32)
        ).astype(jnp.int32)
        new_LNT = jnp.zeros((*rank_LN.shape, SLOTS), jnp.int32)
        new_LNT = new_LNT.at[lines_L1, *jnp.divmod(slot_LW, SLOTS)].add(new_LW)
        drawn_LNT = letters_within(target - covered, new_LNT, rank_LN, stop)

        drawn_HW = drawn_LNT[lines_L1, *jnp.divmod(slot_LW, SLOTS)][line_H]
        ink_HW = jnp.where(drawn_HW, ink_HW, 0.0)
        ink_HW1 = ink_HW[:, :, None]
        color_HWC = color_LNC[lines_L1, slot_LW // SLOTS][line_H]
        image_HWC = (1.0 - ink_HW1) * image_HWC + ink_HW1 * color_HWC
        return i + 1, image_HWC, clear_HW * (1.0 - ink_HW), covered + new_LNT.sum()

    # `covered` counts every layer in full, which is exact until the last one, where the loop ends.
    state = (jnp.int32(0), image_HWC, jnp.ones((h, w)), jnp.int32(0))
    return jax.lax.while_loop(unfinished, draw_layer, state)[1], None


TEXT = Corruption(
    name='text',
    level='covered fraction of the pixels',
    bounds=(0.0, 0.9),
    sample_image=sample_image,
    statistics=('median', 'mode'),
    # Measured, with soft edges: 0.65 at 0.25, 0.36 at 0.5, 0.04 at 0.9. Above 0.37 most pixels are
    # changed, so the median is not the clean value: that of black at 0.5 is 29 of 255.
    untouched=lambda level: (1.0 - level) ** 1.5,
    nonnegative=True,
)

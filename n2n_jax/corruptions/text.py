"""Random text drawn over the image, until a fraction of the pixels is covered.

H height, W width, C channels, P rows of a line of text, X columns of the atlas, S font sizes,
G glyphs, A layers, L lines, N strings of a line, T slots of a string (its letters, then the gap after it).

The text is laid out and drawn on the device, from an atlas of glyphs that is rendered once per
process. It goes on in layers of text lines. Within a layer strings never overlap, so that a layer
is a few operations on whole arrays; between layers everything is random, so that strings lie over
each other anywhere.

The font is Aileron Regular by Sora Sagano, which comes with Pillow (CC0, 'No Rights Reserved').
"""

import functools
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
MAX_GAP = 48  # pixels between neighbours in a line
LINE_PITCH = 36  # more rows than any glyph has: strings of a line are jittered by the rest
# A layer covers about a tenth of what is still bare, so a level of 0.9 takes some 25 layers. The
# limit matters only to images of a few pixels, which strings rarely hit.
NUM_LAYERS = 32


class Atlas(NamedTuple):
    """Every glyph at every size, side by side.

    Attributes:
      ink_PX: opacity, uint8. `LINE_PITCH` blank rows, then the glyphs; column 0 is blank.
      first_SG: first column of a glyph.
      width_SG: number of columns of a glyph.
      height_S: number of rows, from row `LINE_PITCH` down, that may hold ink.
    """

    ink_PX: np.ndarray
    first_SG: np.ndarray
    width_SG: np.ndarray
    height_S: np.ndarray


@functools.cache
def atlas() -> Atlas:
    """Renders the glyphs, antialiased; about 300 kB."""
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
    """Text over a whole image, layer upon layer, before it is known how much of it is drawn.

    Attributes:
      shift_A: row of pixels of its line at which the image begins.
      slot_ALW: the slot of its line (0 .. N T - 1) that a column of pixels belongs to.
      origin_ALW: where in the flattened atlas a column of pixels of a line begins.
      color_ALNC: colour of a string.
      rank_ALN: strings of a layer are drawn by ascending rank.
    """

    shift_A: jax.Array
    slot_ALW: jax.Array
    origin_ALW: jax.Array
    color_ALNC: jax.Array
    rank_ALN: jax.Array


def lay_out(key: jax.Array, h: int, w: int, c: int) -> Layout:
    """Random strings of random size and colour, on lines all over an image of this shape."""
    glyphs = atlas()
    lines = (NUM_LAYERS, -(-h // LINE_PITCH) + 1)
    strings = (*lines, w // 96 + 2)

    # One draw for everything: a call of the generator costs far more than the numbers it returns.
    u_ALNU = jax.random.uniform(key, (*strings, MAX_LETTERS + 7 + c))
    u_ALNT, u_size, u_length, u_gap, u_top, u_turn, u_shift, rank_ALN1, color_ALNC = jnp.split(
        u_ALNU, MAX_LETTERS + np.arange(8), axis=3
    )

    def integer(u: jax.Array, low: int, high: int | jax.Array) -> jax.Array:
        return low + (u * (high - low)).astype(jnp.int32)

    size_ALN1 = integer(u_size, 0, len(FONT_SIZES))
    length_ALN1 = integer(u_length, MIN_LETTERS, MAX_LETTERS + 1)
    gap_ALN1 = integer(u_gap, 1, MAX_GAP + 1)
    glyph_ALNT = integer(u_ALNT, 0, len(GLYPHS))
    top_ALN1 = integer(u_top, 0, LINE_PITCH + 1 - jnp.asarray(glyphs.height_S)[size_ALN1])

    is_letter_ALNT = jnp.arange(MAX_LETTERS).reshape(1, 1, 1, -1) < length_ALN1
    width_ALNT = jnp.where(is_letter_ALNT, jnp.asarray(glyphs.width_SG)[size_ALN1, glyph_ALNT], 0)
    width_ALNT = jnp.concatenate([width_ALNT, gap_ALN1], axis=3)
    column_ALNT = jnp.asarray(glyphs.first_SG)[size_ALN1, glyph_ALNT]
    origin_ALNT = column_ALNT + (LINE_PITCH - top_ALN1) * glyphs.ink_PX.shape[1]

    # A line is a ring turned by a random angle, so that every column is as likely to be covered.
    # It is at least as long as the image is wide: nothing is seen twice.
    width_ALM = width_ALNT.reshape(*lines, -1)
    end_ALM = jnp.cumsum(width_ALM, axis=2)
    length_AL1 = jnp.maximum(end_ALM[:, :, -1:], w)
    turn_AL1 = integer(u_turn[:, :, 0], 0, length_AL1)
    along_ALW = (jnp.arange(w).reshape(1, 1, -1) + turn_AL1) % length_AL1
    search = jax.vmap(jax.vmap(functools.partial(jnp.searchsorted, side='right')))
    slot_ALW = search(end_ALM, along_ALW)
    slot_ALW = jnp.minimum(slot_ALW, width_ALM.shape[2] - 1)  # beyond the last gap: more of it

    is_gap_ALW = slot_ALW % (MAX_LETTERS + 1) == MAX_LETTERS
    left_ALNT = origin_ALNT - (end_ALM - width_ALM).reshape(width_ALNT.shape)[..., :-1]
    left_ALNT = jnp.pad(left_ALNT, ((0, 0), (0, 0), (0, 0), (0, 1)))
    left_ALW = jnp.take_along_axis(left_ALNT.reshape(*lines, -1), slot_ALW, axis=2)
    origin_ALW = jnp.where(is_gap_ALW, 0, left_ALW + along_ALW)

    shift_A = integer(u_shift[:, 0, 0, 0], 0, LINE_PITCH)
    return Layout(shift_A, slot_ALW, origin_ALW, color_ALNC, rank_ALN1[..., 0])


def sample_image(
    key: jax.Array, image_HWC: jax.Array, level: jax.Array
) -> tuple[jax.Array, None]:
    """Draws string after string until `level` of the pixels are covered.

    Lehtinen et al. 2018, section 3.2, 'text removal': random strings at random places, over each
    other, of random size and colour, in one font and orientation. A pixel is covered if some
    string has an opacity of more than 1/2 there. The last string is cut short at the letter that
    comes closest to the level, so the covered fraction is right to within half a letter; the
    antialiased rims of letters change somewhat more pixels than that.

    Args:
      key: where, what, how large and in which colours.
      image_HWC: the image.
      level: fraction of the pixels to cover, in [0, 1).

    Returns:
      The image with text on it, in [0, 1] if the image is, and no mask: which pixels are covered
      is not known to a denoiser. Pixels without text are unchanged, bit for bit.
    """
    h, w, c = image_HWC.shape
    target = level * (h * w)
    ink_PX = atlas().ink_PX
    layout = lay_out(key, h, w, c)
    _, num_lines, num_strings, _ = layout.color_ALNC.shape
    lines_L1 = jnp.arange(num_lines)[:, None]

    def unfinished(state):
        i, _, _, covered = state
        return (covered < target) & (i < NUM_LAYERS)

    def draw_layer(state):
        i, image_HWC, bare_HW, covered = state
        shift, slot_LW, origin_LW, color_LNC, rank_LN = jax.tree.map(lambda x: x[i], layout)
        line_H, row_H = jnp.divmod(jnp.arange(h) + shift, LINE_PITCH)
        pixel_HW = origin_LW[line_H] + row_H[:, None] * ink_PX.shape[1]
        ink_HW = jnp.asarray(ink_PX).reshape(-1)[pixel_HW].astype(jnp.float32) / 255.0

        # How many pixels would every letter add?
        new_HW = (ink_HW > 0.5) & bare_HW
        new_LW = jnp.einsum(
            'lh,hw->lw', (line_H == lines_L1).astype(jnp.float32), new_HW.astype(jnp.float32)
        )
        new_LM = jnp.zeros((num_lines, num_strings * (MAX_LETTERS + 1)), jnp.int32)
        new_LM = new_LM.at[lines_L1, slot_LW].add(new_LW.astype(jnp.int32))

        # How many pixels are covered before a letter is drawn?
        new_KT = new_LM.reshape(num_lines * num_strings, -1)
        new_K = new_KT.sum(axis=1)
        rank_K = rank_LN.reshape(-1)
        before_K = jnp.where(rank_K[:, None] > rank_K[None, :], new_K[None, :], 0).sum(axis=1)
        before_KT = covered + before_K[:, None] + jnp.cumsum(new_KT, axis=1) - new_KT
        drawn_LM = (before_KT + 0.5 * new_KT < target).reshape(num_lines, -1)

        drawn_HW = jnp.take_along_axis(drawn_LM, slot_LW, axis=1)[line_H]
        string_LW1 = slot_LW[:, :, None] // (MAX_LETTERS + 1)
        color_HWC = jnp.take_along_axis(color_LNC, string_LW1, axis=1)[line_H]
        ink_HW1 = jnp.where(drawn_HW, ink_HW, 0.0)[:, :, None]
        image_HWC = (1.0 - ink_HW1) * image_HWC + ink_HW1 * color_HWC
        return i + 1, image_HWC, bare_HW & ~(new_HW & drawn_HW), covered + new_K.sum()

    state = (0, image_HWC, jnp.ones((h, w), bool), 0)
    return jax.lax.while_loop(unfinished, draw_layer, state)[1], None


TEXT = Corruption(
    name='text',
    level='covered fraction of the pixels',
    bounds=(0.0, 0.9),
    zero_mean=False,
    sample_image=sample_image,
    loss='l1',
)

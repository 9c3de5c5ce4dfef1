"""Text corruption. B batch, H height, W width, C channels; T slots of a string."""

import jax
import jax.numpy as jnp
import numpy as np
import optimized
import pytest
from PIL import ImageFont

from n2n_jax.corruptions import text


@optimized.jit
def draw(keys_B, clean_BHWC, level_B):
    return jax.vmap(text.sample_image)(keys_B, clean_BHWC, level_B)[0]


def opacity(keys_B, shape, level_B):
    """How much of the image is hidden, (B, H, W): text on white minus text on black."""
    black, white = (np.full((len(keys_B), *shape), v, np.float32) for v in (0, 1))
    on_black, on_white = draw(keys_B, black, level_B), draw(keys_B, white, level_B)
    return 1 - np.asarray(on_white - on_black)[..., 0]


def keys(seed, count):
    return jax.random.split(jax.random.key(seed), count)


BATCH, SHAPE = 32, (64, 64, 3)  # most tests share one compiled program


@pytest.fixture(scope='module')
def clean():
    return jax.random.uniform(jax.random.key(0), (BATCH, *SHAPE))


@pytest.mark.parametrize(
    ('shape', 'batch', 'tolerance'),
    [(SHAPE, BATCH, 0.01), pytest.param((200, 256, 3), 4, 0.003, marks=pytest.mark.slow)],
)
def test_covers_the_requested_fraction(shape, batch, tolerance):
    for level in (0.05, 0.1, 0.25, 0.5, 0.9):
        hidden = opacity(keys(1, batch), shape, jnp.full(batch, level))
        covered = (hidden >= 0.5).mean(axis=(1, 2))
        assert covered.mean() == pytest.approx(level, abs=tolerance)
        # Every single image, to within a large letter.
        np.testing.assert_allclose(covered, level, atol=300 / (shape[0] * shape[1]))


@pytest.mark.parametrize('shape', [(1, 1, 1), pytest.param((8, 5, 1), marks=pytest.mark.slow)])
def test_tiny_images_are_right_on_average(shape):
    hidden = opacity(keys(2, 1000), shape, jnp.full(1000, 0.3))
    per_image = (hidden >= 0.5).mean(axis=(1, 2))
    assert per_image.mean() == pytest.approx(0.3, abs=5 * per_image.std() / 1000**0.5)


def test_every_image_has_its_own_level():
    level = jnp.linspace(0.0, 0.6, BATCH)
    covered = (opacity(keys(3, BATCH), SHAPE, level) >= 0.5).mean(axis=(1, 2))
    np.testing.assert_allclose(covered, level, atol=0.06)


def test_level_zero_is_the_clean_image(clean):
    np.testing.assert_array_equal(draw(keys(4, BATCH), clean, jnp.zeros(BATCH)), clean)


def test_pixels_without_text_are_unchanged_and_all_stay_in_range(clean):
    level = jnp.full(BATCH, 0.4)
    drawn = np.asarray(draw(keys(5, BATCH), clean, level))
    untouched = opacity(keys(5, BATCH), SHAPE, level) == 0
    assert 0.3 < untouched.mean() < 0.6
    np.testing.assert_array_equal(drawn[untouched], np.asarray(clean)[untouched])
    assert (drawn[~untouched] != np.asarray(clean)[~untouched]).mean() > 0.99
    for extreme in (clean, jnp.round(clean)):
        drawn = draw(keys(5, BATCH), extreme, level)
        assert drawn.min() >= 0
        assert drawn.max() <= 1


def test_keys_place_text_independently():
    level = jnp.full(BATCH, 0.3)
    a, b = (opacity(keys(seed, BATCH), SHAPE, level) >= 0.5 for seed in (6, 7))
    assert (a & b).mean() == pytest.approx(0.09, abs=0.01)
    assert (a[:-1] & a[1:]).mean() == pytest.approx(0.09, abs=0.01)  # within a batch
    assert (a & (opacity(keys(6, BATCH), SHAPE, level) >= 0.5)).mean() == a.mean()


def test_text_falls_everywhere_alike():
    level = jnp.full(BATCH, 0.2)
    probability = np.mean(
        [(opacity(keys(seed, BATCH), SHAPE, level) >= 0.5).mean(axis=0) for seed in range(30)],
        axis=0,
    )
    blocks = probability.reshape(8, 8, 8, 8).mean(axis=(1, 3))  # 8x8 blocks of 8x8 pixels
    np.testing.assert_allclose(blocks, 0.2, rtol=0.2)
    np.testing.assert_allclose(probability.mean(axis=0), 0.2, rtol=0.2)  # columns
    np.testing.assert_allclose(probability.mean(axis=1), 0.2, rtol=0.2)  # rows


def test_colors_are_uniform_and_differ_between_channels():
    level = jnp.full(BATCH, 0.6)
    drawn = np.asarray(draw(keys(8, BATCH), jnp.zeros((BATCH, *SHAPE)), level))
    colors = drawn[opacity(keys(8, BATCH), SHAPE, level) > 0.999]
    np.testing.assert_allclose(colors.mean(axis=0), 0.5, atol=0.05)
    np.testing.assert_allclose(colors.std(axis=0), 12**-0.5, atol=0.03)
    np.testing.assert_allclose(np.corrcoef(colors.T), np.eye(3), atol=0.15)


@pytest.mark.slow
def test_an_image_by_itself_and_without_jit_is_the_same(clean):
    level = jnp.full(BATCH, 0.3)
    together = draw(keys(9, BATCH), clean, level)[5]
    alone, mask = text.sample_image(keys(9, BATCH)[5], clean[5], level[5])
    assert mask is None
    np.testing.assert_array_equal(alone == clean[5], together == clean[5])
    np.testing.assert_allclose(alone, together, atol=1e-6)  # to the rounding of one blend


def test_letters_stop_at_the_budget():
    new_LNT = jnp.array([[[5, 3, 0], [4, 4, 0]], [[2, 0, 0], [9, 1, 0]]])
    rank_LN = jnp.array([[0.5, 0.1], [0.9, 0.3]])  # order: 4 4 | 9 1 | 5 3 | 2
    taken = {
        (budget, stop): int(
            jnp.where(text.letters_within(budget, new_LNT, rank_LN, stop), new_LNT, 0).sum()
        )
        for budget in (0, 8, 10, 18, 100)
        for stop in (0.0, 0.5)
    }
    assert taken == {
        (0, 0.0): 0,
        (0, 0.5): 0,
        (8, 0.0): 8,
        (8, 0.5): 8,
        (10, 0.0): 17,  # 10 is 2/9 into the letter of 9, which is drawn with that probability
        (10, 0.5): 8,
        (18, 0.0): 18,
        (18, 0.5): 18,
        (100, 0.0): 28,
        (100, 0.5): 28,
    }


def test_atlas_holds_the_glyphs_that_pillow_draws():
    ink_YX, first_SG, width_SG, height_S = text.atlas()
    assert ink_YX.nbytes < 500_000
    assert not ink_YX[:, 0].any()
    assert not ink_YX[: text.LINE_PITCH].any()
    for s, size in enumerate(text.FONT_SIZES):
        assert not ink_YX[text.LINE_PITCH + height_S[s] :, first_SG[s, 0] : first_SG[s, -1]].any()
        for g, glyph in enumerate(text.GLYPHS):
            cell = ink_YX[:, first_SG[s, g] : first_SG[s, g] + width_SG[s, g]]
            mask = ImageFont.load_default(size).getmask(glyph)
            assert int(cell.sum()) == sum(mask)  # nothing is cut off


def test_a_layer_shows_whole_glyphs_of_the_atlas():
    ink_YX, first_SG, width_SG, _ = text.atlas()
    layout = jax.jit(text.lay_out, static_argnums=(1, 2, 3))(jax.random.key(11), 36, 200, 1)
    letters = np.asarray(layout.slot_ALW[0, 0]) % text.SLOTS
    columns = np.asarray(layout.origin_ALW[0, 0]) % ink_YX.shape[1]
    starts = np.flatnonzero(np.diff(np.asarray(layout.slot_ALW[0, 0]))) + 1
    pieces = np.split(np.arange(200), starts)[1:-1]  # the first and last may be cut by the border
    assert len(pieces) > 5
    widths = dict(zip(first_SG.ravel().tolist(), width_SG.ravel().tolist(), strict=True))
    for piece in pieces:
        if letters[piece[0]] == text.MAX_LETTERS:
            assert not columns[piece].any()  # a gap
        else:
            np.testing.assert_array_equal(np.diff(columns[piece]), 1)
            assert len(piece) == widths[int(columns[piece[0]])]

"""Contact sheets."""

import numpy as np

from n2n_jax.images import pictures


def test_narrow_strips_are_magnified_with_complete_captions():
    strip = np.linspace(0, 1, 40 * 10).reshape(40, 10, 1)
    words = 'mean of 4 captures'
    page = pictures.grid([[('capture 1', strip), (words, strip)]])
    wide = pictures.grid([[(words, np.ones((40, 300, 3)))]])
    assert page.shape[0] == 4 * 40 + 22
    # The second caption is drawn as on a page with enough space for it.
    ink = np.flatnonzero((wide[:22] < 128).any(axis=(0, 2)))
    caption = wide[:22, ink.min() : ink.max() + 1]
    starts = range(page.shape[1] - caption.shape[1] + 1)
    assert any((page[:22, x : x + caption.shape[1]] == caption).all() for x in starts)
    np.testing.assert_array_equal(
        page[22:26, 6:10], pictures.displayed(strip)[0, 0] + 0 * page[:4, :4]
    )


def test_a_long_caption_takes_several_lines():
    image = np.zeros((30, 160, 1))
    short, long = 'learning rate', 'learning rate 0.0004, flips and rotations 25.43'
    page = pictures.grid([[(long, image), (short, image)], [(short, image)]])
    assert page.shape == ((22 + 17 + 30) + (22 + 30), 2 * 166 + 6, 3)
    assert (page[39:69, 6:166] == 0).all()
    first, second = (page[top : top + 17, :166] for top in (5, 22))
    assert (first < 128).any()
    assert (second < 128).any()
    assert (page[91:121, 6:166] == 0).all()


def test_a_word_that_is_too_wide_goes_on_in_the_next_line():
    image = np.zeros((30, 160, 1))
    page = pictures.grid([[('motion_blur:8+gaussian:25.5+quantize', image)]])
    assert page.shape == (22 + 17 + 30, 172, 3)
    assert (page[22:39] < 128).any()


def test_many_channels_show_the_first_and_wide_images_are_not_magnified():
    image = np.zeros((8, 160, 5))
    image[..., 0] = 1
    page = pictures.grid([[('', image)]])
    assert page.shape == (8 + 22, 160 + 12, 3)
    assert (page[22:, 6:166] == 255).all()
    assert (pictures.displayed(np.zeros((2, 2, 3))) == 0).all()

from n2n_jax.images.natural_sort import natural_key


def test_numbers_of_any_length_sort_numerically():
    names = ['img10', 'img2', 'IMG1', 'img007', 'img' + '1' * 5000, 'img' + '9' * 4999, 'a2b10']
    want = ['a2b10', 'IMG1', 'img2', 'img007', 'img10', names[5], names[4]]
    assert sorted(names, key=natural_key) == want

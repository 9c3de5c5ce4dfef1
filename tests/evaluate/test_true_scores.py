"""Scores against a clean image, over scenes."""

from n2n_jax.evaluate import true_scores


def test_the_noise_of_clean_images_is_taken_off_over_the_same_scenes_for_all_methods():
    def scores(mse, corrected):
        decibels = {
            'psnr_true': 0.0,
            'psnr_true_corrected': corrected and 0.0,
            'psnr_true_all': 0.0,
        }
        return {
            'mse_true': mse, 'mse_true_corrected': corrected, 'mse_true_all': mse, **decibels
        }  # fmt: skip

    # The best scene of the best method has less error than its clean image has noise.
    scored = {
        'raw': [('a', scores(2.0, 1.9)), ('b', scores(2.0, 1.9))],
        'model': [('a', scores(0.1, None)), ('b', scores(0.4, 0.3))],
    }
    means = true_scores.means(scored, 'mse')
    assert means['raw']['mse_true_corrected'] == 1.9
    assert means['model']['mse_true_corrected'] == 0.3
    assert {of['n_true_corrected'] for of in means.values()} == {1}

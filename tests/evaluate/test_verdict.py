"""No model is recommended that is worse than what costs nothing."""

import numpy as np
import pytest
from scipy import ndimage

from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.data.sources import photos
from n2n_jax.evaluate import verdict


@pytest.fixture(scope='module')
def scenes():
    image = photos.photos()['chelsea'][:140, :150].astype(np.float32) / 255
    clean_HWC = image.mean(axis=-1, keepdims=True)
    noise = np.random.default_rng(0).normal(0, 0.1, (2, *clean_HWC.shape))
    return [SceneCaptures('s', (clean_HWC + noise).astype(np.float32))]


def test_a_model_that_changes_nothing_is_not_recommended(scenes, tmp_path):
    words = verdict.after_training(scenes, lambda x: 1.001 * x, tmp_path)
    assert 'not worth using yet: it is no better than the captures as they are (+0' in words or (
        'not worth using yet: it is no better than the captures as they are (-0' in words
    )
    assert 'non-local means are' in words
    assert 'Train for longer (n2n train with a larger --steps)' in words  # --minutes would not
    assert 'Use it' not in words


def test_a_model_that_non_local_means_beat_is_not_recommended(scenes, tmp_path):
    def weak(noisy_HWC):
        return ndimage.gaussian_filter(noisy_HWC, (0.3, 0.3, 0))

    found = verdict.compare(scenes, weak)
    assert found.over_captures > 0.1
    assert found.over_nlm < -1
    assert found.warning().startswith(
        f'The model is not worth using yet: non-local means are {-found.over_nlm:.1f} dB better.'
    )


def test_a_good_model_is_recommended(scenes, tmp_path):
    def strong(noisy_HWC):
        return ndimage.gaussian_filter(noisy_HWC, (0.9, 0.9, 0))

    found = verdict.compare(scenes, strong)
    assert found.over_captures > 4
    if found.useful:
        assert verdict.after_training(scenes, strong, tmp_path).startswith('Use it: n2n denoise')
    assert verdict.Verdict(None, None).useful  # too good to be measured
    assert verdict.Verdict(6.0, 0.5).warning() == ''


def test_a_model_that_may_be_better_than_non_local_means_is_not_warned_of():
    assert verdict.Verdict(5.0, -0.5, (4.0, 6.0), (-1.2, 0.2)).useful
    assert not verdict.Verdict(5.0, -0.5, (4.0, 6.0), (-0.8, -0.2)).useful
    assert verdict.Verdict(0.05, None, (-1.0, 1.0)).useful
    assert verdict.Verdict(None, 0.3, (3.0, None), (None, None)).useful  # too good to be measured
    words = verdict.Verdict(None, None, (None, -3.0)).warning()
    assert 'no better than the captures as they are.' in words


def test_a_dim_channel_that_a_run_wipes_out_is_told(tmp_path):
    image = photos.photos()['chelsea'][:96, :96].astype(np.float32) / 255
    gray_HWC = image.mean(axis=-1, keepdims=True)
    noise = np.random.default_rng(0).normal(0, 1, (2, 96, 96, 2)) * [0.05, 0.001]
    captures = np.concatenate([gray_HWC, 0.02 * gray_HWC], axis=-1) + noise
    scenes = [SceneCaptures('s', captures.astype(np.float32))]

    def wipes(noisy_HWC):
        result_HWC = ndimage.gaussian_filter(noisy_HWC, (0.9, 0.9, 0))
        result_HWC[..., 1] = noisy_HWC[..., 1].mean()
        return result_HWC

    found = verdict.compare(scenes, wipes)
    assert found.over_captures > 1
    assert found.worse_channels == ('channel 2',)


def test_the_command_to_use_a_run_in_a_folder_with_a_space_can_be_pasted(tmp_path):
    assert verdict.use(tmp_path / 'my run').endswith(f"--model '{tmp_path / 'my run'}'")

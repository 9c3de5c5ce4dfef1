"""K noisy versions of each image and no more, however long a run is."""

import jax
import numpy as np
import pytest
from tiny import moment, tiny_config

from n2n_jax.data.feeds.fixed_noise import realization_feed
from n2n_jax.data.sources.source import ArraySource
from n2n_jax.runtime import device_memory
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import make_layout
from n2n_jax.runtime.workdir import Workdir
from n2n_jax.train import loop
from n2n_jax.train.tasks import make_task

_SIDE = 24


def source(num=3, value=None):
    """Images whose first channel tells the place of each pixel, flat in the others."""
    place = np.arange(_SIDE * _SIDE).reshape(_SIDE, _SIDE) / 1000
    images = {}
    for i in range(num):
        other = np.full((_SIDE, _SIDE, 2), 0.1 * (i + 1) if value is None else value)
        images[f'image{i}'] = np.dstack([place, other]).astype(np.float32)
    return ArraySource(images)


def config_of(noise='gaussian:25', **changes):
    return tiny_config(
        **{
            'noise.input': noise, 'noise.realizations': 2, 'data.augment': False, 'data.crop': 16,
            **changes,
        }
    )  # fmt: skip


def batches(config, *, num_steps=30, first=0, devices=None, images=None):
    """Inputs, targets and masks of many steps, each (S B, H, W, C), as the task hands them out."""
    layout = make_layout(config.data.batch_size, devices or jax.devices()[:1])
    feed = realization_feed(images or source(), config, layout)
    task = make_task(config)
    pair = jax.jit(lambda constants, inputs: task.pair(feed.batch(constants, inputs), moment()))
    made = [
        jax.device_get(pair(feed.constants, feed.inputs(first + k, 1)[0])) for k in range(num_steps)
    ]
    noisy, target, mask = zip(*made, strict=True)
    masks = None if mask[0] is None else np.concatenate(mask)
    return np.concatenate(noisy), np.concatenate(target), masks


def versions_by_pixel(crops_BHWC, clean_places):
    """{(image, pixel): set of the noisy values seen there}."""
    seen = {}
    for crop_HWC, (image, top, left) in zip(crops_BHWC, clean_places, strict=True):
        for y, x in ((0, 0), (5, 9), (15, 15)):
            pixel = image, top + y, left + x
            seen.setdefault(pixel, set()).add(tuple(crop_HWC[y, x].tolist()))
    return seen


def places(config, num_steps, images):
    """Image, top and left of every crop, read off the clean targets of the same crops."""
    clean = config_of('gaussian:25', **{'noise.target': 'clean'})
    _, target, _ = batches(clean, num_steps=num_steps, images=images)
    first = np.rint(target[:, 0, 0, 0] * 1000).astype(int)
    image = np.rint(target[:, 0, 0, 1] * 10).astype(int) - 1
    return list(zip(image, first // _SIDE, first % _SIDE, strict=True))


@pytest.mark.parametrize('num', [2, 3])
@pytest.mark.parametrize('noise', ['gaussian:25', 'impulse:0.9', 'text:0.5', 'gaussian:0-50'])
def test_every_pixel_has_exactly_k_values_in_whatever_crop_it_lies(noise, num):
    config = config_of(noise, **{'noise.realizations': num})
    noisy, target, _ = batches(config, num_steps=60)
    where = places(config, 60, source())
    for crops in (noisy, target, np.concatenate([noisy, target])):
        seen = versions_by_pixel(crops, where * (len(crops) // len(where)))
        counts = np.array([len(values) for values in seen.values()])
        # Text and impulses may leave or make a pixel equal in two versions, never make it a third.
        assert counts.max() == num
    assert any(not np.array_equal(a, b) for a, b in zip(noisy, target, strict=True))


def test_input_and_target_are_two_versions_each_in_turn():
    noisy, target, _ = batches(config_of('gaussian:25'), num_steps=40)
    assert all((a != b).any() for a, b in zip(noisy, target, strict=True))
    first = {crop.tobytes() for crop in noisy}
    assert {crop.tobytes() for crop in target} & first  # the same crop on the other side
    # Their noise is independent: the images are flat but for the first channel.
    residuals = [x[..., 1:] - x[..., 1:].mean(axis=(1, 2), keepdims=True) for x in (noisy, target)]
    assert abs(np.corrcoef(*[r.ravel() for r in residuals])[0, 1]) < 0.05


def test_a_target_of_another_noise_has_versions_of_its_own():
    config = config_of('gaussian:50', **{'noise.target': 'gaussian:5', 'noise.realizations': 1})
    noisy, target, _ = batches(config, images=source(num=2, value=0.5))
    np.testing.assert_allclose(noisy[..., 1:].std() * 255, 50, rtol=0.1)
    np.testing.assert_allclose(target[..., 1:].std() * 255, 5, rtol=0.1)


def test_clean_targets_are_clean():
    config = config_of('gaussian:25', **{'noise.target': 'clean', 'noise.realizations': 1})
    noisy, target, mask = batches(config)
    assert mask is None
    np.testing.assert_allclose(np.unique(target[..., 1]), [0.1, 0.2, 0.3], rtol=1e-6)
    np.testing.assert_allclose((noisy - target).std() * 255, 25, rtol=0.1)


def test_the_mask_is_that_of_the_target():
    noisy, target, mask = batches(config_of('bernoulli:0.5'))
    assert mask.dtype == np.float32
    np.testing.assert_array_equal(mask[..., 1], target[..., 1] != 0)
    assert (mask[..., 1] != (noisy[..., 1] != 0)).any()
    assert 0.4 < mask.mean() < 0.6
    config = config_of('gaussian:25', **{'noise.target': 'bernoulli:0.5'})
    noisy, target, mask = batches(config)
    np.testing.assert_array_equal(mask[..., 1], target[..., 1] != 0)


def test_the_same_step_is_the_same_after_a_resume_and_on_any_number_of_devices():
    config = config_of('bernoulli:0.2')
    eight = batches(config, num_steps=2, first=5, devices=jax.devices())
    one = batches(config, num_steps=2, first=5)
    straight = batches(config, num_steps=7)
    for a, b, c in zip(one, eight, straight, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c[5 * config.data.batch_size :])
    other = batches(config_of('bernoulli:0.2', seed=1), num_steps=7)
    assert (other[0] != straight[0]).any()


@pytest.mark.slow
def test_a_run_says_how_many_and_differs_from_fresh_noise(image_folder, tmp_path, caplog):
    caplog.set_level('INFO')
    hashes = {}
    for num in (0, 2):
        config = tiny_config(
            **{
                'data.train': f'folder:{image_folder}', 'eval.sets': f'folder:{image_folder}',
                'noise.realizations': num, 'train.steps': 1, 'eval.max_images': 1,
            }
        )  # fmt: skip
        assert loop.train(config, tmp_path / str(num))
        hashes[num] = (
            (tmp_path / str(num) / 'DONE.json').read_text().split('weights_sha256')[1][:70]
        )
    assert hashes[0] != hashes[2]
    assert 'input gaussian:25, target gaussian:25, 2 fixed noisy versions of' in caplog.text
    assert '5 images, 2 fixed noisy versions of each on the device' in caplog.text
    assert Workdir(tmp_path / '2').rows()[0]['realizations'] == 2
    assert 'Trained on 2 fixed noisy' in (tmp_path / '2/results.md').read_text()
    assert 'fixed' not in (tmp_path / '0/results.md').read_text()


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'noise.realizations': 1}, 'leaves no second noisy version .* noise.target=clean'),
        ({'data.feed': 'stream'}, 'keeps all versions on the device: write data.feed=auto'),
        ({'captures.paths': 'cells/'}, 'captures have real noise'),
        ({'noise.realizations': -1}, 'noise.realizations=-1 is invalid'),
    ],
)
def test_what_cannot_be_is_refused(changes, words):
    with pytest.raises(UserError, match=words):
        config_of(**changes)


def test_too_many_for_the_memory_are_refused_with_the_bytes(monkeypatch):
    monkeypatch.setattr(device_memory, 'device_bytes', lambda: 40_000)
    layout = make_layout(8, jax.devices()[:1])
    # 24 x 24 x 3 values of 4 bytes, 2 versions of 3 images.
    with pytest.raises(UserError, match=r'realizations=2 of 3 images take 0 MiB \(41472 bytes'):
        realization_feed(source(), config_of(), layout)

"""Order and place of crops, and the two feeds that must agree."""

import jax
import numpy as np
import pytest

from n2n_jax import corruptions
from n2n_jax.data import feeds
from n2n_jax.data import sources as data
from n2n_jax.data.feeds import DeviceFeed, StreamFeed, make_feed, sampler
from n2n_jax.data.sources.source import ArraySource, ImageSource, at_least, with_channels
from n2n_jax.images import image_io
from n2n_jax.runtime.config import DataConfig
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import make_layout


def crops(step, sizes, **changes):
    arguments = {'seed': 0, 'batch_size': 8, 'crop': 16, 'augment': True, **changes}
    return sampler.crops_of_step(step, np.array(sizes), **arguments)


def test_every_image_comes_once_per_epoch_in_an_order_of_its_own():
    sizes = [(20, 20)] * 24
    epochs = [np.concatenate([crops(3 * e + i, sizes).image_B for i in range(3)]) for e in (0, 1)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(24))
    assert (epochs[0] != epochs[1]).any()


def test_crops_reach_every_place_and_none_beyond():
    sizes = [(19, 16), (16, 18)]
    seen = [crops(step, sizes) for step in range(200)]
    images = np.concatenate([c.image_B for c in seen])
    tops = np.concatenate([c.top_B for c in seen])
    lefts = np.concatenate([c.left_B for c in seen])
    assert set(tops[images == 0]) == {0, 1, 2, 3}
    assert set(lefts[images == 0]) == {0}
    assert set(lefts[images == 1]) == {0, 1, 2}
    assert set(np.concatenate([c.transform_B for c in seen])) == set(range(8))
    counts = np.bincount(tops[images == 0])
    assert counts.min() > 0.8 * counts.mean()


def test_the_crops_of_a_step_depend_on_the_seed_and_the_step_alone():
    sizes = [(40, 40)] * 5
    a, b = crops(7, sizes), crops(7, sizes)
    np.testing.assert_array_equal(a.top_B, b.top_B)
    assert (crops(8, sizes).top_B != a.top_B).any()
    assert (crops(7, sizes, seed=1).top_B != a.top_B).any()
    assert not crops(7, sizes, augment=False).transform_B.any()


def test_the_eight_transforms_differ():
    crop = np.arange(12).reshape(2, 2, 3)
    seen = {sampler.transform_crop(crop, t).tobytes() for t in range(sampler.NUM_TRANSFORMS)}
    assert len(seen) == 8


@pytest.mark.parametrize('num_devices', [1, 8])
@pytest.mark.parametrize('kind', ['uint8', 'float'])
def test_both_feeds_give_the_same_batches_on_any_number_of_devices(image_folder, num_devices, kind):
    if kind == 'float':
        rng = np.random.default_rng(0)
        image_io.write_pixels(
            image_folder / '0_deep.png', rng.integers(65536, size=(30, 30)).astype('uint16')
        )
    source = data.open_source(f'folder:{image_folder}')
    config = DataConfig(crop=16, batch_size=8)
    layout = make_layout(8, jax.devices()[:num_devices])
    feeds = [
        cls(source, config, channels=3, seed=3, layout=layout) for cls in (DeviceFeed, StreamFeed)
    ]
    reference = DeviceFeed(
        source, config, channels=3, seed=3, layout=make_layout(8, jax.devices()[:1])
    )
    for feed in feeds:
        inputs = jax.tree.map(lambda x: x[1], feed.inputs(4, 2))
        crops = jax.jit(feed.batch)(feed.constants, inputs).input_BHWI
        want = reference.batch(reference.constants, reference.inputs(5, 1)[0]).input_BHWI
        np.testing.assert_array_equal(crops, want)
        assert crops.dtype == np.float32
        assert crops.shape == (8, 16, 16, 3)
        assert 0 <= float(crops.min()) < float(crops.max()) <= 1


@pytest.mark.parametrize('spec', ['gaussian:25', 'poisson:30', 'bernoulli:0.5'])
def test_a_set_too_large_for_the_device_is_trained_on_the_very_same_noisy_images(spec):
    rng = np.random.default_rng(0)
    images = {str(i): rng.integers(0, 256, (80, 96, 3), dtype=np.uint8) for i in range(6)}
    config, layout = DataConfig(crop=64, batch_size=4), make_layout(4, jax.devices()[:1])
    corruptor = corruptions.parse(spec)
    made = []
    for cls in (DeviceFeed, StreamFeed):
        feed = cls(ArraySource(images), config, channels=3, seed=0, layout=layout)
        noisy = jax.jit(
            lambda constants, inputs, feed=feed: (
                corruptor.sample(
                    jax.random.key(0), feed.batch(constants, inputs).input_BHWI
                ).image_BHWC
            )
        )
        made.append(np.asarray(noisy(feed.constants, feed.inputs(0, 1)[0])))
    np.testing.assert_array_equal(*made)


def test_crops_are_cut_out_of_the_images(image_folder):
    source = data.open_source(f'folder:{image_folder}')
    layout = make_layout(8, jax.devices()[:1])
    config = DataConfig(crop=16, batch_size=8)
    feed = DeviceFeed(source, config, channels=3, seed=0, layout=layout)
    batch = np.asarray(feed.batch(feed.constants, feed.inputs(0, 1)[0]).input_BHWI)
    sizes = np.array([source.size(i) for i in range(len(source.names))])
    plan = sampler.crops_of_step(0, sizes, seed=0, batch_size=8, crop=16, augment=True)
    for b in range(8):
        image = source.read(plan.image_B[b])
        cut = image[plan.top_B[b] :][:16, plan.left_B[b] :][:, :16]
        want = sampler.transform_crop(cut, plan.transform_B[b]) / np.float32(255)
        np.testing.assert_allclose(batch[b], want, atol=1e-6)


def test_a_stream_goes_on_where_it_is_asked_to(image_folder):
    source = data.open_source(f'folder:{image_folder}')
    layout = make_layout(8, jax.devices()[:1])
    config = DataConfig(crop=16, batch_size=8, feed='stream')
    feed = make_feed(source, config, channels=3, seed=0, layout=layout)
    assert isinstance(feed, StreamFeed)
    straight = [np.asarray(feed.inputs(step, 1)) for step in range(4)]
    resumed = make_feed(source, config, channels=3, seed=0, layout=layout)
    np.testing.assert_array_equal(resumed.inputs(2, 2), np.concatenate(straight[2:]))


class Mixed(ImageSource):
    """Three images of 8 bits and a last one of more."""

    names = ('a', 'b', 'c', 'deep')

    def __init__(self, deep=True):
        self._deep = deep

    def size(self, i):
        return 32, 32

    def read(self, i):
        deep = self._deep and i == 3
        return np.zeros((32, 32, 3), np.float32 if deep else np.uint8)


@pytest.mark.parametrize(('deep', 'kind'), [(True, StreamFeed), (False, DeviceFeed)])
def test_one_image_of_16_bits_counts_for_the_size_of_the_whole_set(deep, kind, monkeypatch):
    # Room for the values in 8 bits, not for four times as much.
    limit = 2 * 4 * 32 * 32 * 3 / feeds.DEVICE_SHARE
    monkeypatch.setattr(feeds.device_memory, 'device_bytes', lambda: limit)
    layout = make_layout(8, jax.devices()[:1])
    config = DataConfig(crop=16, batch_size=8)
    feed = make_feed(Mixed(deep), config, channels=3, seed=0, layout=layout)
    assert type(feed) is kind
    monkeypatch.setattr(feeds.device_memory, 'device_bytes', lambda: 3 * limit)
    feed = make_feed(Mixed(deep), config, channels=3, seed=0, layout=layout)
    assert type(feed) is DeviceFeed


def test_the_plan_of_a_streamed_batch_is_made_once_not_for_each_crop(image_folder, monkeypatch):
    planned = []
    real = sampler.crops_of_step

    def counted(step, *arguments, **named):
        planned.append(step)
        return real(step, *arguments, **named)

    monkeypatch.setattr(sampler, 'crops_of_step', counted)
    source = data.open_source(f'folder:{image_folder}')
    config = DataConfig(crop=16, batch_size=64, feed='stream')
    layout = make_layout(64, jax.devices()[:1])
    feed = make_feed(source, config, channels=3, seed=0, layout=layout)
    feed.inputs(0, 2)
    assert planned.count(0) <= 16  # threads that begin at the same time may each make one


def test_channels_are_converted():
    rgb = np.random.default_rng(0).integers(256, size=(4, 4, 3)).astype(np.uint8)
    gray = with_channels(rgb, 1)
    assert gray.shape == (4, 4, 1)
    assert gray.dtype == np.uint8
    from PIL import Image

    pillow = np.asarray(Image.fromarray(rgb).convert('L'))
    assert np.abs(gray[..., 0].astype(int) - pillow).max() <= 1
    np.testing.assert_array_equal(with_channels(gray, 3), np.repeat(gray, 3, -1))


def test_small_images_are_named_or_left_out():
    images = {'big': np.zeros((20, 20, 3), np.uint8), 'thin': np.zeros((20, 9, 3), np.uint8)}
    source = ArraySource(images)
    with pytest.raises(UserError, match=r'1 of 2 images .* first is thin \(9x20\)'):
        at_least(source, 10, skip=False)
    assert list(at_least(source, 10, skip=True).names) == ['big']
    with pytest.raises(UserError, match=r'larger than every image.*crop=20 or less'):
        at_least(source, 21, skip=True)
    assert at_least(source, 9, skip=False) is source


def test_bad_files_are_named_or_skipped(image_folder):
    (image_folder / 'words.png').write_text('not an image')
    with pytest.raises(UserError, match='words.png'):
        data.open_source(f'folder:{image_folder}')
    whole = (image_folder / 'image4.png').read_bytes()
    (image_folder / 'words.png').unlink()
    (image_folder / 'cut.png').write_bytes(whole[: len(whole) // 2])
    source = data.open_source(f'folder:{image_folder}')
    with pytest.raises(UserError, match='cut.png'):
        source.read(source.names.index('cut.png'))
    skipped = data.open_source(f'folder:{image_folder}', skip_bad=True)
    assert skipped.names == [f'image{i}.png' for i in range(5)]


@pytest.mark.parametrize(
    ('spec', 'word'),
    [
        ('folder:/nowhere', '/nowhere'),
        ('fotos', "'photos'"),
        ('.', "'folder:.'"),
        ('photos:3', 'no argument'),
        ('dead_leaves:many', 'dead_leaves:400'),
    ],
)
def test_a_wrong_source_says_what_to_write(spec, word):
    with pytest.raises(UserError, match='.') as caught:
        data.open_source(spec)
    assert word in str(caught.value)


def test_sources_are_joined_and_sets_are_named(image_folder, tmp_path):
    odd = image_folder.rename(tmp_path / 'a, b=c')  # commas and equals signs in a path are fine
    joined = data.open_source(f'folder:{odd},photos')
    assert len(joined.names) == 11
    sets = data.open_named_sets(f'mine=folder:{odd},photos')
    assert {name: len(named.source.names) for name, named in sets.items()} == {
        'mine': 5, 'photos': 6,
    }  # fmt: skip
    with pytest.raises(UserError, match="called 'photos'"):
        data.open_named_sets('photos,photos')


def test_a_set_may_ask_for_several_noisy_versions():
    sets = data.open_named_sets('photos,more*10=photos,leaves*1=dead_leaves:1')
    assert {name: named.replicas for name, named in sets.items()} == {
        'photos': 0, 'more': 10, 'leaves': 1,
    }  # fmt: skip
    with pytest.raises(UserError, match='asks for 0 noisy versions: write at least 1'):
        data.open_named_sets('none*0=photos')

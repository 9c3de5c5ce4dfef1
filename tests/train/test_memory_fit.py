"""A step that does not fit into memory is refused with what would."""

import re

import jax
import pytest
from tiny import tiny_config

from n2n_jax.data.feeds import make_feed
from n2n_jax.data.sources import open_source
from n2n_jax.runtime.device_memory import program_bytes, readable
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import make_layout
from n2n_jax.train import memory_fit
from n2n_jax.train.tasks import make_task


def prepared(image_folder, **changes):
    """The arguments of `compile_step`, on one device."""
    fast = {'noise.input': 'quantize:8', 'optim.loss': 'l2'}  # a noise that compiles quickly
    config = tiny_config(**{'data.train': f'folder:{image_folder}', **fast, **changes})
    layout = make_layout(config.data.batch_size, jax.devices()[:1])
    source = open_source(config.data.train)
    feed = make_feed(
        source, config.data, channels=config.model.channels, seed=config.seed, layout=layout
    )
    return config, make_task(config), feed, layout


def refusal(monkeypatch, limit, arguments):
    monkeypatch.setattr(memory_fit, 'device_bytes', lambda: limit)
    with pytest.raises(UserError) as error:
        memory_fit.compile_step(*arguments, 1)
    return str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize('feed', ['device', pytest.param('stream', marks=pytest.mark.slow)])
def test_a_larger_batch_takes_more_and_what_fits_is_named(image_folder, monkeypatch, feed):
    arguments = prepared(image_folder, **{'data.feed': feed})
    whole = program_bytes(memory_fit.compile_step(*arguments, 1))
    assert whole > 0
    half = prepared(image_folder, **{'data.feed': feed, 'data.batch_size': 4})
    limit = program_bytes(memory_fit.compile_step(*half, 1))
    assert limit < whole
    message = refusal(monkeypatch, limit, arguments)
    assert f'needs {readable(whole)} of memory' in message
    assert 'data.batch_size=4 is the largest' in message


@pytest.mark.slow
def test_parts_of_a_batch_are_offered_if_they_fit(image_folder, monkeypatch):
    arguments = prepared(image_folder)
    config = prepared(image_folder, **{'optim.accumulate': 4})
    limit = program_bytes(memory_fit.compile_step(*config, 1))
    assert 'optim.accumulate=4 trains' in refusal(monkeypatch, limit, arguments)


def test_a_crop_too_large_on_its_own_is_said_to_be(image_folder, monkeypatch):
    message = refusal(monkeypatch, 1000, prepared(image_folder))
    assert re.search('not one crop fits: write data.crop=[1-4] or less', message)


def test_the_last_candidate_within_the_limit():
    for limit, want in [(5, None), (10, 1), (39, 3), (1000, 8)]:
        assert memory_fit.largest_that_fits(list(range(1, 9)), lambda n: 10 * n, limit) == want


def test_without_compilation_there_is_no_training_step():
    with jax.disable_jit(), pytest.raises(UserError, match='JAX_DISABLE_JIT'):
        memory_fit.compile_step(tiny_config(), None, None, None, 1)


def test_parts_are_not_advised_where_they_would_be_another_run(monkeypatch):
    monkeypatch.setattr(memory_fit, 'program_bytes', lambda compiled: 3 * compiled)
    monkeypatch.setattr(
        memory_fit, '_compile', lambda config, *_: config.data.batch_size // config.optim.accumulate
    )
    layout = make_layout(8, jax.devices()[:1])
    for norm, advised in (('none', True), ('batch', False)):
        config = tiny_config(**{'model.name': f'tiny:norm={norm}'})
        words = memory_fit._suggest_what_fits(config, None, None, layout, 24, 12)
        assert ('optim.accumulate=2' in words) == advised
        assert 'data.batch_size=4' in words

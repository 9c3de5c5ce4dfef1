"""Checkpoints: what is damaged is named, and what is no failed write is not called one."""

import dataclasses
import errno
import shutil
import sys
import time
import types

import jax
import jax.numpy as jnp
import pytest
from tiny import tiny_config

from n2n_jax.runtime.checkpoint import BEST_FOLDER, Checkpoints, abstract_like, open_for_reading
from n2n_jax.runtime.errors import CheckpointError, UserError

META = {'config': dataclasses.asdict(tiny_config())}


def weights(num_arrays=2):
    return {f'w{i}': jnp.full((40, 40), float(i)) for i in range(num_arrays)}


def save(run, *steps, **items):
    with Checkpoints(run, keep=9) as checkpoints:
        for step in steps:
            checkpoints.save(step, items, META)


def restore(run, **items):
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    with open_for_reading(run) as checkpoints:
        step = checkpoints.last_step
        assert checkpoints.config(step) == tiny_config()
        return checkpoints.restore(step, abstract_like(items, sharding))


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGE = {
    'no manifest': lambda step: (step / 'ema' / 'manifest.ocdbt').unlink(),
    'half a manifest': lambda step: cut(step / 'ema' / 'manifest.ocdbt'),
    'half the arrays': lambda step: [cut(file) for file in (step / 'ema' / 'd').iterdir()],
    'no arrays': lambda step: shutil.rmtree(step / 'ema' / 'd'),
    'a bit of what describes them': lambda step: flip(step / 'ema/array_metadatas/process_0'),
    'no item': lambda step: shutil.rmtree(step / 'ema'),
    'empty': lambda step: [shutil.rmtree(step), step.mkdir()],
    'no meta': lambda step: (step / 'meta' / 'metadata').unlink(),
    'meta {}': lambda step: (step / 'meta' / 'metadata').write_text('{}'),
    'meta 5': lambda step: (step / 'meta' / 'metadata').write_text('5'),
    'meta of brackets': lambda step: (step / 'meta' / 'metadata').write_text('[' * 100_000),
    'meta of bytes': lambda step: (step / 'meta' / 'metadata').write_bytes(b'\xff\xfe\x00'),
}


# Orbax leaves reads of the other arrays behind, which nobody waits for.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.parametrize('damage', DAMAGE)
def test_an_incomplete_copy_of_a_run_is_told_to_be_copied_again(damage, tmp_path):
    save(tmp_path, 2, 4, ema=weights())
    DAMAGE[damage](tmp_path / 'checkpoints' / '4')
    with pytest.raises(UserError, match=r'checkpoints/4 cannot be read .* copy the run again'):
        restore(tmp_path, ema=weights())


def test_no_page_of_tracebacks_follows_a_damaged_checkpoint(tmp_path, capfd):
    items = weights(40)
    save(tmp_path, 4, ema=items)
    (tmp_path / 'checkpoints' / '4' / 'ema' / 'manifest.ocdbt').unlink()
    for _ in range(4):
        with pytest.raises(UserError):
            restore(tmp_path, ema=items)
    time.sleep(0.2)  # what comes late
    assert 'Traceback' not in capfd.readouterr().err


def test_other_errors_of_threads_are_still_printed(tmp_path, monkeypatch):
    save(tmp_path, 4, ema=weights())
    (tmp_path / 'checkpoints' / '4' / 'ema' / 'manifest.ocdbt').unlink()
    with pytest.raises(UserError):
        restore(tmp_path, ema=weights())
    others = []
    monkeypatch.setattr(sys.unraisablehook, '_previous', others.append)
    dropped = "coroutine 'Store._get_array_metadatas' was never awaited"
    for words in ('Event loop is closed', dropped, 'a bug'):
        sys.unraisablehook(types.SimpleNamespace(exc_value=RuntimeError(words)))
    assert [str(other.exc_value) for other in others] == ['a bug']


def test_a_checkpoint_that_is_gone_is_not_called_damaged(tmp_path):
    save(tmp_path, 2, 4, ema=weights())
    with open_for_reading(tmp_path) as checkpoints:
        shutil.rmtree(tmp_path / 'checkpoints' / '4')
        with pytest.raises(FileNotFoundError, match='checkpoints/4 was deleted'):
            checkpoints.meta(4)


def test_a_run_whose_checkpoints_are_all_gone_says_so(tmp_path):
    with (
        Checkpoints(tmp_path) as checkpoints,
        pytest.raises(FileNotFoundError, match='checkpoints holds no checkpoint any more'),
    ):
        _ = checkpoints.newest_step


@pytest.mark.parametrize(
    ('error', 'words'),
    [
        (ValueError('RESOURCE_EXHAUSTED: Error writing "a" in OCDBT database'), 'the disk is full'),
        (ValueError('PERMISSION_DENIED: Error opening "zarr" driver'), 'PERMISSION_DENIED'),
        (OSError(28, 'No space left on device'), 'No space left on device'),
    ],
)
def test_a_failed_write_is_told_with_the_step_to_resume_at(error, words, tmp_path, monkeypatch):
    save(tmp_path, 2, ema=weights())

    def fail(*arguments, **named):
        raise error

    with Checkpoints(tmp_path, keep=9) as checkpoints, monkeypatch.context() as patch:
        patch.setattr(checkpoints._manager, 'save', fail)
        with pytest.raises(CheckpointError, match=f'{words}.*resumes at step 2'):
            checkpoints.save(4, {'ema': weights()}, META)


@pytest.mark.parametrize('error', [ValueError('shapes differ'), RuntimeError('a bug of ours')])
def test_a_bug_of_ours_is_not_called_a_failed_write(error, tmp_path, monkeypatch):
    with Checkpoints(tmp_path, keep=9) as checkpoints:

        def fail(*arguments, **named):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(checkpoints._manager, 'save', fail)
            with pytest.raises(type(error), match=str(error)):
                checkpoints.save(4, {'ema': weights()}, META)


def test_a_best_folder_without_a_checkpoint_leaves_nothing_open(tmp_path, monkeypatch):
    save(tmp_path, 4, ema=weights())
    (tmp_path / BEST_FOLDER).mkdir()
    closed = []
    real = Checkpoints.close
    monkeypatch.setattr(Checkpoints, 'close', lambda self: (closed.append(self), real(self)))
    with open_for_reading(tmp_path) as checkpoints:
        assert checkpoints.last_step == 4
        assert len(closed) == 1
    assert len(closed) == 2


def test_what_does_not_fit_is_told_in_a_unit_that_shows_it(tmp_path, monkeypatch):
    full = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: full)
    with (
        Checkpoints(tmp_path, keep=1) as checkpoints,
        pytest.raises(CheckpointError, match=r'needs 12\.8 kB, but only 0\.1 kB are free'),
    ):
        checkpoints.save(2, {'ema': weights()}, META)


@pytest.mark.parametrize(
    ('error', 'raised', 'words'),
    [
        (
            PermissionError(13, 'Permission denied'),
            UserError,
            'ask its owner for permission to read it',
        ),
        (OSError(errno.ESTALE, 'Stale file handle'), UserError, 'Stale file handle. Try again'),
        (ValueError('RESOURCE_EXHAUSTED: out of memory'), MemoryError, 'does not fit'),
    ],
)
def test_a_checkpoint_is_not_called_damaged_for_what_is_wrong_elsewhere(
    error, raised, words, tmp_path, monkeypatch
):
    save(tmp_path, 4, ema=weights())

    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr('orbax.checkpoint.CheckpointManager.restore', fail)
    with (
        open_for_reading(tmp_path) as checkpoints,
        pytest.raises(raised, match=words) as caught,
    ):
        checkpoints.restore(4, {})
    assert 'damaged' not in str(caught.value)


def test_the_only_checkpoint_is_not_said_to_have_one_before_it(tmp_path):
    save(tmp_path, 4, ema=weights())
    (tmp_path / 'checkpoints' / '4' / 'meta' / 'metadata').write_text('5')
    with open_for_reading(tmp_path) as checkpoints, pytest.raises(UserError) as caught:
        checkpoints.meta(4)
    assert 'is used' not in str(caught.value)
    save(tmp_path, 2, ema=weights())
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(UserError, match='of step 2 is used'):
        checkpoints.meta(4)


def test_a_failed_write_of_the_best_weights_names_the_step_that_the_run_resumes_at(tmp_path):
    save(tmp_path, 400, ema=weights())
    with Checkpoints(tmp_path, keep=0, folder=BEST_FOLDER) as best:
        assert 'resumes at step 400' in str(best._write_error('the disk is full'))

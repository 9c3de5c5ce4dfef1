"""Signals: where they end a program, and where they wait."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from n2n_jax.runtime import console, interrupts
from n2n_jax.runtime.checkpoint import Checkpoints


def send(number):
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # the handler runs between two instructions


@pytest.fixture(autouse=True)
def _handlers():
    """As a shell starts a program; a stop leaves signals ignored, which no test must inherit."""
    defaults = {
        signal.SIGINT: signal.default_int_handler,  # ignored in the background of a shell
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,  # ignored under nohup
    }
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_way_to_stop_a_program_lets_it_clean_up(number, capsys):
    cleaned = []

    @console.errors_in_one_sentence()
    def program():
        try:
            send(number)
        finally:
            send(number)  # once more, in the middle of it
            send(signal.SIGINT)
            cleaned.append(True)

    with pytest.raises(SystemExit) as end:
        program()
    assert cleaned
    assert end.value.code == 130
    assert capsys.readouterr().err == 'error: Stopped.\n'
    send(number)  # nothing disturbs the end of the program


def test_ctrl_c_after_the_run_was_saved_does_not_disturb_its_end():
    @console.errors_in_one_sentence()
    def program():
        sys.exit(console.EXIT_INTERRUPTED)  # it was asked to, and has saved

    with pytest.raises(SystemExit):
        program()
    send(signal.SIGINT)  # the impatient


def test_an_interrupt_that_a_library_makes_an_error_of_its_own_is_one_still(capsys):
    @console.errors_in_one_sentence()
    def program():
        try:
            send(signal.SIGTERM)
        except KeyboardInterrupt:
            raise ImportError('initialization failed') from None

    with pytest.raises(SystemExit) as end:
        program()
    assert end.value.code == 130
    assert 'Stopped' in capsys.readouterr().err


def test_what_is_ignored_stays_so_and_all_is_as_before_without_a_stop():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as by nohup
    before = signal.getsignal(signal.SIGTERM)
    with interrupts.stoppable():
        send(signal.SIGHUP)
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_save_is_never_interrupted_but_what_came_is_heeded_after_it():
    saved = []

    @interrupts.deferred()
    def save():
        send(signal.SIGINT)
        send(signal.SIGTERM)
        saved.append('whole')

    @interrupts.stoppable()
    def program():
        save()
        saved.append('too far')

    with pytest.raises(KeyboardInterrupt):
        program()
    assert saved == ['whole']


def test_a_second_ctrl_c_waits_for_the_checkpoint(tmp_path):
    done = []

    def slow_save(*arguments, **options):
        send(signal.SIGINT)
        done.append('saved')

    @interrupts.stoppable()
    def program():
        with Checkpoints(tmp_path, keep=1) as checkpoints:
            checkpoints._manager.save = slow_save
            checkpoints.save(1, {}, {})
            done.append('too far')

    with pytest.raises(KeyboardInterrupt):
        program()
    assert done == ['saved']


def test_two_sigterms_do_not_cut_a_save_short(tmp_path):
    done = []

    def slow_save(*arguments, **options):
        send(signal.SIGTERM)
        done.append('saved')

    def second_time(number, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, second_time)
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints._manager.save = slow_save
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(1, {}, {})
    assert done == ['saved']


def test_ctrl_c_while_the_program_is_being_loaded_is_a_sentence(tmp_path):
    # A module that is loaded late takes its time, so that the signal meets the loading.
    (tmp_path / 'jax').mkdir()
    slow = 'import time\nprint("loading", flush=True)\ntime.sleep(60)\n'
    (tmp_path / 'jax' / '__init__.py').write_text(slow)
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(
            [sys.executable, '-m', 'n2n_jax.cli', 'show-noise', 'gaussian:25'],
            cwd=tmp_path, env={**os.environ, 'PYTHONPATH': path}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout.readline() == 'loading\n'
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
        assert error == 'error: Stopped.\n'
        assert process.returncode == 130


def test_ctrl_c_that_went_nowhere_can_be_repeated(monkeypatch):
    """JAX has callbacks of the garbage collector, and whatever they raise is lost."""
    monkeypatch.setattr(interrupts, '_PATIENCE', 0.1)
    reached = []

    @interrupts.stoppable()
    def program():
        with contextlib.suppress(KeyboardInterrupt):
            send(signal.SIGINT)
        reached.append('still running')
        assert interrupts.wanted()
        send(signal.SIGINT)  # a hasty finger
        time.sleep(0.1)
        try:
            send(signal.SIGTERM)
        finally:
            time.sleep(0.1)
            send(signal.SIGTERM)  # this one had an effect, so that it is left the time to clean up
            reached.append('cleaned up')
        reached.append('too far')

    with pytest.raises(KeyboardInterrupt):
        program()
    assert reached == ['still running', 'cleaned up']
    assert not interrupts.wanted()


def test_cleaning_up_after_the_error_that_an_interrupt_became_is_not_disturbed(monkeypatch):
    monkeypatch.setattr(interrupts, '_PATIENCE', 0.0)
    cleaned = []

    @interrupts.stoppable()
    def program():
        try:
            try:
                send(signal.SIGINT)
            except KeyboardInterrupt:
                raise ImportError('initialization failed') from None
        except ImportError:
            send(signal.SIGINT)
            cleaned.append(True)

    program()
    assert cleaned

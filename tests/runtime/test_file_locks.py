"""Locks between programs: one has it, others are told so, and none outlives its program."""

import subprocess
import sys
import threading
from pathlib import Path

import filelock
import pytest

from n2n_jax.runtime import file_locks

HOLDER = """
import pathlib, sys, time
from n2n_jax.runtime import file_locks
with file_locks.held(pathlib.Path(sys.argv[1])):
    print('held', flush=True)
    time.sleep(600)
"""


@pytest.fixture
def lock(tmp_path):
    return tmp_path / '.lock'


def test_a_lock_ends_with_its_program_even_if_it_is_killed(lock):
    program = [sys.executable, '-c', HOLDER, str(lock)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == 'held\n'
            assert file_locks.is_held(lock)
            with (
                pytest.raises(TimeoutError, match='lock is locked'),
                file_locks.held(lock, seconds=0),
            ):
                pass
        finally:
            holder.kill()
    assert not file_locks.is_held(lock)
    with file_locks.held(lock, seconds=0):
        assert file_locks.is_held(lock)


def test_a_lock_is_waited_for(lock):
    held, given_back = threading.Event(), threading.Event()

    def hold():
        with file_locks.held(lock):
            held.set()
            given_back.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(30)
    threading.Timer(0.1, given_back.set).start()
    with file_locks.held(lock, seconds=30):
        assert given_back.is_set()
    thread.join()


def test_two_who_ask_at_once_do_not_take_each_other_for_the_holder(lock, monkeypatch):
    lock.touch()
    answers = [False]  # the other has it for a moment

    def asked_by_another(number, *, blocking):
        return answers.pop() if answers else True

    monkeypatch.setattr(filelock, 'lock_descriptor', asked_by_another)
    assert not file_locks.is_held(lock)
    assert not answers


def test_who_may_only_read_can_ask(lock, monkeypatch):
    opened = Path.open

    def read_only(path, mode='r', *arguments, **options):
        if '+' in mode:
            raise PermissionError(13, 'Permission denied', str(path))
        return opened(path, mode, *arguments, **options)

    with file_locks.held(lock):
        monkeypatch.setattr(Path, 'open', read_only)
        assert file_locks.is_held(lock)
    assert not file_locks.is_held(lock)


def test_where_there_is_no_lock_nobody_holds_it(lock, tmp_path):
    assert not file_locks.is_held(lock)
    assert not file_locks.is_held(tmp_path)  # a folder
    lock.touch()
    assert not file_locks.is_held(lock / 'below')

"""Turns between users, canceling, limits."""

import threading

import pytest

from n2n_jax.app.job_queue import FullError, JobQueue, UnknownJobError
from n2n_jax.runtime.errors import UserError

SECONDS = 30  # until a job that should end has failed to


@pytest.fixture
def queue():
    made = JobQueue(most_waiting=6)
    yield made
    made.close()


class Gate:
    """Work that notes its name once the gate is open."""

    def __init__(self):
        self.open, self.begun, self.names = threading.Event(), threading.Event(), []

    def work(self, name):
        def run(job):
            self.begun.set()
            assert self.open.wait(SECONDS)
            self.names.append(name)
            return name.upper()

        return run


def test_a_user_with_many_jobs_keeps_another_waiting_for_one(queue):
    gate = Gate()
    many = [queue.submit('ann', gate.work(f'ann{i}')) for i in range(4)]
    assert gate.begun.wait(SECONDS)
    one = queue.submit('bob', gate.work('bob'))
    assert [queue.position(job) for job in (*many, one)] == [0, 1, 3, 4, 2]
    gate.open.set()
    for job in (*many, one):
        assert queue.wait(job, SECONDS)
    assert gate.names == ['ann0', 'ann1', 'bob', 'ann2', 'ann3']
    assert one.result == 'BOB'
    assert queue.users() == set()


def test_waiting_and_running_jobs_are_canceled(queue):
    started = threading.Event()

    def endless(job):
        started.set()
        while True:
            job.advance()

    running, waiting = queue.submit('ann', endless), queue.submit('ann', endless)
    assert started.wait(SECONDS)
    queue.cancel(waiting)
    assert (running.state, waiting.state) == ('running', 'canceled')
    queue.cancel(running)
    assert queue.wait(running, SECONDS)
    assert running.state == 'canceled'
    assert not queue.active('ann')
    after = queue.submit('ann', lambda job: 'fine')
    assert queue.wait(after, SECONDS)
    assert after.result == 'fine'


def test_a_job_that_fails_says_why_and_does_not_stop_the_next():
    queue = JobQueue(message_of=lambda error: f'sorry: {error}')
    try:

        def bad(job):
            raise ValueError('no good')

        failed, next_one = queue.submit('ann', bad), queue.submit('ann', lambda job: 1)
        assert queue.wait(next_one, SECONDS)
        assert (failed.state, failed.error, next_one.result) == ('failed', 'sorry: no good', 1)
    finally:
        queue.close()


def test_limits_are_told(queue):
    gate = Gate()
    for i in range(7):
        queue.submit('ann', gate.work(str(i)))
        if not i:
            assert gate.begun.wait(SECONDS)
    with pytest.raises(FullError, match='6 jobs are waiting'):
        queue.submit('bob', gate.work('bob'))
    gate.open.set()

    slow = JobQueue(most_seconds=0.0)
    try:
        job = slow.submit('ann', lambda job: job.advance())
        assert slow.wait(job, SECONDS)
        assert job.state == 'failed'
        assert 'took longer than 0 s' in job.error
    finally:
        slow.close()


def test_jobs_of_others_are_not_found(queue):
    job = queue.submit('ann', lambda job: 1)
    assert queue.find('ann', job.id) is job
    with pytest.raises(UnknownJobError):
        queue.find('bob', job.id)
    with pytest.raises(UserError, match='no such job'):
        queue.find('ann', 'other')


def test_the_time_left_is_what_the_rest_takes_at_the_pace_so_far(queue):
    seen = []

    def work(job):
        job.total = 4
        seen.append(job.seconds_left())
        job._started -= 3  # as if three seconds had passed
        job.advance(1)
        seen.append(job.seconds_left())

    assert queue.wait(queue.submit('ann', work), SECONDS)
    assert seen[0] is None
    assert seen[1] == pytest.approx(9, abs=1)

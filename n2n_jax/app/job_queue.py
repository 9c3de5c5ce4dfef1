"""Jobs of several users, one at a time, in turns.

One thread runs the jobs: a network uses all processors anyway. After a job of one user comes one of
another, so that whoever brings a hundred pictures keeps nobody waiting for more than one of them.
"""

import collections
import dataclasses
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

from n2n_jax.runtime.errors import UserError

_log = logging.getLogger(__name__)

State = Literal['waiting', 'running', 'done', 'failed', 'canceled']

_MOST_ENDED = 1000  # jobs remembered after their end


class CanceledError(Exception):
    """The job was canceled; raised inside of it."""


class FullError(UserError):
    """No more jobs can wait."""


class UnknownJobError(UserError):
    """There is no such job, or it is another user's."""


@dataclasses.dataclass(eq=False)
class Job:
    """Something to do for a user.

    Attributes:
      user: whose it is.
      work: does it. It is given the job, calls `advance` now and then, and returns the result.
      kind: what it does, such as 'denoise'.
      about: id of the picture that it is about; '' for any other job.
      id: its name.
      state: what became of it.
      done: how much is done, of `total`.
      total: how much there is to do; 0 as long as that is not known.
      result: what `work` returned.
      error: why it failed, in a sentence.
    """

    user: str
    work: Callable[['Job'], Any]
    kind: str = ''
    about: str = ''
    id: str = dataclasses.field(default_factory=lambda: secrets.token_urlsafe(12))
    state: State = 'waiting'
    done: float = 0.0
    total: float = 0.0
    result: Any = None
    error: str = ''
    _cancel: bool = False
    _started: float = 0.0
    _deadline: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether it has ended, one way or another."""
        return self.state in ('done', 'failed', 'canceled')

    def advance(self, amount: float = 0.0) -> None:
        """Adds to `done`.

        Raises:
          CanceledError: the user has canceled the job.
          UserError: it takes too long.
        """
        self.done += amount
        if self._cancel:
            raise CanceledError
        if time.monotonic() > self._deadline:
            took = self._deadline - self._started
            raise UserError(f'This took longer than {took:.0f} s, the limit of this page.')

    def seconds_left(self) -> float | None:
        """Estimates the time to its end; None before there is anything to tell it from."""
        if self.state != 'running' or not 0 < self.done <= self.total:
            return None
        return (time.monotonic() - self._started) * (self.total - self.done) / self.done


class JobQueue:
    """The jobs of all users.

    Args:
      most_waiting: jobs that may wait.
      most_seconds: that a job may take.
      message_of: makes a sentence of an error that is not a `UserError`.
    """

    def __init__(
        self,
        *,
        most_waiting: int = 500,
        most_seconds: float = 3600.0,
        message_of: Callable[[Exception], str] = str,
    ) -> None:
        self._most_waiting, self._most_seconds = most_waiting, most_seconds
        self._message_of = message_of
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}  # in the order of their submission
        # The waiting jobs of each user; the user who is next comes first.
        self._waiting: collections.OrderedDict[str, collections.deque[Job]] = (
            collections.OrderedDict()
        )
        self._closed = False
        self._thread = threading.Thread(target=self._run, name='jobs', daemon=True)
        self._thread.start()

    def submit(self, user: str, work: Callable[[Job], Any], kind: str = '', about: str = '') -> Job:
        """Adds a job; for the arguments see `Job`.

        Raises:
          FullError: too many wait.
        """
        with self._changed:
            if sum(map(len, self._waiting.values())) >= self._most_waiting:
                raise FullError(
                    f'{self._most_waiting} jobs are waiting, and no more can: try again later.'
                )
            job = Job(user, work, kind, about)
            self._jobs[job.id] = job
            self._waiting.setdefault(user, collections.deque()).append(job)
            self._forget()
            self._changed.notify_all()
        return job

    def find(self, user: str, id: str) -> Job:
        """Returns a job of a user; raises UnknownJobError if there is none."""
        job = self._jobs.get(id)
        if job is None or job.user != user:
            raise UnknownJobError('There is no such job, or it is not yours.')
        return job

    def position(self, job: Job) -> int:
        """Returns how many jobs come before this one, the running one included."""
        with self._changed:
            if job.state != 'waiting':
                return 0
            before = list(self._in_turns()).index(job)
            return before + any(other.state == 'running' for other in self._jobs.values())

    def of(self, user: str) -> list[Job]:
        """Returns the jobs of a user that are remembered, oldest first."""
        with self._changed:
            return [job for job in self._jobs.values() if job.user == user]

    def active(self, user: str) -> list[Job]:
        """Returns the jobs of a user that wait or run."""
        return [job for job in self.of(user) if not job.is_over]

    def users(self) -> set[str]:
        """Returns the users with jobs that wait or run."""
        with self._changed:
            return {job.user for job in self._jobs.values() if not job.is_over}

    def cancel(self, job: Job) -> None:
        """Ends a job: at once if it waits, at its next `advance` if it runs."""
        with self._changed:
            if job.state == 'waiting':
                self._waiting[job.user].remove(job)
                if not self._waiting[job.user]:
                    del self._waiting[job.user]
                job.state = 'canceled'
            job._cancel = True
            self._changed.notify_all()

    def wait(self, job: Job, seconds: float) -> bool:
        """Waits for the end of a job, for so long at most; returns whether it has ended."""
        with self._changed:
            return self._changed.wait_for(lambda: job.is_over, seconds)

    def close(self) -> None:
        """Cancels all jobs and ends the thread."""
        for job in list(self._jobs.values()):
            if not job.is_over:
                self.cancel(job)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _in_turns(self) -> Iterator[Job]:
        """Yields the waiting jobs in the order in which they will run."""
        queues = [list(jobs) for jobs in self._waiting.values()]
        for turn in range(max(map(len, queues), default=0)):
            for jobs in queues:
                if turn < len(jobs):
                    yield jobs[turn]

    def _forget(self) -> None:
        ended = [id for id, job in self._jobs.items() if job.is_over]
        for id in ended[: max(0, len(ended) - _MOST_ENDED)]:
            del self._jobs[id]

    def _next(self) -> Job | None:
        """Waits for a job and marks it as running; returns None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            user, jobs = self._waiting.popitem(last=False)
            job = jobs.popleft()
            if jobs:
                self._waiting[user] = jobs  # behind all others
            job.state, job._started = 'running', time.monotonic()
            job._deadline = job._started + self._most_seconds
            return job

    def _run(self) -> None:
        while (job := self._next()) is not None:
            state: State = 'done'
            try:
                job.result = job.work(job)
            except CanceledError:
                state = 'canceled'
            except Exception as error:  # one job must not end the others
                state, job.error = 'failed', self._message_of(error)
                _log.debug('job failed', exc_info=error)
            with self._changed:
                job.state = state
                job.work = _nothing  # so that what it holds is freed
                self._changed.notify_all()


def _nothing(job: Job) -> None:
    del job

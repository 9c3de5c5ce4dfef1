"""What the addresses of the page share: pictures, jobs, models, trainings."""

import logging
from typing import cast

from fastapi import Request

from n2n_jax.app.job_queue import JobQueue
from n2n_jax.app.local_folder import LocalFolder
from n2n_jax.app.models import OfferedModels
from n2n_jax.app.pictures import Pictures
from n2n_jax.app.settings import Settings
from n2n_jax.app.trainings import Trainings
from n2n_jax.runtime.errors import UserError

_log = logging.getLogger(__name__)

DENOISE = 'denoise'  # the kind of jobs during which nothing is uploaded


class BusyError(UserError):
    """The user is denoising."""


class AppState:
    """All that outlasts a request.

    Args:
      settings: of the page.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = LocalFolder(settings.folder)
        self.pictures = Pictures(settings)
        self.models = OfferedModels(self.folder, settings.model)
        self.trainings = Trainings(self.folder)
        self.queue = JobQueue(
            most_waiting=settings.most_jobs,
            most_seconds=settings.most_seconds,
            message_of=sentence_of,
        )

    def close(self) -> None:
        """Ends all jobs and deletes all uploads."""
        self.queue.close()
        self.pictures.close()

    def check_idle(self, user: str) -> None:
        """Raises BusyError while a picture of the user is being denoised."""
        if any(job.kind == DENOISE for job in self.queue.active(user)):
            raise BusyError(
                'Denoising is in progress: upload a new image when it has finished, or cancel it.'
            )


def sentence_of(error: Exception) -> str:
    """Returns what users are told about an error; of an unexpected one, where it is reported."""
    if isinstance(error, UserError):
        return _as_text(str(error))
    if isinstance(error, MemoryError):
        return 'This machine has too little memory for it.'
    if isinstance(error, OSError):
        return f'A file could not be read or written: {error.strerror or error}.'
    _log.error('unexpected error', exc_info=error)
    return 'This is a bug in n2n_jax; the terminal that runs n2n app shows more. Please report it.'


def _as_text(words: str) -> str:
    """Names in requests may hold what is not text, which JSON cannot hold."""
    return words.encode('utf-8', 'replace').decode('utf-8')


def state_of(request: Request) -> AppState:
    """Returns the state, for addresses that ask for it."""
    return cast(AppState, request.app.state.shared)


def user_of(request: Request) -> str:
    """Returns whose request it is, see `guard`."""
    return cast(str, request.state.user)

"""Runs `n2n` as a process of its own, for what may take all of the memory or long."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import NamedTuple

from n2n_jax.app.job_queue import Job
from n2n_jax.runtime.errors import UserError

_POLL_SECONDS = 0.1


class Ended(NamedTuple):
    """What a program has left.

    Attributes:
      status: its exit status.
      out: what it has printed.
      error: its last line, without 'error: ', '' if it has printed nothing.
    """

    status: int
    out: str
    error: str


def command_line(arguments: Sequence[str]) -> list[str]:
    """Returns the command line that runs `n2n` with these arguments."""
    return [sys.executable, '-m', 'n2n_jax.cli', *arguments]


def run(arguments: Sequence[str], job: Job) -> Ended:
    """Runs `n2n` inside a job; ends it if the job is canceled or takes too long.

    Raises:
      CanceledError: the job was canceled.
      UserError: it takes too long.
    """
    with tempfile.TemporaryFile() as out:
        try:
            process = subprocess.Popen(
                command_line(arguments), stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        except ValueError:
            raise UserError('A name or pattern holds a character that none can hold.') from None
        with process:
            try:
                while process.poll() is None:
                    job.advance()
                    time.sleep(_POLL_SECONDS)
            except BaseException:
                process.kill()
                raise
        out.seek(0)
        printed = out.read().decode('utf-8', 'replace')
    lines = [line for line in printed.splitlines() if line.strip()]
    error = lines[-1].removeprefix('error: ') if lines else ''
    return Ended(process.returncode, printed, error)

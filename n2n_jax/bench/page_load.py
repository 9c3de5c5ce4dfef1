"""Many users of the page at once: is every answer right, and does it live on?

    python -m n2n_jax.bench.page_load --users 8 --images 20

starts the page, has each user upload pictures of their own, a tenth of them invalid, denoise all
and cancel a tenth; then compares each result with what the model makes of its own input, bit for
bit, and prints the numbers as JSON.

H height, W width, C channels.
"""

import argparse
import contextlib
import dataclasses
import io
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import requests
from PIL import Image

from n2n_jax.denoise import choice
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.runtime import json_files
from n2n_jax.runtime.errors import UserError

_TENTH = 10
_SIDES = ((48, 64), (64, 48), (80, 80))  # of the pictures: few, as each is compiled
_SECONDS = 600.0  # for a request or a job


@dataclasses.dataclass
class Outcome:
    """What became of the pictures of all users.

    Attributes:
      right: results that equal what the model makes of their input.
      wrong: results that do not.
      refused: invalid files that were refused with a sentence.
      canceled: jobs that ended as canceled.
      raced: jobs that were done before they could be canceled, whose result is right.
      errors: anything else, a sentence each.
    """

    right: int = 0
    wrong: int = 0
    refused: int = 0
    canceled: int = 0
    raced: int = 0
    errors: list[str] = dataclasses.field(default_factory=list)


class _User:
    """One user: uploads first, then denoises all, as the page does."""

    def __init__(self, site: str, number: int, images: int, denoiser: Denoiser, model: str):
        self._site, self._number, self._images = site, number, images
        self._denoiser, self._model = denoiser, model
        self._session = requests.Session()
        self._session.trust_env = False
        self.outcome = Outcome()

    def run(self) -> None:
        """Does it all; any error is an outcome."""
        try:
            with self._session:
                self._denoise(self._upload())
        except (requests.RequestException, KeyError, ValueError) as error:
            self.outcome.errors.append(f'user {self._number}: {error}')

    def _upload(self) -> list[tuple[str, np.ndarray, bool]]:
        """Returns (picture, its pixels, whether it is to be canceled) of those that were taken."""
        taken = []
        for k in range(self._images):
            pixels_HWC = _picture(1000 * self._number + k)
            content = _png(pixels_HWC)
            is_bad = k % _TENTH == _TENTH // 2
            if is_bad:
                content = content[: len(content) // 2]
            answer = self._session.post(
                f'{self._site}/api/pictures',
                params={'name': f'{k}.png'},
                data=content,
                timeout=_SECONDS,
            )
            if not is_bad and answer.status_code == 201:
                taken.append((answer.json()['id'], pixels_HWC, k % _TENTH == 1))
            elif is_bad and answer.status_code == 415 and answer.json()['error']:
                self.outcome.refused += 1
            else:
                self.outcome.errors.append(f'upload: {answer.status_code} {answer.text[:200]}')
        return taken

    def _denoise(self, taken: list[tuple[str, np.ndarray, bool]]) -> None:
        jobs = []
        for picture, pixels_HWC, cancels in taken:
            address = f'{self._site}/api/pictures/{picture}'
            job = self._session.post(
                f'{address}/denoise', json={'model': self._model}, timeout=_SECONDS
            ).json()['id']
            jobs.append((address, job, pixels_HWC, cancels))
            if cancels:
                self._session.delete(f'{self._site}/api/jobs/{job}', timeout=_SECONDS)
        for address, job, pixels_HWC, cancels in jobs:
            state = self._ended(job)
            if state == 'canceled' and cancels:
                self.outcome.canceled += 1
            elif state == 'done':
                result = self._session.get(f'{address}/result', timeout=_SECONDS).content
                found_HWC = np.asarray(Image.open(io.BytesIO(result)))
                if not np.array_equal(found_HWC, self._denoiser(pixels_HWC)):
                    self.outcome.wrong += 1
                elif cancels:
                    self.outcome.raced += 1
                else:
                    self.outcome.right += 1
            else:
                self.outcome.errors.append(f'job: {state}')
            self._session.delete(address, timeout=_SECONDS)

    def _ended(self, job: str) -> str:
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            found = self._session.get(
                f'{self._site}/api/jobs/{job}', params={'wait': 10}, timeout=_SECONDS
            ).json()
            if found['state'] not in ('waiting', 'running'):
                return str(found['state'])
        return 'late'


def load(site: str, *, users: int, images: int, model: str) -> Outcome:
    """Lets users work at the same time.

    Args:
      site: address of the page.
      users: how many.
      images: of each user; of ten, one is invalid and one is canceled.
      model: name of a model that comes with n2n_jax.
    """
    denoiser = choice.load(model)
    for sides in _SIDES:  # compiled once, not by every user
        denoiser(np.zeros((*sides, 3), np.uint8))
    everyone = [_User(site, number, images, denoiser, model) for number in range(users)]
    threads = [threading.Thread(target=user.run) for user in everyone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = Outcome()
    for user in everyone:
        for field in dataclasses.fields(Outcome):
            added = getattr(total, field.name) + getattr(user.outcome, field.name)
            setattr(total, field.name, added)
    return total


def _picture(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    height, width = _SIDES[seed % len(_SIDES)]
    shade_HW = np.linspace(40, 200, width)[None] + np.linspace(0, 30, height)[:, None]
    noisy_HWC = shade_HW[..., None] + rng.normal(0, 20, (height, width, 3))
    return np.clip(noisy_HWC.round(), 0, 255).astype(np.uint8)


def _png(pixels_HWC: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels_HWC).save(buffer, 'PNG')
    return buffer.getvalue()


@contextlib.contextmanager
def _page() -> Iterator[tuple[str, int]]:
    """Starts the page at a free port; yields its address and the number of its process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, '-m', 'n2n_jax.cli', 'app', '--no-browser', '--port=0']
        process = subprocess.Popen(
            [*command, f'--folder={folder}'], stderr=subprocess.PIPE, text=True
        )
        with process:
            try:
                line = process.stderr.readline() if process.stderr else ''
                found = re.search(r'http://\S+', line)
                if not found:
                    raise UserError(f'The page did not start: {line.strip()}')
                yield found[0], process.pid
            finally:
                process.terminate()


def _megabytes(process: int) -> float | None:
    """Returns the memory of a process, on Linux."""
    status = Path(f'/proc/{process}/status')
    found = re.search(r'VmRSS:\s+(\d+) kB', status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else None


def main() -> None:
    """Runs the load test several times, and prints its numbers."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--users', type=int, default=8)
    parser.add_argument('--images', type=int, default=20, help='of each user')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--model', default='gaussian-color')
    arguments = parser.parse_args()
    rounds = []
    with _page() as (site, process):
        for _ in range(arguments.rounds):
            start = time.monotonic()
            found = load(
                site, users=arguments.users, images=arguments.images, model=arguments.model
            )
            seconds = round(time.monotonic() - start, 1)
            memory = _megabytes(process)
            rounds.append({**dataclasses.asdict(found), 'seconds': seconds, 'megabytes': memory})
    settings = {'users': arguments.users, 'images': arguments.images, 'model': arguments.model}
    print(json_files.dumps({**settings, 'cpus': os.cpu_count(), 'rounds': rounds}, indent=1))


if __name__ == '__main__':
    main()

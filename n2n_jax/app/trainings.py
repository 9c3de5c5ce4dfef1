"""Audits and trainings on captures of the user, each a process of its own, as `n2n` runs them.

A training goes on when the page is closed, and when the program that serves it ends: its folder
tells how far it is, and its process is found again by its number.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from n2n_jax.app import programs
from n2n_jax.app.local_folder import LocalFolder, OutsideFolderError
from n2n_jax.app.pictures import Picture, free_name
from n2n_jax.runtime import json_files
from n2n_jax.runtime.atomic_files import write_text
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.workdir import Workdir

RUNS = 'runs'  # where runs are written, in the folder of the page
CAPTURES = 'captures'  # where uploaded captures are kept

_MOST_CURVE = 2000  # points
_LOG_TAIL = 4000  # bytes of the log that are shown
_NAMED = {'psnr_estimate': 'estimated PSNR', 'psnr': 'PSNR', 'loss': 'loss'}

State = Literal['starting', 'training', 'complete', 'stopped', 'failed']


@dataclasses.dataclass(frozen=True)
class Order:
    """What to train.

    Attributes:
      captures: folder with the captures, below that of the page.
      name: of the run.
      minutes: that it may take.
      pattern: how the names of the files tell scene and capture; '' to find out.
      single: whether each image is a scene of its own.
      fix: what of the captures is corrected, as --fix takes it.
      start: model whose weights it starts from, as --init-from takes it; '' for none.
    """

    captures: str
    name: str
    minutes: float = 20.0
    pattern: str = ''
    single: bool = False
    fix: str = ''
    start: str = ''


class Trainings:
    """The runs that the page starts and stops.

    Args:
      folder: the folder of the page.
    """

    def __init__(self, folder: LocalFolder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._processes: dict[Path, subprocess.Popen[bytes]] = {}  # of this program

    def start(self, order: Order) -> Path:
        """Starts a training; returns the folder of its run.

        Raises:
          UserError: another training is under way, the run exists, or a value is not valid.
        """
        captures = self._folder.without_links_out(order.captures)
        workdir = self._folder.named(RUNS, order.name)
        if workdir.exists():
            raise UserError(f"There is a run '{order.name}' already: choose another name.")
        if not 0 < order.minutes <= 60 * 24 * 7:
            raise UserError('A training takes between 0 minutes and a week.')
        command = ['train', str(captures), f'--minutes={order.minutes:g}', *_arrangement(order)]
        if order.single:
            command.append('--single')
        if order.start:
            command.append(f'--init-from={order.start}')
        note = {'command': command, 'order': dataclasses.asdict(order)}
        self._launch(workdir, note)
        return workdir

    def resume(self, workdir: Path) -> None:
        """Goes on with a run that was stopped or has failed.

        Raises:
          UserError: it was not started by this page, or it is in training.
        """
        noted = self._noted(workdir)
        if 'command' not in noted:
            raise UserError('This run was not started here: resume it by its own command.')
        if self.state(workdir) in ('starting', 'training'):
            raise UserError('This run is in training.')
        self._launch(workdir, noted)

    def stop(self, workdir: Path) -> None:
        """Asks a training to save and end.

        Raises:
          UserError: it is not in training, or was not started by this page.
        """
        if self.state(workdir) not in ('starting', 'training'):
            raise UserError('This run is not in training.')
        number = self._alive(workdir)
        if number is None:
            raise UserError('This run was not started here: stop it where it was started.')
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGTERM)

    def find(self, name: str) -> Path:
        """Returns the folder of a run that the page has started, which may not exist yet.

        Raises:
          OutsideFolderError: there is none of that name.
        """
        for workdir in self.started_here():
            if self._folder.name_of(workdir) == name:
                return workdir
        raise OutsideFolderError(f"'{name}' was not started here.")

    def score_command(self, workdir: Path) -> list[str]:
        """Returns the arguments by which `n2n` scores a run on what it has not seen.

        Raises:
          UserError: it was trained on single captures.
        """
        order = Order(**self._noted(workdir)['order'])
        if order.single:
            raise UserError('A model of single captures cannot be scored: a score needs two.')
        captures = self._folder.without_links_out(order.captures)
        arranged = _arrangement(order)
        return ['score', str(captures), f'--model={workdir}', '--held-out', *arranged]

    def started_here(self) -> list[Path]:
        """Returns the runs that the page has started."""
        folder = self._folder.path / RUNS
        notes = sorted(folder.glob('.*.json')) if folder.is_dir() else []
        return [folder / note.name[1 : -len('.json')] for note in notes]

    def state(self, workdir: Path) -> State:
        """Returns how a run is getting on."""
        run = Workdir(workdir)
        if run.done:
            return 'complete'
        if workdir.is_dir() and run.in_training:
            return 'training'
        if self._alive(workdir) is not None:
            return 'starting'
        if run.failure or not run.has_checkpoints:
            return 'failed'
        return 'stopped'

    def described(self, workdir: Path) -> dict[str, Any]:
        """Returns all that the page shows of a run while it is trained."""
        curves: dict[str, list[list[float]]] = {}
        run = Workdir(workdir)
        for record in run.records():
            for key, value in record.items():
                kind = _NAMED.get(key.rsplit('/', 1)[-1])
                if kind and isinstance(value, int | float):
                    curves.setdefault(kind, []).append([record['step'], value])
        pictures = sorted((workdir / 'evaluation').glob('step_*/*.png'))
        return {
            'name': self._folder.name_of(workdir),
            'state': self.state(workdir),
            'error': run.failure,
            'log': self._log_tail(workdir),
            'curves': {kind: _thinned(points) for kind, points in curves.items()},
            'preview': self._folder.name_of(pictures[-1]) if pictures else '',
        }

    def keep_captures(self, name: str, pictures: Sequence[Picture]) -> str:
        """Copies uploads to a folder of captures; returns its name.

        Raises:
          UserError: there is one of that name, or no picture.
        """
        if not pictures:
            raise UserError('No image is loaded: upload the captures first.')
        folder = self._folder.named(CAPTURES, name)
        if folder.exists():
            raise UserError(f"There are captures '{name}' already: choose another name.")
        half = Path(tempfile.mkdtemp(prefix='.', dir=folder.parent))
        try:
            taken: set[str] = set()
            for picture in pictures:
                file = free_name(picture.name, taken)  # what is pasted is always image.png
                shutil.copyfile(picture.source, half / file)
            half.chmod(0o777 & ~_umask())
            half.rename(folder)
        except BaseException:
            shutil.rmtree(half, ignore_errors=True)
            raise
        return self._folder.name_of(folder)

    def _launch(self, workdir: Path, noted: Mapping[str, Any]) -> None:
        with self._lock:
            for other in self.started_here():
                if self._alive(other) is not None:
                    raise UserError(
                        f"'{other.name}' is in training, and one training takes all of this "
                        'machine: wait for it, or stop it.'
                    )
            command = programs.command_line([*noted['command'], f'--workdir={workdir}'])
            if any('\0' in word for word in map(str, command)):
                raise UserError('A name or pattern holds a character that none can hold.')
            with self._log(workdir).open('ab') as log:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # so that it outlives this program
                )
            self._processes[workdir] = process
            note = {**noted, 'process': process.pid}
            write_text(self._note(workdir), json_files.dumps(note))

    def _note(self, workdir: Path) -> Path:
        """Returns the file that tells the command and the process of a run."""
        return workdir.with_name(f'.{workdir.name}.json')

    def _log(self, workdir: Path) -> Path:
        return workdir.with_name(f'.{workdir.name}.log')

    def _noted(self, workdir: Path) -> dict[str, Any]:
        try:
            noted = json.loads(self._note(workdir).read_bytes())
        except (OSError, ValueError):
            return {}
        return noted if isinstance(noted, dict) else {}

    def _alive(self, workdir: Path) -> int | None:
        """Returns the number of the process that trains a run, None if it has ended."""
        own = self._processes.get(workdir)
        if own is not None:
            return own.pid if own.poll() is None else None
        number = self._noted(workdir).get('process')
        if not isinstance(number, int) or not _exists(number):
            return None
        # After a restart of the machine, another program may have the number.
        words = Path(f'/proc/{number}/cmdline')
        if words.exists():
            wanted = os.fsencode(f'--workdir={workdir}')
            return number if wanted in words.read_bytes().split(b'\0') else None
        return number if Workdir(workdir).in_training else None

    def _log_tail(self, workdir: Path) -> str:
        try:
            with self._log(workdir).open('rb') as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL))
                return file.read().decode('utf-8', 'replace')
        except OSError:
            return ''


def _arrangement(order: Order) -> list[str]:
    """Returns the options that say how captures are grouped and corrected."""
    found = [f'--pattern={order.pattern}'] if order.pattern else []
    return [*found, f'--fix={order.fix}'] if order.fix else found


def _thinned(points: list[list[float]]) -> list[list[float]]:
    """Returns evenly spaced points of a curve, and its last."""
    step = -(-len(points) // _MOST_CURVE)
    return points[::step] + ([points[-1]] if (len(points) - 1) % step else [])


def _umask() -> int:
    value = os.umask(0o077)
    os.umask(value)
    return value


def _exists(number: int) -> bool:
    if os.name == 'nt':
        return True  # there, this signal would end it
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

"""The models that the page offers: those that come with n2n_jax, and the runs of its folder."""

import collections
import threading
from pathlib import Path
from typing import Any

from n2n_jax.app.local_folder import LocalFolder
from n2n_jax.denoise import choice
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.models import zoo
from n2n_jax.runtime.errors import UserError, did_you_mean
from n2n_jax.runtime.workdir import Workdir

_MOST_LOADED = 4


class OfferedModels:
    """The models by name; a run has the name of its folder, below that of the page.

    Args:
      folder: the folder of the page.
      preferred: the model that is taken unless the user names another, a name or an absolute path;
        '' for none.
    """

    def __init__(self, folder: LocalFolder, preferred: str = '') -> None:
        self._folder, self.preferred = folder, preferred
        self._loaded: collections.OrderedDict[tuple[str, float], Denoiser] = (
            collections.OrderedDict()
        )
        self._lock = threading.Lock()

    def listed(self) -> list[dict[str, Any]]:
        """Returns name, kind ('shipped' or 'run') and summary of each, the preferred one first."""
        shipped = [
            {'name': name, 'kind': 'shipped', 'summary': zoo.RECIPES[name].summary}
            for name in zoo.names()
        ]
        runs = [
            {'name': self._folder.name_of(path), 'kind': 'run', 'summary': 'a run of yours'}
            for path in self._folder.runs()
            if Workdir(path).has_checkpoints
        ]
        names = {model['name'] for model in shipped + runs}
        if self.preferred and self.preferred not in names:
            own = {'name': self.preferred, 'kind': 'run', 'summary': 'given by --model'}
            runs.insert(0, own)
        return sorted(shipped + runs, key=lambda model: model['name'] != self.preferred)

    def is_shipped(self, name: str) -> bool:
        """Whether a model comes with n2n_jax."""
        return name in zoo.names()

    def location(self, name: str) -> str:
        """Returns a model as programs of this machine take it: its name, or the path of its run.

        Raises:
          UserError: there is none of that name.
        """
        if self.is_shipped(name) or name == self.preferred:
            return name
        known = {self._folder.name_of(path): path for path in self._folder.runs()}
        if name not in known:
            raise UserError(
                f"There is no model '{name}'. {did_you_mean(name, [*zoo.names(), *known])}"
            )
        return str(self._folder.inside(name))

    def load(self, name: str) -> Denoiser:
        """Loads a model, or returns it as loaded before.

        Raises:
          UserError: there is none of that name, or it is damaged.
        """
        with self._lock:
            location = self.location(name)
            key = name, 0.0 if self.is_shipped(name) else _newest(Path(location))
            if key not in self._loaded:
                shipped = self.is_shipped(name)
                self._loaded[key] = choice.load(name) if shipped else Denoiser.load(location)
                while len(self._loaded) > _MOST_LOADED:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(key)
            return self._loaded[key]


def _newest(run: Path) -> float:
    """Returns when the weights of a run were last saved, as a run in training saves more."""
    folders = [run / kept for kept in ('best', 'checkpoints')]
    return max((kept.stat().st_mtime for kept in folders if kept.is_dir()), default=0.0)

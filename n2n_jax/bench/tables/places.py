"""Where the images and weights that tables name lie on this machine.

Where they lie is not part of a cell's identity, so that results of several machines, or of prepared
data sets and of folders, belong together.
"""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from n2n_jax.data.sources import parted
from n2n_jax.runtime.config import Config, changed, flatten
from n2n_jax.runtime.errors import UserError, did_you_mean

BSDS500 = 'tfds:bsds500/train+test'  # to train on
KODAK24 = 'tfds:kodak24/test'
BSDS300_TEST = 'tfds:bsds500/val'  # which papers call BSD300; not part of BSDS500 train+test
SET14 = 'tfds:set14/test'

# Folders inside that of --data.
_FOLDERS = {
    BSDS500: ('bsds500/train', 'bsds500/test'),
    BSDS300_TEST: ('bsds500/val',),
    KODAK24: ('kodak24',),
    SET14: ('set14',),
}

# Files that only the user has, by the name that --file gives them.
FILES = {
    'vgg': 'weights of a VGG-16 for the perceptual loss, see optim.loss_weights',
    'lpips': 'weights of an LPIPS network with AlexNet, see eval.metric_weights',
    'imagenet50': 'ImageNet weights of a ResNet-50, see model.encoder_weights',
    'imagenet101': 'ImageNet weights of a ResNet-101',
    'imagenet152': 'ImageNet weights of a ResNet-152',
}
_FILE = re.compile(r'<(\w+)>')

# Files that come with the tables.
_SHIPPED = {'defects': Path(__file__).parent / 'papers' / 'defects.py'}


def file(name: str) -> str:
    """Returns what stands in a table for a file: of the user, or one that comes with it."""
    assert name in FILES or name in _SHIPPED
    return f'<{name}>'


@dataclasses.dataclass(frozen=True)
class Places:
    """Where things lie on this machine.

    Attributes:
      data: folder that holds bsds500/{train,test,val}, kodak24 and set14; None if TFDS has them.
      files: paths by the names of `FILES`.
    """

    data: Path | None = None
    files: Mapping[str, Path] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.files:
            if name not in FILES:
                raise UserError(f'--file {name}=...: unknown. {did_you_mean(name, FILES)}')

    def located(self, config: Config) -> Config:
        """Returns the config of a cell with the paths of this machine.

        Raises:
          UserError: a folder or file is missing, or was not given.
        """
        values = {
            key: _FILE.sub(lambda match: self._file(match[1]), value)
            for key, value in flatten(config).items()
            if isinstance(value, str)
        }
        for key in ('data.train', 'eval.sets'):
            values[key] = ','.join(map(self._source, parted(values[key])))
        return changed(config, values)

    def fingerprints(self, config: Config) -> dict[str, str]:
        """Returns the start of the SHA-256 of each of the user's files in a config, by its name.

        Raises:
          UserError: a file is missing, or was not given.
        """
        values = [value for value in flatten(config).values() if isinstance(value, str)]
        names = [match[1] for value in values for match in _FILE.finditer(value)]
        return {
            name: hashlib.sha256(Path(self._file(name)).read_bytes()).hexdigest()[:12]
            for name in names
            if name in FILES
        }

    def _file(self, name: str) -> str:
        if name in _SHIPPED:
            return str(_SHIPPED[name])
        if name not in self.files:
            raise UserError(f'It needs {FILES[name]}: give --file {name}=PATH.')
        path = self.files[name]
        if not path.is_file():
            raise UserError(f'--file {name}={path}: there is no such file.')
        return str(path)

    def _source(self, part: str) -> str:
        name = ''.join(re.findall(r'^[\w.*-]+=', part))
        spec = part.removeprefix(name)
        if self.data is None or spec not in _FOLDERS:
            return part
        folders = [self.data / folder for folder in _FOLDERS[spec]]
        for folder in folders:
            if not folder.is_dir():
                raise UserError(
                    f'--data {self.data}: {folder} is missing. The folder should hold '
                    'bsds500/train, bsds500/test, bsds500/val, kodak24 and set14; or leave --data '
                    'out, after n2n prepare for each.'
                )
        return name + ','.join(f'folder:{folder}' for folder in folders)

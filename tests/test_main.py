"""What `python -m n2n_jax.main` makes of its flags."""

import pytest

from n2n_jax import main
from n2n_jax.runtime.errors import UserError


@pytest.mark.parametrize('line', ['from n2n_jax.gone import Config', 'from n2n_jax import Confg'])
def test_a_config_file_of_another_version_is_told_what_to_write(tmp_path, line):
    file = tmp_path / 'config.py'
    file.write_text(f'{line}\n\n\ndef get_config():\n    return None\n')
    with pytest.raises(UserError, match="another version .*'from n2n_jax import Config"):
        main._try_config(str(file))


def test_a_config_file_that_imports_what_is_not_installed_is_no_config_file(tmp_path):
    file = tmp_path / 'config.py'
    file.write_text('import not_there\n')
    with pytest.raises(UserError, match='is no config file, .*ModuleNotFoundError'):
        main._try_config(str(file))

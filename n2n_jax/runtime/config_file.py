"""A config written as the Python file that `python -m n2n_jax.main --config` takes."""

import pprint
import textwrap

from n2n_jax.runtime.config import Config, flatten


def source(config: Config) -> str:
    """The text of the file: what differs from the default config."""
    default = flatten(Config())
    changed = {key: value for key, value in flatten(config).items() if value != default[key]}
    lines = textwrap.indent(pprint.pformat(changed, sort_dicts=False), ' ' * 8)
    return (
        '"""Written by n2n_jax: python -m n2n_jax.main --config THIS_FILE --workdir RUN."""\n\n'
        'from n2n_jax import Config, to_config_dict\n\n\n'
        "def get_config(variant=''):\n"
        '    """What differs from the default config."""\n'
        '    del variant\n'
        '    config = to_config_dict(Config())\n'
        f'    config.update_from_flattened_dict(\n{lines}\n    )\n'
        '    return config\n'
    )

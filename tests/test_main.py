"""What `python -m n2n_jax.main` makes of its command line."""

import subprocess
import sys
from pathlib import Path

import pytest

from n2n_jax.runtime import config_table
from n2n_jax.runtime.config import fields

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize('flag', ['--help', '--helpshort', '-h'])
def test_help_lists_every_key_with_its_help_and_default(flag):
    process = subprocess.run(
        [sys.executable, '-m', 'n2n_jax.main', flag], cwd=ROOT, env={'COLUMNS': '400'},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert process.stderr == ''
    for key, its_field in fields():
        (line,) = [x for x in process.stdout.splitlines() if x.startswith(f'  --config.{key} ')]
        assert f'  {its_field.metadata["help"]}'[:30] in line
    assert (
        '  --config.optim.learning_rate  largest learning rate; above 0 (default 0.001)'
        in process.stdout
    )
    for name in ('--config FILE.py', '--workdir', '--mode {train,evaluate,follow}'):
        assert name in process.stdout


def test_help_waits_for_no_heavy_import():
    code = (
        'import sys; from n2n_jax import main\n'
        "try: main.main(['--help'])\n"
        'finally: print(sorted({"jax", "numpy", "flax"} & set(sys.modules)), file=sys.stderr)'
    )
    process = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert process.stderr == '[]\n'


def test_the_page_of_config_keys_is_that_of_the_code():
    assert (ROOT / 'docs' / 'config.md').read_text() == config_table.markdown(), (
        'write it again: python -m n2n_jax.runtime.config_table > docs/config.md'
    )


def test_the_page_marks_what_a_resumed_run_may_change():
    page = config_table.markdown()
    assert '| `train.log_every` * | whole number | `25` | 1 or more |' in page
    assert '| `train.steps` | whole number | `1000` | 1 or more |' in page
    assert "| `model.dtype` | text | `'float32'` | one of float32, bfloat16 |" in page

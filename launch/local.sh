#!/usr/bin/env bash
# Runs a command in this project's virtual environment, and creates that first if there is none.
#
#   launch/local.sh python -m n2n_jax.main --config configs/resnet50_gauss.py:quick --workdir runs/quick
#   launch/local.sh pytest
#
# PYTHON: the interpreter to use (3.11 to 3.13).
# VENV: the folder of the environment.
# EXTRAS: what to install besides the runtime (dev; for a GPU: dev,cuda; for TensorFlow Datasets:
# dev,tfds). Later calls without EXTRAS keep it.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
venv=${VENV:-$root/.venv}
python=${PYTHON:-python3}

extras=${EXTRAS:-$(cat "$venv/.installed" 2>/dev/null || true)}
extras=${extras:-dev}

if [ "$(cat "$venv/.installed" 2>/dev/null || true)" != "$extras" ] ||
  [ "$root/pyproject.toml" -nt "$venv/.installed" ]; then
  "$python" - <<'CHECK'
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit(f'Python 3.11 to 3.13 is needed, this is {sys.version.split()[0]}: set PYTHON=python3.12')
CHECK
  echo "Installing into $venv" >&2
  if command -v uv >/dev/null; then
    uv venv --quiet --allow-existing --python "$python" "$venv"
    uv pip install --quiet --python "$venv/bin/python" --editable "$root[$extras]"
  else
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
      --editable "$root[$extras]"
  fi
  echo "$extras" >"$venv/.installed"
fi

if [ $# -eq 0 ]; then
  echo "usage: launch/local.sh COMMAND [ARGUMENT...]" >&2
  exit 2
fi
export PATH="$venv/bin:$PATH" VIRTUAL_ENV="$venv"
cd "$root"
exec "$@"

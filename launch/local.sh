#!/usr/bin/env bash
# Runs a command in this project's virtual environment, and creates that first if there is none.
#
#   launch/local.sh python -m n2n_jax.main --config configs/resnet50_gauss.py:quick --workdir runs/quick
#   launch/local.sh pytest
#
# PYTHON: the interpreter to use; by default the newest of 3.11 to 3.13 that there is.
# VENV: the folder of the environment.
# EXTRAS: what to install besides the runtime (dev; for a GPU: dev,cuda; for TensorFlow Datasets:
# dev,tfds). Later calls without EXTRAS keep it.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
venv=${VENV:-$root/.venv}

if [ $# -eq 0 ]; then
  echo "usage: launch/local.sh COMMAND [ARGUMENT...]" >&2
  exit 2
fi

# True for an interpreter that runs: a version manager leaves commands for versions it does not run.
# Without uv it must be able to create environments, which Debian leaves to python3-venv.
works() {
  local needed=venv,ensurepip
  if command -v uv >/dev/null; then needed=venv; fi
  "$1" -c "import sys, $needed; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))" \
    >/dev/null 2>&1
}

version() {
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'
}

fail() {
  echo "launch/local.sh: $1" >&2
  exit 2
}

find_python() {
  local name
  if [ -n "${PYTHON:-}" ]; then
    works "$PYTHON" || fail "PYTHON=$PYTHON is no Python 3.11 to 3.13 with venv: set another."
    echo "$PYTHON"
    return
  fi
  for name in python3.13 python3.12 python3.11 python3; do
    if works "$name"; then
      echo "$name"
      return
    fi
  done
  fail "no Python 3.11 to 3.13 with venv was found: install one, or set PYTHON to its path."
}

installed=$(cat "$venv/.installed" 2>/dev/null || true)
extras=${EXTRAS:-${installed:-dev}}
if [ -x "$venv/bin/python" ]; then # it keeps its interpreter
  python=$venv/bin/python
  if [ -n "${PYTHON:-}" ] && [ "$(version "$PYTHON")" != "$(version "$python")" ]; then
    fail "$venv has Python $(version "$python"): remove that folder, or set VENV to another."
  fi
else
  python=$(find_python)
fi

if [ "$installed" != "$extras" ] || [ "$root/pyproject.toml" -nt "$venv/.installed" ]; then
  echo "Installing into $venv with Python $(version "$python") ($python)" >&2
  if command -v uv >/dev/null; then
    uv venv --quiet --allow-existing --python "$python" "$venv"
    uv pip install --quiet --python "$venv/bin/python" --editable "${root}[$extras]"
  else
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
      --editable "${root}[$extras]"
  fi
  echo "$extras" >"$venv/.installed"
fi

export PATH="$venv/bin:$PATH" VIRTUAL_ENV="$venv"
# glibc takes large arrays from large pages, which cost a training step on a CPU far fewer page faults.
export GLIBC_TUNABLES=${GLIBC_TUNABLES-glibc.malloc.hugetlb=1}
cd "$root"
exec "$@"

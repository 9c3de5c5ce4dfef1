"""What pyproject.toml declares is what the code imports, no less and no more."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
EXTRAS = PROJECT['optional-dependencies']

# Where a package is not named as what it installs.
DISTRIBUTIONS = {
    'PIL': 'pillow',
    'bioimageio': 'bioimageio.spec',
    'absl': 'absl-py',
    'orbax': 'orbax-checkpoint',
    'skimage': 'scikit-image',
    'tensorflow_datasets': 'tensorflow-datasets',
    '_pytest': 'pytest',
}
# Needed and never imported by name, or only from the command line.
NOT_IMPORTED = {
    'imagecodecs': 'tifffile decodes with it',
    'importlib-resources': 'tensorflow-datasets imports it without declaring it',
    'jupyterlab': 'opens notebooks/',
    'mypy': 'a command',
    'pywavelets': 'scikit-image denoises with it',
    'playwright': 'tests of the page import it with pytest.importorskip',
    'pytest-xdist': 'pytest -n',
    'ruff': 'a command',
    'setuptools': 'builds the wheel in tests/test_wheel.py',
    'tensorboard': 'clu writes through it',
    'tensorflow-cpu': 'tensorflow-datasets prepares with it',
}


def declared(requirements):
    names = {Requirement(line).name.lower().replace('_', '-') for line in requirements}
    return names - {PROJECT['name'].replace('_', '-')}


def imported(folder, *, at_start=False):
    """The distributions a folder's code imports, each with one of the files that do.

    Args:
      folder: with Python files, at any depth.
      at_start: only those that are imported as soon as their module is.
    """
    own = {'n2n_jax', 'configs', 'tests', *(path.stem for path in (ROOT / 'tests').rglob('*.py'))}
    found = {}
    for path in sorted(folder.rglob('*.py')):
        nodes = list(_nodes(ast.parse(path.read_text('utf-8')), at_start))
        modules = [alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names]
        modules += [n.module for n in nodes if isinstance(n, ast.ImportFrom) and not n.level]
        for module in modules:
            name = module.split('.')[0]
            if name not in own and name not in sys.stdlib_module_names:
                distribution = DISTRIBUTIONS.get(name, name).lower().replace('_', '-')
                found.setdefault(distribution, str(path.relative_to(ROOT)))
    return found


def _nodes(node, at_start):
    for child in ast.iter_child_nodes(node):
        if at_start and (isinstance(child, ast.FunctionDef) or _is_for_type_checkers(child)):
            continue
        yield child
        yield from _nodes(child, at_start)


def _is_for_type_checkers(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith('TYPE_CHECKING')


def missing(found, names):
    return {name: file for name, file in found.items() if name not in names}


def test_what_the_package_imports_is_declared():
    runtime = declared(PROJECT['dependencies'])
    for_users = declared(line for name, extra in EXTRAS.items() if name != 'dev' for line in extra)
    assert not missing(imported(ROOT / 'n2n_jax'), runtime | for_users)


@pytest.mark.parametrize(
    'room',
    sorted(
        init.parent.relative_to(ROOT / 'n2n_jax').as_posix()
        for init in (ROOT / 'n2n_jax').glob('*/__init__.py')
        # `bench` compares with PyTorch and `app` is a web server: their commands ask for it first.
        if init.parent.name not in ('bench', 'app')
    ),
)
def test_without_extras_every_module_loads(room):
    found = imported(ROOT / 'n2n_jax' / room, at_start=True)
    assert not missing(found, declared(PROJECT['dependencies']))


@pytest.mark.parametrize('folder', ['tests', 'configs'])
def test_what_the_tests_import_is_installed_with_them(folder):
    names = declared(PROJECT['dependencies']) | declared(EXTRAS['dev'])
    assert not missing(imported(ROOT / folder), names)


def test_what_is_declared_is_used():
    lines = [*PROJECT['dependencies'], *(line for extra in EXTRAS.values() for line in extra)]
    used = {*imported(ROOT / 'n2n_jax'), *imported(ROOT / 'tests'), *NOT_IMPORTED}
    assert not sorted(declared(lines) - used)


def test_the_hook_before_a_commit_runs_the_ruff_of_the_tests():
    (pinned,) = (line for line in EXTRAS['dev'] if line.startswith('ruff=='))
    hook = (ROOT / '.pre-commit-config.yaml').read_text()
    assert f'rev: v{pinned.removeprefix("ruff==")} ' in hook


def test_the_oldest_jax_that_is_declared_is_the_one_that_is_tested():
    (jax,) = (line for line in PROJECT['dependencies'] if Requirement(line).name == 'jax')
    tested = (ROOT / '.github' / 'oldest-jax.txt').read_text()
    version = re.search(r'^jax==(.+)$', tested, re.MULTILINE)[1]
    lower = re.search(r'>=([\d.]+)', jax)[1]
    assert Requirement(jax).specifier.contains(version)
    assert version == lower or version == f'{lower}.0'

"""CONTRIBUTING.md sends people to files that are there, and a release to versions that agree."""

import re
import tomllib
from pathlib import Path

import n2n_jax

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / 'CONTRIBUTING.md').read_text('utf-8')


def named_files(text):
    """What looks like the path of a file or of a folder, between backticks."""
    words = re.findall(r'`([\w./-]+)`', text)
    return [word for word in words if word.endswith('/') or re.search(r'/.*\.\w+$', word)]


def place(name):
    """Of the project's root, of the package, or of the tests; None: there is no such file."""
    places = [folder / name for folder in (ROOT, ROOT / 'n2n_jax', ROOT / 'tests')]
    return next((path for path in places if path.exists()), None)


def test_the_files_it_names_are_there():
    names = named_files(TEXT)
    assert len(names) > 20
    assert not [name for name in names if place(name) is None]


def test_the_registries_it_names_are_there():
    rows = [line for line in TEXT.splitlines() if '__init__.py` |' in line]
    assert len(rows) >= 3
    for row in rows:
        like, registry = named_files(row)[:2]
        module = Path(like).stem
        source = place(registry).read_text('utf-8')
        assert re.search(r'^REGISTRY\b', source, re.MULTILINE)
        assert re.search(rf'\b{module}\b', source)


def test_every_folder_of_tests_has_a_budget():
    budget = TEXT[TEXT.index('## Time budget') : TEXT.index('## Release')]
    folders = {f.name for f in (ROOT / 'tests').iterdir() if f.is_dir() and any(f.rglob('*.py'))}
    named = {name.rstrip('/') for name in named_files(budget) if name.endswith('/')}
    assert folders == named - {'tests'}


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    cited = re.search(r'^version: "?([\d.]+)"?$', (ROOT / 'CITATION.cff').read_text(), re.MULTILINE)
    assert project['version'] == cited[1] == n2n_jax.__version__

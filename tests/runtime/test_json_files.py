"""JSON that every program reads, and files of it that were damaged."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from n2n_jax.runtime import json_files
from n2n_jax.runtime.errors import UserError

PACKAGE = Path(json_files.__file__).parents[1]


def strict(text):
    def refuse(constant):
        raise AssertionError(f'{constant} is no JSON')

    return json.loads(text, parse_constant=refuse)


def test_what_is_infinite_is_null_with_a_word_beside_it():
    content = [{'psnr': np.float64('inf'), 'ci95': [1.5, float('nan')], 'n': 1, 'ssim': 1.0}]
    assert strict(json_files.dumps(content, indent=1)) == [
        {
            'psnr': None, 'ci95': [1.5, None], 'n': 1, 'ssim': 1.0,
            'not_finite': {'psnr': 'Infinity', 'ci95': '[1.5, NaN]'},
        }
    ]  # fmt: skip
    assert strict(json_files.dumps({'a': {'b': (float('-inf'), 'x')}})) == {
        'a': {'b': [None, 'x'], 'not_finite': {'b': '[-Infinity, "x"]'}}
    }
    assert strict(json_files.dumps(float('inf'))) is None


def test_finite_content_is_written_as_it_is():
    content = {'a': [1, 2.5, None, {'b': 'x'}], 'c': True}
    assert json_files.dumps(content) == json.dumps(content)


def test_no_file_is_written_around_the_strict_form():
    writers = [
        file.name
        for file in PACKAGE.rglob('*.py')
        if re.search(r'json\.dumps?\(', file.read_text()) and file.name != 'json_files.py'
    ]
    # These hash the text, send it, or keep it as a value of the config.
    names = ['config_identity.py', 'parallel.py', 'path_list.py', 'result_rows.py']
    assert sorted(writers) == names


@pytest.mark.parametrize('content', [b'', b'[{', b'\xff\xfe\x81', b'[' * 100_000, bytes(100)])
def test_a_damaged_file_is_named_with_the_way_out(content, tmp_path):
    file = tmp_path / 'results.json'
    file.write_bytes(content)
    with pytest.raises(UserError, match=r'results\.json is damaged: move it away\.'):
        json_files.read(file, way_out='move it away.')


def test_a_folder_where_a_file_belongs_is_named(tmp_path):
    with pytest.raises(UserError, match='is a folder where a file belongs: move it away'):
        json_files.read(tmp_path, way_out='move it away.')
    with pytest.raises(FileNotFoundError):
        json_files.read(tmp_path / 'gone', way_out='')

"""Captures listed in CSV and JSON files."""

import json

import pytest
from image_files import names, save

from n2n_jax.captures.grouping import find_scenes
from n2n_jax.runtime.errors import UserError


def test_manifests(tmp_path):
    save(tmp_path, 'one.png', 'two.png', 'three.png', 'four.png')
    (tmp_path / 'm.csv').write_text('scene,path\nx,one.png\nx,three.png\ny,two.png\ny,four.png\n')
    content = {'x': ['one.png', 'three.png'], 'y': ['two.png', 'four.png']}
    (tmp_path / 'm.json').write_text(json.dumps(content))
    for name in ('m.csv', 'm.json'):
        assert names(find_scenes([tmp_path / name])) == content
    (tmp_path / 'bad.csv').write_text('scene,path\nx,one.png\nx,gone.png\n')
    with pytest.raises(UserError, match='lists files that do not exist: .*gone.png'):
        find_scenes([tmp_path / 'bad.csv'])


@pytest.mark.parametrize(
    ('name', 'content', 'words'),
    [
        ('a.json', b'[1]', r'a.json has the wrong structure: it must be \{"scene"'),
        ('a.json', b'{"x": "one.png"}', 'with a list of paths for every scene'),
        ('a.json', b'{"x"', 'a.json is not valid JSON'),
        ('a.csv', b'scene;path\nx;one.png\n', 'first line must be scene,path .with a comma'),
        ('a.csv', b'', 'first line must be scene,path'),
        ('a.csv', b'scene,path\nx,one.png\nx\n', 'a.csv, line 3: scene or path is missing'),
        ('a.csv', b'scene,path\nx,donn\xe9es.png\n', 'a.csv is not UTF-8 text: save it'),
    ],
)
def test_manifests_that_cannot_be_read_say_why(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        find_scenes([tmp_path / name])
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ('name', 'content', 'words'),
    [
        ('a.csv', 'scene,path\n' + 'a' * 200_000 + ',m.png\n', 'line 2: not valid CSV'),
        ('a.json', '[' * 200_000, 'is not valid JSON'),
        ('a.json', '{"a\\u0000": ["m.png"]}', 'it contains a null byte'),
        ('a.json', '{"a\\ud800": ["m.png"]}', 'it contains half of a character'),
        ('a.json', '{"a": ["m.png"], "a": ["n.png"]}', 'lists scenes twice: a. Merge their paths'),
        ('a.json', '{"a": ["m\\u0000.png"]}', 'lists files that do not exist'),
        ('a.json', '{"a": ["m\\ud800.png"]}', 'lists files that do not exist'),
        ('a.json', json.dumps({'a': ['x' * 5000]}), 'lists files that do not exist'),
        (
            'a.csv',
            'scene,path\n../a,m.png\n',
            "'../a' is not a valid scene name: it points outside",
        ),
        ('a.csv', 'scene,path\n/a,m.png\n', 'it points outside the output folder'),
        ('a.csv', 'scene,path\n.,m.png\n', 'it is empty'),
    ],
)
def test_hostile_manifests_are_refused_with_an_error(name, content, words, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=words):
        find_scenes([tmp_path / name])


def test_scenes_of_a_manifest_may_lie_in_folders_and_have_odd_names(tmp_path):
    save(tmp_path, 'a.png', 'b.png')
    for name in ('day 1/cell', 'x..y', 'été\n', 'a:b', '~'):
        (tmp_path / 'a.json').write_text(json.dumps({name: ['a.png', 'b.png']}))
        assert names(find_scenes([tmp_path / 'a.json'])) == {name: ['a.png', 'b.png']}

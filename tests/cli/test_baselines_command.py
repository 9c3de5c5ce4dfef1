"""`n2n baselines`."""

import dataclasses
import json

import numpy as np
import pytest

from n2n_jax.cli import n2n
from n2n_jax.evaluate import baselines
from n2n_jax.images import pictures


def test_its_help_names_every_baseline_and_option(capsys):
    with pytest.raises(SystemExit):
        n2n.main(['baselines', '--help'])
    text = capsys.readouterr().out
    for name, kind in baselines.REGISTRY.items():
        (line,) = [x for x in text.splitlines() if x.strip().startswith(f'{name}:')]
        for field in dataclasses.fields(kind):
            assert f'{field.name}={field.default}'.removesuffix('.0') in line


def test_baselines_are_scored_and_written(tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(80, 120, (4, 4, 3)).repeat(8, 0).repeat(8, 1)
    pictures.save(tmp_path / 'clean' / 'a.png', np.uint8(pixels))
    file = tmp_path / 'scores.json'
    sets = f'drawn=folder:{tmp_path / "clean"}'
    arguments = ['baselines', 'tv:0.1,median:size=3', '--sets', sets, '--noise', 'impulse:0.2']
    n2n.main([*arguments, '-o', str(file)])
    shown = capsys.readouterr().out
    rows = json.loads(file.read_text())
    assert [row['method'] for row in rows] == ['tv:0.1', 'median:size=3']
    for words in ('| median:size=3 | drawn |', 'Protocol: RGB', 'tv:0.1: weight 0.1; '):
        assert words in shown
    with pytest.raises(SystemExit):  # it exists
        n2n.main([*arguments, '-o', str(file)])

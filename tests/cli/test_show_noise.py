"""The help of `n2n show-noise`."""

import dataclasses
import re

import numpy as np
import pytest

from n2n_jax import corruptions
from n2n_jax.cli import n2n


def test_the_help_names_every_noise_with_its_options_and_their_defaults(
    capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    np.save('kernels.npy', np.ones((1, 1, 1)))
    with pytest.raises(SystemExit):
        n2n.main(['show-noise', '--help'])
    shown = re.search('\nnoises, .*?:\n(.*)\n\nLOW-HIGH', capsys.readouterr().out, re.DOTALL)[1]
    specs = re.findall(r'^  (\S+)', shown, re.MULTILINE)
    found = [corruptions.parse(spec).stages[0].corruption for spec in specs]
    assert {each.name: each for each in found} == corruptions.REGISTRY
    for spec, each in zip(specs, found, strict=True):
        for option in dataclasses.fields(each.options) if each.options else ():
            assert f',{option.name}=' in spec

"""The benchmark's bookkeeping, and its PyTorch networks if PyTorch is installed."""

import json

import jax
import pytest

from n2n_jax import models
from n2n_jax.bench import estimates, speed
from n2n_jax.bench.speed import inference, timing, training
from n2n_jax.bench.speed.report import Row, markdown_table
from n2n_jax.cli import n2n as cli
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError


def test_the_ratio_is_above_1_where_we_are_faster():
    assert Row('rate', 30.0, 20.0, 'images/s').ratio == 1.5
    assert Row('time', 2.0, 3.0, 's').ratio == 1.5
    assert Row('peak', 2.0, None, 'GB/s').ratio is None
    table = markdown_table([Row('rate', 30.0, 20.0, 'images/s', 'PyTorch', {'share': 0.25})])
    assert '| rate | 30 | 20 (PyTorch) | images/s | **1.50** | share 0.25 |' in table


def test_sides_are_timed_in_turns_and_by_the_median(monkeypatch):
    clock = iter([0, 1, 10, 12, 20, 21, 30, 35, 40, 49, 50, 52])  # start, end, start, end, ...
    monkeypatch.setattr(timing.time, 'perf_counter', lambda: next(clock))
    calls = []
    sides = {name: lambda name=name: calls.append(name) for name in 'ab'}
    medians = timing.medians_in_turns(sides, repeats=3, warm_ups=1)
    assert calls == ['a', 'b', 'a', 'b', 'a', 'b', 'a', 'b']
    assert medians == {'a': 1, 'b': 2}  # of 1, 1, 9 and of 2, 5, 2


def test_rows_are_written_as_they_come(tmp_path, monkeypatch):
    def section(quick):
        yield Row('first', 2.0, 1.0, 'images/s', 'PyTorch')
        content = json.loads(file.read_text())
        assert [row['name'] for row in content['rows']] == ['first']
        assert content['rows'][0]['ratio'] == 2
        assert content['rows'][0]['device']
        yield Row('second', 1.0, None, 'GB/s')

    file = tmp_path / 'speed.json'
    monkeypatch.setattr(speed, 'SECTIONS', {'mine': section})
    monkeypatch.setattr(speed, 'plot', lambda rows, file: file.write_bytes(b'PNG'))
    speed.run([], quick=True, output=file)
    assert len(json.loads(file.read_text())['rows']) == 2
    assert '| second |' in file.with_suffix('.md').read_text()


def test_missing_packages_are_named(monkeypatch, capsys):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(SystemExit) as stop:
        cli.main(['bench', 'speed'])
    assert stop.value.code == 2
    assert "pip install 'n2n_jax[bench]'" in capsys.readouterr().err


def test_a_section_asks_only_for_the_packages_it_needs():
    assert speed.packages(['peaks'], plot=False) == []
    assert speed.packages(['peaks'], plot=True) == ['matplotlib']
    assert speed.packages(['noise', 'training'], plot=False) == ['torch']
    assert set(speed.packages([], plot=True)) == {'torch', 'bm3d', 'matplotlib'}
    with pytest.raises(UserError, match="Did you mean 'peaks'"):
        speed.packages(['peeks'], plot=False)


def test_the_work_of_a_step_is_that_of_the_network_as_written():
    # Per pixel of the full map, forward: 9 I O multiplications and as many additions per layer.
    layers = [(0, 3, 48), (0, 48, 48), *[(i, 48, 48) for i in range(1, 6)]]
    layers += [(4, 96, 96), (4, 96, 96)]
    layers += [layer for i in (3, 2, 1) for layer in ((i, 144, 96), (i, 96, 96))]
    layers += [(0, 99, 64), (0, 64, 32), (0, 32, 3)]
    forward = 4 * 64**2 * sum(18 * i * o / 4**level for level, i, o in layers)
    config = training.benchmark_config('unet', 4, 64, 'float32')
    # Backward is twice that, except at borders, where XLA does not count products with padding.
    assert training.flops_of_step(config) == pytest.approx(3 * forward, rel=0.1)


@pytest.mark.parametrize('name', ['unet', 'resnet50', 'resunet', 'dncnn', 'nafnet_xs'])
def test_the_networks_in_pytorch_have_as_many_parameters(name):
    pytest.importorskip('torch')
    from n2n_jax.bench.speed import twins

    config = ModelConfig(name=name)
    ours = jax.eval_shape(lambda key: models.init(config, key), jax.random.key(0))['params']
    theirs = twins.build(name, 'cpu').parameters()
    assert sum(x.size for x in jax.tree.leaves(ours)) == sum(p.numel() for p in theirs)
    assert inference._SIZE[0] % 32 == inference._SIZE[1] % 32 == 0  # no side pays for padding


def test_estimates_are_simulated_and_written(tmp_path, monkeypatch, capsys):
    kinds = {kind: estimates.KINDS[kind] for kind in ('gaussian:25', 'poisson:30')}
    monkeypatch.setattr(estimates, 'KINDS', kinds)
    monkeypatch.setattr(estimates, '_SIDE', 64)
    file = tmp_path / 'estimates.json'
    cli.main(['bench', 'estimates', '--draws', '3', '--json', str(file)])
    content = json.loads(file.read_text())
    assert content['provenance']['packages']['jax']
    rows = content['rows']
    assert {row['noise'] for row in rows} == {*kinds, estimates.CLIPPED}
    assert {row['scenes'] for row in rows} == {1, 6}
    for row in rows:
        assert 0 <= row['coverage'] <= 1
        if row['noise'] in kinds and row['estimator'] == '4 captures':
            assert abs(row['bias']) < 0.2
            assert row['coverage'] > 0.6
    assert '| gaussian:25 | Gaussian blur | 4 captures | 6 |' in capsys.readouterr().out
    with pytest.raises(SystemExit):  # the file exists already
        cli.main(['bench', 'estimates', '--draws', '1', '--json', str(file)])

"""From captures and minutes to a run: read once, compiled once, stopped and extended."""

import dataclasses
import json
import tracemalloc

import jax
import numpy as np
import pytest
from command_line import n2n
from small_runs import captures_config, done, interrupted_before, write_captures

from n2n_jax.captures import network_range, scene_captures
from n2n_jax.data.feeds import placed_captures
from n2n_jax.data.feeds.capture_feed import CaptureFeed
from n2n_jax.models.weights import weights_hash
from n2n_jax.runtime.config import DataConfig
from n2n_jax.runtime.parallel import make_layout
from n2n_jax.runtime.workdir import Workdir
from n2n_jax.train import loop, planning, prepared
from n2n_jax.train.pace import Pace

pytestmark = pytest.mark.usefixtures('steps_shared')


@pytest.fixture
def captures(tmp_path):
    write_captures(tmp_path / 'x.npy')
    return tmp_path / 'x.npy'


def command(captures, *options):
    run = captures.parent / 'run'
    return ['train', captures, '--workdir', run, '--model', 'tiny', *options]


def counted(monkeypatch, module, name):
    """How often a function was called, as the length of a list."""
    calls, real = [], getattr(module, name)

    def count(*arguments, **named):
        calls.append(arguments)
        return real(*arguments, **named)

    monkeypatch.setattr(module, name, count)
    return calls


@pytest.mark.slow
def test_minutes_read_captures_once_and_compile_the_step_once(captures, monkeypatch, capsys):
    reads = counted(monkeypatch, scene_captures, 'load')
    compiled = counted(monkeypatch, prepared, 'compile_step')
    assert n2n(*command(captures, '--minutes', '0.03')) == 0
    assert len(reads) == len(compiled) == 1
    told = capsys.readouterr().err
    order = ('Reading', 'Compiling the', 'Timing', 'Plan: ', 'Trained', 'Scores: ', 'Pictures: ')
    places = [told.index(words) for words in order]
    assert places == sorted(places)
    config = Workdir(captures.parent / 'run').config()
    assert config.eval.captures_area > 0
    assert (captures.parent / 'run/uncertainty.json').exists()
    rows = Workdir(captures.parent / 'run').rows()
    assert rows[-1]['step'] == config.train.steps


def test_ctrl_c_before_anything_is_timed_leaves_nothing(captures, monkeypatch, capsys):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(planning, '_timed', stop)
    assert n2n(*command(captures, '--minutes', '1')) == 130
    assert 'Stopped while planning. Nothing was written' in capsys.readouterr().err
    assert not (captures.parent / 'run').exists()


def test_ctrl_c_once_the_step_is_timed_keeps_the_plan(captures, monkeypatch, capsys):
    real = planning.CaptureEvaluator.__call__

    def stop(self, variables, step):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(planning.CaptureEvaluator, '__call__', stop)
        assert n2n(*command(captures, '--minutes', '0.02')) == 130
    assert planning.CaptureEvaluator.__call__ is real
    assert 'The plan is saved in' in capsys.readouterr().err
    planned = Workdir(captures.parent / 'run').config()
    # It is a plan: another day's timing does not change it.
    file = captures.parent / 'run/config.json'
    content = json.loads(file.read_text())
    content['config']['train']['steps'], content['config']['eval']['every'] = 6, 3
    content['config']['optim']['warmup_steps'] = 0
    file.write_text(json.dumps(content))
    assert n2n(*command(captures, '--minutes', '0.02')) == 0
    assert 'Continuing to step 6 as planned' in capsys.readouterr().err
    assert planned.train.steps != 6
    assert [row['step'] for row in Workdir(captures.parent / 'run').rows()] == [3, 6]


@pytest.mark.slow
def test_a_complete_run_is_extended_by_more_steps(captures, capsys):
    run = captures.parent / 'run'
    assert n2n(*command(captures, '--steps', '2')) == 0
    assert n2n(*command(captures, '--steps', '5')) == 0
    told = capsys.readouterr().err
    assert 'The run was complete at step 2. It is extended to step 5 and keeps its' in told
    assert done(run)['step'] == 5
    assert Workdir(run).config().train.patience_from == 2
    assert n2n(*command(captures, '--steps', '4')) == 2
    # The other program does it too.
    config = Workdir(run).config()
    longer = dataclasses.replace(config, train=dataclasses.replace(config.train, steps=7))
    assert loop.train(longer, run)
    assert done(run)['step'] == 7


def test_a_run_that_is_not_complete_is_not_extended(captures, capsys):
    with interrupted_before(0):
        assert n2n(*command(captures, '--steps', '4')) == 130
    assert n2n(*command(captures, '--steps', '6')) == 2
    assert 'with --steps 4, not 6: it can be extended once it is' in capsys.readouterr().err


class SlowMachine(Pace):
    """A pace by which 20 steps become 12 after four."""

    def __init__(self):
        super().__init__(60, 1)

    def steps(self, step, num_steps):
        return 12 if step == 4 else num_steps


@pytest.mark.slow
def test_a_run_that_was_shortened_resumes_as_if_undisturbed(captures, tmp_path):
    config = captures_config(captures)
    assert loop.train(config, tmp_path / 'straight', pace=SlowMachine())
    assert done(tmp_path / 'straight')['step'] == 12
    assert Workdir(tmp_path / 'straight').config().train.steps == 12
    with interrupted_before(7):
        assert not loop.train(config, tmp_path / 'stopped', pace=SlowMachine())
    assert loop.train(Workdir(tmp_path / 'stopped').config(), tmp_path / 'stopped')
    for name in ('step', 'weights_sha256'):
        assert done(tmp_path / 'stopped')[name] == done(tmp_path / 'straight')[name]


def test_one_compiled_step_serves_every_length_and_rate(captures):
    long = captures_config(captures)
    short = captures_config(
        captures, **{'train.steps': 3, 'optim.learning_rate': 5e-3, 'optim.warmup_steps': 1}
    )
    made = prepared.prepare(long)
    step = made.step_of(1)
    losses = []
    for compiled in (step, prepared.prepare(short).step_of(1)):
        state = prepared.new_state(short, made.layout)
        for k in range(3):
            state, metrics = compiled(state, made.feed.constants, made.feed.inputs(k, 1))
        losses.append((float(metrics['loss'][0]), float(metrics['learning_rate'][0])))
        digest = weights_hash(state.variables)
        losses.append(digest)
    assert losses[:2] == losses[2:]


def test_captures_of_8_bits_are_not_held_at_full_width_twice():
    scene = np.random.default_rng(0).integers(0, 255, (4, 700, 1000, 1), np.uint8)
    full = 4 * scene.size
    layout = make_layout(8, jax.devices()[:1])

    def write(s, out):
        network_range.to_network(scene, 0.0, 255.0, out=out)

    tracemalloc.start()
    placed = placed_captures.place([scene], layout, pairing='1:X', write=write)
    feed = CaptureFeed(placed, DataConfig(crop=16, batch_size=8), seed=0, layout=layout)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.25 * full + 2 * 8 * 2**20 + 2**20  # with the sum, and two blocks of float64
    on_device = sum(array.nbytes for array in jax.tree.leaves(feed.constants))
    assert on_device == full * 1.25
    noisy, target, _ = feed.batch(feed.constants, feed.inputs(0, 1)[0])
    assert noisy.shape == target.shape == (8, 16, 16, 1)

"""The training loop: what it leaves, stopping, resuming, failing."""

import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_runs import done, interrupted_before
from tiny import tiny_config

from n2n_jax.data.feeds import DeviceFeed, StreamFeed
from n2n_jax.data.sources.photos import photos
from n2n_jax.data.sources.source import ArraySource
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.evaluate import follow, with_clean
from n2n_jax.models import weights
from n2n_jax.runtime.checkpoint import Checkpoints
from n2n_jax.runtime.errors import CheckpointError, UserError
from n2n_jax.runtime.parallel import make_layout
from n2n_jax.runtime.workdir import Workdir
from n2n_jax.train import loop, optimizers, time_spent
from n2n_jax.train import step as steps
from n2n_jax.train.run import Run
from n2n_jax.train.tasks import make_task

pytestmark = pytest.mark.usefixtures('steps_shared')


def loop_config(image_folder, **changes):
    return tiny_config(
        **{'data.train': f'folder:{image_folder}', 'eval.sets': f'folder:{image_folder}', **changes}
    )


@pytest.mark.parametrize(
    'feed',
    ['device', pytest.param('stream', marks=(pytest.mark.eight_devices, pytest.mark.slow))],
)
def test_stop_and_resume_equals_an_undisturbed_run(image_folder, tmp_path, feed):
    config = loop_config(
        image_folder, **{'data.feed': feed, 'model.name': 'tiny:norm=batch', 'train.steps': 6}
    )
    assert loop.train(config, tmp_path / 'straight')
    # Ctrl-C after three steps: in the middle between two checkpoints.
    cls = DeviceFeed if feed == 'device' else StreamFeed
    with interrupted_before(2, cls):
        assert not loop.train(config, tmp_path / 'stopped')
    assert not Workdir(tmp_path / 'stopped').done
    with Checkpoints(tmp_path / 'stopped') as checkpoints:
        assert checkpoints.last_step == 3
    assert loop.train(config, tmp_path / 'stopped')
    assert (
        done(tmp_path / 'stopped')['weights_sha256']
        == done(tmp_path / 'straight')['weights_sha256']
    )

    def curves(workdir):
        lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
        return [(line['step'], line['grad_norm']) for line in lines if 'grad_norm' in line]

    assert [step for step, _ in curves(tmp_path / 'stopped')] == [2, 4, 6]
    rows = [Workdir(tmp_path / name).rows() for name in ('straight', 'stopped')]
    assert rows[0] == rows[1]
    assert [row['step'] for row in rows[0]] == [2, 4, 6]


@pytest.mark.eight_devices
def test_a_run_leaves_everything_a_reader_needs(image_folder, tmp_path, caplog):
    caplog.set_level('INFO')
    config = loop_config(image_folder)
    assert loop.train(config, tmp_path / 'run')
    assert 'Starting from random weights' in caplog.text
    files = {path.name for path in (tmp_path / 'run').iterdir()}
    assert files >= {
        'config.json', 'parameters.txt', 'metrics.jsonl', 'results.json', 'results.md',
        'evaluation', 'checkpoints', 'DONE.json', 'report.html',
    }  # fmt: skip
    assert Workdir(tmp_path / 'run').config() == config
    assert done(tmp_path / 'run')['provenance']['packages']['jax'] == jax.__version__
    row = Workdir(tmp_path / 'run').rows()[-1]
    wanted = (
        'step set noise metrics ci95 n protocol seed id images_sha256 '
        'training_seed config_sha256 weights_sha256 device'
    )
    assert set(wanted.split()) <= set(row)
    assert row['ci95'][0] <= row['metrics']['psnr']['out'] <= row['ci95'][1]
    assert done(tmp_path / 'run')['wall_seconds'] > 0
    assert done(tmp_path / 'run')['devices'] == [f'{jax.device_count()} x cpu']
    pictures = list((tmp_path / 'run' / 'evaluation' / 'step_0000004').glob('*.png'))
    assert sorted(p.stem.rsplit('_')[-1] for p in pictures) == ['best', 'median', 'worst']


@pytest.mark.parametrize('steps', [pytest.param(13, marks=pytest.mark.slow), 4])
def test_some_steps_can_be_profiled(steps, image_folder, tmp_path, caplog):
    config = loop_config(
        image_folder,
        **{'train.steps': steps, 'train.profile_steps': 2, 'train.log_every': 100, 'eval.every': 0},
    )
    assert loop.train(config, tmp_path / 'run')
    traces = list((tmp_path / 'run' / 'profile').rglob('*.xplane.pb'))
    assert len(traces) == (steps == 13)
    assert ('Nothing was traced: the run ended before step 10' in caplog.text) == (steps == 4)
    with pytest.raises(RuntimeError, match='No profile'):  # it has ended
        jax.profiler.stop_trace()


def test_old_checkpoints_go_and_the_last_ones_stay(image_folder, tmp_path):
    config = loop_config(
        image_folder,
        **{
            'train.steps': 7,
            'train.checkpoint_every': 1,
            'train.keep_checkpoints': 2,
            'eval.every': 0,
        },
    )
    assert loop.train(config, tmp_path / 'run')
    with Checkpoints(tmp_path / 'run') as checkpoints:
        assert checkpoints.last_step == 7
        assert sorted(checkpoints._manager.all_steps()) == [5, 6, 7]


def test_a_workdir_of_another_config_is_refused_and_left_alone(image_folder, tmp_path):
    loop.train(loop_config(image_folder), tmp_path / 'run')
    before = (tmp_path / 'run' / 'config.json').read_text()
    with pytest.raises(UserError, match=r'another config.*optim.learning_rate \(0.001 there'):
        loop.train(loop_config(image_folder, **{'optim.learning_rate': 2e-3}), tmp_path / 'run')
    assert (tmp_path / 'run' / 'config.json').read_text() == before
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'thesis.tex').write_text('...')
    with pytest.raises(UserError, match='not empty and holds no run'):
        loop.train(loop_config(image_folder), tmp_path / 'other')


def test_what_failed_at_the_start_leaves_the_workdir_free(image_folder, tmp_path):
    with pytest.raises(UserError, match='no such folder'):
        loop.train(loop_config('/no/such'), tmp_path / 'run')
    assert not (tmp_path / 'run').exists()
    with Workdir(tmp_path / 'run').claimed(loop_config('/no/such')):
        pass  # killed before its first checkpoint
    assert loop.train(loop_config(image_folder), tmp_path / 'run')
    assert Workdir(tmp_path / 'run').config() == loop_config(image_folder)


def test_nothing_of_somebody_else_is_replaced(image_folder, tmp_path):
    loop.train(loop_config(image_folder), tmp_path / 'run')
    shutil.rmtree(tmp_path / 'run' / 'checkpoints')  # to save space
    before = (tmp_path / 'run' / 'results.json').read_text()
    with pytest.raises(UserError, match='holds results'):
        loop.train(loop_config(image_folder, **{'seed': 1}), tmp_path / 'run')
    assert (tmp_path / 'run' / 'results.json').read_text() == before

    foreign = tmp_path / 'bert'
    foreign.mkdir()
    (foreign / 'config.json').write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match='not the config of a run'):
        loop.train(loop_config(image_folder), foreign)
    assert [path.name for path in foreign.iterdir()] == ['config.json']


def test_two_trainings_do_not_share_a_workdir(image_folder, tmp_path):
    with (
        Workdir(tmp_path / 'run').claimed(loop_config(image_folder)),
        pytest.raises(UserError, match='Another program is training'),
    ):
        loop.train(loop_config(image_folder), tmp_path / 'run')
    assert loop.train(loop_config(image_folder), tmp_path / 'run')


@pytest.mark.parametrize('where', ['file', 'file/sub'])
def test_a_workdir_that_cannot_be_made_is_told_first(where, tmp_path):
    (tmp_path / 'file').write_text('mine')
    with pytest.raises(UserError, match='file is a file'):
        loop.train(loop_config('/no/such'), tmp_path / where)


def test_an_evaluation_that_fails_does_not_cost_the_training(image_folder, tmp_path, monkeypatch):
    config = loop_config(image_folder, **{'train.checkpoint_every': 1000})

    def fail(*arguments):
        raise UserError('a picture is damaged')

    with monkeypatch.context() as patch:
        patch.setattr(with_clean.Evaluator, '__call__', fail)
        with pytest.raises(UserError, match='damaged'):
            loop.train(config, tmp_path / 'run')
    assert (tmp_path / 'run' / 'checkpoints' / '2').is_dir()
    assert loop.train(config, tmp_path / 'run')
    assert [row['step'] for row in Workdir(tmp_path / 'run').rows()] == [2, 4]
    loop.train(config, tmp_path / 'straight')
    assert done(tmp_path / 'run')['weights_sha256'] == done(tmp_path / 'straight')['weights_sha256']


def test_damaged_files_of_a_run_are_named(image_folder, tmp_path):
    config = loop_config(image_folder)
    loop.train(config, tmp_path / 'run')
    shutil.rmtree(tmp_path / 'run' / 'checkpoints' / '4' / 'ema')
    with pytest.raises(UserError, match='checkpoints/4 cannot be read'):
        loop.train(config, tmp_path / 'run')
    (tmp_path / 'run' / 'results.json').write_text('[{')
    with pytest.raises(UserError, match='results.json is damaged'):
        Workdir(tmp_path / 'run').rows()


def test_a_complete_run_is_not_trained_again_and_keeps_its_history(
    image_folder, tmp_path, monkeypatch
):
    config = loop_config(image_folder)
    loop.train(config, tmp_path / 'run')
    first = done(tmp_path / 'run')
    before = (tmp_path / 'run' / 'config.json').read_text()
    monkeypatch.setattr('sys.argv', ['looked again a year later'])
    assert loop.train(config, tmp_path / 'run')
    assert done(tmp_path / 'run') == first
    assert (tmp_path / 'run' / 'config.json').read_text() == before
    (tmp_path / 'run' / 'DONE.json').unlink()  # lost: what it said is in the checkpoint too
    assert loop.train(config, tmp_path / 'run')
    again = done(tmp_path / 'run')
    assert again['provenance'] == first['provenance']
    assert again['weights_sha256'] == first['weights_sha256']
    assert 0 < again['wall_seconds'] <= first['wall_seconds']


def test_the_time_of_a_resumed_run_counts_all_its_parts(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time_spent.time, 'monotonic', lambda: now[0])
    first = time_spent.TimeSpent()
    now[0] += 60
    saved = first.as_dict()
    monkeypatch.setattr(time_spent, 'devices', lambda: '1 x H100')
    second = time_spent.TimeSpent(saved)
    now[0] += 5
    assert second.as_dict() == {
        'wall_seconds': 65.0, 'devices': [f'{jax.device_count()} x cpu', '1 x H100']
    }  # fmt: skip
    of_an_early_version = time_spent.TimeSpent({'config': {}})
    assert of_an_early_version.as_dict()['wall_seconds'] is None


def exploding(monkeypatch, step):
    """Makes the weights of `step` infinite, by the update before it."""
    monkeypatch.setattr(optimizers, 'transformation', _exploding(step))


@functools.cache  # by which tests share the step that is compiled with it
def _exploding(step):
    real = optimizers.transformation

    def explode(*arguments):
        optimizer = real(*arguments)

        def update(grads, state, params=None):
            updates, state = optimizer.update(grads, state, params)
            bad = state[0].count == step
            return jax.tree.map(lambda u: jnp.where(bad, jnp.inf, u), updates), state

        return optax.GradientTransformation(optimizer.init, update)

    return explode


def killed(*_):
    raise KeyboardInterrupt


def finite(tree):
    return all(np.isfinite(x).all() for x in jax.tree.leaves(tree))


# Steps 2, 4, 6 and 8 are saved: the bad step is one of them, none of them, the last one.
@pytest.mark.parametrize(
    ('bad', 'good'), [(4, 2), pytest.param(5, 4, marks=pytest.mark.slow), (8, 6), (2, None)]
)
def test_after_a_loss_that_is_not_finite_what_is_left_has_a_finite_loss(
    image_folder, tmp_path, monkeypatch, bad, good
):
    config = loop_config(image_folder, **{'train.steps': 8, 'eval.in_loop': False,
                                          'train.keep_checkpoints': 0})  # fmt: skip
    exploding(monkeypatch, bad)
    with pytest.raises(FloatingPointError, match=f'weights of step {bad} was not finite') as caught:
        loop.train(config, tmp_path / 'run')
    assert (f'is that of step {good};' if good else 'No earlier step') in str(caught.value)
    with Checkpoints(tmp_path / 'run') as checkpoints:
        assert checkpoints.last_step == good
        assert bad not in checkpoints._manager.all_steps()
    assert not Workdir(tmp_path / 'run').done
    assert f'weights of step {bad} was not finite' in Workdir(tmp_path / 'run').failure
    if good:
        denoiser = Denoiser.load(tmp_path / 'run')
        assert denoiser.step == good
        assert finite(denoiser.variables)


def test_a_run_that_diverged_resumes_at_a_state_whose_loss_was_finite(
    image_folder, tmp_path, monkeypatch
):
    config = loop_config(image_folder, **{'train.steps': 8, 'eval.in_loop': False})
    with monkeypatch.context() as patch:
        exploding(patch, 4)
        with pytest.raises(FloatingPointError):
            loop.train(config, tmp_path / 'run')
    assert loop.train(config, tmp_path / 'run')  # say, on a machine that computes right
    loop.train(config, tmp_path / 'straight')
    assert done(tmp_path / 'run')['weights_sha256'] == done(tmp_path / 'straight')['weights_sha256']


def test_a_run_killed_before_its_last_weights_were_checked_checks_them_on_resuming(
    image_folder, tmp_path, monkeypatch
):
    config = loop_config(image_folder, **{'train.steps': 8, 'train.keep_checkpoints': 9})
    exploding(monkeypatch, 8)
    with monkeypatch.context() as patch:
        patch.setattr(Run, 'finish', killed)
        with pytest.raises(KeyboardInterrupt):
            loop.train(config, tmp_path / 'run')
    with pytest.raises(FloatingPointError, match='weights of step 8 was not finite'):
        loop.train(config, tmp_path / 'run')
    assert not Workdir(tmp_path / 'run').done
    with Checkpoints(tmp_path / 'run') as checkpoints:
        assert checkpoints.last_step == 6


def test_the_counters_of_adam_stop_with_the_weights(monkeypatch):
    config = tiny_config()
    layout = make_layout(8)
    feed = DeviceFeed(ArraySource(photos()), config.data, channels=3, seed=0, layout=layout)
    state = jax.jit(lambda: steps.init_state(config), out_shardings=layout.replicated)()
    exploding(monkeypatch, 2)
    step = steps.make_train_step(config, make_task(config), feed, layout)
    state, _ = step(state, feed.constants, feed.inputs(0, 4))
    assert bool(state.failed)
    counts = [int(x) for x in jax.tree.leaves(state.opt_state) if x.ndim == 0]
    assert counts == [2] * len(counts)
    assert int(state.step) == 2


def test_the_side_car_gives_the_numbers_of_the_loop(image_folder, tmp_path):
    in_loop = loop_config(image_folder, **{'train.keep_checkpoints': 9})
    loop.train(in_loop, tmp_path / 'loop')
    apart = loop_config(image_folder, **{'train.keep_checkpoints': 9, 'eval.in_loop': False})
    loop.train(apart, tmp_path / 'apart')
    assert not Workdir(tmp_path / 'apart').rows()
    follow.follow(apart, tmp_path / 'apart')
    assert Workdir(tmp_path / 'apart').rows() == Workdir(tmp_path / 'loop').rows()
    follow.evaluate_checkpoint(apart, tmp_path / 'apart')
    assert Workdir(tmp_path / 'apart').rows() == Workdir(tmp_path / 'loop').rows()


def test_a_disk_without_room_is_seen_before_a_write(image_folder, tmp_path, monkeypatch):
    config = loop_config(image_folder, **{'eval.in_loop': False})
    full = shutil.disk_usage(tmp_path)._replace(free=100)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, 'disk_usage', lambda path: full)
        with pytest.raises(CheckpointError, match=r'needs \d+\.\d kB, but only 0\.1 kB are free'):
            loop.train(config, tmp_path / 'run')
    assert not list((tmp_path / 'run' / 'checkpoints').iterdir())
    assert loop.train(config, tmp_path / 'run')


def test_the_side_car_goes_on_past_a_checkpoint_that_was_deleted(
    image_folder, tmp_path, monkeypatch, caplog
):
    config = loop_config(image_folder, **{'train.keep_checkpoints': 9, 'eval.in_loop': False})
    loop.train(config, tmp_path / 'run')
    real = weights.shipped_variables

    def too_late_for_two(checkpoints, step, sharding):
        if step == 2:
            shutil.rmtree(tmp_path / 'run' / 'checkpoints' / '2')
        return real(checkpoints, step, sharding)

    monkeypatch.setattr(weights, 'shipped_variables', too_late_for_two)
    follow.follow(config, tmp_path / 'run')
    assert [row['step'] for row in Workdir(tmp_path / 'run').rows()] == [4]
    assert 'Checkpoint 2 was deleted' in caplog.text

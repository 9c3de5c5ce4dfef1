"""The training step and loop: golden losses, determinism, devices, resuming, failure."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import tiny_config

from n2n_jax import evaluate, models, optim, train
from n2n_jax.checkpoint import Checkpoints
from n2n_jax.config import ModelConfig
from n2n_jax.data.feed import DeviceFeed
from n2n_jax.data.photos import photos
from n2n_jax.data.source import ArraySource
from n2n_jax.errors import UserError
from n2n_jax.parallel import make_layout
from n2n_jax.workdir import Workdir


def setup(config, num_devices=1):
    """(state, train_step, feed) of a config on the embedded photographs."""
    layout = make_layout(config.data.batch_size, jax.devices()[:num_devices])
    feed = DeviceFeed(
        ArraySource(photos()), config.data, channels=config.model.channels, seed=config.seed,
        layout=layout,
    )  # fmt: skip
    state = jax.jit(lambda: train.init_state(config), out_shardings=layout.replicated)()
    return state, train.make_train_step(config, train.make_task(config), feed, layout), feed


def run(config, num_steps, *, num_devices=1, per_dispatch=1):
    """The state and losses after some steps."""
    state, train_step, feed = setup(config, num_devices)
    losses = []
    for step in range(0, num_steps, per_dispatch):
        state, metrics = train_step(state, feed.constants, feed.inputs(step, per_dispatch))
        losses += np.asarray(metrics['loss']).tolist()
    return state, losses


# First-step losses with seed 0, 8 crops of 32x32 of the photographs; CPU, jax 0.10.2.
GOLDEN = {
    ('unet', 'gaussian:0-50'): [0.130064, 0.3868918],
    ('unet', 'poisson:5-50'): [0.227507, 0.6294613],
    ('unet', 'bernoulli:0-0.95'): [0.2547646, 0.9916643],
    ('unet', 'impulse:0-0.95'): [0.1756802, 0.7031042],
    ('unet', 'text:0-0.5'): [0.2720448, 0.5071523],
    ('resnet50', 'gaussian:25'): [0.1042455, 0.364046],
}


@pytest.mark.parametrize(('name', 'noise'), GOLDEN)
def test_the_first_losses_are_unchanged(name, noise):
    config = tiny_config(
        **{'model.name': name, 'data.crop': 32, 'noise.input': noise, 'model.residual': False}
    )
    _, losses = run(config, 2)
    np.testing.assert_allclose(losses, GOLDEN[name, noise], rtol=2e-4, err_msg=(
        'The losses of the first steps changed. Unintended: a bug. Intended: update GOLDEN and say '
        'why in the commit.'
    ))  # fmt: skip


def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    config = tiny_config()
    hashes = [train.weights_hash(run(config, 3)[0].variables) for _ in range(2)]
    assert hashes[0] == hashes[1]
    other = train.weights_hash(run(dataclasses.replace(config, seed=1), 3)[0].variables)
    assert other != hashes[0]


@pytest.mark.parametrize('norm', ['none', 'batch'])
@pytest.mark.parametrize('noise', ['gaussian:0-50', 'poisson:5-50'])
def test_eight_devices_equal_one(noise, norm):
    config = tiny_config(**{'noise.input': noise, 'model.norm': norm})
    task = train.make_task(config)
    pairs = []
    for num_devices in (1, 8):
        _, _, feed = setup(config, num_devices)

        @jax.jit
        def sample(constants, inputs, feed=feed):
            return task.sample(feed.clean(constants, inputs), seed=0, step=jnp.int32(3))

        noisy, target, _ = sample(feed.constants, jax.tree.map(lambda x: x[0], feed.inputs(3, 1)))
        assert len(noisy.sharding.device_set) == num_devices
        pairs.append((np.asarray(noisy), np.asarray(target)))
    np.testing.assert_array_equal(pairs[0][0], pairs[1][0])
    np.testing.assert_array_equal(pairs[0][1], pairs[1][1])
    assert (pairs[0][0] != pairs[0][1]).any()
    one, eight = (run(config, 4, num_devices=n)[1] for n in (1, 8))
    np.testing.assert_allclose(one, eight, rtol=1e-6)


def test_input_and_target_noise_are_independent():
    config = tiny_config(**{'data.crop': 64, 'noise.input': 'gaussian:25'})
    _, _, feed = setup(config)
    clean = feed.clean(feed.constants, feed.inputs(0, 1)[0])
    noisy, target, mask = train.make_task(config).sample(clean, seed=0, step=jnp.int32(0))
    a, b = np.asarray(noisy - clean).ravel(), np.asarray(target - clean).ravel()
    assert mask is None
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(a.size)
    again, _, _ = train.make_task(config).sample(clean, seed=0, step=jnp.int32(1))
    assert abs(np.corrcoef(a, np.asarray(again - clean).ravel())[0, 1]) < 4 / np.sqrt(a.size)


def test_clean_targets_are_clean():
    config = tiny_config(**{'noise.target': 'clean', 'noise.input': 'impulse:0.5'})
    task = train.make_task(config)
    clean = jnp.full((2, 8, 8, 3), 0.3)
    _, target, _ = task.sample(clean, seed=0, step=jnp.int32(0))
    np.testing.assert_array_equal(target, clean)
    assert task.loss_name == 'l2'


def test_several_steps_per_dispatch_are_the_same_steps():
    config = tiny_config()
    one, four = run(config, 4), run(config, 4, per_dispatch=4)
    np.testing.assert_allclose(one[1], four[1], rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        one[0].variables,
        four[0].variables,
    )


def test_accumulated_parts_make_the_same_step():
    whole, parts = (run(tiny_config(**{'optim.accumulate': n}), 3) for n in (1, 4))
    np.testing.assert_allclose(whole[1], parts[1], rtol=1e-5)


def test_the_step_compiles_once():
    config = tiny_config()
    state, train_step, feed = setup(config)
    for step in range(3):
        state, _ = train_step(state, feed.constants, feed.inputs(step, 1))
    assert train_step._cache_size() == 1
    assert int(state.step) == 3


def test_bfloat16_keeps_weights_and_output_in_float32():
    config = tiny_config(**{'model.name': 'unet', 'model.dtype': 'bfloat16', 'data.crop': 32})
    state, losses = run(config, 1)
    assert {x.dtype for x in jax.tree.leaves(state.variables)} == {jnp.dtype('float32')}
    output = models.build(config.model).apply(state.variables, jnp.zeros((1, 32, 32, 3)))
    assert output.dtype == jnp.float32
    _, want = run(dataclasses.replace(config, model=ModelConfig(name='unet')), 1)
    assert losses[0] == pytest.approx(want[0], rel=0.02)
    assert losses[0] != want[0]


def test_clipping_and_the_average_change_what_they_should():
    base, _ = run(tiny_config(), 3)
    clipped, _ = run(tiny_config(**{'optim.clip_norm': 1e-3}), 3)
    assert train.weights_hash(base.variables) != train.weights_hash(clipped.variables)
    assert train.weights_hash(base.ema) != train.weights_hash(base.variables)
    assert run(tiny_config(**{'optim.ema_decay': 0.0}), 1)[0].ema is None


def test_the_schedule_is_the_official_one():
    config = tiny_config(
        **{'train.steps': 1000, 'optim.warmup_steps': 100, 'optim.ramp_down': 0.5,
           'optim.learning_rate': 1e-3}
    )  # fmt: skip
    rate = optim.learning_rate_schedule(config)
    assert float(rate(0)) == pytest.approx(1e-5)
    assert float(rate(99)) == float(rate(500)) == pytest.approx(1e-3)
    assert float(rate(750)) == pytest.approx(1e-3 * 0.25, rel=1e-5)
    assert float(rate(1000)) == pytest.approx(0, abs=1e-9)


# The loop ----------------------------------------------------------------------------------------


def loop_config(image_folder, **changes):
    return tiny_config(
        **{'data.train': f'folder:{image_folder}', 'eval.sets': f'folder:{image_folder}', **changes}
    )


def done(workdir):
    return json.loads((workdir / 'DONE.json').read_text())


@pytest.mark.parametrize('feed', ['device', 'stream'])
def test_stop_and_resume_equals_an_undisturbed_run(image_folder, tmp_path, monkeypatch, feed):
    config = loop_config(
        image_folder, **{'data.feed': feed, 'model.norm': 'batch', 'train.steps': 6}
    )
    assert train.train(config, tmp_path / 'straight')
    # Ctrl-C after three steps: in the middle between two checkpoints.
    from n2n_jax.data import feed as feed_module

    cls = feed_module.DeviceFeed if feed == 'device' else feed_module.StreamFeed
    real = cls.inputs

    def interrupted(self, step, num_steps):
        if step == 2:
            import signal

            signal.raise_signal(signal.SIGINT)
        return real(self, step, num_steps)

    monkeypatch.setattr(cls, 'inputs', interrupted)
    assert not train.train(config, tmp_path / 'stopped')
    assert not Workdir(tmp_path / 'stopped').done
    with Checkpoints(tmp_path / 'stopped') as checkpoints:
        assert checkpoints.last_step == 3
    monkeypatch.setattr(cls, 'inputs', real)
    assert train.train(config, tmp_path / 'stopped')
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


def test_a_run_leaves_everything_a_reader_needs(image_folder, tmp_path):
    config = loop_config(image_folder)
    assert train.train(config, tmp_path / 'run')
    files = {path.name for path in (tmp_path / 'run').iterdir()}
    assert files >= {
        'config.json', 'parameters.txt', 'metrics.jsonl', 'results.json', 'results.md',
        'evaluation', 'checkpoints', 'DONE.json',
    }  # fmt: skip
    assert Workdir(tmp_path / 'run').config() == config
    assert done(tmp_path / 'run')['provenance']['packages']['jax'] == jax.__version__
    row = Workdir(tmp_path / 'run').rows()[-1]
    wanted = 'step set noise psnr psnr_input ssim ssim_input ci95 n protocol seed'
    assert set(wanted.split()) <= set(row)
    assert row['ci95'][0] <= row['psnr'] <= row['ci95'][1]
    pictures = list((tmp_path / 'run' / 'evaluation' / 'step_0000004').glob('*.png'))
    assert sorted(p.stem.rsplit('_')[-1] for p in pictures) == ['best', 'median', 'worst']


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
    assert train.train(config, tmp_path / 'run')
    with Checkpoints(tmp_path / 'run') as checkpoints:
        assert checkpoints.last_step == 7
        assert sorted(checkpoints._manager.all_steps()) == [5, 6, 7]


def test_a_workdir_of_another_config_is_refused_and_left_alone(image_folder, tmp_path):
    train.train(loop_config(image_folder), tmp_path / 'run')
    before = (tmp_path / 'run' / 'config.json').read_text()
    with pytest.raises(UserError, match=r'another config.*optim.learning_rate \(0.001 there'):
        train.train(loop_config(image_folder, **{'optim.learning_rate': 2e-3}), tmp_path / 'run')
    assert (tmp_path / 'run' / 'config.json').read_text() == before
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'thesis.tex').write_text('...')
    with pytest.raises(UserError, match='not empty and holds no run'):
        train.train(loop_config(image_folder), tmp_path / 'other')


def test_a_complete_run_is_not_trained_again(image_folder, tmp_path):
    config = loop_config(image_folder)
    train.train(config, tmp_path / 'run')
    first = done(tmp_path / 'run')
    assert train.train(config, tmp_path / 'run')
    assert done(tmp_path / 'run')['weights_sha256'] == first['weights_sha256']


def test_a_loss_that_is_not_finite_saves_the_last_good_state(image_folder, tmp_path, monkeypatch):
    config = loop_config(image_folder, **{'train.steps': 8, 'train.log_every': 4,
                                          'train.checkpoint_every': 8})  # fmt: skip
    real = train.optim.optimizer

    def explode(config):
        optimizer = real(config)

        def update(grads, state, params=None):
            updates, state = optimizer.update(grads, state, params)
            # The third update makes the weights infinite: step 3 is still finite, step 4 is not.
            bad = state[0].count
            return jax.tree.map(lambda u: jnp.where(bad >= 3, jnp.inf, u), updates), state

        return optax.GradientTransformation(optimizer.init, update)

    monkeypatch.setattr(train.optim, 'optimizer', explode)
    with pytest.raises(
        FloatingPointError, match=r'not finite at step 4 \(seen at step 4\).*step 3'
    ):
        train.train(config, tmp_path / 'run')
    with Checkpoints(tmp_path / 'run') as checkpoints:
        assert checkpoints.last_step == 3
    assert not Workdir(tmp_path / 'run').done


def test_the_side_car_gives_the_numbers_of_the_loop(image_folder, tmp_path):
    in_loop = loop_config(image_folder, **{'train.keep_checkpoints': 9})
    train.train(in_loop, tmp_path / 'loop')
    apart = loop_config(image_folder, **{'train.keep_checkpoints': 9, 'eval.in_loop': False})
    train.train(apart, tmp_path / 'apart')
    assert not Workdir(tmp_path / 'apart').rows()
    evaluate.follow(apart, tmp_path / 'apart')
    assert Workdir(tmp_path / 'apart').rows() == Workdir(tmp_path / 'loop').rows()
    evaluate.evaluate_checkpoint(apart, tmp_path / 'apart')
    assert Workdir(tmp_path / 'apart').rows() == Workdir(tmp_path / 'loop').rows()

"""From two noisy files to a denoised one."""

import dataclasses

import numpy as np
import pytest
import tifffile
from command_line import n2n
from tiny import first_variables, planned_config

from n2n_jax import models
from n2n_jax.captures import hold_out, scene_captures
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.evaluate import follow
from n2n_jax.evaluate.held_out_captures import CaptureEvaluator
from n2n_jax.images import image_io
from n2n_jax.runtime.checkpoint import open_for_reading
from n2n_jax.runtime.config import CapturesConfig, ModelConfig
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.workdir import Workdir
from n2n_jax.train import loop, planning

pytestmark = pytest.mark.usefixtures('steps_shared')


def captures_of(folder, *, num=2, side=48, low=1000, high=3000, sigma=200, seed=0):
    """12-bit counts in 16 bits."""
    rng = np.random.default_rng(seed)
    clean = np.linspace(low, high, side)[None, :] * np.ones((side, 1))
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(num):
        noisy = clean + rng.normal(0, sigma, clean.shape)
        image_io.write_pixels(
            folder / f'cell_{i + 1}.png', np.rint(noisy.clip(0)).astype(np.uint16)
        )
    return clean


def tiny(folder, **changes):
    config = planned_config(CapturesConfig(paths=str(folder), **changes), model='tiny', steps=6)
    return dataclasses.replace(
        config, train=dataclasses.replace(config.train, log_every=2, tensorboard=False)
    )


def test_captures_to_scores_and_a_denoiser_in_their_units(tmp_path):
    captures_of(tmp_path / 'in')
    config = tiny(tmp_path / 'in')
    assert 400 < config.model.black < 1000 < 3000 < config.model.white < 3600
    assert config.data.crop == 32
    assert loop.train(config, tmp_path / 'run')

    rows = Workdir(tmp_path / 'run').rows()
    assert [row['step'] for row in rows] == list(range(1, 7))
    assert 'metrics' not in rows[0]  # an estimate is not called PSNR
    scale = config.model.white - config.model.black
    noise = -20 * np.log10(200 / scale)
    assert rows[0]['psnr_estimate_input'] == pytest.approx(noise, abs=0.7)
    assert 'estimated' in (tmp_path / 'run/results.md').read_text()

    best = max(rows, key=lambda row: row['psnr_estimate'])
    with open_for_reading(tmp_path / 'run') as checkpoints:
        assert checkpoints.last_step == best['step']
    denoiser = Denoiser.load(tmp_path / 'run')
    assert denoiser.step == best['step']
    image = image_io.read_image(tmp_path / 'in/cell_1.png')
    restored = denoiser.restore(image)
    assert restored.pixels.dtype == np.uint16
    # An untrained residual network changes little, in the units of the file.
    assert abs(restored.pixels.mean() - image.pixels.mean()) < 1500


def test_the_same_command_goes_on_and_the_config_file_is_the_run(tmp_path):
    captures_of(tmp_path / 'in')
    config = tiny(tmp_path / 'in')
    assert loop.train(config, tmp_path / 'run')
    assert loop.train(config, tmp_path / 'run')  # complete: nothing to do
    file = tmp_path / 'run' / 'config.py'
    namespace = {}
    exec(compile(file.read_text(), str(file), 'exec'), namespace)
    assert namespace['get_config']().to_dict() == dataclasses.asdict(config)


def test_images_with_a_quarter_of_no_data_at_the_right_are_judged_by_what_was_measured(tmp_path):
    x_NHW = np.random.default_rng(0).normal(1000, 50, (3, 64, 80)).astype(np.float32)
    x_NHW[..., 60:] = -9999
    tifffile.imwrite(tmp_path / 'a.tif', x_NHW, photometric='minisblack')
    planned = planning.plan(
        CapturesConfig(paths=str(tmp_path)), planning.Options(model='tiny', steps=6)
    )
    prepared = planned.prepared
    assert prepared.config.data.crop == 48 // 32 * 32
    variables = first_variables(prepared.config.model)
    (row,) = prepared.evaluator(variables, 0).rows
    assert row['mse_estimate'] is not None


def test_a_crop_fits_into_captures_of_two_columns():
    scenes = [scene_captures.SceneCaptures('s', np.zeros((2, 8, 2, 1), np.uint8))]
    crop = planning._crop(scenes, CapturesConfig(held_out=0.2))
    train_scenes, _ = hold_out.split(scenes, 0.2, crop=crop)
    assert train_scenes[0].captures_NHWC.shape[2] == 1


@pytest.mark.parametrize(
    ('captures', 'words'),
    [
        (np.zeros((2, 20, 20), np.uint8), 'All pixels of all captures are 0'),
        (np.full((2, 20, 20), np.nan, np.float32), 'holds NaN'),
        (np.zeros((2, 20, 20, 9), np.uint8), 'has 9 channels'),
    ],
)
def test_captures_of_no_use_are_refused(tmp_path, captures, words):
    np.save(tmp_path / 'stack.npy', captures)
    with pytest.raises(UserError, match=words):
        scene_captures.load(CapturesConfig(paths=str(tmp_path / 'stack.npy')))


def test_a_run_on_captures_is_scored_by_another_command(tmp_path):
    captures_of(tmp_path / 'in')
    config = tiny(tmp_path / 'in')
    assert loop.train(config, tmp_path / 'run')
    for mode in (follow.evaluate_checkpoint, follow.follow):
        with pytest.raises(UserError, match='run n2n score'):
            mode(config, tmp_path / 'run')


def test_ten_evaluations_the_last_one_at_the_end(tmp_path):
    np.save(tmp_path / 's.npy', np.random.default_rng(0).normal(size=(2, 64, 64)).astype('f4'))
    captures = CapturesConfig(paths=str(tmp_path / 's.npy'))
    config = planned_config(captures, model='tiny', steps=419)
    assert config.eval.every == 42


def test_the_estimate_of_the_loop_is_the_one_written_out():
    config = ModelConfig(name='tiny', channels=1)
    variables = first_variables(config)
    rng = np.random.default_rng(0)
    clean_HW1 = rng.random((64, 64, 1))
    a, b = (np.float32(clean_HW1 + rng.normal(0, 0.1, clean_HW1.shape)) for _ in range(2))
    evaluator = CaptureEvaluator(config, [SceneCaptures('s', np.stack([a, b]))])
    f = [np.asarray(models.build(config).apply(variables, x[None])[0], np.float64) for x in (a, b)]
    noise = np.mean((a - b) ** 2, dtype=np.float64) / 2
    error = (np.mean((f[0] - b) ** 2) + np.mean((f[1] - a) ** 2)) / 2 - noise
    reports = [evaluator(variables, 1).rows[0]['psnr_estimate'] for _ in range(2)]
    assert reports[0] == reports[1]
    assert reports[0] == pytest.approx(-10 * np.log10(error), abs=1e-4)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--steps', '0'], '--steps 0: must be at least 1'),
        (['--held-out', '1.5'], 'captures.held_out=1.5 is invalid'),
        (['--held-out', '0'], 'captures.held_out=0 is invalid'),
        (['--batch-size', '0'], 'data.batch_size=0 is invalid'),
        (['--seed', '-1'], 'seed=-1 is invalid'),
        (['--patience', '-1'], 'train.patience=-1 is invalid'),
        (['--fix', 'bogus'], "Unknown fix 'bogus'"),
    ],
)
def test_numbers_that_are_not_possible_are_refused_at_once(options, words, tmp_path, capsys):
    captures_of(tmp_path / 'in')
    arguments = ['train', tmp_path / 'in', '--workdir', tmp_path / 'run', '--model', 'tiny']
    assert n2n(*arguments, '--steps', '2', *options) == 2
    error = capsys.readouterr().err
    assert words in error
    assert 'Compiling' not in error
    assert not (tmp_path / 'run').exists()


def test_a_run_is_resumed_by_the_options_it_was_started_with(tmp_path, capsys):
    captures_of(tmp_path / 'in')
    arguments = ['train', tmp_path / 'in', '--workdir', tmp_path / 'run', '--model', 'tiny']
    assert n2n(*arguments, '--steps', '2', '--seed', '3') == 0
    before = (tmp_path / 'run/config.json').read_text()
    capsys.readouterr()
    for options, words in (
        (['--steps', '1'], 'a run with --steps 2, not 1: use the same to resume it'),
        (['--seed', '0'], '--seed 3, not '),
        (['--batch-size', '4'], '--batch-size 8, not 4'),
        (['--held-out', '0.3'], '--held-out 0.2, not 0.3'),
        (['--fix', 'gain'], '--fix left out, not gain'),
        (['--patience', '-1'], 'train.patience=-1 is invalid'),
    ):
        assert n2n(*arguments, *options) == 2
        assert words in capsys.readouterr().err
    assert n2n(*arguments, '--minutes', '5', '--patience', '0') == 0
    assert 'This run is complete: 2 steps. To extend it, give --steps' in capsys.readouterr().err
    # A value that an editor put there is named.
    (tmp_path / 'run/config.json').write_text(before.replace('"seed": 3', '"seed": -3'))
    assert n2n(*arguments) == 2
    assert 'seed=-3 is invalid' in capsys.readouterr().err


def test_no_time_to_train_is_refused(tmp_path):
    with pytest.raises(UserError, match='--minutes 0'):
        planned_config(CapturesConfig(paths=str(tmp_path)), minutes=0)


def test_color_float_and_32_bit_stacks_are_read(tmp_path):
    rng = np.random.default_rng(0)
    tifffile.imwrite(
        tmp_path / 'a.tif', rng.random((2, 40, 40)).astype(np.float32), photometric='minisblack'
    )
    np.save(tmp_path / 'b.npy', rng.integers(0, 10**6, (2, 40, 40, 3)).astype(np.uint32))
    for name, channels in (('a.tif', 1), ('b.npy', 3)):
        config = tiny(tmp_path / name)
        assert config.model.channels == channels
        assert config.model.white > config.model.black

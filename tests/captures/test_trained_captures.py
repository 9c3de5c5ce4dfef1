"""Training captures are recognized wherever they are, and never scored without a warning."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import n2n

from n2n_jax.captures import loading, trained_captures
from n2n_jax.captures.recognition import Recognized, Record
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.denoise import uncertainty
from n2n_jax.images import image_io
from n2n_jax.runtime import path_list
from n2n_jax.runtime.config import CapturesConfig, Config


def scenes_of(num, *, captures=2, h=96, w=120, levels=4096, seed=0):
    rng = np.random.default_rng(seed)
    clean = np.linspace(0.3, 0.7, w)[:, None] * levels
    return [
        SceneCaptures(
            f's{i:02}',
            rng.normal(clean, 0.05 * levels, (captures, h, w, 1)).astype(np.uint16),
        )
        for i in range(num)
    ]


def record_of(scenes, **captures):
    config = Config(captures=CapturesConfig(paths='x', held_out=0.2, **captures))
    return Record(trained_captures.record(loading.Loaded(scenes, scenes, []), config))


def test_a_trained_scene_is_recognized_in_any_type_order_and_number_of_captures():
    scenes = scenes_of(3, captures=4)
    record = record_of(scenes)
    for i, scene in enumerate(scenes):
        x = scene.captures_NHWC
        for same in (x, x[::-1], x[2:3], x.astype(np.float32), x.astype('>i4')):
            assert record.recognize(same) == Recognized(f's{i:02}', 96)  # 24 of 120 are held out
    assert record.recognize(scenes_of(1, seed=1)[0].captures_NHWC) is None
    assert record.recognize(x + 1) is None


def test_crops_are_recognized_with_the_columns_that_were_trained_on():
    x = scenes_of(1)[0].captures_NHWC
    record = record_of(scenes_of(1))
    assert record.recognize(x[:, 20:70, 50:]).columns == 46  # up to column 96
    assert record.recognize(x[:, 31:60, 3:40]).columns == 37  # all of it
    assert record.recognize(x[:, :, 96:]).columns == 0  # what was held out
    in_a_mosaic = np.pad(x, ((0, 0), (10, 0), (30, 7), (0, 0)))
    assert record.recognize(in_a_mosaic).columns == 126


def test_a_subset_of_many_scenes_keeps_what_was_held_out():
    scenes = scenes_of(40, h=64, w=64)
    record = record_of(scenes)
    held_out = {s.name for s in record.scenes if not s.columns}
    assert len(held_out) == 8
    for scene in scenes[:10]:  # on their own these would be split differently
        found = record.recognize(scene.captures_NHWC)
        assert found.columns == (0 if scene.name in held_out else 64)


def test_plain_background_and_photon_counts_are_not_taken_for_each_other():
    dark = np.zeros((2, 96, 120, 1), np.uint8)
    assert record_of([SceneCaptures('dark', dark)]).recognize(dark) is None
    for rate in (0.01, 0.3):
        a, b = np.random.default_rng(0).poisson(rate, (2, 2, 96, 120, 1)).astype(np.uint8)
        record = record_of([SceneCaptures('counts', a)])
        assert record.recognize(a) is not None
        assert record.recognize(b) is None


def test_single_images_are_trained_on_whole():
    scenes = scenes_of(2, captures=1)
    assert record_of(scenes, single=True).recognize(scenes[0].captures_NHWC).columns == 120


def with_graphics(scenes):
    """Returns the same with a burnt-in color bar."""
    bar = (4095 - 8 * np.arange(scenes[0].captures_NHWC.shape[1])).astype(np.uint16)
    for scene in scenes:
        scene.captures_NHWC[:, :, 100:112] = bar[:, None, None]
    return scenes


@pytest.mark.parametrize('captures', [1, 2])
def test_a_color_bar_in_all_images_is_not_recognized(captures):
    scenes = with_graphics(scenes_of(3, captures=captures))
    record = record_of(scenes, single=captures == 1)
    new = with_graphics(scenes_of(1, captures=captures, seed=8))
    assert record.recognize(new[0].captures_NHWC) is None
    for scene in scenes:
        assert record.recognize(scene.captures_NHWC).name == scene.name


def test_a_scene_that_is_in_a_run_twice_is_recognized():
    scene = scenes_of(1)[0]
    again = SceneCaptures('again', scene.captures_NHWC)
    assert record_of([scene, again]).recognize(scene.captures_NHWC).columns == 96


def test_captures_whose_paths_hold_a_comma_are_found_again(tmp_path):
    (tmp_path / trained_captures.FILE).write_text(json.dumps({'folder': '/data', 'scenes': []}))
    paths = path_list.joined([Path('a, b/x.tif'), Path('c.tif')])
    found = trained_captures.located(tmp_path, CapturesConfig(paths=paths))
    assert path_list.parted(found.paths) == [Path('/data/a, b/x.tif'), Path('/data/c.tif')]


def save(scenes, folder):
    folder.mkdir(parents=True)
    for scene in scenes:
        for i, capture in enumerate(scene.captures_NHWC):
            image_io.write_pixels(folder / f'{scene.name}_{i + 1}.png', capture)
    return folder


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Trains a run with relative paths, in a folder other than that of the tests."""
    from tiny import TinyNet

    from n2n_jax import models

    folder = tmp_path_factory.mktemp('trained')
    save(scenes_of(2), folder / 'cells')
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.REGISTRY, 'tiny', TinyNet)
        patch.chdir(folder)
        assert n2n('train', 'cells', '--workdir', 'run', '--steps', 1, '--model', 'tiny') == 0
    return folder


def score(folder, *options):
    return n2n('score', folder, '--without', 'nlm', '--without', 'bm3d', *options)


def test_scoring_training_captures_warns_in_any_folder_and_under_any_name(
    trained, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    one, other = scenes_of(2)
    renamed = [SceneCaptures('p', other.captures_NHWC[::-1]), *scenes_of(1, seed=5)]
    folder = save(renamed, tmp_path / 'renamed')
    assert score(folder, '--model', trained / 'run') == 0
    assert 'The model was trained on p: estimates there are too good.' in capsys.readouterr().err
    assert score(folder, '--model', trained / 'run', '--held-out') == 0
    log = capsys.readouterr().err
    assert 'Scored on the held-out part at the right: p.' in log
    assert 'New to the model, scored whole: s00.' in log
    assert 'trained on p' not in log
    assert 'No intervals' not in log  # the captures are found again
    # The left parts were trained on completely.
    left = [SceneCaptures('l', one.captures_NHWC[:, :, :80])]
    folder = save(left, tmp_path / 'left')
    assert score(folder, '--model', trained / 'run', '--held-out') == 2
    assert 'trained on the whole of all these scenes' in capsys.readouterr().err
    folder = save([*left, *scenes_of(1, seed=6)], tmp_path / 'left_and_new')
    assert score(folder, '--model', trained / 'run', '--held-out') == 0
    assert 'Skipped, as the model was trained on all of them: l.' in capsys.readouterr().err


def test_an_older_run_is_judged_by_its_paths_and_says_so(trained, tmp_path, monkeypatch, capsys):
    run = shutil.copytree(trained / 'run', tmp_path / 'run')
    (run / trained_captures.FILE).unlink()
    monkeypatch.chdir(trained)
    assert score('cells', '--model', run) == 0
    log = capsys.readouterr().err
    assert 'The model was trained on s00, s01' in log
    assert 'what is in cells now' in log
    monkeypatch.chdir(tmp_path)
    assert score(trained / 'cells', '--model', run) == 0
    assert 'It is unknown whether' in capsys.readouterr().err
    assert score(trained / 'cells', '--model', run, '--held-out') == 2
    assert 'Or score without --held-out.' in capsys.readouterr().err


def test_captures_of_the_initial_weights_count_as_trained_on(trained, tmp_path):
    new = scenes_of(1, seed=7)
    config = Config(captures=CapturesConfig(paths='x'))
    model = config.model.__class__(init_from=str(trained / 'run'))
    config = config.__class__(captures=config.captures, model=model)
    trained_captures.write(
        tmp_path, trained_captures.record(loading.Loaded(new, new, []), config), config
    )
    record = trained_captures.of_run(tmp_path, config)
    for scene in (*new, *scenes_of(2)):
        assert record.recognize(scene.captures_NHWC).columns == 96
    content = json.loads((tmp_path / trained_captures.FILE).read_text())
    (tmp_path / trained_captures.FILE).write_text(json.dumps(content)[:-20])
    with pytest.raises(ValueError, match='is damaged: remove it'):
        trained_captures.of_run(tmp_path, config)


def test_a_run_that_started_from_an_older_one_keeps_its_uncertainty(trained, tmp_path, monkeypatch):
    old = shutil.copytree(trained / 'run', tmp_path / 'old')
    (old / trained_captures.FILE).unlink()
    new = scenes_of(1, seed=7)
    config = Config(captures=CapturesConfig(paths='x'))
    config = dataclasses.replace(
        config, model=dataclasses.replace(config.model, init_from=str(old))
    )
    record = trained_captures.record(loading.Loaded(new, new, []), config)
    monkeypatch.chdir(trained)  # where the captures of the old run are
    (tmp_path / 'there').mkdir()
    trained_captures.write(tmp_path / 'there', record, config)
    found = trained_captures.of_run(tmp_path / 'there', config)
    assert 'old was made by an older version' in found.doubt
    for scene in (*new, *scenes_of(2)):
        assert found.recognize(scene.captures_NHWC).columns == 96
    monkeypatch.chdir(tmp_path)  # where they are not
    (tmp_path / 'gone').mkdir()
    trained_captures.write(tmp_path / 'gone', record, config)
    found = trained_captures.of_run(tmp_path / 'gone', config)
    assert f'It is unknown whether {old} was trained on' in found.doubt
    trained_captures.write(tmp_path / 'gone', record, config)  # as a resumed run does
    assert trained_captures.of_run(tmp_path / 'gone', config).doubt == found.doubt
    shutil.rmtree(old)
    (tmp_path / 'lost').mkdir()
    trained_captures.write(tmp_path / 'lost', record, config)
    found = trained_captures.of_run(tmp_path / 'lost', config)
    assert f'is unknown what the weights of {old}' in found.doubt


def test_rows_record_training_scenes_and_the_table_marks_them(trained, tmp_path, capsys):
    folder = save([*scenes_of(1), SceneCaptures('new', scenes_of(1, seed=5)[0].captures_NHWC)],
                  tmp_path / 'cells')  # fmt: skip
    for options in ([], ['--held-out']):
        file = tmp_path / f'scores{len(options)}.json'
        assert score(folder, '--model', trained / 'run', '--json', file, *options) == 0
        rows = json.loads(file.read_text())
        columns = {row['scene']: row['trained_columns'] for row in rows}
        assert columns == {'s00': 96, 'new': 0, '': 96}
        trained_on = {row['scene']: row['trained_on'] for row in rows}
        assert trained_on == {'s00': not options, 'new': False, '': not options}
        assert {row['held_out'] for row in rows} == {bool(options)}
        assert {row['doubt'] for row in rows} == {''}
        assert ('| s00 (trained on) |' in capsys.readouterr().err) == (not options)


def test_resaved_copies_are_scored_once_as_in_training(trained, tmp_path, capsys):
    x = scenes_of(1, captures=3, seed=9)[0].captures_NHWC.astype(np.float32)
    again = x[:1] + np.random.default_rng(1).normal(0, 2, x[:1].shape)  # such as a JPEG file
    np.save(tmp_path / 's.npy', np.concatenate([x, again.astype(np.float32)]))
    options = '--model', trained / 'run', '--fix', 'gain'
    assert score(tmp_path / 's.npy', *options, '--json', tmp_path / 'rows.json') == 0
    log = capsys.readouterr().err
    assert 'is nearly the same image as' in log
    assert not any('duplicates' in row['why'] for row in json.loads(
        (tmp_path / 'rows.json').read_text()
    ))  # fmt: skip
    assert 'The run was trained with no --fix and is scored with --fix gain.' in log


def test_a_model_in_a_read_only_folder_can_be_scored(trained, tmp_path, monkeypatch, capsys):
    run = shutil.copytree(trained / 'run', tmp_path / 'run')
    (run / uncertainty.FILE).unlink()

    def read_only(path, text):
        raise PermissionError(13, 'Permission denied', str(path))

    monkeypatch.setattr(uncertainty, 'write_text', read_only)
    scores = tmp_path / 'scores.json'
    assert score(trained / 'cells', '--model', run, '--json', scores) == 0
    log = capsys.readouterr().err
    assert 'The calibration is not saved: ' in log
    assert 'uncertainty.json cannot be written (Permission denied).' in log
    assert 'Intervals for a new capture' in log
    assert scores.exists()
    assert log.rstrip().splitlines()[-1].startswith('The model is not worth using yet: it is no')

"""`n2n models`: a model is trained, gets its card, and the card is checked."""

import dataclasses
import json

import pytest
from command_line import n2n

from n2n_jax import corruptions, models
from n2n_jax.bench import zoo as training
from n2n_jax.bench.tables.places import Places
from n2n_jax.models import zoo
from n2n_jax.train import loop, loss_choice

NAME = 'gaussian-gray'


@pytest.fixture
def _tiny(monkeypatch, tmp_path):
    recipe = zoo.RECIPES[NAME]
    changes = {**recipe.changes, 'model.name': 'tiny', 'eval.noise': 'gaussian:25'}
    monkeypatch.setitem(zoo.RECIPES, NAME, dataclasses.replace(recipe, changes=changes))
    monkeypatch.setattr(zoo, 'FOLDER', tmp_path / 'there')


@pytest.mark.usefixtures('_tiny')
def test_a_model_is_trained_listed_shown_and_checked(tmp_path, capsys, monkeypatch):
    command = ('models', 'train', NAME, '-o', tmp_path / 'there', '--budget', 'quick')
    assert n2n('models') == 0
    assert NAME not in capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setattr(loop, 'train', lambda config, run: False)
        assert n2n(*command) == 130
    assert n2n(*command) == 0
    file, card = tmp_path / 'there' / f'{NAME}.safetensors', tmp_path / 'there' / f'{NAME}.json'
    assert capsys.readouterr().err.splitlines()[-2:] == [str(file), str(card)]

    assert n2n('models') == 0
    assert capsys.readouterr().out.startswith(f'{NAME} (0.0 MB)\n    For gray images')
    assert n2n('models', 'show', NAME) == 0
    page = capsys.readouterr().out
    assert '* 20 steps of 8 crops of 32 pixels a side, seed 0' in page
    assert 'input gaussian:0-55+stored:0.5, target gaussian:0-55, drawn anew' in page
    content = json.loads(card.read_text())
    (row,) = content['scores']
    assert f'| photos | gaussian:25 | 1 | {row["metrics"]["psnr"]["in"]:.2f} | ' in page
    assert n2n('models', 'check', NAME) == 0
    assert 'All numbers are those of the card' in capsys.readouterr().err

    row['metrics']['psnr']['out'] += 0.05
    card.write_text(json.dumps(content))
    assert n2n('models', 'check', NAME) == 1
    said = capsys.readouterr().err
    assert said.count('DIFFERS') == 1
    assert 'photos, gaussian:25: psnr out' in said
    assert '1 of 4 numbers of the card differ' in said
    row['metrics']['psnr']['out'] -= 0.05
    row['metrics']['ssim']['in'] = float('nan')
    card.write_text(json.dumps(content))
    assert n2n('models', 'check', NAME) == 1
    row['images_sha256'] = ''
    card.write_text(json.dumps(content))
    assert n2n('models', 'check', NAME) == 2
    assert 'The images of photos are others' in capsys.readouterr().err
    file.write_bytes(file.read_bytes() + b' ')
    assert n2n('models', 'check', NAME) == 2
    assert 'is not the file that its card describes' in capsys.readouterr().err
    card.write_text('{}')
    assert n2n('models', 'show', NAME) == 2
    assert f'{card} is damaged' in capsys.readouterr().err


@pytest.mark.parametrize('name', zoo.RECIPES)
def test_every_recipe_can_be_run(name):
    recipe = zoo.recipe(name)
    for budget in ('quick', 'cpu', 'full'):
        config = training.config_of(recipe, budget, seed=3)
        models.check_settings(config.model)
        assert config.model.channels == recipe.channels
        assert config.seed == 3
        # Inputs are as files hold them, in part; targets never.
        files = {'stored', 'jpeg'}
        assert {s.corruption.name for s in corruptions.parse(config.noise.input).stages} & files
        target = corruptions.parse(config.target_spec)  # noisy
        assert not {stage.corruption.name for stage in target.stages} & files
        assert loss_choice.suitable_loss(target)  # some loss learns the clean image from it
        if budget != 'quick':  # nothing is trained on what it is scored on
            assert 'val' not in config.data.train
            assert 'kodak' not in config.data.train


def test_unknown_names_are_said(capsys):
    assert n2n('models', 'show', 'gaussian-colour') == 2
    assert "Did you mean 'gaussian-color'?" in capsys.readouterr().err
    assert n2n('models', 'train', 'gaussian-colour', '-o', 'x') == 2
    assert "Did you mean 'gaussian-color'?" in capsys.readouterr().err


@pytest.mark.usefixtures('_tiny')
def test_nothing_is_written_before_the_scores_are_known(tmp_path, monkeypatch):
    def fails(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, '_scores', fails)
    with pytest.raises(KeyboardInterrupt):
        training.train(zoo.recipe(NAME), 'quick', tmp_path / 'new', Places())
    assert [path.name for path in (tmp_path / 'new').iterdir()] == [f'{NAME}-quick-seed0']

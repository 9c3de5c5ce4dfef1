"""The protocol: fixed noise, any batch, hand-computed scores."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny import tiny_config

from n2n_jax import evaluate, io, models
from n2n_jax.errors import UserError
from n2n_jax.metrics import bootstrap_interval
from n2n_jax.parallel import make_layout


def evaluator_and_weights(**changes):
    config = tiny_config(**{'eval.max_images': 0, 'model.residual': True, **changes})
    layout = make_layout(8)
    variables = models.init(config.model, jax.random.key(0))
    return evaluate.Evaluator(config, layout), variables


def zero(variables):
    return jax.tree.map(np.zeros_like, variables)


def test_an_identity_network_scores_the_noise(image_folder):
    sets = {'eval.sets': f'folder:{image_folder}'}
    evaluator, variables = evaluator_and_weights(**sets)
    (row,) = evaluator(zero(variables), 3).rows
    want = -20 * np.log10(25 / 255)
    assert row['psnr_input'] == pytest.approx(want, abs=0.15)
    assert row['mse_input'] == pytest.approx((25 / 255) ** 2, rel=0.04)
    assert row['psnr'] > row['psnr_input']  # the output is clamped, the noisy input is not
    assert row['psnr_float'] == pytest.approx(row['psnr'], abs=0.05)
    assert (row['step'], row['n'], row['seed'], row['noise']) == (3, 5, 0, 'gaussian:25')
    for word in ('RGB', 'not clipped', '8 bits', 'seed 0', 'bootstrap'):
        assert word in row['protocol']


def test_the_clean_image_scores_as_good_as_rounding_allows(image_folder):
    evaluator, variables = evaluator_and_weights(
        **{'eval.sets': f'folder:{image_folder}', 'eval.noise': 'gaussian:0'}
    )
    (row,) = evaluator(zero(variables), 0).rows
    assert row['psnr'] > 100
    assert row['psnr_float'] > 100
    assert row['ssim'] == pytest.approx(1, abs=1e-5)


def test_scores_do_not_depend_on_batch_order_or_model(image_folder):
    sets = {'eval.sets': f'folder:{image_folder}', 'eval.replicas': 3}
    reports = []
    for batch_size in (1, 8):
        evaluator, variables = evaluator_and_weights(**sets, **{'eval.batch_size': batch_size})
        evaluator(zero(variables), 0)  # another model first changes nothing
        reports.append(evaluator(variables, 0))
    one, eight = reports
    assert (one.rows[0]['n'], one.rows[0]['replicas'], len(one.images[0])) == (5, 3, 15)
    per_image = np.array([image['psnr'] for image in one.images[0]]).reshape(5, 3).mean(axis=1)
    assert one.rows[0]['ci95'] == pytest.approx(bootstrap_interval(per_image))
    for a, b in zip(one.images[0], eight.images[0], strict=True):
        assert (a['image'], a['replica']) == (b['image'], b['replica'])
        assert a['psnr'] == pytest.approx(b['psnr'], abs=1e-3)
        assert a['psnr_input'] == pytest.approx(b['psnr_input'], abs=1e-4)
    noises = {image['psnr_input'] for image in one.images[0]}
    assert len(noises) == 15  # every replica has noise of its own


def test_the_mean_is_over_images_in_db(image_folder):
    evaluator, variables = evaluator_and_weights(**{'eval.sets': f'folder:{image_folder}'})
    report = evaluator(variables, 0)
    want = np.mean([image['psnr'] for image in report.images[0]])
    assert report.rows[0]['psnr'] == pytest.approx(want)


def test_another_evaluation_seed_is_another_noise(image_folder):
    sets = {'eval.sets': f'folder:{image_folder}'}
    scores = []
    for seed in (0, 0, 1):
        evaluator, variables = evaluator_and_weights(**sets, **{'eval.seed': seed})
        scores.append(evaluator(zero(variables), 0).rows[0]['psnr_input'])
    assert scores[0] == scores[1] != scores[2]


def test_several_sets_and_noises_make_a_row_each(image_folder):
    evaluator, variables = evaluator_and_weights(
        **{'eval.sets': f'a=folder:{image_folder},b=folder:{image_folder}',
           'eval.noise': 'gaussian:25,bernoulli:0.5', 'eval.max_images': 1}
    )  # fmt: skip
    rows = evaluator(variables, 0).rows
    assert [(row['set'], row['noise'], row['n']) for row in rows] == [
        ('a', 'gaussian:25', 1), ('a', 'bernoulli:0.5', 1),
        ('b', 'gaussian:25', 1), ('b', 'bernoulli:0.5', 1),
    ]  # fmt: skip


def test_images_too_small_for_the_score_are_named_at_once(tmp_path):
    io.write_pixels(tmp_path / 'dot.png', np.zeros((1, 30), np.uint8))
    with pytest.raises(UserError, match='dot.png of the evaluation set .* is 30x1'):
        evaluator_and_weights(**{'eval.sets': f'folder:{tmp_path}'})


def test_evaluating_a_folder_without_a_run_says_so(tmp_path):
    config = dataclasses.replace(tiny_config())
    with pytest.raises(UserError, match='no such folder'):
        evaluate.evaluate_checkpoint(config, tmp_path / 'nothing')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='no whole checkpoint'):
        evaluate.evaluate_checkpoint(config, tmp_path / 'empty')

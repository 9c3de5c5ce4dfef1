"""The protocol: fixed noise, any batch, hand-computed scores."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny import first_variables, tiny_config

from n2n_jax import corruptions
from n2n_jax.evaluate import follow, protocol_text, with_clean
from n2n_jax.evaluate.metrics import bootstrap_interval
from n2n_jax.evaluate.report import Report, origin, record, summary
from n2n_jax.images import image_io
from n2n_jax.models.weights import weights_hash
from n2n_jax.runtime import result_rows
from n2n_jax.runtime.config import CapturesConfig, Config, ModelConfig
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import make_layout
from n2n_jax.runtime.workdir import Workdir


def evaluator_and_weights(**changes):
    config = tiny_config(**{'eval.max_images': 0, 'model.residual': True, **changes})
    layout = make_layout(8)
    variables = first_variables(config.model)
    return with_clean.Evaluator(config, layout), variables


def zero(variables):
    return jax.tree.map(np.zeros_like, variables)


def test_an_identity_network_scores_the_noise(image_folder):
    sets = {'eval.sets': f'folder:{image_folder}'}
    evaluator, variables = evaluator_and_weights(**sets)
    (row,) = evaluator(zero(variables), 3).rows
    want = -20 * np.log10(25 / 255)
    assert row['metrics']['psnr']['in'] == pytest.approx(want, abs=0.15)
    assert row['metrics']['mse']['in'] == pytest.approx((25 / 255) ** 2, rel=0.04)
    assert (
        row['metrics']['psnr']['out'] > row['metrics']['psnr']['in']
    )  # the output is clamped, the noisy input is not
    assert row['metrics']['psnr_float']['out'] == pytest.approx(
        row['metrics']['psnr']['out'], abs=0.05
    )
    assert (row['step'], row['n'], row['seed'], row['noise']) == (3, 5, 0, 'gaussian:25')
    for word in ('RGB', 'not clipped', '8 bits', 'seed 0', 'bootstrap'):
        assert word in row['protocol']


def test_the_clean_image_scores_as_good_as_rounding_allows(image_folder):
    evaluator, variables = evaluator_and_weights(
        **{'eval.sets': f'folder:{image_folder}', 'eval.noise': 'gaussian:0'}
    )
    (row,) = evaluator(zero(variables), 0).rows
    assert row['metrics']['psnr']['out'] > 100
    assert row['metrics']['psnr_float']['out'] > 100
    assert row['metrics']['ssim']['out'] == pytest.approx(1, abs=1e-5)


def test_scores_do_not_depend_on_batch_order_or_model(image_folder):
    sets = {'eval.sets': f'folder:{image_folder}', 'eval.replicas': 3}
    reports = []
    for batch_size in (1, 8):
        evaluator, variables = evaluator_and_weights(**sets, **{'eval.batch_size': batch_size})
        evaluator(zero(variables), 0)  # another model first changes nothing
        reports.append(evaluator(variables, 0))
    one, eight = reports
    assert (one.rows[0]['n'], one.rows[0]['replicas'], len(one.images[0])) == (5, 3, 15)
    per_image = (
        np.array([image['metrics']['psnr']['out'] for image in one.images[0]])
        .reshape(5, 3)
        .mean(axis=1)
    )
    assert one.rows[0]['ci95'] == pytest.approx(bootstrap_interval(per_image))
    for a, b in zip(one.images[0], eight.images[0], strict=True):
        assert (a['image'], a['replica']) == (b['image'], b['replica'])
        assert a['metrics']['psnr']['out'] == pytest.approx(b['metrics']['psnr']['out'], abs=1e-3)
        assert a['metrics']['psnr']['in'] == pytest.approx(b['metrics']['psnr']['in'], abs=1e-4)
    noises = {image['metrics']['psnr']['in'] for image in one.images[0]}
    assert len(noises) == 15  # every replica has noise of its own


def test_a_set_has_as_many_noisy_versions_as_it_asks_for(image_folder):
    evaluator, variables = evaluator_and_weights(
        **{
            'eval.sets': f'two*2=folder:{image_folder},one=folder:{image_folder}',
            'eval.max_images': 2,
        }
    )
    two, one = evaluator(zero(variables), 0).rows
    assert (two['replicas'], one['replicas']) == (2, 1)
    assert '2 noisy version(s)' in two['protocol']
    assert '1 noisy version(s)' in one['protocol']
    assert two['metrics']['psnr']['in'] != one['metrics']['psnr']['in']
    # The first versions are the same noise.
    first = [
        [image['metrics']['psnr']['in'] for image in images if image['replica'] == 0]
        for images in evaluator(zero(variables), 0).images
    ]
    assert first[0] == first[1]


def test_the_mean_is_over_images_in_db(image_folder):
    evaluator, variables = evaluator_and_weights(**{'eval.sets': f'folder:{image_folder}'})
    report = evaluator(variables, 0)
    want = np.mean([image['metrics']['psnr']['out'] for image in report.images[0]])
    assert report.rows[0]['metrics']['psnr']['out'] == pytest.approx(want)


def test_another_evaluation_seed_is_another_noise(image_folder):
    sets = {'eval.sets': f'folder:{image_folder}'}
    scores = []
    for seed in (0, 0, 1):
        evaluator, variables = evaluator_and_weights(**sets, **{'eval.seed': seed})
        scores.append(evaluator(zero(variables), 0).rows[0]['metrics']['psnr']['in'])
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
    image_io.write_pixels(tmp_path / 'dot.png', np.zeros((1, 30), np.uint8))
    with pytest.raises(UserError, match='dot.png of the evaluation set .* is 30x1'):
        evaluator_and_weights(**{'eval.sets': f'folder:{tmp_path}'})


def test_evaluating_a_folder_without_a_run_says_so(tmp_path):
    config = dataclasses.replace(tiny_config())
    with pytest.raises(UserError, match='no such folder'):
        follow.evaluate_checkpoint(config, tmp_path / 'nothing')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='no complete checkpoint'):
        follow.evaluate_checkpoint(config, tmp_path / 'empty')


def on_one_device(**changes):
    """An evaluator that is compiled in seconds, and weights that change nothing."""
    config = tiny_config(**{'eval.max_images': 0, 'model.residual': True, **changes})
    variables = zero(first_variables(config.model))
    layout = make_layout(8, devices=jax.devices()[:1])
    return with_clean.Evaluator(config, layout), variables, config


@pytest.fixture
def one_image_in_two_sets(tmp_path):
    """The same pixels as 01.png of one folder and as sub/kodim01.tif of another."""
    rng = np.random.default_rng(3)
    pixels_HWC = rng.integers(0, 256, (24, 28, 3), np.uint8)
    (tmp_path / 'b' / 'sub').mkdir(parents=True)
    (tmp_path / 'a').mkdir()
    image_io.write_pixels(tmp_path / 'a' / '01.png', pixels_HWC)
    image_io.write_pixels(tmp_path / 'b' / 'sub' / 'kodim01.tif', pixels_HWC)
    return f'a=folder:{tmp_path / "a"},b=folder:{tmp_path / "b"}'


def test_an_image_has_the_same_noise_whatever_it_is_called(one_image_in_two_sets):
    evaluator, variables, _ = on_one_device(**{'eval.sets': one_image_in_two_sets})
    report = evaluator(variables, 0)
    (a,), (b,) = report.images
    assert (a['image'], b['image']) == ('01.png', 'sub/kodim01.tif')
    assert a['sha256'] == b['sha256']
    assert a['metrics']['psnr']['in'] == b['metrics']['psnr']['in']
    assert a['metrics']['psnr']['out'] == b['metrics']['psnr']['out']
    rows = report.rows
    assert rows[0]['images_sha256'] == rows[1]['images_sha256']
    assert rows[0]['id'] != rows[1]['id']  # another set is another row
    assert rows[0]['metrics']['psnr']['in'] == pytest.approx(20.0990, abs=1e-3)  # golden


def test_another_pixel_is_another_noise(tmp_path):
    pixels_HWC = np.full((24, 28, 3), 128, np.uint8)
    image_io.write_pixels(tmp_path / 'a.png', pixels_HWC)
    pixels_HWC[0, 0] = 129
    image_io.write_pixels(tmp_path / 'b.png', pixels_HWC)
    evaluator, variables, _ = on_one_device(**{'eval.sets': f'folder:{tmp_path}'})
    (images,) = evaluator(variables, 0).images
    assert images[0]['metrics']['psnr']['in'] != pytest.approx(
        images[1]['metrics']['psnr']['in'], abs=1e-4
    )


@pytest.mark.parametrize(
    ('spec', 'words'),
    [
        ('gaussian:25', 'noise not clipped nor rounded'),
        ('poisson:30', 'noise not clipped nor rounded'),
        ('gaussian:25+clip', 'noise of gaussian:25+clip: clipped to [0, 1] by clip'),
        ('gaussian:25+quantize:8', 'clipped to [0, 1] and rounded to 8 bits by quantize'),
        ('quantize:4-8', 'rounded to 4 to 8 bits by quantize'),
        ('gaussian:9+poisson:30', 'below 0 set to 0 ahead of poisson'),
        ('clip+gaussian:5+quantize:8', 'by clip, then clipped to [0, 1] and rounded to 8 bits by'),
    ],
)
def test_the_protocol_says_what_was_done_to_the_noise(spec, words):
    text = protocol_text.in_words(
        tiny_config().eval, ModelConfig(), corruptions.parse(spec), replicas=1
    )
    assert words in text
    assert ('not clipped nor rounded' in text) == ('not clipped nor rounded' in words)


def test_every_stage_that_cuts_values_says_so():
    noisy_HWC = np.linspace(-0.5, 1.5, 300, dtype=np.float32).reshape(10, 10, 3)
    for name in ('clip', 'quantize:8', 'gaussian:1'):
        (stage,) = corruptions.parse(name).stages
        image_HWC, _ = stage.corruption.sample_image(jax.random.key(0), noisy_HWC, stage.low)
        cuts = bool(image_HWC.min() >= 0 and image_HWC.max() <= 1)
        assert cuts == bool(stage.corruption.cuts), name


def test_the_same_noise_twice_is_refused(image_folder):
    sets = {'eval.sets': f'folder:{image_folder}'}
    with_option = 'brown:5, bandwidth=2.0, gaussian:1, brown:5'  # 2 is the default
    for twice in ('gaussian:25,gaussian:25', 'poisson:3, poisson:3.0', with_option):
        with pytest.raises(UserError, match='twice: list it once'):
            on_one_device(**sets, **{'eval.noise': twice})


def test_an_exact_image_leaves_json_that_every_program_reads(tmp_path):
    image_io.write_pixels(tmp_path / 'black.png', np.zeros((16, 16, 3), np.uint8))
    evaluator, variables, config = on_one_device(
        **{'eval.sets': f'folder:{tmp_path}', 'eval.noise': 'clip'}
    )
    report = evaluator(variables, 2)
    workdir = Workdir(tmp_path / 'run')
    record(report, 2, workdir, origin(config, variables))
    files = sorted((tmp_path / 'run').rglob('*.json'))
    assert len(files) == 2
    for file in files:
        json.loads(file.read_text(), parse_constant=pytest.fail)
    (row,) = workdir.rows()
    assert row['metrics']['psnr']['out'] == np.inf
    (written,) = json.loads((tmp_path / 'run' / 'results.json').read_text())
    assert written['metrics']['psnr'] | {'in': 0} == {
        'in': 0, 'out': None, 'not_finite': {'in': 'Infinity', 'out': 'Infinity'}
    }  # fmt: skip
    assert '**exact**' in (tmp_path / 'run' / 'results.md').read_text()


def test_a_row_says_which_weights_of_which_run_were_scored_and_how_long_it_took(tmp_path):
    image_io.write_pixels(tmp_path / 'x.png', np.zeros((16, 16, 3), np.uint8))
    evaluator, variables, config = on_one_device(
        **{'eval.sets': f'folder:{tmp_path}', 'seed': 7, 'eval.seed': 3}
    )
    workdir = Workdir(tmp_path / 'run')
    record(evaluator(variables, 2), 2, workdir, origin(config, variables))
    (row,) = workdir.rows()
    assert (row['training_seed'], row['seed'], row['n']) == (7, 3, 1)
    assert row['device'] == f'{jax.device_count()} x cpu'
    assert len(row['config_sha256']) == len(row['weights_sha256']) == 64
    assert row['weights_sha256'] == weights_hash(variables)
    scores = json.loads(workdir.scores_file(row).read_text())
    assert scores['seconds'] > 0
    assert scores['images'][0]['image'] == 'x.png'


def test_an_evaluation_that_is_there_is_known(tmp_path):
    image_io.write_pixels(tmp_path / 'a.png', np.full((16, 16, 3), 90, np.uint8))
    evaluator, variables, _ = on_one_device(**{'eval.sets': f'folder:{tmp_path}'})
    rows = evaluator(variables, 2).rows
    assert evaluator.has_scored(rows, 2)
    assert not evaluator.has_scored(rows, 4)
    assert not evaluator.has_scored([{**rows[0], 'id': 'of other images or protocol'}], 2)
    assert not evaluator.has_scored([], 2)


def test_a_row_of_an_early_version_is_known_until_more_metrics_are_asked_for(tmp_path):
    image_io.write_pixels(tmp_path / 'a.png', np.full((16, 16, 3), 90, np.uint8))
    sets = {'eval.sets': f'folder:{tmp_path}'}
    evaluator, variables, _ = on_one_device(**sets, **{'eval.metrics': 'ssim'})
    report = evaluator(variables, 2)
    (row,) = report.rows
    assert list(row['metrics']) == list(report.images[0][0]['metrics']) == ['psnr', 'ssim']
    early = {key: value for key, value in row.items() if key != 'metrics'}
    for name, score in row['metrics'].items():
        early |= {name: score['out'], f'{name}_input': score['in']}
    rows = [result_rows.upgraded(early)]
    assert evaluator.has_scored(rows, 2)
    more, _, _ = on_one_device(**sets, **{'eval.metrics': 'ssim,mse'})
    assert not more.has_scored(rows, 2)
    (replaced,) = result_rows.merged(rows, more(variables, 2).rows)  # it is the same evaluation
    assert 'mse' in replaced['metrics']


def test_the_identity_of_an_evaluation_is_that_of_earlier_versions(tmp_path):
    image_io.write_pixels(tmp_path / 'a.png', np.full((16, 16, 3), 90, np.uint8))
    evaluator, variables, _ = on_one_device(**{'eval.sets': f'a=folder:{tmp_path}'})
    (row,) = evaluator(variables, 2).rows
    assert row['id'] == 'bd92db148d43'  # golden
    assert summary(Report([row], [], {})).startswith('step 2: a, gaussian:25: PSNR ')


@pytest.mark.parametrize(
    ('names', 'words'),
    [
        ('psnr,sim', "Unknown eval.metrics 'sim'.*ssim"),
        ('ssim,ssim', 'lists ssim twice'),
        ('lpips,lpips:alex', 'lists lpips:alex twice'),
        ('lpips:vgg', 'choose from alex, squeeze'),
        ('ssim:5', "'ssim' takes no options"),
        ('psnr,,ssim', "Unknown eval.metrics ''"),
    ],
)
def test_metrics_that_are_not_there_are_named(names, words, image_folder):
    with pytest.raises(UserError, match=words):
        on_one_device(**{'eval.sets': f'folder:{image_folder}', 'eval.metrics': names})


def test_the_command_that_scores_a_run_on_captures_can_be_pasted():
    captures = CapturesConfig(paths='my cells', pattern='{scene}_{capture}', fix='gain')
    with pytest.raises(UserError) as raised:
        follow.check_has_clean_images(Config(captures=captures), Path('my run'))
    assert str(raised.value).endswith(
        "run n2n score 'my cells' --model 'my run' --pattern '{scene}_{capture}' --fix gain "
        '--held-out'
    )


def guided_set(folder):
    """A set whose plane 'depth' is the gray image itself, without noise."""
    rng = np.random.default_rng(0)
    for name in ('rgb', 'depth'):
        (folder / name).mkdir()
    for name in ('a', 'b'):
        gray_HW = rng.integers(50, 200, (4, 4), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        image_io.write_pixels(folder / 'depth' / f'{name}.png', gray_HW)
        image_io.write_pixels(folder / 'rgb' / f'{name}.png', np.stack([gray_HW] * 3, axis=-1))
    return f'guided:{folder / "rgb"},depth={folder / "depth"}'


def test_the_network_is_shown_the_planes_of_the_set_and_the_estimated_level(tmp_path):
    seen = []
    config = tiny_config(
        **{
            'eval.sets': guided_set(tmp_path),
            'model.planes': 'depth:1',
            'model.noise_map': True,
            'eval.max_images': 0,
        }
    )

    def plane(noisy_BHWI, corruptor):
        seen.append(np.asarray(noisy_BHWI))
        return noisy_BHWI[..., 3:4].repeat(3, axis=-1)

    evaluator = with_clean.Evaluator(config, make_layout(8))
    (row,) = evaluator.score(plane, 0, draw_pictures=False).rows
    assert row['metrics']['psnr']['out'] > 100
    assert row['metrics']['psnr']['in'] == pytest.approx(20.17, abs=0.3)
    np.testing.assert_allclose(seen[0][..., 4], 25 / 255, rtol=0.1)
    assert row['protocol'].endswith(
        '; shown the planes depth:1; noise level estimated from each noisy image'
    )


def test_a_plane_that_an_evaluation_set_lacks_is_named(image_folder):
    with pytest.raises(UserError, match=r"plane 'depth', which the evaluation set few lacks"):
        evaluator_and_weights(
            **{'eval.sets': f'few=folder:{image_folder}', 'model.planes': 'depth:1'}
        )

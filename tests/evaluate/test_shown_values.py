"""Pictures of an evaluation show what captures hold, whatever the range of the network."""

import numpy as np
import pytest
from PIL import Image
from tiny import first_variables

from n2n_jax.captures import network_range
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.evaluate.held_out_captures import CaptureEvaluator
from n2n_jax.evaluate.held_out_single_images import SingleImageEvaluator
from n2n_jax.evaluate.shown_values import ShownValues
from n2n_jax.runtime.config import Config, ModelConfig


@pytest.fixture(scope='module')
def dim():
    """A model and a scene of 8-bit counts of 0 to 12."""
    rows, columns = np.mgrid[:64, :64]
    light = (3 + 2 * np.sin(columns / 9) * np.cos(rows / 7))[..., None]
    counts = np.random.default_rng(0).poisson(light, (3, 64, 64, 1)).astype(np.uint8)
    scene = SceneCaptures('s', counts)
    model = network_range.resolve(Config(model=ModelConfig(name='tiny')), [scene]).model
    assert model.white == 255
    return model, network_range.to_network_range(scene, model)


@pytest.mark.parametrize('evaluator', [CaptureEvaluator, SingleImageEvaluator])
def test_pictures_of_a_few_photons_are_no_black_pages(dim, evaluator, tmp_path):
    model, scene = dim
    variables = first_variables(model)
    (picture,) = evaluator(model, [scene])(variables, 1).triptychs.values()
    Image.fromarray(picture).save(tmp_path / 'picture.png')
    noisy = picture[22 : 22 + 64 * 3, 6 : 6 + 64 * 3].astype(float)
    assert 60 < noisy.mean() < 190
    assert noisy.std() > 40


def test_a_difference_is_shown_in_units_of_the_noise(dim):
    model, scene = dim
    a, b = scene.captures_NHWC[:2]
    shown = ShownValues.of(model).difference(a, b)
    assert shown.std() == pytest.approx(np.sqrt(2) / 6, rel=0.1)
    assert abs(shown.mean() - 0.5) < 0.02
    # Of a range that says nothing, by what the difference itself is.
    for noise in ('', 'none'):
        shown = ShownValues.of(ModelConfig(name='tiny', noise=noise)).difference(a, b)
        assert shown.std() == pytest.approx(1 / 6)

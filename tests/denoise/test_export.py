"""Exported networks, run by ONNX Runtime and by JAX alone."""

import dataclasses
import gc
import io
import json
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from bioimageio.spec import InvalidDescr, load_description
from command_line import n2n
from flax import linen as nn
from random_variables import random_variables
from small_networks import every_network
from tiny import TinyNet, tiny_config

from n2n_jax import models
from n2n_jax.denoise import export
from n2n_jax.denoise.denoiser import Denoiser
from n2n_jax.denoise.export import onnx_check, onnx_file
from n2n_jax.denoise.export.program import Program
from n2n_jax.runtime.config import ModelConfig
from n2n_jax.runtime.errors import UserError
from n2n_jax.train import loop


def denoiser_of(name='tiny', **settings):
    config = ModelConfig(name=name, **settings)
    return Denoiser(config, random_variables(config), step=7)


def noisy(height, width, channels=3, seed=0):
    drawn = np.random.default_rng(seed).normal(0.5, 0.2, (height, width, channels))
    return drawn.astype(np.float32)


def by_onnx(content, noisy_HWC, **beside):
    session = onnxruntime.InferenceSession(content)
    (denoised_BCHW,) = session.run(None, {'image': noisy_HWC.transpose(2, 0, 1)[None], **beside})
    return denoised_BCHW[0].transpose(1, 2, 0)


def onnx_of(denoiser):
    return onnx_file.model(Program.of(denoiser)).SerializeToString()


# --- ONNX -----------------------------------------------------------------------------------------


@every_network('unet', 'dncnn')
def test_onnx_runtime_gives_the_same_image(name):
    denoiser = denoiser_of(name, residual=False)
    content = onnx_of(denoiser)
    least = Program.of(denoiser).minimum
    for height, width in ((least + 3, least + 45), (2 * least, least)):
        image_HWC = noisy(height, width)
        expected_HWC = denoiser.denoise(image_HWC)
        assert np.abs(expected_HWC - image_HWC).max() > 0.1
        found_HWC = by_onnx(content, image_HWC)
        tolerance = 1e-5 * np.abs(expected_HWC).max()
        np.testing.assert_allclose(found_HWC, expected_HWC, atol=tolerance, rtol=0)


def test_several_images_at_once_are_denoised_as_each():
    content = onnx_of(denoiser_of())
    images_BCHW = np.stack([noisy(21, 30, seed=seed).transpose(2, 0, 1) for seed in range(3)])
    (found_BCHW,) = onnxruntime.InferenceSession(content).run(None, {'image': images_BCHW})
    for image_CHW, found_CHW in zip(images_BCHW, found_BCHW, strict=True):
        single_HWC = by_onnx(content, image_CHW.transpose(1, 2, 0))
        np.testing.assert_allclose(found_CHW.transpose(1, 2, 0), single_HWC, atol=1e-6)


def test_convolutions_follow_each_other_without_a_change_of_layout():
    model = onnx_file.model(Program.of(denoiser_of('unet')))
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count('Conv') == 18
    assert kinds.count('ReduceMax') == 5
    assert 'Transpose' not in kinds
    used = {name for node in model.graph.node for name in node.input}
    assert {constant.name for constant in model.graph.initializer} <= used


def test_values_are_those_of_the_captures():
    units = {'black': 100.0, 'white': 900.0, 'noise': '0.05', 'center': '0.4', 'contrast': '0.2'}
    denoiser = denoiser_of(channels=1, **units)
    counts_HWC = (100 + 800 * noisy(33, 40, 1)).astype(np.float32)
    found_HWC = by_onnx(onnx_of(denoiser), counts_HWC)
    np.testing.assert_allclose(found_HWC, denoiser(counts_HWC), atol=0.01)
    assert np.abs(found_HWC - counts_HWC).max() > 10


def test_a_model_of_bfloat16_computes_in_float32(tmp_path):
    config = ModelConfig(name='dncnn:depth=4,width=8', dtype='bfloat16')
    denoiser = Denoiser(config, random_variables(config), step=7)
    content = export.export(denoiser, tmp_path / 'model.onnx').files[0].read_bytes()
    exact = dataclasses.replace(denoiser, config=dataclasses.replace(config, dtype='float32'))
    found_HWC, image_HWC = by_onnx(content, noisy(14, 17)), noisy(14, 17)
    np.testing.assert_allclose(found_HWC, exact.denoise(image_HWC), atol=1e-5)
    assert np.abs(found_HWC - denoiser.denoise(image_HWC)).max() > 1e-4


def test_planes_and_the_noise_level_are_inputs_beside_the_image():
    denoiser = denoiser_of(planes='depth:1,normal:3', noise_map=True, black=0.0, white=200.0)
    image_HWC = 200 * noisy(22, 26)
    depth_HW1, normal_HW3 = noisy(22, 26, 1, seed=1), noisy(22, 26, 3, seed=2)
    expected_HWC = denoiser(
        image_HWC, planes={'depth': depth_HW1, 'normal': normal_HW3}, noise_level=14.0
    )
    found_HWC = by_onnx(
        onnx_of(denoiser),
        image_HWC,
        depth=depth_HW1.transpose(2, 0, 1)[None],
        normal=normal_HW3.transpose(2, 0, 1)[None],
        noise_level=np.array([14.0], np.float32),
    )
    np.testing.assert_allclose(found_HWC, expected_HWC, atol=2e-3)


def test_the_file_says_how_to_use_it(tmp_path):
    file = tmp_path / 'model.onnx'
    denoiser = denoiser_of(channels=1, constants='nan', black=0.0, white=50.0, noise_map=True)
    exported = export.export(denoiser, file)
    model = onnx.load(file)
    facts = {prop.key: prop.value for prop in model.metadata_props}
    assert json.loads(facts['value_range']) == [0, 50]
    assert (facts['network'], facts['stride'], facts['halo']) == ('tiny', '4', '4')
    assert model.doc_string == facts['text'] == exported.text
    for words in ('roughly 0 to 50', "'noise_level' is", '(nan) must be filled', 'overlap by 4'):
        assert words in exported.text
    assert 'ONNX Runtime gives the same image, to' in exported.checked


def test_another_networks_file_is_not_taken_for_the_same():
    with pytest.raises(UserError, match='denoises with this file differently, by up to'):
        onnx_check.compared(denoiser_of(), onnx_of(denoiser_of(residual=False)))


class Sorting(nn.Module):
    out_channels: int
    stride = 1

    @nn.compact
    def __call__(self, x_BHWC, *, train=False):
        del train
        return jnp.sort(nn.Conv(self.out_channels, (3, 3))(x_BHWC), axis=-1)


def test_a_network_without_an_onnx_form_is_named_with_the_operation(monkeypatch, tmp_path):
    monkeypatch.setitem(models.REGISTRY, 'sorting', Sorting)
    with pytest.raises(UserError, match=r'model.name=sorting .*the operation sort .*\.stablehlo'):
        export.export(denoiser_of('sorting'), tmp_path / 'model.onnx')
    assert not list(tmp_path.iterdir())
    assert export.export(denoiser_of('sorting'), tmp_path / 'model.stablehlo').files


class Asking(nn.Module):
    out_channels: int
    stride = 1

    @nn.compact
    def __call__(self, x_BHWC, *, train=False):
        del train
        return nn.Conv(self.out_channels, (3, 3) if x_BHWC.shape[1] > 64 else (1, 1))(x_BHWC)


@pytest.mark.parametrize('suffix', ['onnx', 'stablehlo'])
def test_a_network_that_depends_on_the_size_is_refused(monkeypatch, tmp_path, suffix):
    monkeypatch.setitem(models.REGISTRY, 'asking', Asking)
    with pytest.raises(UserError, match='model.name=asking cannot be exported for images of any'):
        export.export(denoiser_of('asking'), tmp_path / f'model.{suffix}')
    assert not list(tmp_path.iterdir())


# --- StableHLO ------------------------------------------------------------------------------------


@every_network('dncnn')
def test_jax_alone_gives_the_same_image(name, tmp_path):
    denoiser = denoiser_of(name)
    program = Program.of(denoiser)
    file, facts = export.export(denoiser, tmp_path / 'model.stablehlo').files
    loaded = jax.export.deserialize(bytearray(file.read_bytes()))
    assert {'cpu', 'cuda', 'tpu'} <= set(loaded.platforms)
    assert json.loads(facts.read_text())['stride'] == program.geometry.stride
    image_HWC = noisy(program.minimum, program.minimum + program.geometry.stride)
    expected_HWC = denoiser.denoise(image_HWC)
    tolerance = 1e-5 * np.abs(expected_HWC).max()
    found_HWC = np.asarray(loaded.call(image_HWC[None]))[0]
    np.testing.assert_allclose(found_HWC, expected_HWC, atol=tolerance, rtol=0)


def test_a_size_that_does_not_suit_is_an_error(tmp_path):
    file, _ = export.export(denoiser_of(), tmp_path / 'model.stablehlo').files
    loaded = jax.export.deserialize(bytearray(file.read_bytes()))
    with pytest.raises(ValueError, match='Division had remainder 2'):
        loaded.call(noisy(18, 20)[None])


# --- bioimage.io ----------------------------------------------------------------------------------


@pytest.mark.filterwarnings('ignore::ResourceWarning')  # of load_description itself
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_a_package_is_valid_and_holds_an_image_before_and_after(tmp_path):
    file = tmp_path / 'model.zip'
    denoiser = denoiser_of(planes='depth:1', noise_map=True)
    exported = export.export(denoiser, file, authors=['Ada', 'Grace'], license='MIT')
    assert exported.files == [file]
    assert 'export it with' not in exported.text
    model = load_description(file, perform_io_checks=True)
    assert not isinstance(model, InvalidDescr), model.validation_summary
    assert [author.name for author in model.authors] == ['Ada', 'Grace']
    assert model.license == 'MIT'
    assert [one.id for one in model.inputs] == ['image', 'depth', 'noise_level']
    assert {axis.id: axis.halo for axis in model.outputs[0].axes[2:]} == {'y': 4, 'x': 4}
    with zipfile.ZipFile(file) as package:
        given = {one.id: np.load(io.BytesIO(package.read(f'{one.id}.npy'))) for one in model.inputs}
        expected_BCHW = np.load(io.BytesIO(package.read('denoised.npy')))
        session = onnxruntime.InferenceSession(package.read('weights.onnx'))
    assert given['image'].shape[2:] == (16, 12)  # at least twice the halo, multiples of the stride
    np.testing.assert_allclose(session.run(None, given)[0], expected_BCHW, atol=1e-6)
    del model
    gc.collect()  # while its warnings are ignored


def test_a_package_needs_a_license_that_exists_and_says_what_the_zoo_asks_for(tmp_path):
    file = tmp_path / 'model.zip'
    with pytest.raises(UserError, match=r"'MIT2' is no license of spdx.org/licenses"):
        export.export(denoiser_of(), file, license='MIT2')
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="'A/B' is no name of an author"):
        export.export(denoiser_of(), file, authors=['A/B'])
    assert 'with --author and --license.' in export.export(denoiser_of(), file).text
    with pytest.raises(UserError, match=r'model.onnx holds no authors'):
        export.export(denoiser_of(), tmp_path / 'model.onnx', authors=['Ada'])


# --- The command ----------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('run')
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.REGISTRY, 'tiny', TinyNet)
        loop.train(tiny_config(**{'train.steps': 1, 'eval.every': 0}), folder)
    return folder


def test_the_command_prints_what_it_wrote_and_overwrites_nothing(run_folder, tmp_path, capsys):
    file = tmp_path / 'new' / 'model.onnx'
    assert n2n('export', run_folder, '-o', file) == 0
    said = capsys.readouterr().err
    assert 'ONNX Runtime gives the same image' in said
    assert said.splitlines()[-1] == str(file)
    image_HWC = noisy(19, 23)
    expected_HWC = Denoiser.load(run_folder).denoise(image_HWC)
    np.testing.assert_allclose(by_onnx(file.read_bytes(), image_HWC), expected_HWC, atol=1e-5)
    assert n2n('export', run_folder, '-o', file) == 2
    assert f'{file} exists: choose another -o' in capsys.readouterr().err
    facts = tmp_path / 'model.stablehlo.json'
    facts.write_text('of another program')
    assert n2n('export', run_folder, '-o', tmp_path / 'model.stablehlo') == 2
    assert f'{facts} exists: choose another -o' in capsys.readouterr().err
    assert facts.read_text() == 'of another program'
    assert not (tmp_path / 'model.stablehlo').exists()
    assert n2n('export', run_folder, '-o', tmp_path / 'model.pt') == 2
    assert 'end it in .safetensors, .onnx, .stablehlo or .zip' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('package', 'file', 'extra'),
    [
        ('onnx', 'model.onnx', 'onnx'),
        ('bioimageio.spec', 'model.zip', 'bioimage'),
        ('onnxruntime', 'model.zip', 'onnx'),
    ],
)
def test_without_its_package_the_command_says_what_to_install(
    run_folder, tmp_path, monkeypatch, capsys, package, file, extra
):
    monkeypatch.setitem(sys.modules, package, None)
    assert n2n('export', run_folder, '-o', tmp_path / file) == 2
    assert f'pip install "n2n_jax[{extra}]"' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_onnx_is_written_without_onnx_runtime_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    exported = export.export(denoiser_of(), tmp_path / 'model.onnx')
    assert exported.checked == 'Not compared with the model, as onnxruntime is not installed.'
    onnx.checker.check_model(str(tmp_path / 'model.onnx'))

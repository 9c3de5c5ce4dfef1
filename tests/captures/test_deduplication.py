"""N captures, H height, W width, C channels."""

import numpy as np
import tifffile
from noisy_photograph import noisy
from PIL import Image

from n2n_jax.captures import deduplication, loading
from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.runtime.config import CapturesConfig


def test_the_jpeg_beside_a_tiff_is_not_trained_on(scene_HWC, tmp_path):
    for k in (1, 2, 3):
        image = np.rint(noisy(0.5 * scene_HWC + 50, k)).clip(0, 255).astype(np.uint8)
        tifffile.imwrite(tmp_path / f'cell_{k}.tif', image[..., 0])
        Image.fromarray(image[..., 0]).save(tmp_path / f'cell_{k}.jpg', quality=92)
    loaded = loading.load(CapturesConfig(paths=str(tmp_path)))
    (scene,) = loaded.raw
    kept_NHWC = [tifffile.imread(tmp_path / f'cell_{k}.tif')[..., None] for k in (1, 2, 3)]
    np.testing.assert_array_equal(scene.captures_NHWC, kept_NHWC)
    assert loaded.notes == [
        f'Not used: {tmp_path}/cell_{k}.jpg is nearly the same image as {tmp_path}/cell_{k}.tif.'
        for k in (1, 2, 3)
    ]


def test_two_captures_that_hardly_differ_are_kept_with_a_warning(scene_HWC):
    image = scene_HWC.astype(np.uint8)
    scene = SceneCaptures('cat', np.stack([image, image ^ 1]))
    found, (warning,) = deduplication.find_near_copies([scene])
    assert not found
    assert 'All captures of cat are nearly the same image' in warning

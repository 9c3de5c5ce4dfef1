"""Which part of what is held out is evaluated."""

import dataclasses

import numpy as np
import pytest
from tiny import tiny_config

from n2n_jax.captures.scene_captures import SceneCaptures
from n2n_jax.evaluate import evaluated_regions


def scenes(*sizes, num=3):
    return [
        SceneCaptures(f's{i}', np.zeros((num, h, w, 1), np.uint8)) for i, (h, w) in enumerate(sizes)
    ]


def config_of(area, seed=0):
    config = tiny_config()
    return dataclasses.replace(
        config, eval=dataclasses.replace(config.eval, captures_area=area, seed=seed)
    )


def names(found):
    return [scene.name for scene in found]


def test_small_scenes_are_evaluated_whole_and_all_of_them_where_there_is_room():
    held_out = scenes((48, 10), (200, 300), (512, 512))
    assert evaluated_regions.choose(held_out, config_of(0)) == held_out
    found = evaluated_regions.choose(held_out, config_of(10**7))
    assert names(found) == ['s0', 's1', 's2']


def test_of_large_captures_an_area_is_evaluated_that_lies_apart():
    held_out = scenes((2736, 730), (2736, 730))
    found = evaluated_regions.choose(held_out, config_of(10**6))
    assert 0.7 * 10**6 < sum(map(evaluated_regions.pixels, found)) <= 10**6
    assert len({scene.captures_NHWC.shape for scene in found}) == 1  # one program for all
    assert len(set(names(found))) == len(found)
    of_scenes = [name.split()[0] for name in names(found)]
    assert abs(of_scenes.count('s0') - of_scenes.count('s1')) <= 1
    # Large enough for a network that looks 128 pixels far.
    assert min(found[0].captures_NHWC.shape[1:3]) >= 240


def test_the_same_regions_every_time_and_further_ones_with_a_larger_area():
    held_out = scenes((1200, 900), (700, 900))
    first = names(evaluated_regions.choose(held_out, config_of(400_000)))
    assert names(evaluated_regions.choose(held_out, config_of(400_000))) == first
    more = names(evaluated_regions.choose(held_out, config_of(10**6)))
    assert set(first) < set(more)
    of_scenes = [name.split()[0] for name in more]
    assert of_scenes == sorted(of_scenes)  # as the user's scenes are
    assert len(more) > len(first)
    assert names(evaluated_regions.choose(held_out, config_of(10**6, seed=1))) != more


def test_all_regions_are_those_of_every_scene():
    held_out = scenes((1000, 800), (300, 200))
    found = evaluated_regions.in_order(held_out, config_of(1))
    seen = sum(map(evaluated_regions.pixels, found))
    assert seen == pytest.approx(3 * (1000 * 800 + 300 * 200), rel=0.01)
    assert len(evaluated_regions.choose(held_out, config_of(1))) == 1


def test_many_captures_of_a_large_scene_are_not_all_denoised():
    found = evaluated_regions.in_order(scenes((600, 600), num=50), config_of(1))
    assert {len(scene.captures_NHWC) for scene in found} == {4}


def test_no_part_is_evaluated_where_nothing_was_measured():
    held_out = scenes((1024, 1024), (1024, 1024))
    mask_HWC = np.zeros((1024, 1024, 1), bool)
    mask_HWC[512:, 512:] = True
    held_out = [dataclasses.replace(scene, measured_HWC=mask_HWC) for scene in held_out]
    found = evaluated_regions.in_order(held_out, config_of(10**6))
    assert len(found) == 8
    assert all(region.measured_HWC.all() for region in found)

"""What is trained on and what is held out."""

import numpy as np
import pytest

from n2n_jax.data.own_captures import SceneCaptures, split
from n2n_jax.errors import UserError


@pytest.mark.parametrize('num_scenes', [1, 19, 20, 25])
def test_holding_out_nearly_everything_is_refused_in_a_sentence(num_scenes):
    scenes = [SceneCaptures(f's{i}', np.zeros((2, 40, 40, 1))) for i in range(num_scenes)]
    with pytest.raises(UserError, match=f'held_out=0.99 of {num_scenes} scenes leaves nothing'):
        split(scenes, 0.99, crop=16)
    train, held = split(scenes, 0.2, crop=16)
    assert train
    assert held

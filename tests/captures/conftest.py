"""The scene of the tests of captures."""

import numpy as np
import pytest

from n2n_jax.data.sources import photos


@pytest.fixture(scope='module')
def scene_HWC():
    return photos.photos()['chelsea'][:200, :220, :1].astype(np.float64)

"""What is said of a loss that explodes and stays finite."""

import logging

import pytest
from tiny import tiny_config

from n2n_jax.train.divergence import LossWatch


@pytest.mark.parametrize(
    ('losses', 'warnings'),
    [
        ([0.02, 0.015, 0.014], 0),
        ([0.01, 0.1, 0.9], 0),  # the annealed L0
        ([0.02, 1300.0, 1e6, 0.02], 1),  # said once
        ([0.0, 1e-9, 1e-3], 0),
    ],
)
def test_a_loss_that_explodes_is_said_while_it_can_still_be_stopped(losses, warnings, caplog):
    watch = LossWatch()
    with caplog.at_level(logging.WARNING, 'n2n_jax'):
        for step, loss in enumerate(losses):
            watch.see(25 * step, loss, tiny_config(**{'optim.learning_rate': 0.004}))
    assert len(caplog.records) == warnings
    if warnings:
        assert '1.3e+03 at step 25, after 0.02' in caplog.text
        assert 'lower optim.learning_rate than 0.004' in caplog.text

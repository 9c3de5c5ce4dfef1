"""What a page says in words is what its intervals say."""

import math

import pytest
from tiny_table import tiny_table

from n2n_jax.bench.tables import findings
from n2n_jax.bench.tables.results import Result
from n2n_jax.bench.tables.statistics import Estimate
from n2n_jax.bench.tables.table import Arm


def estimate(low, high):
    ends = low, high
    return Estimate((low + high) / 2, ends, (math.nan, math.nan), ends, 1, 24)


def result(name, difference=None, *, noise='gaussian:25', image_set='kodak24', **others):
    return Result(
        arm=Arm(name, control='' if difference is None else 'control'),
        image_set=image_set,
        noise=noise,
        psnr=estimate(29, 31),
        psnr_in=20.0,
        seed_sd=math.nan,
        others={metric: estimate(*ends) for metric, ends in others.items()},
        difference=None if difference is None else estimate(*difference),
        other_differences={metric: estimate(*ends) for metric, ends in others.items()},
        p=math.nan,
        published=None,
        diverged=0,
        curve={},
        row={},
        best='',
        worst='',
    )


@pytest.mark.parametrize(
    ('difference', 'words'),
    [
        ((0.2, 0.6), 'better than control**: arm (+0.40, +0.20 to +0.60)'),
        ((-0.6, -0.2), 'worse than control**: arm (-0.40, -0.60 to -0.20)'),
        ((-0.1, 0.3), 'not told apart from control**: arm (+0.10, -0.10 to +0.30)'),
        # A difference that is surely there, and does not matter.
        ((0.01, 0.05), 'within 0.05 dB of control**: arm (+0.03, +0.01 to +0.05)'),
        ((-0.05, 0.05), 'within 0.05 dB of control**'),
    ],
)
def test_an_arm_is_called_what_its_interval_is(difference, words):
    text = findings.markdown(tiny_table(), [result('control'), result('arm', difference)])
    assert text.startswith('## What was found on kodak24\n\n* PSNR, dB, **')
    assert words in text
    assert text.count('**') == 2


def test_of_some_metrics_the_smaller_value_is_better():
    table = tiny_table(judged_by='lpips:alex')
    found = [result('control'), result('arm', (0.2, 0.6), **{'lpips:alex': (-0.03, -0.01)})]
    text = findings.markdown(table, found)
    assert '* LPIPS, **better than control**: arm (-0.0200, -0.0300 to -0.0100).' in text


def test_bias_is_told_by_its_sign():
    table = tiny_table(judged_by='bias')
    found = [
        result('dark', bias=(-3, -1)),
        result('bright', bias=(1, 3)),
        result('right', bias=(-1, 1)),
    ]
    lines = findings.markdown(table, found).splitlines()[2:]
    assert lines == [
        '* Bias, of 255, **below 0**: dark (-2.00, -3.00 to -1.00).',
        '* Bias, of 255, **above 0**: bright (+2.00, +1.00 to +3.00).',
        '* Bias, of 255, **not told from 0**: right (+0.00, -1.00 to +1.00).',
    ]


def test_only_the_first_set_is_told_of_and_noises_apart():
    found = [
        result('control'),
        result('arm', (0.2, 0.6)),
        result('arm', (0.3, 0.7), noise='gaussian:50'),
        result('arm', (-9, -8), image_set='set14'),
    ]
    text = findings.markdown(tiny_table(), found)
    assert '* PSNR, dB, gaussian:25, **better' in text
    assert '* PSNR, dB, gaussian:50, **better' in text
    assert 'worse' not in text


def test_without_results_or_controls_nothing_was_found():
    assert findings.markdown(tiny_table(), []) == ''
    assert findings.markdown(tiny_table(), [result('alone')]) == ''

"""Training curves on disk."""

import json

import pytest

from n2n_jax.evaluate.report import Report
from n2n_jax.runtime.errors import UserError
from n2n_jax.train.curves import JsonlWriter, write_report


@pytest.mark.parametrize(
    'damage',
    [
        b'{"step": 4, "loss"', b'\xff\xfe\x81', b'5', b'[1]', b'{"step": "x"}', b'{"step": null}',
        b'{"loss": 1}', bytes(4096), b'[' * 100_000, b'{"step": 1.5}',
    ],
)  # fmt: skip
def test_damaged_curves_never_stop_a_run(damage, tmp_path, caplog):
    file = tmp_path / 'metrics.jsonl'
    file.write_bytes(b'{"step": 2, "loss": 1}\n' + damage + b'\n{"step": 4, "loss": 2}\n')
    writer = JsonlWriter(file, first_step=4)
    writer.write_scalars(6, {'loss': float('nan')})
    writer.flush()
    lines = [json.loads(line, parse_constant=pytest.fail) for line in file.read_text().splitlines()]
    assert lines == [
        {'step': 2, 'loss': 1}, {'step': 4, 'loss': 2}, {'step': 6, 'loss': None}
    ]  # fmt: skip
    assert 'metrics.jsonl: dropped 1 damaged line' in caplog.text


def test_lines_that_are_written_again_are_dropped_without_a_word(tmp_path, caplog):
    file = tmp_path / 'metrics.jsonl'
    file.write_text('{"step": 2}\n{"step": 4}\n')
    JsonlWriter(file, first_step=2)
    assert file.read_text() == '{"step": 2}\n'
    assert not caplog.text


def test_a_folder_in_place_of_the_curves_is_named(tmp_path):
    (tmp_path / 'metrics.jsonl').mkdir()
    with pytest.raises(UserError, match=r'metrics\.jsonl is a folder .*: move it away'):
        JsonlWriter(tmp_path / 'metrics.jsonl', first_step=0)


def test_every_metric_that_tables_show_has_a_curve(tmp_path):
    names = 'psnr', 'psnr_float', 'ssim', 'mse', 'lpips:alex'
    scores = {name: {'in': 1.0, 'out': 2.0} for name in names}
    rows = [
        {'set': 's', 'noise': 'n', 'metrics': scores},
        {'set': 'held out', 'noise': 'real', 'psnr_estimate': 3.0, 'psnr_estimate_input': None},
    ]
    writer = JsonlWriter(tmp_path / 'metrics.jsonl', first_step=0)
    write_report(Report(rows, [], {}), 2, [writer])
    measured, estimated = map(json.loads, (tmp_path / 'metrics.jsonl').read_text().splitlines())
    assert measured == {
        'step': 2, 's/n/psnr': 2.0, 's/n/psnr_input': 1.0, 's/n/ssim': 2.0, 's/n/ssim_input': 1.0,
        's/n/lpips:alex': 2.0, 's/n/lpips:alex_input': 1.0,
    }  # fmt: skip
    assert estimated == {'step': 2, 'held out/real/psnr_estimate': 3.0}

"""Training curves on disk."""

import json

import pytest

from n2n_jax.runtime.errors import UserError
from n2n_jax.train.curves import JsonlWriter


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

"""The line that says how far a program is."""

import io
import time

import numpy as np
import pytest

from n2n_jax.runtime import progress
from n2n_jax.runtime.progress import ProgressLine


def test_the_last_line_is_shown_once(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, 'monotonic', lambda: now[0])
    stream = io.StringIO()
    with ProgressLine('step', 4, stream=stream) as line:
        for count in (1, 2, 3):
            now[0] += progress._PLAIN_EVERY_SECONDS
            line.update(count)
        now[0] += 1
        line.update(4)
        now[0] += 2 * progress._PLAIN_EVERY_SECONDS
        line.update(4, 'done')
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[-1] == 'step 4/4'


class Gone(io.StringIO):
    """A terminal that was closed."""

    def write(self, text):
        raise OSError(5, 'Input/output error')


@pytest.mark.parametrize('live', [True, False])
def test_a_closed_terminal_does_not_end_the_work(live):
    stream = Gone()
    stream.isatty = lambda: live
    with ProgressLine('step', 4, stream=stream) as line:
        line.show(1)
        line.show(2)


def test_lines_come_at_least_every_ten_seconds(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, 'monotonic', lambda: now[0])
    stream = io.StringIO()
    said = []
    with ProgressLine('step', 1000, stream=stream) as line:
        for count in range(100):
            now[0] += 0.9
            before = stream.tell()
            line.update(count)
            if stream.tell() > before:
                said.append(now[0])
    assert max(np.diff([0.0, *said])) < 10


def test_work_in_between_does_not_add_to_the_silence_before_it(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, 'monotonic', lambda: now[0])
    stream = io.StringIO()
    with ProgressLine('step', 100, stream=stream) as line:
        now[0] += 7
        line.update(10)
        line.rest(10, 'loss 1')
        assert stream.getvalue() == 'step 10/100  loss 1\n'
        now[0] += 5  # an evaluation
        line.rest(10, 'loss 1')
    assert len(stream.getvalue().splitlines()) == 1  # said once

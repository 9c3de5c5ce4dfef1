"""The line that says how far a program is."""

import io
import time

from n2n_jax import progress
from n2n_jax.progress import ProgressLine


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

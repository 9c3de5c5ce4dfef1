"""How programs end: sentences and exit statuses."""

import os
import signal
import subprocess
import sys

import jax
import pytest

from n2n_jax.runtime import console
from n2n_jax.runtime.errors import UserError


def ended(error, capsys):
    """Exit status and message of a program that ends by an error."""

    @console.errors_in_one_sentence()
    def program():
        raise error

    with pytest.raises(SystemExit) as end:
        program()
    return end.value.code, capsys.readouterr().err.strip()


def test_errors_are_sentences_with_a_status(capsys):
    full = OSError(28, 'No space left on device', '/data/x.json')
    assert ended(UserError('Write 3.'), capsys) == (2, 'error: Write 3.')
    assert ended(full, capsys) == (1, 'error: /data/x.json: No space left on device.')
    assert ended(FloatingPointError('The loss is infinite.'), capsys)[0] == 1
    assert ended(KeyboardInterrupt(), capsys) == (130, 'error: Stopped.')
    status, message = ended(MemoryError('Unable to allocate 7 TiB'), capsys)
    assert status == 1
    assert message == 'error: There is not enough memory. Unable to allocate 7 TiB'


def test_our_own_faults_keep_their_traceback():
    with pytest.raises(KeyError, match='x'), console.errors_in_one_sentence():
        _ = {}['x']


def test_devices_that_are_not_there_are_told_in_a_sentence(monkeypatch, capsys):
    def no_devices():
        raise AssertionError

    monkeypatch.setenv('JAX_PLATFORMS', 'cuda')
    with pytest.raises(AssertionError), console.errors_in_one_sentence():
        raise AssertionError
    monkeypatch.setattr(jax, 'local_devices', no_devices)
    status, message = ended(AssertionError(), capsys)
    assert status == 2
    assert 'JAX_PLATFORMS=cuda names devices that JAX cannot use here. Set it to cpu' in message


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, '-m', 'n2n_jax.cli', *arguments],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, sys.path)), **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_misspelt_platform_is_told_in_a_sentence(tmp_path):
    target = tmp_path / 'n.png'
    result = command('show-noise', 'gaussian:25', '-o', str(target), JAX_PLATFORMS='cpuu')
    assert result.returncode == 2
    assert result.stderr.startswith('error: JAX_PLATFORMS=cpuu names devices that JAX cannot use')
    assert len(result.stderr.splitlines()) == 1
    assert not target.exists()


def test_names_that_the_terminal_cannot_show_are_escaped(tmp_path):
    (tmp_path / 'caf\udce9.png').write_text('')
    plain = {'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'}
    result = command('audit', str(tmp_path), **plain)
    assert result.returncode == 2
    assert 'caf\\udce9.png' in result.stderr
    assert 'Traceback' not in result.stderr


def test_a_program_that_was_stopped_does_not_crash_on_its_way_out():
    # As JAX does, which is taken apart while the device is at work.
    crashes = (
        'import atexit, os, sys\n'
        'from n2n_jax.runtime import console\n'
        'atexit.register(os.abort)\n'
        'with console.ended_at_once_if_stopped():\n'
        '    print("written")\n'
        '    sys.exit(int(sys.argv[1]))\n'
    )
    ended = [
        subprocess.run([sys.executable, '-c', crashes, status], capture_output=True, check=False)
        for status in ('130', '2')
    ]
    assert ended[0].returncode == 130
    assert ended[0].stdout == b'written\n'
    assert ended[1].returncode == -signal.SIGABRT

"""`n2n app`: what it refuses before it opens, and how it ends."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys

import pytest
import requests
from command_line import n2n


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--folder', 'nowhere'], '--folder nowhere: no such folder'),
        (['--port', '99999'], '--port 99999: must be between 0 and 65535'),
        (['--max-upload', '-1'], '--max-upload -1: must be more than 0'),
        (['--host', '0.0.0.0'], 'set a password in N2N_APP_PASSWORD'),
        (['--host', 'no.such.host.invalid'], 'set a password'),
        (['--model', 'gaussian-colour'], 'gaussian-colour'),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(arguments, words, monkeypatch, capsys):
    monkeypatch.delenv('N2N_APP_PASSWORD', raising=False)
    assert n2n('app', '--no-browser', *arguments) == 2
    assert words in capsys.readouterr().err


def test_a_port_that_is_taken_is_told(capsys):
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert n2n('app', '--no-browser', '--port', port, '--host', '127.0.0.1') == 2
    assert f'127.0.0.1:{port}' in capsys.readouterr().err


def test_without_its_packages_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'uvicorn', None)
    assert n2n('app', '--no-browser') == 2
    assert "pip install 'n2n_jax[app]'" in capsys.readouterr().err


class _Killed:
    """Ends a program that a failed test has left behind."""

    def __init__(self, program):
        self.close = lambda: (program.kill(), program.wait(), program.stderr.close())


@pytest.mark.skipif(os.name == 'nt', reason='Ctrl-C is sent otherwise there')
def test_ctrl_c_ends_it_and_deletes_the_uploads(tmp_path):
    (tmp_path / 'tmp').mkdir()
    program = subprocess.Popen(
        [sys.executable, '-m', 'n2n_jax.cli', 'app', '--no-browser', '--port', '0',
         '--folder', tmp_path],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, 'TMPDIR': str(tmp_path / 'tmp')},
    )  # fmt: skip
    with contextlib.closing(_Killed(program)):
        address = re.search(r'http://\S+', program.stderr.readline())[0]
        assert 'n2n_jax' in requests.get(address, timeout=60).text
        assert len(list((tmp_path / 'tmp').glob('n2n_app_*'))) == 1
        program.send_signal(signal.SIGINT)
        said = program.stderr.read()
        assert program.wait(60) == 130
    assert 'Traceback' not in said
    assert not list((tmp_path / 'tmp').glob('n2n_app_*'))

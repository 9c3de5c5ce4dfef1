"""docs/extending.md: all its files and commands, in a run of a few steps."""

import json
import re
import shlex
import shutil
from pathlib import Path

from command_line import n2n

from n2n_jax import main
from n2n_jax.images import image_io
from n2n_jax.runtime import user_code

PAGE = (Path(__file__).parents[1] / 'docs' / 'extending.md').read_text('utf-8')
FILES = dict(
    re.findall(r'^`(mine/\w+\.py)`\n\n```python\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL)
)
OWN = [name for name in FILES if name != 'mine/config.py']
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r'^```sh\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
SHORT = [
    f'--config.{setting}'
    for setting in (
        'train.steps=2', 'optim.warmup_steps=0', 'data.crop=16', 'train.tensorboard=False',
        'eval.in_loop=False',  # the page evaluates afterwards, too
    )
]  # fmt: skip


def run(command):
    """The exit status of a command, in this process, which first forgets what was imported."""
    user_code.forget()
    if command[:2] == ['python', '-c']:
        exec(command[2])
        return 0
    if command[:3] == ['python', '-m', 'n2n_jax.main']:
        return main.main([*command[3:], *SHORT])
    assert command[0] == 'n2n'
    return n2n(*command[1:])


def test_everything_on_the_page_works_and_the_run_outlives_the_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path('mine').mkdir()
    for name, text in FILES.items():
        Path(name).write_text(text)
    trained = next(i for i, command in enumerate(COMMANDS) if '--workdir' in command)
    for command in COMMANDS[: trained + 1]:
        assert run(command) == 0, capsys.readouterr().err
    for name in OWN:
        Path(name).unlink()
    shutil.move('runs', 'moved')  # the run is complete in itself
    capsys.readouterr()
    for command in COMMANDS[trained + 1 :]:
        command = [word.replace('runs/mine', 'moved/mine') for word in command]
        assert run(command) == 0, capsys.readouterr().err
    shown = capsys.readouterr()
    for name in OWN:
        assert f'Running moved/mine/imports/{Path(name).name}' in shown.err
    assert 'MAE' in shown.out  # of `n2n compare`
    noisy, denoised = (image_io.read_image(name) for name in ('stripes.png', 'denoised.png'))
    assert denoised.pixels.shape == noisy.pixels.shape
    (row,) = json.loads(Path('moved/mine/results.json').read_text())
    assert row['metrics'].keys() == {'psnr', 'mae'}
    config = json.loads(Path('moved/mine/config.json').read_text())['config']
    assert [word.split('@')[0] for word in config['imports'].split(',')] == [
        Path(name).name for name in OWN
    ]


def test_each_addition_is_one_file_and_one_line():
    kinds = []
    for name in OWN:
        lines = FILES[name].splitlines()
        (line,) = [line for line in lines if 'REGISTRY' in line]
        assert line == lines[-1]
        kinds.append(re.fullmatch(rf"(\w+)\.REGISTRY\['{Path(name).stem}'\] = \w+", line)[1])
    assert kinds == ['corruptions', 'losses', 'models', 'optimizers', 'sources', 'metrics']
    assert f"""'{Path(OWN[2]).stem}': Dilated,""" in PAGE

"""Every documented arrangement of captures, through the commands: are the right files paired?"""

import json
import re

import numpy as np
import pytest
import tifffile
from command_line import n2n as run

from n2n_jax.data.feeds import placed_captures
from n2n_jax.images import image_io

# Some forms hold the same captures, for which the same step is compiled.
pytestmark = pytest.mark.usefixtures('steps_shared')

_SIDE = 48


def capture(scene, number):
    """Returns a noisy image whose first pixel encodes its scene and capture."""
    y, x = np.mgrid[:_SIDE, :_SIDE]
    clean = 120 + 40 * np.sin(x / (3 + scene)) * np.sin(y / 4)
    noise = np.random.default_rng([scene, number]).normal(0, 8, clean.shape)
    image = np.rint(clean + noise).astype(np.uint8)
    image[0, 0] = 10 * scene + number
    return image


def stack(*which):
    return np.stack([capture(*one) for one in which])


def png(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, which in files.items():
        image_io.write_pixels(folder / f'{name}.png', capture(*which))


def two_files(d):
    png(d, a=(1, 1), b=(1, 2))
    return [d / 'a.png', d / 'b.png'], {'a': [11, 12]}


def two_stacks(d):
    for number in (1, 2):
        pages = stack((1, number), (2, number))
        tifffile.imwrite(d / f'half{number}.tif', pages, photometric='minisblack')
    return [d / 'half1.tif', d / 'half2.tif'], {'half1_1': [11, 12], 'half1_2': [21, 22]}


def two_folders(d):
    png(d / 'B', cell10=(2, 2), cell2=(1, 2))
    png(d / 'A', cell2=(1, 1), cell10=(2, 1))
    return [d / 'A', d / 'B'], {'cell2': [11, 12], 'cell10': [21, 22]}


def folder_per_scene(d):
    png(d / 'y', f10=(2, 3), f9=(2, 2), f1=(2, 1))
    png(d / 'x é', one=(1, 1), two=(1, 2))
    (d / 'notes.txt').write_text('10 ms')
    return [d], {'x é': [11, 12], 'y': [21, 22, 23]}


def endings(d):
    png(d, c_1=(1, 1), c_2=(1, 2), d_even=(2, 1), d_odd=(2, 2), e_a=(3, 1), e_b=(3, 2))
    return [d], {'c': [11, 12], 'd': [21, 22], 'e': [31, 32]}


def pattern(d):
    png(d, p1_t0=(1, 1), p1_t1=(1, 2), p2_t0=(2, 1), p2_t1=(2, 2))
    arguments = [d, '--pattern', '{scene}_t{capture}.png']
    return arguments, {'p1': [11, 12], 'p2': [21, 22]}


def one_stack(d):
    tifffile.imwrite(d / 's.tif', stack((1, 1), (1, 2), (1, 3)), photometric='minisblack')
    return [d / 's.tif'], {'s': [11, 12, 13]}


def one_array(d):
    np.save(d / 's.npy', stack((1, 1), (1, 2)))
    return [d / 's.npy'], {'s': [11, 12]}


def stack_per_scene(d):
    np.savez_compressed(d / 'x.npz', stack((1, 1), (1, 2)))
    tifffile.imwrite(d / 'y.tif', stack((2, 1), (2, 2)), imagej=True)
    return [d], {'x': [11, 12], 'y': [21, 22]}


def interleaved(d):
    frames = stack((1, 1), (1, 2), (2, 1), (2, 2))
    tifffile.imwrite(d / 's.tif', frames, photometric='minisblack', compression='zlib')
    return [d / 's.tif', '--interleaved', '2'], {'s_1': [11, 12], 's_2': [21, 22]}


def csv_list(d):
    png(d / 'images', p=(1, 1), q=(2, 1), r=(1, 2), s=(2, 2))
    lines = ['scene,path', 'x,images/p.png', 'y,images/q.png', 'x,images/r.png', 'y,images/s.png']
    (d / 'list.csv').write_text('\n'.join(lines))
    return [d / 'list.csv'], {'x': [11, 12], 'y': [21, 22]}


def json_list(d):
    png(d, p=(1, 1), q=(2, 1), r=(1, 2), s=(2, 2))
    (d / 'list.json').write_text(json.dumps({'x': ['p.png', 'r.png'], 'y': ['q.png', 's.png']}))
    return [d / 'list.json'], {'x': [11, 12], 'y': [21, 22]}


FORMS = [
    two_files, two_stacks, two_folders, folder_per_scene, endings, pattern, one_stack, one_array,
    stack_per_scene, interleaved, csv_list, json_list,
]  # fmt: skip


class Placed(BaseException):
    """The captures are on the device, and what follows is the same for all forms."""


@pytest.mark.parametrize('form', FORMS)
def test_the_right_captures_are_paired(form, tmp_path, capsys, monkeypatch):
    trains_to_the_end = form in (two_files, interleaved)
    (tmp_path / 'in').mkdir()
    arguments, want = form(tmp_path / 'in')
    trained = []
    real = placed_captures.place

    def noted(scenes, *rest, **options):
        trained.extend(scene[:, 0, 0, 0].astype(int).tolist() for scene in scenes)
        if not trains_to_the_end:
            raise Placed
        return real(scenes, *rest, **options)

    monkeypatch.setattr(placed_captures, 'place', noted)
    workdir = tmp_path / 'run'
    options = ['--workdir', workdir, '--steps', '2', '--model', 'tiny', '--batch-size', '8']
    if trains_to_the_end:
        assert run('train', *arguments, *options) == 0, capsys.readouterr().err
        file = workdir / 'evaluation/step_0000002/held_out_captures.json'
        scores = json.loads(file.read_text())
        assert [row['image'] for row in scores['images']] == list(want)
    else:
        with pytest.raises(Placed):
            run('train', *arguments, *options)
    assert trained == list(want.values())

    capsys.readouterr()
    assert run('audit', *arguments) in (0, 1)  # such small images may raise a warning
    lines = capsys.readouterr().err.splitlines()
    cells = [line.split(' | ')[0].rstrip() for line in lines if line.startswith('| ')]
    assert cells[1:] == [f'| {name}' for name in want]
    assert 'Traceback' not in '\n'.join(lines)


def unequal_sizes(d):
    image_io.write_pixels(d / 'a.png', capture(1, 1))
    image_io.write_pixels(d / 'b.png', capture(1, 2)[:-1])
    return 'Captures of one scene differ: .*a.png is 48x48 .*b.png is 48x47'


def gray_and_color(d):
    image_io.write_pixels(d / 'a.png', capture(1, 1))
    image_io.write_pixels(d / 'b.png', np.dstack([capture(1, 2)] * 3))
    return '1 channel of uint8, .*b.png is 48x48 with 3 channels'


def identical(d):
    for name in 'ab':
        image_io.write_pixels(d / f'{name}.png', capture(1, 1))
    return 'All captures of .* are the same image'


def black(d):
    for name in 'ab':
        image_io.write_pixels(d / f'{name}.png', np.zeros((48, 48), np.uint8))
    return 'All pixels of all captures are 0'


def not_numbers(d):
    pixels = stack((1, 1), (1, 2)).astype(np.float32)
    pixels[1, 3, 4] = np.nan
    np.save(d / 's.npy', pixels)
    return 's.npy holds NaN or infinite pixels'


def wide_integers(d):
    np.save(d / 's.npy', stack((1, 1), (1, 2)).astype(np.int64))
    return 's.npy holds int64 values'


def cut_short(d):
    for name, which in (('a', (1, 1)), ('b', (1, 2))):
        tifffile.imwrite(d / f'{name}.tif', capture(*which), photometric='minisblack')
    (d / 'b.tif').write_bytes((d / 'b.tif').read_bytes()[:1000])
    return 'b.tif is damaged or truncated'


def one_image(d):
    png(d, a=(1, 1))
    return '1 of 1 scenes in .* have only one capture: a.png'


def empty(d):
    (d / 'notes.txt').write_text('')
    return 'contains no image'


def too_many_channels(d):
    tifffile.imwrite(d / 'a.tif', np.stack([capture(1, 1)] * 9), imagej=True)
    tifffile.imwrite(d / 'b.tif', np.stack([capture(1, 2)] * 9), imagej=True)
    return 'has 9 channels, but a network takes at most 8'


@pytest.mark.parametrize(
    'make',
    [
        unequal_sizes, gray_and_color, identical, black, not_numbers, wide_integers, cut_short,
        one_image, empty, too_many_channels,
    ],
)  # fmt: skip
def test_unusable_captures_are_refused_and_nothing_is_written(make, tmp_path, capsys):
    folder = tmp_path / 'Zellen é 1'
    folder.mkdir()
    words = make(folder)
    capsys.readouterr()
    status = run('train', folder, '--workdir', tmp_path / 'run', '--steps', '2', '--model', 'tiny')
    assert status == 2
    said = capsys.readouterr().err
    *progress, error = said.strip().splitlines()
    assert set(progress) <= {'Reading captures.'}, said
    assert re.search(words, error), said
    assert not (tmp_path / 'run').exists()


def test_a_copy_among_several_captures_is_not_used(tmp_path, capsys):
    png(tmp_path / 'in', x_1=(1, 1), x_2=(1, 1), x_3=(1, 2))
    options = ['--workdir', tmp_path / 'run', '--steps', '1', '--model', 'tiny']
    assert run('train', tmp_path / 'in', *options) == 0
    log = capsys.readouterr().err
    assert 'Not used: capture 2 of x is a copy of capture 1.' in log
    assert '1 scene of 2 captures' in log


@pytest.mark.slow
def test_images_of_five_channels_train_and_score(tmp_path, capsys):
    rng = np.random.default_rng(0)
    clean = rng.random((_SIDE, _SIDE, 5)) * 1000
    stack_NHWC = (clean + rng.normal(0, 20, (3, *clean.shape))).astype(np.float32)
    np.save(tmp_path / 's.npy', stack_NHWC)
    options = ['--workdir', tmp_path / 'run', '--steps', '2', '--model', 'tiny']
    assert run('train', tmp_path / 's.npy', *options) == 0, capsys.readouterr().err
    assert list((tmp_path / 'run/evaluation/step_0000002').glob('*.png'))
    assert run('score', tmp_path / 's.npy', '--model', tmp_path / 'run') == 0
    assert '| model |' in capsys.readouterr().err
    png(tmp_path, gray=(1, 1))
    out = ['-o', tmp_path / 'out.png', '--model', tmp_path / 'run']
    assert run('denoise', tmp_path / 'gray.png', *out) == 2
    assert 'gray.png has 1 channel, but the model was trained on 5' in capsys.readouterr().err

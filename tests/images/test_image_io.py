import dataclasses
import errno
import os
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from n2n_jax import images
from n2n_jax.images import image_io, row_writer
from n2n_jax.runtime.errors import UserError

CHANNELS = {'gray': (), 'gray+alpha': (2,), 'rgb': (3,), 'rgba': (4,)}
ALL = tuple(CHANNELS)
LOSSLESS = {
    '.png': (('uint8', 'uint16'), ALL),
    '.tif': (images.KINDS, ALL),
    '.bmp': (('uint8',), ('gray', 'rgb')),
    '.webp': (('uint8',), ('rgb', 'rgba')),
}
COMBINATIONS = [
    (suffix, dtype, mode)
    for suffix, (dtypes, modes) in LOSSLESS.items()
    for dtype in dtypes
    for mode in modes
]
ICC_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
DESCRIPTION, ORIENTATION, EXIF_IFD, EXPOSURE = 270, 274, 34665, 33434
EXIF = (
    b'Exif\0\0MM\0*' + struct.pack('>IH', 8, 3)
    + struct.pack('>HHII', DESCRIPTION, 2, 6, 50)
    + struct.pack('>HHIHH', ORIENTATION, 3, 1, 6, 0)
    + struct.pack('>HHIII', EXIF_IFD, 4, 1, 56, 0)
    + b'cells\0'
    + struct.pack('>HHHIIIII', 1, EXPOSURE, 5, 1, 74, 0, 1, 4)
)  # fmt: skip


def random_pixels(dtype, mode, height=5, width=7):
    rng = np.random.default_rng(0)
    shape = (height, width, *CHANNELS[mode])
    if dtype.startswith('float'):
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def smooth_rgb(height=64, width=48):
    y, x = np.mgrid[:height, :width]
    return np.stack((2 * y, 3 * x, y + x), axis=-1).astype(np.uint8)


def exif_of(path):
    with Image.open(path) as image:
        exif = image.getexif()
        return exif.get(ORIENTATION), exif.get(DESCRIPTION), exif.get_ifd(EXIF_IFD).get(EXPOSURE)


def png_chunk(kind, content):
    crc = zlib.crc32(kind + content)
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', crc)


def png_file(pixels, color_type, *chunks, filters=(0,), interlaced=False):
    """Writes a 16-bit PNG file pixel by pixel, straight from the standard."""
    height, width, channels = pixels.shape
    n = 2 * channels
    every_pass = [(0, 0, 1, 1)]
    if interlaced:
        every_pass = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2)]
        every_pass += [(0, 1, 2, 2), (1, 0, 2, 1)]
    raw = bytearray()
    for y0, x0, dy, dx in every_pass:
        part = pixels[y0::dy, x0::dx]
        above = bytes(part.shape[1] * n)
        for y, row in enumerate(part if part.size else ()):
            row, kind = row.astype('>u2').tobytes(), filters[y % len(filters)]
            raw.append(kind)
            for i, byte in enumerate(row):
                a, b, c = (row[i - n], above[i], above[i - n]) if i >= n else (0, above[i], 0)
                paeth = min((a, b, c), key=lambda value, p=a + b - c: abs(p - value))
                raw.append((byte - (0, a, b, (a + b) // 2, paeth)[kind]) % 256)
            above = row
    header = struct.pack('>IIBBBBB', width, height, 16, color_type, 0, 0, int(interlaced))
    every_chunk = [(b'IHDR', header), *chunks, (b'IDAT', zlib.compress(raw)), (b'IEND', b'')]
    return b'\x89PNG\r\n\x1a\n' + b''.join(png_chunk(*chunk) for chunk in every_chunk)


def lzw_tiff(pixels, predictor):
    """Writes an LZW file of 16-bit samples: Pillow writes 8-bit gray, then the tags are edited."""
    height, width, channels = pixels.shape
    if predictor:
        pixels = np.diff(pixels, axis=1, prepend=np.zeros_like(pixels[:, :1]))
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels).view(np.uint8).reshape(height, -1)).save(
        file, 'TIFF', compression='tiff_lzw', strip_size=1 << 30
    )
    data = file.getvalue()
    (start,) = struct.unpack_from('<I', data, 4)
    (count,) = struct.unpack_from('<H', data, start)
    entries = {
        struct.unpack_from('<H', data, at)[0]: data[at : at + 12]
        for at in range(start + 2, start + 2 + 12 * count, 12)
    }
    changes = {256: [width], 258: [16] * channels, 262: [2], 277: [channels], 317: [1 + predictor]}
    for code, values in changes.items():
        value = struct.pack(f'<{len(values)}H', *values)
        if len(value) > 4:
            data, value = data + value, struct.pack('<I', len(data))
        entries[code] = struct.pack('<HHI', code, 3, len(values)) + value.ljust(4, b'\0')
    table = b''.join(entries[code] for code in sorted(entries))
    return (
        data[:4] + struct.pack('<I', len(data)) + data[8:]
        + struct.pack('<H', len(entries)) + table + bytes(4)
    )  # fmt: skip


@pytest.mark.parametrize(('suffix', 'dtype', 'mode'), COMBINATIONS)
def test_round_trip_is_bit_exact(tmp_path, suffix, dtype, mode):
    for height, width in ((1, 1), (1, 2), (3, 1), (2, 3), (3, 3), (131, 257)):
        pixels = random_pixels(dtype, mode, height, width)
        path = tmp_path / f'a{suffix}'
        image_io.write_image(path, image_io.Picture(pixels, mode, path))
        read = image_io.read_image(path)
        assert read.mode == mode
        assert read.pixels.dtype == pixels.dtype
        np.testing.assert_array_equal(read.pixels, pixels, strict=True)
        assert image_io.image_size(path) == (height, width, *(CHANNELS[mode] or (1,)))
    image_io.write_image(path, read)
    np.testing.assert_array_equal(image_io.read_image(path).pixels, pixels, strict=True)


@pytest.mark.parametrize(
    ('suffix', 'dtype', 'mode'), [c for c in COMBINATIONS if 'int32' not in c[1] and c[1][0] != 'i']
)
def test_colors_and_alpha_are_separated(tmp_path, suffix, dtype, mode):
    image = image_io.Picture(random_pixels(dtype, mode), mode, tmp_path / f'a{suffix}')
    color_HWC, alpha_HW = image_io.color_and_alpha(image)
    assert color_HWC.dtype == np.float32
    assert color_HWC.shape == (5, 7, 3 if 'rgb' in mode else 1)
    full_scale = np.iinfo(dtype).max if dtype.startswith('u') else 1
    colors_HWC = np.atleast_3d(image.pixels)[..., : color_HWC.shape[-1]]
    np.testing.assert_allclose(color_HWC * full_scale, colors_HWC, rtol=1e-6)
    assert (alpha_HW is not None) == (mode in ('gray+alpha', 'rgba'))
    if alpha_HW is not None:
        assert alpha_HW.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(alpha_HW, image.pixels[..., -1])


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
@pytest.mark.parametrize('mode', ['gray', 'rgb'])
def test_all_16_bit_values_survive(tmp_path, suffix, mode):
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    pixels = ramp if mode == 'gray' else np.stack((ramp, ramp[::-1], ramp.T), axis=-1)
    path = tmp_path / f'ramp{suffix}'
    image_io.write_pixels(path, pixels)
    image = image_io.read_image(path)
    color_HWC, _ = image_io.color_and_alpha(image)
    assert (color_HWC.min(), color_HWC.max()) == (0, 1)
    image_io.write_image(path, image)
    np.testing.assert_array_equal(image_io.read_image(path).pixels, pixels, strict=True)


def test_floats_keep_their_units():
    image = image_io.Picture(np.float32([[-7.5, 1200]]), 'gray', Path('a.tif'))
    assert image_io.color_and_alpha(image)[0].tolist() == [[[-7.5], [1200]]]


@pytest.mark.parametrize('interlaced', [False, True])
@pytest.mark.parametrize(
    ('mode', 'color_type'), [('gray', 0), ('rgb', 2), ('gray+alpha', 4), ('rgba', 6)]
)
def test_16_bit_png_with_every_filter_is_read(tmp_path, mode, color_type, interlaced):
    pixels = random_pixels('uint16', mode, 13, 11)
    path = tmp_path / 'a.png'
    path.write_bytes(
        png_file(np.atleast_3d(pixels), color_type, filters=(4, 3, 2, 1, 0), interlaced=interlaced)
    )
    read = image_io.read_image(path)
    assert read.mode == mode
    np.testing.assert_array_equal(read.pixels, pixels, strict=True)


def test_written_16_bit_png_is_what_others_read(tmp_path):
    pixels = random_pixels('uint16', 'rgb', 40, 30)
    image_io.write_pixels(tmp_path / 'a.png', pixels)
    with Image.open(tmp_path / 'a.png') as image:  # the high bytes
        np.testing.assert_array_equal(np.asarray(image), pixels >> 8)


@pytest.mark.parametrize('color_type', [0, 2])
def test_transparent_color_becomes_alpha(tmp_path, color_type):
    pixels = np.full((2, 3, color_type + 1), 700, np.uint16)
    pixels[1, 2, 0] = 701
    key = (b'tRNS', np.full(color_type + 1, 700, '>u2').tobytes())
    (tmp_path / 'a.png').write_bytes(png_file(pixels, color_type, key))
    read = image_io.read_image(tmp_path / 'a.png')
    assert read.pixels[..., -1].tolist() == [[0, 0, 0], [0, 0, 65535]]
    np.testing.assert_array_equal(read.pixels[..., :-1], pixels)
    assert image_io.image_size(tmp_path / 'a.png') == (2, 3, color_type + 2)


def test_palettes_become_rgb_and_rgba(tmp_path):
    palette = Image.fromarray(smooth_rgb()).quantize(16)
    palette.save(tmp_path / 'a.png')
    palette.save(tmp_path / 'a.tif')
    palette.save(tmp_path / 'b.png', transparency=3)
    rgb, rgba = np.asarray(palette.convert('RGB')), image_io.read_image(tmp_path / 'b.png')
    np.testing.assert_array_equal(image_io.read_image(tmp_path / 'a.png').pixels, rgb)
    np.testing.assert_array_equal(image_io.read_image(tmp_path / 'a.tif').pixels, rgb)
    np.testing.assert_array_equal(rgba.pixels[..., :3], rgb)
    np.testing.assert_array_equal(rgba.pixels[..., 3] == 0, np.asarray(palette) == 3)
    assert rgba.mode == 'rgba'
    assert [image_io.image_size(tmp_path / name)[2] for name in ('a.png', 'b.png', 'a.tif')] == [
        3,
        4,
        3,
    ]


@pytest.mark.parametrize('name', ['a.png', 'a.bmp', 'a.tif'])
def test_one_bit_images_become_gray(tmp_path, name):
    bits = random_pixels('uint8', 'gray') > 127
    Image.fromarray(bits).save(tmp_path / name)
    read = image_io.read_image(tmp_path / name)
    np.testing.assert_array_equal(read.pixels, np.uint8(255) * bits, strict=True)
    assert read.mode == 'gray'


@pytest.mark.parametrize('predictor', [False, True])
@pytest.mark.parametrize('mode', ['rgb', 'rgba'])
def test_16_bit_lzw_tiff_is_read_at_full_depth(tmp_path, mode, predictor):
    pixels = random_pixels('uint16', mode, 20, 33)
    (tmp_path / 'a.tif').write_bytes(lzw_tiff(pixels, predictor))
    read = image_io.read_image(tmp_path / 'a.tif')
    assert read.mode == mode
    np.testing.assert_array_equal(read.pixels, pixels, strict=True)


@pytest.mark.parametrize(
    'layout',
    [
        {'byteorder': '>'},
        {'tile': (16, 16)},
        {'planarconfig': 'separate'},
        {'bigtiff': True},
        {'compression': 'zlib', 'predictor': True},
        {'compression': 'lzma'},
    ],
    ids=str,
)
def test_tiffs_of_every_layout_are_read(tmp_path, layout):
    pixels = random_pixels('uint16', 'rgba', 40, 53)
    stored = np.moveaxis(pixels, -1, 0) if 'planarconfig' in layout else pixels
    tifffile.imwrite(
        tmp_path / 'a.tif', stored, photometric='rgb', extrasamples=[1],
        description='slide 7', metadata=None, **layout,
    )  # fmt: skip
    read = image_io.read_image(tmp_path / 'a.tif')
    np.testing.assert_array_equal(read.pixels, pixels, strict=True)
    image_io.write_image(tmp_path / 'b.tif', read)
    with tifffile.TiffFile(tmp_path / 'b.tif') as tif:
        np.testing.assert_array_equal(tif.asarray(), pixels)
        assert tif.pages.first.description == 'slide 7'
        assert (tif.pages.first.compression != 1) == ('compression' in layout)
        assert tif.pages.first.extrasamples == (1,)


def test_white_is_zero_is_inverted(tmp_path):
    pixels = random_pixels('uint16', 'gray')
    tifffile.imwrite(tmp_path / 'a.tif', pixels, photometric='miniswhite')
    np.testing.assert_array_equal(image_io.read_image(tmp_path / 'a.tif').pixels, 65535 - pixels)


def test_tiff_tags_survive(tmp_path):
    description = 'unit=µm frames≥1'.encode()  # not ASCII, as in OME
    tifffile.imwrite(
        tmp_path / 'a.tif',
        random_pixels('float32', 'gray'),
        description=description,
        resolution=((12345, 67), (89, 10)),
        resolutionunit='centimeter',
        iccprofile=ICC_PROFILE,
        extratags=[(65000, 'd', 2, (0.1, -2.5), True), (65001, 'B', 3, b'abc', True)],
        byteorder='>',
        metadata=None,
    )
    image_io.write_image(tmp_path / 'b.tif', image_io.read_image(tmp_path / 'a.tif'))
    with tifffile.TiffFile(tmp_path / 'b.tif') as tif:
        tags = {tag.code: tag.value for tag in tif.pages.first.tags}
        raw = tif.pages.first.tags[DESCRIPTION]
        tif.filehandle.seek(raw.valueoffset)
        assert tif.filehandle.read(len(description)) == description
    assert tags[282] == (12345, 67)
    assert tags[283] == (89, 10)
    assert tags[296] == 3
    assert tags[34675] == ICC_PROFILE
    assert tags[65000] == (0.1, -2.5)
    assert tags[65001] == b'abc'


@pytest.mark.parametrize('source', ['.jpg', '.png', '.tif', '.webp'])
@pytest.mark.parametrize('target', ['.jpg', '.png', '.tif', '.webp'])
def test_metadata_survives_in_and_between_formats(tmp_path, source, target):
    dpi = {} if source == '.webp' else {'dpi': (300, 150)}
    before, after = tmp_path / f'a{source}', tmp_path / f'b{target}'
    Image.fromarray(smooth_rgb()).save(before, exif=EXIF, icc_profile=ICC_PROFILE, **dpi)
    image_io.write_image(after, image_io.read_image(before))
    with Image.open(after) as image:
        assert image.info['icc_profile'] == ICC_PROFILE
        if dpi and target != '.webp':
            assert image.info['dpi'] == pytest.approx((300, 150), abs=0.02)
    assert exif_of(after) == (6, 'cells', 0.25)


def test_png_chunks_survive_byte_for_byte(tmp_path):
    kept = [
        (b'gAMA', struct.pack('>I', 45455)),
        (b'pHYs', struct.pack('>IIB', 11811, 11811, 1)),
        (b'tEXt', b'Comment\0first'),
        (b'tEXt', b'Comment\0second'),
    ]
    stale = [(b'bKGD', bytes(6)), (b'tIME', bytes(7))]
    pixels = random_pixels('uint16', 'rgb')
    (tmp_path / 'a.png').write_bytes(png_file(pixels, 2, *kept, *stale))
    image_io.write_image(tmp_path / 'b.png', image_io.read_image(tmp_path / 'a.png'))
    data = (tmp_path / 'b.png').read_bytes()
    assert b''.join(png_chunk(*chunk) for chunk in kept) in data
    assert b'bKGD' not in data
    assert b'tIME' not in data


@pytest.mark.parametrize(('mode', 'subsampling'), [('RGB', 0), ('RGB', 1), ('RGB', 2), ('L', 0)])
def test_jpeg_keeps_tables_and_subsampling(tmp_path, mode, subsampling):
    settings = {'quality': 71, 'subsampling': subsampling, 'progressive': True}
    source = Image.fromarray(smooth_rgb()).convert(mode)
    source.save(tmp_path / 'a.jpg', comment=b'hello', **settings)
    image = image_io.read_image(tmp_path / 'a.jpg')
    assert image.mode == {'RGB': 'rgb', 'L': 'gray'}[mode]
    darker = dataclasses.replace(image, pixels=np.uint8(0.9 * image.pixels))
    image_io.write_image(tmp_path / 'b.jpg', darker)
    with Image.open(tmp_path / 'a.jpg') as a, Image.open(tmp_path / 'b.jpg') as b:
        assert b.quantization == a.quantization
        assert b.layer == a.layer
        assert b.info['progressive']
        assert b.info['comment'] == b'hello'
        assert np.abs(np.asarray(b) - 0.9 * np.asarray(a)).mean() < 3


def test_jpeg_from_another_format_has_quality_95(tmp_path):
    image_io.write_pixels(tmp_path / 'a.jpg', smooth_rgb())
    Image.fromarray(smooth_rgb()).save(tmp_path / 'b.jpg', quality=95)
    with Image.open(tmp_path / 'a.jpg') as a, Image.open(tmp_path / 'b.jpg') as b:
        assert a.quantization == b.quantization


def test_the_first_image_of_a_phone_jpeg_is_read(tmp_path):
    pictures = [Image.fromarray(smooth_rgb()), Image.fromarray(smooth_rgb()[::2, ::2])]
    pictures[0].save(tmp_path / 'a.jpg', 'MPO', save_all=True, append_images=pictures[1:])
    image = image_io.read_image(tmp_path / 'a.jpg')
    assert image.pixels.shape == (64, 48, 3)
    assert 'qtables' in image.metadata.native


def test_content_counts_not_the_suffix(tmp_path):
    Image.fromarray(smooth_rgb()).save(tmp_path / 'a.png', 'JPEG')
    assert image_io.read_image(tmp_path / 'a.png').metadata.format == 'JPEG'
    tifffile.imwrite(tmp_path / 'b.png', random_pixels('float32', 'gray'))
    assert image_io.read_image(tmp_path / 'b.png').pixels.dtype == np.float32


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.tif', '.bmp', '.webp'])
@pytest.mark.parametrize('kept', [0.02, 0.5, 0.9])
def test_truncated_files_are_errors(tmp_path, suffix, kept):
    path = tmp_path / f'a{suffix}'
    image_io.write_pixels(path, random_pixels('uint8', 'rgb', 60, 50))
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(UserError, match=rf'a\{suffix} is (damaged|not a readable)'):
        image_io.read_image(path)


@pytest.mark.parametrize('compression', [None, 'zlib'])
def test_tiffs_truncated_in_the_pixels_are_errors(tmp_path, compression):
    # tifffile writes the tags first, so the header is complete.
    pixels = random_pixels('uint16', 'rgb', 60, 50)
    tifffile.imwrite(tmp_path / 'a.tif', pixels, compression=compression, photometric='rgb')
    data = (tmp_path / 'a.tif').read_bytes()
    (tmp_path / 'a.tif').write_bytes(data[:-100])
    for read in (image_io.read_image, image_io.image_size):
        with pytest.raises(UserError, match=r'a\.tif is damaged or truncated'):
            read(tmp_path / 'a.tif')


def test_a_flipped_bit_in_png_pixels_is_an_error(tmp_path):
    image_io.write_pixels(tmp_path / 'a.png', random_pixels('uint8', 'rgb', 60, 50))
    data = bytearray((tmp_path / 'a.png').read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / 'a.png').write_bytes(data)
    with pytest.raises(UserError, match=r'a\.png is damaged'):
        image_io.read_image(tmp_path / 'a.png')


@pytest.mark.parametrize('read', [image_io.read_image, image_io.image_size])
def test_files_that_are_not_images_are_errors(tmp_path, read, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('empty.png').touch()
    Path('text.png').write_text('these are not pixels')
    Path('notes.txt').write_text('neither are these')
    Path('folder.png').mkdir()
    for name, message in {
        'empty.png': 'is empty',
        'text.png': 'is not a readable image',
        'notes.txt': r'must end in \.png',
        'folder.png': 'is a folder',
        'missing.png': 'no such file',
    }.items():
        with pytest.raises(UserError, match=f'^{name}.* {message}|^{name}:? {message}'):
            read(name)


@pytest.mark.skipif(os.name != 'posix' or os.geteuid() == 0, reason='root may read everything')
def test_forbidden_files_are_errors(tmp_path):
    image_io.write_pixels(tmp_path / 'a.png', smooth_rgb())
    (tmp_path / 'a.png').chmod(0)
    with pytest.raises(UserError, match='no permission'):
        image_io.read_image(tmp_path / 'a.png')


@pytest.mark.parametrize('dtype', ['int64', 'uint64', 'complex64'])
def test_unsupported_types_are_refused(tmp_path, dtype):
    tifffile.imwrite(tmp_path / 'a.tif', np.zeros((4, 5), dtype))
    with pytest.raises(UserError, match=f'a.tif holds {dtype} values'):
        image_io.read_image(tmp_path / 'a.tif')


def test_several_images_in_a_file_are_refused(tmp_path):
    stack = random_pixels('uint8', 'rgb', 3, 20).reshape(3, 5, 12)
    tifffile.imwrite(tmp_path / 'pages.tif', stack, photometric='minisblack')
    tifffile.imwrite(tmp_path / 'imagej.tif', stack, imagej=True)
    frames = [Image.fromarray(frame) for frame in stack]
    frames[0].save(tmp_path / 'animated.png', save_all=True, append_images=frames[1:])
    for name in ('pages.tif', 'imagej.tif', 'animated.png'):
        for read in (image_io.read_image, image_io.image_size):
            with pytest.raises(
                UserError, match=rf'{name} .* 3 images.* (as its own file|one file each)'
            ):
                read(tmp_path / name)


@pytest.mark.parametrize('name', ['a.jpg', 'a.tif'])
def test_cmyk_is_refused(tmp_path, name):
    Image.fromarray(smooth_rgb()).convert('CMYK').save(tmp_path / name)
    with pytest.raises(UserError, match=f'{name} holds .* Convert it to RGB'):
        image_io.read_image(tmp_path / name)


def test_five_channels_are_refused(tmp_path):
    pixels = np.zeros((6, 7, 5), np.uint8)
    tifffile.imwrite(tmp_path / 'a.tif', pixels, photometric='minisblack', planarconfig='contig')
    with pytest.raises(UserError, match='holds 5 channels'):
        image_io.read_image(tmp_path / 'a.tif')


@pytest.mark.parametrize(
    ('name', 'dtype', 'mode', 'way_out'),
    [
        ('a.jpg', 'uint16', 'rgb', r'write \.png, \.tif or \.tiff'),
        ('a.jpg', 'uint8', 'rgba', r'write \.png, \.tif, \.tiff or \.webp'),
        ('a.png', 'float32', 'gray', r'write \.tif or \.tiff'),
        ('a.bmp', 'uint8', 'gray+alpha', r'write \.png, \.tif or \.tiff'),
        ('a.tif', 'int64', 'gray', 'no supported format'),
        ('a.gif', 'uint8', 'gray', r'must end in \.png'),
    ],
)
def test_formats_refuse_what_they_cannot_hold(tmp_path, name, dtype, mode, way_out):
    image = image_io.Picture(np.zeros((2, 2, *CHANNELS[mode]), dtype), mode, Path('source.tif'))
    with pytest.raises(UserError, match=f'{name}: .*{way_out}'):
        image_io.write_image(tmp_path / name, image)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('call', ['fsync', 'replace'])
def test_a_failed_write_changes_nothing(tmp_path, monkeypatch, call):
    path = tmp_path / 'a.png'
    image_io.write_pixels(path, np.zeros((3, 3), np.uint8))
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(UserError, match=r'a\.png cannot be written: No space left'):
        image_io.write_pixels(path, np.ones((3, 3), np.uint8))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_no_file(tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'fsync', interrupt)
    with pytest.raises(KeyboardInterrupt):
        image_io.write_pixels(tmp_path / 'a.png', np.ones((3, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_writing_into_a_missing_folder_or_over_a_folder_is_an_error(tmp_path):
    (tmp_path / 'folder.png').mkdir()
    for name in ('missing/a.png', 'folder.png'):
        with pytest.raises(UserError, match=f'{name} cannot be written'):
            image_io.write_pixels(tmp_path / name, np.ones((3, 3), np.uint8))


@pytest.mark.skipif(os.name != 'posix', reason='links and permissions of POSIX')
def test_links_and_permissions_are_preserved(tmp_path):
    target, link = tmp_path / 'target.png', tmp_path / 'link.png'
    image_io.write_pixels(target, np.zeros((3, 3), np.uint8))
    target.chmod(0o640)
    link.symlink_to(target)
    image_io.write_pixels(link, np.ones((3, 3), np.uint8))
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    assert image_io.read_image(target).pixels.all()


def test_images_are_found_in_natural_order(tmp_path):
    names = ['img10.png', 'img2.TIF', 'b/img1.jpg', 'a10/x.png', 'a9/x.png', 'Img3.webp']
    for name in [*names, '.hidden.png', '.cache/x.png', 'notes.txt', 'raw.dng']:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in image_io.find_images(str(tmp_path))]
    assert found == ['a9/x.png', 'a10/x.png', 'b/img1.jpg', 'img2.TIF', 'Img3.webp', 'img10.png']


def test_folders_without_images_are_errors(tmp_path):
    (tmp_path / 'notes.txt').touch()
    for folder, message in {
        tmp_path / 'missing': ': no such folder',
        tmp_path / 'notes.txt': ' is a file: give the folder',
        tmp_path: r' contains no image: looked for \.png',
    }.items():
        with pytest.raises(UserError, match=f'^{folder}{message}'):
            image_io.find_images(folder)


def test_images_do_not_change(tmp_path):
    image = image_io.Picture(random_pixels('uint8', 'rgba'), 'rgba', tmp_path / 'a.png')
    before = image.pixels.copy()
    color_HWC, alpha_HW = image_io.color_and_alpha(image)
    color_HWC[:] = 0
    np.testing.assert_array_equal(image.pixels, before)
    np.testing.assert_array_equal(before[..., 3], alpha_HW)


def test_gray_planes_are_not_taken_for_colors(tmp_path):
    stack = random_pixels('uint8', 'rgb').transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / 'c.tif', stack, imagej=True, metadata={'axes': 'CYX'})
    with pytest.raises(UserError, match='holds 3 images'):
        image_io.read_image(tmp_path / 'c.tif')
    with (
        images.open_image(tmp_path / 'c.tif') as source,
        pytest.raises(UserError, match='only TIFF can hold them'),
        row_writer.open_target(tmp_path / 'c.png', source),
    ):
        pass

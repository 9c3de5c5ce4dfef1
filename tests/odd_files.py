"""Image files of every layout found in practice, each with its pixels or why it is refused.

N images, H height, W width, C channels.
"""

import struct
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

_RNG = np.random.default_rng(0)
DEEP = _RNG.integers(0, 4000, (6, 37, 29)).astype(np.uint16)
RGB = _RNG.integers(0, 256, (37, 29, 3)).astype(np.uint8)
SMOOTH = np.stack([np.add.outer(np.arange(40), np.arange(48)) * k for k in (1, 2, 0)], -1).astype(
    np.uint8
)
GRAY = {'photometric': 'minisblack'}
Frames = list[np.ndarray]  # (H, W, C) each, alpha left out


def gray(*images_HW: np.ndarray) -> Frames:
    return [image[..., None] for image in images_HW]


def pages(path: Path, images: np.ndarray, how=lambda k: {}) -> None:
    """Writes a file page by page, each with its own options."""
    with tifffile.TiffWriter(path) as writer:
        for k, image in enumerate(images):
            writer.write(image, metadata=None, contiguous=False, **GRAY, **how(k))


def raw_tiff(path: Path, segments: list[bytes], tags: dict[int, tuple], order: str = '<') -> None:
    """Writes a TIFF file by hand: one directory, `tags` by code as (type, values)."""
    sizes = {3: 'H', 4: 'I'}
    tags = {**tags, 273: (4, [0] * len(segments)), 279: (4, [len(s) for s in segments])}
    table = 8 + 2 + 12 * len(tags) + 4
    long = {code: struct.calcsize(order + sizes[kind] * len(values)) for code, (kind, values)
            in tags.items()}  # fmt: skip
    start = table + sum(size for size in long.values() if size > 4)
    starts = [start + sum(map(len, segments[:k])) for k in range(len(segments))]
    tags[273] = (4, starts)
    entries, values_behind = b'', b''
    for code, (kind, values) in sorted(tags.items()):
        value = struct.pack(order + sizes[kind] * len(values), *values)
        if len(value) > 4:
            field = struct.pack(order + 'I', table + len(values_behind))
            values_behind += value
        else:
            field = value.ljust(4, b'\0')
        entries += struct.pack(order + 'HHI', code, kind, len(values)) + field
    mark = struct.pack(order + '2sHI', b'II' if order == '<' else b'MM', 42, 8)
    head = mark + struct.pack(order + 'H', len(tags)) + entries + bytes(4)
    path.write_bytes(head + values_behind + b''.join(segments))


def plain_tags(image: np.ndarray, *, bits: int = 0, planar: bool = False, compression: int = 1):
    channels = image.shape[2] if image.ndim == 3 else 1
    kind = {'u': 1, 'i': 2, 'f': 3}[image.dtype.kind]
    return {
        256: (4, [image.shape[1]]), 257: (4, [image.shape[0]]),
        258: (3, [bits or 8 * image.itemsize] * channels), 259: (3, [compression]),
        262: (3, [2 if channels > 1 else 1]), 277: (3, [channels]), 278: (4, [image.shape[0]]),
        284: (3, [2 if planar else 1]), 339: (3, [kind] * channels),
    }  # fmt: skip


def lzw(path: Path, image: np.ndarray, order: str, *, planar: bool = False) -> Frames:
    planes = np.moveaxis(image, 2, 0) if planar else [image]
    segments = [
        imagecodecs.lzw_encode(plane.astype(plane.dtype.newbyteorder(order)).tobytes())
        for plane in planes
    ]
    raw_tiff(path, segments, plain_tags(image, planar=planar, compression=5), order)
    return [np.atleast_3d(image)]


def packed(path: Path, bits: int) -> Frames:
    image = DEEP[0] & (2**bits - 1)
    rows = (image[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    data = np.packbits(rows.astype(np.uint8).reshape(len(image), -1), axis=1).tobytes()
    raw_tiff(path, [data], plain_tags(image, bits=bits))
    return gray(image)


def with_extras(path: Path, photometric: str, kinds: list, channels: int) -> Frames:
    samples = (3 if photometric == 'rgb' else 1) + len(kinds)
    image = _RNG.integers(0, 256, (37, 29, samples)).astype(np.uint8)
    tifffile.imwrite(
        path, image, photometric=photometric, planarconfig='contig', extrasamples=kinds,
        metadata=None,
    )  # fmt: skip
    return [image[..., :channels]]


def ome_permuted(path: Path) -> Frames:
    """Writes pages in reverse order of time."""
    places = ''.join(
        f'<TiffData FirstT="{t}" FirstC="0" FirstZ="0" IFD="{5 - t}" PlaneCount="1"/>'
        for t in range(6)
    )
    xml = _ome('Image:0', 6, places)
    with tifffile.TiffWriter(path) as writer:
        for k in range(6):
            words = {'description': xml} if k == 0 else {}
            writer.write(DEEP[5 - k], metadata=None, contiguous=False, **GRAY, **words)
    return gray(*DEEP)


def _ome(name: str, times: int, places: str, root: str = '') -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"{root}><Image ID="{name}">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="29" SizeY="37" '
        f'SizeZ="1" SizeC="1" SizeT="{times}"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
        f'{places}</Pixels></Image></OME>'
    ).encode()


def ome_set(folder: Path) -> list[Path]:
    """Writes three files of one image each, of which each lists all three."""
    names = [f'pos1_t{k + 1}.tif' for k in range(3)]
    ids = [f'{k:08d}-0000-0000-0000-000000000000' for k in range(3)]
    places = ''.join(
        f'<TiffData FirstT="{t}" FirstZ="0" FirstC="0" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{name}">urn:uuid:{one}</UUID></TiffData>'
        for t, (name, one) in enumerate(zip(names, ids, strict=True))
    )
    for k, name in enumerate(names):
        xml = _ome('Image:0', 3, places, f' UUID="urn:uuid:{ids[k]}"')
        tifffile.imwrite(folder / name, DEEP[k], description=xml, metadata=None)
    return [folder / name for name in names]


def ome_of_a_set(path: Path) -> Frames:
    for one in ome_set(path.parent):
        (path if one.name.endswith('t2.tif') else one.with_suffix('.x')).write_bytes(
            one.read_bytes()
        )
        one.unlink()
    return gray(DEEP[1])


def ome_series(path: Path) -> Frames:
    with tifffile.TiffWriter(path, ome=True) as writer:
        for k in range(3):
            writer.write(DEEP[2 * k : 2 * k + 2], metadata={'axes': 'CYX'}, **GRAY)
    return [np.moveaxis(DEEP[2 * k : 2 * k + 2], 0, -1) for k in range(3)]


def hyperstack(path: Path, **kind) -> Frames:
    stack = _RNG.integers(0, 999, (2, 3, 4, 9, 8)).astype(np.uint16)
    tifffile.imwrite(path, stack, metadata={'axes': 'TZCYX'}, **kind)
    return list(np.moveaxis(stack.reshape(6, 4, 9, 8), 1, -1))


def pyramid(path: Path) -> Frames:
    with tifffile.TiffWriter(path) as writer:
        writer.write(DEEP[0], subifds=1, tile=(16, 16), metadata=None, **GRAY)
        writer.write(DEEP[0, ::2, ::2], subfiletype=1, tile=(16, 16), metadata=None, **GRAY)
        writer.write(DEEP[0, ::4, ::4], subfiletype=1, tile=(16, 16), metadata=None, **GRAY)
    return gray(DEEP[0])


def by_tifffile(image: np.ndarray, **options):
    def write(path: Path) -> Frames:
        tifffile.imwrite(path, image, **{**GRAY, 'metadata': None, **options})
        return gray(*image) if image.ndim == 3 else gray(image)

    return write


def by_pillow(image: Image.Image, **options):
    def write(path: Path) -> Frames:
        image.save(path, **options)
        with Image.open(path) as read:
            kind = {'1': 'L', 'P': 'RGB', 'CMYK': 'CMYK', 'YCbCr': 'RGB'}.get(read.mode)
            pixels = np.atleast_3d(np.asarray(read.convert(kind) if kind else read))
        return [pixels[..., : 1 if pixels.shape[2] < 3 else 3]]

    return write


def animation(path: Path, **options) -> None:
    first, *rest = [Image.fromarray(RGB + np.uint8(k)) for k in range(3)]
    first.save(path, save_all=True, append_images=rest, **options)


def saved(array: np.ndarray, frames: Frames | None = None):
    def write(path: Path) -> Frames:
        np.save(path, array, allow_pickle=True)
        return gray(*array) if frames is None else frames

    return write


def nan_border() -> np.ndarray:
    image = DEEP[0].astype(np.float32)
    image[:4] = np.nan
    return image


def colored(path: Path, **options) -> Frames:
    stored = np.moveaxis(RGB, -1, 0) if options.get('planarconfig') == 'separate' else RGB
    tifffile.imwrite(path, stored, photometric='rgb', metadata=None, **options)
    return [RGB]


def lossy_tiff(path: Path, compression: str, **options) -> Frames:
    tifffile.imwrite(
        path, SMOOTH, photometric='rgb', metadata=None, compression=compression, **options
    )
    return [tifffile.imread(path)]


PALETTE = np.stack([np.arange(256), 255 - np.arange(256), np.arange(256) // 2], 0) * 256


def palette_stack(path: Path, **options) -> Frames:
    """ImageJ with a lookup table, in one directory."""
    indices = np.uint8(DEEP % 256)
    tifffile.imwrite(
        path, indices, photometric='palette', colormap=np.uint16(PALETTE), truncate=True,
        metadata={'axes': 'TYX'}, **options,
    )  # fmt: skip
    return [np.uint8(PALETTE // 256).T[image] for image in indices]


def bitmap_of_16_bits(path: Path) -> Frames:
    """Red 5, green 6, blue 5 bits."""
    size = 16
    pixels = _RNG.integers(0, 1 << 16, (size, size)).astype('<u2')
    info = struct.pack('<IiiHHIIiiII', 40, size, size, 1, 16, 3, pixels.nbytes, 0, 0, 0, 0)
    info += struct.pack('<III', 0xF800, 0x7E0, 0x1F)
    head = b'BM' + struct.pack('<IHHI', 14 + len(info) + pixels.nbytes, 0, 0, 14 + len(info))
    path.write_bytes(head + info + pixels.tobytes())
    parts = [pixels >> 11, pixels >> 5 & 63, pixels & 31]
    tops = (31, 63, 31)
    return [np.stack([p * 255 // top for p, top in zip(parts, tops, strict=True)], -1)[::-1].astype(
        np.uint8)]  # fmt: skip


def then(frames: Frames, action):
    """Pairs a function that writes a file with the pixels it holds."""

    def write(path: Path) -> Frames:
        action(path)
        return frames

    return write


_EXIF = Image.Exif()
_EXIF[274] = 6  # orientation: rotated by 90 degrees
_BITS = Image.fromarray(DEEP[0] > 2000)

# By name: a function that writes the file and returns its frames.
READ = {
    'rgb and two samples.tif': lambda p: with_extras(p, 'rgb', [0, 0], 3),
    'rgb and one unspecified.tif': lambda p: with_extras(p, 'rgb', [0], 3),
    'rgb and alpha.tif': lambda p: with_extras(p, 'rgb', [2], 3),
    'gray and one unspecified.tif': lambda p: with_extras(p, 'minisblack', [0], 2),
    'gray and alpha.tif': lambda p: with_extras(p, 'minisblack', [1], 1),
    'gray, unspecified, alpha.tif': lambda p: with_extras(p, 'minisblack', [0, 2], 2),
    'gray, alpha, unspecified.tif': lambda p: with_extras(p, 'minisblack', [2, 0], 3),
    'planar.tif': lambda p: colored(p, planarconfig='separate'),
    'planar, deflate, tiled.tif': lambda p: colored(
        p, planarconfig='separate', compression='zlib', tile=(16, 16)
    ),
    'OME, three series.ome.tif': ome_series,
    'OME, time against pages.ome.tif': ome_permuted,
    'OME, one file of a set.ome.tif': ome_of_a_set,
    'OME hyperstack.ome.tif': lambda p: hyperstack(p, ome=True),
    'ImageJ hyperstack.tif': lambda p: hyperstack(p, imagej=True),
    'ImageJ, one directory.tif': lambda p: then(
        gray(*DEEP), lambda q: tifffile.imwrite(q, DEEP, imagej=True, truncate=True,
                                                metadata={'axes': 'TYX'})
    )(p),
    'shaped, one directory.tif': lambda p: then(
        gray(*DEEP), lambda q: tifffile.imwrite(q, DEEP, truncate=True, **GRAY)
    )(p),
    'palette, ImageJ, one directory.tif': lambda p: palette_stack(p, imagej=True),
    'palette, shaped, one directory.tif': palette_stack,
    'red 5, green 6, blue 5 bits.bmp': bitmap_of_16_bits,
    'palette.tif': by_pillow(Image.fromarray(RGB).quantize(16)),
    'palette of 4 bits.png': by_pillow(Image.fromarray(RGB).quantize(16), bits=4),
    'one bit, fax.tif': by_pillow(_BITS, compression='group4'),
    'one bit, white is 0.tif': lambda p: then(
        gray(np.uint8(255) * (DEEP[0] <= 2000)), lambda q: tifffile.imwrite(q, DEEP[0] > 2000)
    )(p),
    'one bit.png': by_pillow(_BITS),
    'big-endian.tif': by_tifffile(DEEP, byteorder='>'),
    'big-endian LZW floats.tif': lambda p: lzw(p, DEEP[0].astype(np.float32), '>'),
    'big-endian LZW int16.tif': lambda p: lzw(p, DEEP[0].astype(np.int16) - 2000, '>'),
    'big-endian LZW int32.tif': lambda p: lzw(p, DEEP[0].astype(np.int32) - 2000, '>'),
    'planar LZW.tif': lambda p: lzw(p, np.moveaxis(DEEP[:3], 0, -1), '<', planar=True),
    'LZW int16.tif': lambda p: lzw(p, DEEP[0].astype(np.int16) - 2000, '<'),
    'tiled, predictor.tif': by_tifffile(
        DEEP[0], tile=(16, 16), compression='zlib', predictor=True, byteorder='>'
    ),
    'BigTIFF.tif': by_tifffile(DEEP, bigtiff=True),
    'pyramid.tif': pyramid,
    'int16.tif': by_tifffile(DEEP[0].astype(np.int16) - 2000),
    'floats with a border.tif': by_tifffile(nan_border()),
    'float16.tif': by_tifffile(DEEP[0].astype(np.float16)),
    'white is 0.tif': lambda p: then(
        gray(65535 - DEEP[0]), by_tifffile(DEEP[0], photometric='miniswhite')
    )(p),
    'white is 0, float.tif': by_tifffile(DEEP[0].astype(np.float32), photometric='miniswhite'),
    '12 bits.tif': lambda p: packed(p, 12),
    '10 bits.tif': lambda p: packed(p, 10),
    '14 bits.tif': lambda p: packed(p, 14),
    '4 bits.tif': lambda p: [np.uint8(17) * np.uint8(packed(p, 4)[0])],
    'zstd.tif': by_tifffile(DEEP, compression='zstd'),
    'lzma.tif': by_tifffile(DEEP, compression='lzma'),
    'packbits.tif': by_tifffile(DEEP[0], compression='packbits'),
    'JPEG 2000.tif': by_tifffile(DEEP[0], compression='jpeg2000'),
    'LERC.tif': by_tifffile(DEEP[0].astype(np.float32), compression='lerc'),
    'LZW of Pillow.tif': by_pillow(Image.fromarray(DEEP[0]), compression='tiff_lzw'),
    'zstd of Pillow.tif': by_pillow(Image.fromarray(DEEP[0]), compression='zstd'),
    'JPEG inside.tif': lambda p: lossy_tiff(p, 'jpeg'),
    'JPEG inside, tiled.tif': lambda p: lossy_tiff(p, 'jpeg', tile=(16, 16)),
    'luminance and chrominance.tif': by_pillow(Image.fromarray(SMOOTH).convert('YCbCr')),
    'first page in another way.tif': lambda p: then(
        gray(*DEEP), lambda q: pages(q, DEEP, lambda k: {'rowsperstrip': 16 if k else 37})
    )(p),
    'every second page compressed.tif': lambda p: then(
        gray(*DEEP), lambda q: pages(q, DEEP, lambda k: {'compression': 'zlib'} if k % 2 else {})
    )(p),
    'on its side.jpg': by_pillow(Image.fromarray(SMOOTH), exif=_EXIF),
    '16 bits.png': by_pillow(Image.fromarray(DEEP[0])),
    'transparent.webp': by_pillow(
        Image.fromarray(np.dstack([SMOOTH, SMOOTH[..., 0]])), lossless=True, exact=True
    ),
    'a PNG by another name.tif': by_pillow(Image.fromarray(RGB), format='PNG'),
    'big-endian.npy': saved(DEEP.astype('>u2')),
    'by columns.npy': saved(np.asfortranarray(DEEP)),
    'truth values.npy': saved(DEEP > 2000, gray(*(np.uint8(255) * (DEEP > 2000)))),
    'colors.npy': saved(RGB, [RGB]),
}  # fmt: skip
# By name: what writes it, and a part of the error that refuses it.
REFUSED = {
    'CMYK.tif': (by_pillow(Image.fromarray(SMOOTH).convert('CMYK')), 'Convert it to RGB'),
    'CMYK.jpg': (by_pillow(Image.fromarray(SMOOTH).convert('CMYK')), 'Convert it to RGB'),
    'moving.png': (animation, 'animation of 3 images'),
    'moving.webp': (animation, 'animation of 3 images'),
    'moving.gif': (animation, r'its name must end in \.png, .*\.npy, \.npz or \.exr'),
    'volume.tif': (
        lambda p: tifffile.imwrite(
            p, np.zeros((16, 32, 32), np.uint16), volumetric=True, tile=(16, 16, 16), **GRAY
        ),
        'volumes in single pages',
    ),
    'int64.tif': (by_tifffile(DEEP.astype(np.int64)), 'holds int64 values'),
    'complex.tif': (by_tifffile(DEEP[0].astype(np.complex64)), 'holds complex64 values'),
    'no images.npy': (saved(np.zeros((0, 64, 64), np.uint16)), 'holds no images'),
    'no rows.npy': (saved(np.zeros((2, 0, 64), np.uint16)), 'holds no images'),
    'objects.npy': (saved(np.array([[1, None]], object)), 'Python objects'),
    'int64.npy': (saved(DEEP.astype(np.int64)), 'holds int64 values'),
    'five axes.npy': (saved(np.zeros((2,) * 5)), 'has shape'),
    'text.npz': (lambda p: p.write_bytes(_archive()), 'holds no array'),
    'an unknown compression.tif': (
        lambda p: raw_tiff(p, [b'abc'], plain_tags(DEEP[0], compression=32809)),
        'uses an unsupported compression',
    ),
}


def _archive() -> bytes:
    import io
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('readme.txt', 'hello')
    return file.getvalue()

"""Image files that are cut short, damaged, too large or no images: they raise ImageError and nothing else."""

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageFile

from common import images
from common.errors import ImageError
from common.mx import cv2, mx


def pixels_of(height=24, width=31, seed=0):
    """A smooth colourful picture without symmetry, (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def saved(image, kind, **options):
    stream = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(stream, kind, **options)
    return stream.getvalue()


def exif_bytes(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def mean_difference(first, second):
    assert first.shape == second.shape
    return np.abs(first.astype(int) - second).mean()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"hello, I am a text\n", "text beginning"),
        (b"<html><body>404 not found", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git-lfs"),
        (b"\xff\xd8\xff", "JPEG"),
        (bytes(100), "binary data"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "text beginning"),
    ],
)
def test_what_is_no_image_is_described(tmp_path, data, words):
    path = tmp_path / "dég.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=words) as caught:
        images.read(path)
    assert str(path) in str(caught.value)


def test_missing_file_and_folder_are_errors(tmp_path):
    with pytest.raises(ImageError, match="No such file"):
        images.read(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="directory"):
        images.read(tmp_path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_half_a_file_is_refused(kind):
    rng = np.random.default_rng(0)
    data = saved(rng.integers(0, 256, (80, 90, 3)).astype(np.uint8), kind)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(ImageError):
            images.decode(data[: int(len(data) * share)], "x")


def test_half_a_file_is_refused_whatever_the_process_has_set(monkeypatch):
    """Importing gluoncv's data sets makes Pillow accept truncated files, for the whole process."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    whole = saved(pixels_of(400, 500), "JPEG")
    filters = list(warnings.filters)

    def refused(number):
        try:
            images.decode(whole[: len(whole) // 2] if number % 2 else whole, "x")
        except ImageError:
            return True
        return False

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(refused, range(200))) == [bool(number % 2) for number in range(200)]
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True
    assert list(warnings.filters) == filters


def test_half_a_photo_is_refused(shared_data):
    path = min((shared_data / "photos").glob("*.jpg"))
    data = path.read_bytes()
    assert (
        mx.image.imdecode(data[: len(data) // 2]).shape[2] == 3
    )  # MXNet fills the rest with grey, hence Pillow
    with pytest.raises(ImageError, match="cut short"):
        images.decode(data[: len(data) // 2], path.name)


def png_of_size(width, height):
    """A PNG that promises a picture of that size and holds almost none of it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("size", [(100_000, 100_000), (2_000_000_000, 3)])
def test_picture_of_too_many_pixels_is_refused_before_memory_is_taken(size):
    with pytest.raises(ImageError, match="x: image refused"):
        images.decode(png_of_size(*size), "x")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_exif_leaves_the_pixels():
    pixels = pixels_of()
    for exif in (b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\0\0", b"Exif\0\0"):
        data = saved(pixels, "JPEG", quality=98, subsampling=0, exif=exif)
        assert mean_difference(images.decode(data, "x"), pixels) < 2
        images.is_plain_jpeg(images.load(data, "x"))  # raises nothing


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_damaged_bytes_give_pixels_or_image_error(kind):
    rng = np.random.default_rng(5)
    options = {"exif": exif_bytes(6)} if kind in ("JPEG", "PNG", "WEBP") else {}
    whole = saved(pixels_of(), kind, **options)
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(min(len(data), rng.choice([60, 200, 100_000])))] = rng.integers(256)
        if rng.random() < 0.3:
            del data[rng.integers(len(data)) :]
        try:
            image = images.load(bytes(data), "x")
        except ImageError:
            continue
        images.is_plain_jpeg(image)
        decoded = images.to_rgb(image)
        assert decoded.dtype == np.uint8
        assert decoded.ndim == 3
        assert decoded.shape[2] == 3

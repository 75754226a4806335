"""A zoo of image files, against OpenCV and numpy as independent decoders; damaged files raise ImageError alone."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from common import images
from common.mx import cv2


def pixels_of(height=24, width=31, seed=0):
    """A smooth colourful picture without symmetry, (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def saved(image, kind, **options):
    stream = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(stream, kind, **options)
    return stream.getvalue()


def opencv_rgb(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


def exif_bytes(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def mean_difference(first, second):
    assert first.shape == second.shape
    return np.abs(first.astype(int) - second).mean()


# ---- whole files of every kind


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 20000), (20000, 1), (24, 31)])
def test_lossless_files_come_back_exactly(kind, shape):
    pixels = pixels_of(*shape)
    decoded = images.decode(saved(pixels, kind), "x")
    assert decoded.dtype == np.uint8
    assert (decoded == pixels).all()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2}, {"quality": 20}])
def test_jpeg_agrees_with_opencv(options):
    data = saved(pixels_of(200, 301), "JPEG", **options)
    assert mean_difference(images.decode(data, "x"), opencv_rgb(data)) < 1.5


def test_photos_agree_with_opencv(shared_data):
    paths = sorted((shared_data / "photos").glob("*.jpg"))
    for path in paths:
        assert mean_difference(images.read(path), opencv_rgb(path.read_bytes())) < 1.0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_orientation_makes_the_picture_upright(orientation, kind):
    upright = pixels_of(40, 60)
    # What the camera stores, by the EXIF standard's words: where row 0 and column 0 of the storage lie in the scene.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    data = saved(np.ascontiguousarray(stored), kind, exif=exif_bytes(orientation), **options)
    decoded = images.decode(data, "x")
    assert mean_difference(decoded, upright) < 2
    if kind == "JPEG":
        assert mean_difference(decoded, opencv_rgb(data)) < 2
    assert images.is_plain_jpeg(images.load(data, "x")) == (kind == "JPEG" and orientation == 1)


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_orientation_that_means_nothing_is_ignored(orientation):
    pixels = pixels_of()
    assert (images.decode(saved(pixels, "PNG", exif=exif_bytes(orientation)), "x") == pixels).all()


def test_grey_becomes_three_equal_channels():
    grey = pixels_of()[:, :, 0]
    for data in (saved(grey, "PNG"), saved(Image.fromarray(grey).convert("LA"), "PNG"), saved(grey, "PPM")):
        assert (images.decode(data, "x") == grey[:, :, None]).all()
    assert not images.is_plain_jpeg(images.load(saved(grey, "JPEG"), "x"))


def test_black_and_white_becomes_0_and_255():
    bits = np.arange(24 * 31).reshape(24, 31) % 3 == 0
    decoded = images.decode(saved(Image.fromarray(bits), "PNG"), "x")
    assert (decoded == np.where(bits, 255, 0)[:, :, None]).all()


def test_cmyk_jpeg_agrees_with_opencv():
    pixels = pixels_of(64, 64)
    data = saved(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=95)
    decoded = images.decode(data, "x")
    assert mean_difference(decoded, opencv_rgb(data)) < 3
    assert mean_difference(decoded, pixels) < 6
    assert not images.is_plain_jpeg(images.load(data, "x"))


def test_alpha_is_dropped():
    pixels = pixels_of()
    alpha = (np.arange(24 * 31).reshape(24, 31, 1) % 256).astype(np.uint8)
    data = saved(np.concatenate([pixels, alpha], axis=2), "PNG")
    assert (images.decode(data, "x") == pixels).all()


@pytest.mark.parametrize("transparency", [None, 3, bytes(range(100))])
def test_palette_gives_its_colours_without_a_warning(transparency):
    palette = Image.fromarray(pixels_of()).quantize(40)
    expected = np.array(palette.getpalette()).reshape(-1, 3)[np.asarray(palette)]
    options = {} if transparency is None else {"transparency": transparency}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (images.decode(saved(palette, "PNG", **options), "x") == expected).all()


@pytest.mark.parametrize("top", [65535, 4095, 255, 200])
def test_16_bit_grey_is_scaled_by_its_type_not_by_its_content(top):
    grey = np.linspace(0, top, 20 * 30).astype(np.uint16).reshape(20, 30)
    expected = np.round(grey / 257).astype(np.uint8)
    for kind in ("PNG", "TIFF"):
        assert (images.decode(saved(grey, kind), "x") == expected[:, :, None]).all()


def test_16_bit_colour_keeps_its_high_byte():
    pixels = pixels_of()
    deep = pixels.astype(np.uint16) * 257
    data = cv2.imencode(".png", deep[:, :, ::-1])[1].tobytes()
    assert mean_difference(images.decode(data, "x"), pixels) == 0


def test_16_bit_grey_with_an_orientation():
    grey = np.linspace(0, 65535, 6).astype(np.uint16).reshape(2, 3)
    data = saved(grey, "PNG", exif=exif_bytes(6))
    assert (images.decode(data, "x")[:, :, 0] == np.round(np.rot90(grey, -1) / 257)).all()


def test_floats_from_0_to_1_are_scaled():
    grey = np.linspace(0, 1, 20, dtype=np.float32).reshape(4, 5)
    assert (images.decode(saved(grey, "TIFF"), "x")[:, :, 0] == np.round(grey * 255)).all()


def test_floats_that_are_no_numbers_are_black():
    grey = np.array([[np.nan, 0.5], [1.0, -1.0]], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert images.decode(saved(grey, "TIFF"), "x")[:, :, 0].tolist() == [[0, 128], [255, 0]]


def test_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    for kind, options in (("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})):
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert (images.decode(data, "x") == [255, 0, 0]).all()


def test_picture_of_two_views_gives_the_first():
    """Stereo cameras and phones write JPEGs with a second picture behind (MPO)."""
    frames = [Image.fromarray(pixels_of(seed=seed)) for seed in (0, 1)]
    data = saved(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert mean_difference(images.decode(data, "x"), opencv_rgb(data)) < 1.5


@pytest.mark.parametrize("name", ["ünïcödé 图.png", "with space.png", "no-extension", "wrong.jpg"])
def test_name_of_the_file_does_not_matter(tmp_path, name):
    pixels = pixels_of()
    (tmp_path / name).write_bytes(saved(pixels, "PNG"))
    assert (images.read(tmp_path / name) == pixels).all()
    assert (images.read(str(tmp_path / name)) == pixels).all()


def test_pixels_can_be_written_to():
    decoded = images.decode(saved(pixels_of(), "PNG"), "x")
    decoded[0, 0] = 7
    assert decoded.flags.c_contiguous


# ---- what may be packed as it is, and encoding


def test_header_tells_size_and_mode_without_the_pixels():
    data = saved(pixels_of(24, 31), "PNG")
    assert images.read_header(data) == ((31, 24), "RGB")
    assert images.read_header(data[:60]) == ((31, 24), "RGB")
    assert images.read_header(saved(Image.new("I;16", (3, 2)), "PNG"))[0] == (3, 2)


def test_header_of_a_large_picture_is_read_without_a_warning(monkeypatch):
    data = saved(pixels_of(24, 31), "PNG")
    monkeypatch.setattr(
        Image, "MAX_IMAGE_PIXELS", 400
    )  # Pillow warns above it, and refuses above twice as many
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert images.read_header(data)[0] == (31, 24)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    with pytest.raises(Image.DecompressionBombError):
        images.read_header(data)


def test_plain_jpeg_is_told_from_others():
    pixels = pixels_of()
    assert images.is_plain_jpeg(images.load(saved(pixels, "JPEG"), "x"))
    assert images.is_plain_jpeg(images.load(saved(pixels, "JPEG", progressive=True), "x"))
    assert not images.is_plain_jpeg(images.load(saved(pixels, "PNG"), "x"))


def test_encoded_jpeg_is_plain_and_near_the_pixels():
    pixels = pixels_of(100, 120)
    data = images.encode_jpeg(pixels)
    image = images.load(data, "x")
    assert images.is_plain_jpeg(image)
    assert mean_difference(images.to_rgb(image), pixels) < 2
    assert mean_difference(opencv_rgb(data), pixels) < 2
    assert len(images.encode_jpeg(pixels, quality=30)) < len(data)

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from common import images
from common.structures import Sample
from dataset.annotations import Reason
from dataset.prepare_image import PackOptions, prepare_image


@pytest.fixture
def prepare(tmp_path):
    """Write an image file and prepare it with one box, or what else is given."""

    def prepare(data, name="a.jpg", boxes=((2, 3, 12, 13),), size=None, options=None, lost=False, **more):
        path = tmp_path / name
        path.write_bytes(data)
        count = len(boxes)
        arrays = {"class_ids": [0] * count, "difficult": [False] * count, **more}
        sample = Sample(
            path, size, np.array(boxes, float).reshape(-1, 4), image_id="a", source="a.xml", **arrays
        )
        return prepare_image(
            sample, np.arange(count), num_classes=1, options=options or PackOptions(), lost_objects=lost
        )

    return prepare


def mean_difference(pixels, data):
    return np.abs(pixels.astype(int) - images.decode(data, "x")).mean()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 5}, {"subsampling": 0}])
def test_plain_jpeg_passes_through_unchanged(tools, prepare, options):
    data = tools.encode(tools.picture(64, 48), **options)
    assert prepare(data).image == data


@pytest.mark.parametrize("form", ["PNG", "BMP", "WEBP", "TIFF", "PPM", "GIF"])
def test_other_formats_become_jpeg(tools, prepare, form):
    pixels = tools.picture(64, 48)
    image = Image.open(io.BytesIO(prepare(tools.encode(pixels, form)).image))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 48))
    assert np.abs(pixels.astype(int) - np.asarray(image)).mean() < (12 if form == "GIF" else 4)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_jpegs_become_rgb(tools, prepare, mode):
    stream = io.BytesIO()
    image = Image.fromarray(tools.picture(64, 48)).convert(mode)
    image.save(stream, "JPEG", quality=95)
    packed = prepare(stream.getvalue()).image
    assert Image.open(io.BytesIO(packed)).mode == "RGB"
    assert mean_difference(np.asarray(image.convert("RGB")), packed) < 4


def test_deep_grey_alpha_and_palette_become_rgb(tools, prepare):
    pixels = tools.picture(64, 48)
    deep = pixels[:, :, 0].astype(np.uint16) * 257
    assert (
        mean_difference(np.repeat(pixels[:, :, :1], 3, axis=2), prepare(tools.encode(deep, "PNG")).image) < 2
    )
    alpha = np.dstack([pixels, np.full((48, 64), 7, np.uint8)])
    assert mean_difference(pixels, prepare(tools.encode(alpha, "PNG")).image) < 2
    stream = io.BytesIO()
    Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE).save(stream, "PNG", transparency=0)
    assert images.decode(prepare(stream.getvalue()).image, "x").shape == (48, 64, 3)


@pytest.mark.parametrize("size", [(1, 1), (20000, 1), (1, 3000)])
def test_extreme_sizes_are_packed(tools, prepare, size):
    result = prepare(tools.encode(tools.picture(*size), "PNG"), boxes=[(0, 0, *size)])
    assert (result.sample.size, result.sample.boxes.tolist(), result.problems) == (size, [[0, 0, *size]], [])


def test_animated_gif_gives_its_first_frame(tools, prepare):
    frames = [Image.fromarray(tools.picture(64, 48, seed)) for seed in (1, 2)]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    assert mean_difference(tools.picture(64, 48, 1), prepare(stream.getvalue()).image) < 12


def test_non_ascii_path_is_read(tools, prepare):
    data = tools.encode(tools.picture(64, 48))
    assert prepare(data, name="größe 写真 é.jpg").image == data


def with_exif(pixels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95, exif=exif)
    return stream.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_baked_in(tools, prepare, orientation):
    data = with_exif(tools.picture(64, 48), orientation)
    result = prepare(data, boxes=[(0, 0, 8, 4)])
    packed = Image.open(io.BytesIO(result.image))
    assert packed.getexif().get(0x0112, 1) == 1
    assert (
        packed.size == result.packed_size == result.sample.size == ((64, 48) if orientation < 5 else (48, 64))
    )
    assert mean_difference(images.decode(data, "x"), result.image) < 3
    assert result.sample.boxes.tolist() == [[0, 0, 8, 4]]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_drawn_on_the_stored_image_turn_with_it(prepare, orientation):
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[4:20, 8:40] = 255
    result = prepare(with_exif(pixels, orientation), boxes=[(8, 4, 40, 20)], size=(64, 48))
    xmin, ymin, xmax, ymax = result.sample.boxes[0].astype(int)
    inside = images.decode(result.image, "x")[ymin:ymax, xmin:xmax]
    assert inside.size == 16 * 32 * 3
    assert inside.min() > 200
    assert [problem.reason for problem in result.problems] == [Reason.TURNED]


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0junk", b"Exif\0\0MM\0*\0\0\0\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"]
)
def test_damaged_exif_does_not_stop(tools, prepare, exif):
    data = tools.encode(tools.picture(64, 48), exif=exif)
    assert prepare(data).sample.size == (64, 48)


def half(data):
    return data[: len(data) // 2]


def png_bomb(tools):
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return b"\x89PNG\r\n\x1a\n" + chunk + tools.encode(tools.picture(9, 9), "PNG")[33:]


@pytest.mark.parametrize("kind", ["empty", "text", "html", "half", "half png", "bomb", "lfs"])
def test_what_cannot_be_decoded_whole_is_left_out(tools, prepare, kind):
    pixels = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    data = {
        "empty": b"",
        "text": b"this is no image\n",
        "html": b"<!doctype html><html></html>",
        "half": half(tools.encode(pixels)),
        "half png": half(tools.encode(pixels, "PNG")),
        "bomb": png_bomb(tools),
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
    }[kind]
    result = prepare(data)
    assert result.image == b""
    assert [problem.reason for problem in result.problems] == [Reason.CORRUPT_IMAGE]
    assert result.problems[0].source == "a.xml"


def test_missing_file_is_left_out(prepare, tmp_path):
    sample = Sample(tmp_path / "none.jpg", None, np.zeros((0, 4)), [], [], image_id="a", source="a.xml")
    result = prepare_image(sample, np.arange(0), num_classes=1, options=PackOptions(), lost_objects=False)
    assert [problem.reason for problem in result.problems] == [Reason.CORRUPT_IMAGE]


def test_large_images_shrink_and_their_truth_stays(tools, prepare):
    pixels = tools.picture(400, 200)
    options = PackOptions(resize_short=100)
    result = prepare(tools.encode(pixels), boxes=[(100, 50, 300, 150)], options=options, areas=[1234.5])
    assert images.decode(result.image, "x").shape == (100, 200, 3)
    assert result.packed_size == (200, 100)
    assert (result.sample.size, result.sample.boxes.tolist()) == ((400, 200), [[100, 50, 300, 150]])
    assert result.sample.areas.tolist() == [1234.5]
    small = tools.encode(tools.picture(120, 90))
    assert prepare(small, options=options).image == small
    assert prepare(small, options=options).packed_size == (120, 90)


@pytest.mark.parametrize(
    ("options", "boxes", "lost", "more", "reason"),
    [
        ({}, [], False, {}, None),
        ({"true_negative": False}, [], False, {}, Reason.NEGATIVE),
        ({}, [], True, {}, Reason.NOTHING_LEFT),
        ({}, [(9, 9, 9, 9)], False, {}, Reason.NOTHING_LEFT),
        ({}, [(2, 3, 12, 13)], True, {}, None),
        ({}, [(2, 3, 12, 13)], False, {"crowd": np.array([True])}, Reason.NONE_FOR_LABEL),
        ({"keep_difficult": False}, [(2, 3, 12, 13)], False, {"difficult": [True]}, Reason.NONE_FOR_LABEL),
        ({}, [(2, 3, 12, 13)], False, {"difficult": [True]}, None),
    ],
)
def test_only_images_that_truly_have_no_objects_are_negatives(
    tools, prepare, options, boxes, lost, more, reason
):
    result = prepare(
        tools.encode(tools.picture(64, 48)), boxes=boxes, options=PackOptions(**options), lost=lost, **more
    )
    assert (result.image == b"") == (reason is not None)
    if reason is not None:
        assert result.problems[-1].reason is reason

"""One image on its way into a record: decoded whole, made upright RGB JPEG where it is not, its objects checked.

Used by `dataset.pack`, from several threads. Whatever is wrong comes back as Problems; nothing is raised.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image

from common import images
from common.errors import ConfigError, ImageError
from common.structures import Sample
from dataset.annotations import Problem, Reason
from dataset.checks import check_sample, turn_with_image

_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class PackOptions:
    """How to pack.

    Attributes:
        shuffle: pack in an order drawn from the seed, else in the order of the image sets.
        seed: of that order.
        resize_short: shrink images whose shorter side is over this many pixels to it; 0 leaves sizes alone.
        quality: of JPEGs that must be encoded again, 1 to 100.
        true_negative: keep images without objects.
        keep_difficult: put difficult objects in the labels; they always stand in the truth.
        strict: stop at the first problem.
        workers: threads that decode; 0 takes the cores there are.
    """

    shuffle: bool = True
    seed: int = 0
    resize_short: int = 0
    quality: int = 95
    true_negative: bool = True
    keep_difficult: bool = True
    strict: bool = False
    workers: int = 0

    def __post_init__(self):
        if self.resize_short < 0 or 0 < self.resize_short < 32:
            raise ConfigError(f"--resize-short {self.resize_short}: expected 0, or 32 pixels and more")
        if not 1 <= self.quality <= 100:
            raise ConfigError(f"--quality {self.quality}: expected 1 to 100")
        if self.workers < 0:
            raise ConfigError(f"--workers {self.workers}: expected 0 (all cores) or more")


@dataclass(frozen=True)
class PreparedImage:
    """An image ready to be packed, or what keeps it out.

    Attributes:
        sample: checked; size, boxes and areas are those of the original image, upright.
        in_label: (N,) bool, which of its objects stand in the label.
        image: a JPEG file's bytes; empty where the image is left out.
        packed_size: (width, height) of `image` in pixels, smaller than the original where it was shrunk.
        problems: what was found.
    """

    sample: Sample
    in_label: np.ndarray
    image: bytes
    packed_size: tuple[int, int]
    problems: list[Problem]


def prepare_image(
    sample: Sample, object_indices: np.ndarray, *, num_classes: int, options: PackOptions, lost_objects: bool
) -> PreparedImage:
    """Decode an image, mend it where needed, and check its objects.

    Args:
        sample: as read.
        object_indices: (N,) where its objects stand in the annotation file.
        num_classes: foreground classes.
        options: of packing.
        lost_objects: the reader has left out objects of this image as bad.
    """
    try:
        data = images.read_bytes(sample.image_path)
        image = images.load(data, str(sample.image_path))
    except ImageError as error:
        value = str(error).replace(f"{sample.image_path}: ", "")
        problem = Problem(str(sample.image_id), sample.source, Reason.CORRUPT_IMAGE, value)
        return PreparedImage(sample, np.zeros(len(sample.class_ids), bool), b"", (0, 0), [problem])
    data, orientation, size, packed_size = _mend(data, image, options)
    sample, problems = turn_with_image(sample, image.size, upright_size=size, orientation=orientation)
    checked, found = check_sample(sample, object_indices, size=size, num_classes=num_classes)
    in_label = ~checked.crowd & (options.keep_difficult | ~checked.difficult)
    lost_objects |= len(checked.class_ids) < len(sample.class_ids)
    reason = _why_left_out(checked, in_label, options, lost_objects)
    if reason is not None:
        found.append(Problem(str(sample.image_id), sample.source, reason))
        data = b""
    return PreparedImage(checked, in_label, data, packed_size, problems + found)


def _why_left_out(
    sample: Sample, in_label: np.ndarray, options: PackOptions, lost_objects: bool
) -> Reason | None:
    """Return why an image is left out though it could be decoded; None where it is packed."""
    if in_label.any():
        return None
    if len(sample.class_ids):
        return Reason.NONE_FOR_LABEL
    if lost_objects:
        return Reason.NOTHING_LEFT
    return None if options.true_negative else Reason.NEGATIVE


def _mend(data: bytes, image: Image.Image, options: PackOptions) -> tuple[bytes, int, tuple, tuple]:
    """Return an image's bytes for the record: its own where they will do, else those of an upright RGB JPEG.

    Returns:
        The bytes; the EXIF orientation; (width, height) of the upright image, and that as packed.
    """
    if images.is_plain_jpeg(image) and not _is_larger(image.size, options.resize_short):
        return data, 1, image.size, image.size
    pixels = images.to_rgb(image)
    size = (pixels.shape[1], pixels.shape[0])
    if _is_larger(size, options.resize_short):
        pixels = _shrink(pixels, options.resize_short)
    packed_size = (pixels.shape[1], pixels.shape[0])
    return images.encode_jpeg(pixels, options.quality), _orientation(image), size, packed_size


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 where there is none or it cannot be read."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except (ValueError, TypeError, KeyError, OSError, SyntaxError, struct.error):
        return 1
    return orientation if orientation in range(1, 9) else 1


def _is_larger(size: tuple[int, int], short: int) -> bool:
    """Tell whether an image must shrink for its shorter side to have `short` pixels; 0 never does."""
    return 0 < short < min(size)


def _shrink(pixels: np.ndarray, short: int) -> np.ndarray:
    """Scale an image down until its shorter side has `short` pixels: (H, W, 3) -> (h, w, 3) uint8."""
    height, width = pixels.shape[:2]
    scale = short / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))

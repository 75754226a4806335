"""From the bytes of an image file to RGB pixels: one decoder for packing, validation and detection.

Pillow decodes, because it refuses a truncated file; OpenCV and MXNet fill the missing part with grey and say nothing.
EXIF orientation is applied, grey becomes RGB, alpha is dropped, CMYK is converted, 16-bit is scaled to 8.
"""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from common.errors import ImageError
from common.files import describe

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
_EXIF_ORIENTATION = 0x0112


def read_bytes(path: str | os.PathLike) -> bytes:
    """Read an image file's bytes.

    Raises:
        ImageError: there is no such file, or it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: image cannot be read ({error.strerror or error})") from error


def load(data: bytes, name: str) -> Image.Image:
    """Decode the first frame of an image file whole, as Pillow's image (not yet upright, not yet RGB).

    Args:
        data: the file's bytes.
        name: of the image, for the message.

    Raises:
        ImageError: the bytes are no image, are cut short or damaged, or the picture has over 178 million pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
            image.load()
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not an image that can be decoded: it is {describe(data)}") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: image refused: {error}") from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        TypeError,
        IndexError,
        OverflowError,
        MemoryError,
    ) as error:
        raise ImageError(f"{name}: image is damaged or cut short ({len(data)} bytes): {error}") from error
    return image


def is_plain_jpeg(image: Image.Image) -> bool:
    """Tell whether every decoder gives these bytes the same upright RGB pixels, so that they can be packed as they are.

    Args:
        image: from `load`.
    """
    return (
        image.format == "JPEG" and image.mode == "RGB" and image.getexif().get(_EXIF_ORIENTATION, 1) in (0, 1)
    )


def to_rgb(image: Image.Image) -> np.ndarray:
    """Return an image as upright RGB pixels.

    Args:
        image: from `load`.

    Returns:
        (height, width, 3) uint8.
    """
    try:
        image = ImageOps.exif_transpose(image)
    except (ValueError, TypeError, OSError, SyntaxError):
        pass  # damaged EXIF data: the pixels stand as they are stored, as every viewer shows them
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_grey_to_rgb(np.asarray(image))
    return np.array(image.convert("RGB"))


def _deep_grey_to_rgb(grey: np.ndarray) -> np.ndarray:
    """Scale 16-bit (or deeper) grey to 8 bits: 0..65535 -> 0..255; floats in [0, 1] are scaled by 255."""
    grey = grey.astype(np.float64)
    if grey.size and grey.max() <= 1.0 and not np.all(grey == np.round(grey)):
        grey = grey * 255
    elif grey.size and grey.max() > 255:
        grey = grey / 257
    eight = np.clip(np.round(grey), 0, 255).astype(np.uint8)
    return np.repeat(eight[:, :, None], 3, axis=2)  # (H, W) -> (H, W, 3)


def decode(data: bytes, name: str) -> np.ndarray:
    """Decode an image file's bytes to upright RGB pixels.

    Args:
        data: the file's bytes.
        name: of the image, for messages.

    Returns:
        (height, width, 3) uint8.

    Raises:
        ImageError: as `load` says.
    """
    return to_rgb(load(data, name))


def read(path: str | os.PathLike) -> np.ndarray:
    """Read an image file as upright RGB pixels, (height, width, 3) uint8.

    Raises:
        ImageError: the file is missing, is no image, or is damaged.
    """
    return decode(read_bytes(path), str(path))


def encode_jpeg(pixels: np.ndarray, quality: int = 95) -> bytes:
    """Encode RGB pixels, (height, width, 3) uint8, as a JPEG file without chroma subsampling."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()

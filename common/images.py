"""From the bytes of an image file to RGB pixels: one decoder for packing, validation and detection.

Pillow decodes, because it refuses a truncated file; MXNet fills the missing part with grey and says nothing.
EXIF orientation is applied, grey becomes RGB, alpha is dropped, CMYK is converted, 16-bit is scaled to 8.
"""

from __future__ import annotations

import io
import os
import struct
import threading
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from common.errors import ImageError
from common.files import describe

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
# Named, because Pillow would also try formats that start another program (EPS runs Ghostscript).
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_bytes(path: str | os.PathLike) -> bytes:
    """Read an image file's bytes.

    Raises:
        ImageError: there is no such file, or it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: image cannot be read ({error.strerror or error})") from error


class _Strict:
    """While any thread is inside, Pillow refuses truncated files and does not warn of large ones.

    Both are settings of the whole process, and importing gluoncv's data sets turns the refusal off.
    """

    def __init__(self):
        self._lock, self._inside, self._warnings, self._truncated = threading.Lock(), 0, None, False

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._truncated, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)

    def __exit__(self, *problem) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._warnings.__exit__(*problem)
                ImageFile.LOAD_TRUNCATED_IMAGES = self._truncated


_strict = _Strict()


def read_header(data: bytes) -> tuple[tuple[int, int], str]:
    """Read what an image file says of its picture, without decoding it.

    Args:
        data: the file's bytes.

    Returns:
        (width, height) as stored, not yet upright, and Pillow's name of the mode.

    Raises:
        PIL.Image.DecompressionBombError: the picture has over 178 million pixels.
        Exception: whatever Pillow meets where the bytes are no image or a damaged one; `load` has sentences for it.
    """
    with _strict, Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        return image.size, image.mode


def load(data: bytes, name: str) -> Image.Image:
    """Decode the first frame of an image file whole, as Pillow's image (not yet upright, not yet RGB).

    Args:
        data: the file's bytes.
        name: of the image, for the message.

    Raises:
        ImageError: the bytes are no image, are cut short or damaged, or the picture has over 178 million pixels.
    """
    try:
        with _strict:
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
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
        struct.error,
    ) as error:
        raise ImageError(f"{name}: image is damaged or cut short ({len(data)} bytes): {error}") from error
    return image


def is_plain_jpeg(image: Image.Image) -> bool:
    """Tell whether every decoder gives these bytes the same upright RGB pixels, so that they can be packed as they are.

    Args:
        image: from `load`.
    """
    return image.format == "JPEG" and image.mode == "RGB" and _orientation(image) in (0, 1)


def _orientation(image: Image.Image) -> object:
    """Return the EXIF orientation, 1 where there is none, None where the EXIF data are damaged."""
    try:
        return image.getexif().get(_EXIF_ORIENTATION, 1)
    except (ValueError, TypeError, KeyError, OSError, SyntaxError, struct.error):
        return None


def to_rgb(image: Image.Image) -> np.ndarray:
    """Return an image as upright RGB pixels.

    Args:
        image: from `load`.

    Returns:
        (height, width, 3) uint8.
    """
    orientation = _orientation(image)
    if orientation in _UPRIGHT:  # else, also with damaged EXIF data, the pixels stand as they are stored
        image = image.transpose(_UPRIGHT[orientation])
    if image.mode.startswith("I;16"):
        # Always, also where a dark picture has no value above 255: brightness must not hang on the content.
        return _grey_to_rgb(np.asarray(image).astype(np.float64) / 257)
    if image.mode in ("I", "F"):
        return _deep_grey_to_rgb(np.asarray(image))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB, Pillow warns
    return np.array(image.convert("RGB"))


def _deep_grey_to_rgb(grey: np.ndarray) -> np.ndarray:
    """Scale grey of unknown range to 8 bits: 0..65535 by 1/257 where it passes 255, floats in [0, 1] by 255."""
    grey = np.nan_to_num(grey.astype(np.float64))
    if grey.size and grey.max() <= 1.0 and not np.all(grey == np.round(grey)):
        grey = grey * 255
    elif grey.size and grey.max() > 255:
        grey = grey / 257
    return _grey_to_rgb(grey)


def _grey_to_rgb(grey: np.ndarray) -> np.ndarray:
    """Round grey in [0, 255] and repeat it: (H, W) float64 -> (H, W, 3) uint8."""
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

"""How many pixels an uploaded picture may have, by its header: a small file can hold a picture that fills the memory.

Comes before decoding. `common.images` refuses a picture only above 178 million pixels, which is for files of one's own.
"""

from __future__ import annotations

from PIL import Image

from common import images
from common.errors import ImageError

MAX_PIXELS = 64_000_000
_DEEP_SHARE = (
    3 / 8
)  # of the limit: a pixel of over 8 bits passes through float64 and takes about three times as much


class TooManyPixels(ImageError):
    """A picture that has more pixels than the server takes."""


def check_size(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse a picture with too many pixels without decoding it; what is no picture passes, for the decoder to name.

    Args:
        data: the file's bytes.
        name: of the file, for the message.
        max_pixels: at most; 3/8 of that where a pixel is grey of over 8 bits.

    Raises:
        TooManyPixels: it has more.
    """
    try:
        (width, height), mode = images.read_header(data)
    except Image.DecompressionBombError as error:  # Pillow's own limit; it does not hand out the size
        found = f"over {2 * Image.MAX_IMAGE_PIXELS} pixels"
        raise TooManyPixels(_sentence(name, found, max_pixels)) from error
    except Exception:  # the decoder meets it again, and has a sentence for it
        return
    deep = mode in ("I", "F") or mode.startswith("I;16")
    limit = int(max_pixels * _DEEP_SHARE) if deep else max_pixels
    if width * height > limit:
        found = f"{width} x {height} = {width * height} pixels"
        raise TooManyPixels(_sentence(name, found, limit, " for grey of over 8 bits" if deep else ""))


def _sentence(name: str, found: str, limit: int, kind: str = "") -> str:
    """Say that a picture has too many pixels."""
    return f"{name}: the picture has {found}, the limit{kind} is {limit} pixels: make the picture smaller"

"""One thread that looks at uploaded pictures, in the order in which they come and one at a time.

A Detector's own lock would keep requests apart too, but they come in many threads, and OpenMP starts a team of threads
for each that MXNet's operations are called from. Here decoding waits its turn as well, which bounds the memory.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from common import images
from common.errors import SSDError
from common.structures import Detections
from detect.detector import Detector
from detect.serve.size import MAX_PIXELS, check_size

_ONE_FRAME = ("PNG", "BMP", "GIF", "WEBP")  # browsers show these, but may play them or turn them otherwise
_MAY_TURN = (
    "exif",
    "xmp",
    "XML:com.adobe.xmp",
    "Raw profile type exif",
)  # Pillow's names for where it is written
_STOPPING = "the server is stopping: start it again, then send the picture again"


class Stopped(SSDError):
    """The looker was closed before a picture's turn came."""


@dataclass(frozen=True)
class Look:
    """What was found in a picture.

    Attributes:
        found: all detections, in pixels.
        as_browsers_show: whether a browser shows the same pixels upright.
        seconds: what was spent on "wait" (pictures before this one), "decode" and "detect".
    """

    found: Detections
    as_browsers_show: bool
    seconds: dict[str, float]


class Looker:
    """Looks at one picture after the other; its methods may be called from any thread, and wait for their turn.

    Args:
        detector: any.
        max_pixels: of a picture, at most, as `size.check_size` takes it.
    """

    def __init__(self, detector: Detector, max_pixels: int = MAX_PIXELS):
        self.detector = detector
        self._max_pixels, self._closed = max_pixels, False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="looker")

    def warm_up(self) -> None:
        """Look at a black picture, so that the first real one does not pay for setting up.

        Raises:
            CheckpointError: the network gives values that are not finite.
        """
        height, width = self.detector.card.data_shape
        self._in_turn(self.detector.detect, np.zeros((height, width, 3), np.uint8))

    def close(self) -> None:
        """Let the picture that is being looked at be the last; all that wait get `Stopped`. Does not wait."""
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _in_turn(self, function: Callable, *arguments):
        """Return what a function gives in the looker's thread, after those that were here before.

        Raises:
            Stopped: the looker was closed.
        """
        try:
            turn = self._thread.submit(function, *arguments)
        except RuntimeError:  # what a closed pool raises, and one that cannot start its thread
            if self._closed:
                raise Stopped(_STOPPING) from None
            raise
        try:
            return turn.result()
        except CancelledError:
            raise Stopped(_STOPPING) from None

    def look(self, data: bytes, name: str) -> Look:
        """Find the objects in a picture.

        Args:
            data: the file's bytes.
            name: of the file, for messages.

        Raises:
            ImageError: it is no picture, or is damaged.
            TooManyPixels: it has more than `max_pixels`.
            CheckpointError: the network gives values that are not finite.
            Stopped: the looker was closed.
        """
        return self._in_turn(self._look, data, name, time.perf_counter())

    def _look(self, data: bytes, name: str, asked: float) -> Look:
        started = time.perf_counter()
        check_size(data, name, self._max_pixels)
        image = images.load(data, name)
        as_shown = _as_browsers_show(image)
        pixels = images.to_rgb(image)
        decoded = time.perf_counter()
        found = self.detector.detect(pixels)
        seconds = {
            "wait": started - asked,
            "decode": decoded - started,
            "detect": time.perf_counter() - decoded,
        }
        return Look(found, as_shown, seconds)

    def upright(self, data: bytes, name: str) -> bytes:
        """Return a picture as the detector sees it, as a PNG file.

        Raises:
            ImageError, TooManyPixels, Stopped: as `look`.
        """
        return self._in_turn(self._as_png, data, name)

    def _as_png(self, data: bytes, name: str) -> bytes:
        """Decode a picture and encode it as PNG, quickly rather than small: it goes to a browser nearby."""
        check_size(data, name, self._max_pixels)
        return encode_png(images.decode(data, name))


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode RGB pixels, (height, width, 3) uint8, as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _as_browsers_show(image: Image.Image) -> bool:
    """Tell whether browsers surely show the pixels that `images.to_rgb` gives, upright and as one frame.

    They turn JPEG files by EXIF alone, where Pillow also asks XMP; on other formats they do not agree.
    """
    if image.format in ("JPEG", "MPO"):
        return b"tiff:Orientation" not in image.info.get("xmp", b"")
    if image.format not in _ONE_FRAME or getattr(image, "is_animated", False):
        return False
    return not any(name in image.info for name in _MAY_TURN)

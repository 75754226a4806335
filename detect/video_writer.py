"""Frames into an MP4 file: H.264, or MPEG-4 where a side is odd, at the times at which they came.

The file has a temporary name until it is whole. Times on the grid of the frame rate are written exactly (30000/1001
stays that, though Matroska rounds its times to milliseconds); others, where the rate varies, to 1/10000 s.
Sound is not written.

Deviation: H.264 in the form that every player takes (4:2:0) has even sides only, so 641x479 becomes MPEG-4 (part 2),
which players take and browsers do not.
"""

from __future__ import annotations

import contextlib
import os
from fractions import Fraction
from pathlib import Path

import numpy as np

from common.errors import ConfigError
from common.files import atomic_path
from common.mx import cv2
from detect.video_container import import_av, reason_of

_FINEST = 1 / 10000  # seconds: times are written at least as finely
_MOST_TICKS = {"mpeg4": 65535}  # a second, as the standard allows
_ALL_TICKS = 10**8
_ON_THE_GRID = 0.1  # of a frame's duration: from this distance on, a frame has a time of its own
_BT601 = 6  # FFmpeg's number, AVCOL_SPC_SMPTE170M
_CODECS = (  # by preference: (name, for odd sides too, options)
    ("libx264", False, {"preset": "veryfast", "crf": "20"}),
    ("h264_videotoolbox", False, {"q": "65"}),
    ("libopenh264", False, {"rc_mode": "quality"}),
    ("mpeg4", True, {"qmin": "2", "qmax": "4"}),
)


class VideoWriter:
    """Writes frames to an MP4 file; a context manager, at whose good end the file gets its name.

    Without a frame there is no file.

    Args:
        path: of the file.
        size: (width, height) in pixels; frames of another size are scaled to it.
        rate: frames a second.
        pixel_aspect: width of a pixel by its height.

    Attributes:
        frames: how many were written.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        size: tuple[int, int],
        rate: Fraction | float,
        *,
        pixel_aspect: Fraction | float = 1,
    ):
        self.path, self.size, self.frames = Path(path), size, 0
        self.rate = Fraction(rate).limit_denominator(1001 * 1000)
        self._aspect = Fraction(pixel_aspect).limit_denominator(255)
        self._last, self._container, self._stack = -1, None, contextlib.ExitStack()

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, pixels: np.ndarray, time: float) -> None:
        """Write a frame.

        Args:
            pixels: (height, width, 3) uint8 RGB.
            time: seconds from the beginning; one that is not after the last frame's is moved there.

        Raises:
            ConfigError: the file cannot be written.
        """
        with self._naming():
            if self._container is None:
                self._open()
            if pixels.shape[1::-1] != self.size:
                pixels = cv2.resize(pixels, self.size, interpolation=cv2.INTER_AREA)
            frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=self._colours)
            frame.pts = self._last = max(self._ticks_at(time), self._last + 1)
            frame.time_base = Fraction(1, self._ticks)
            self._mux(self._stream.encode(frame))
            self.frames += 1

    def __exit__(self, kind, error, traceback) -> None:
        if self._container is None:
            return
        try:
            with self._naming():
                if kind is None:
                    self._mux(self._stream.encode(None))
                self._container.close()
        except BaseException as problem:
            if not self._stack.__exit__(type(problem), problem, problem.__traceback__):
                raise
            return
        self._stack.__exit__(kind, error, traceback)

    def _open(self) -> None:
        """Open the file under its temporary name."""
        from av.video.reformatter import Colorspace

        self._av, self._colours = import_av(), Colorspace.ITU601
        temporary = self._stack.enter_context(atomic_path(self.path))
        codec, options = _codec(self.size)
        self._ticks = _ticks_a_second(self.rate, _MOST_TICKS.get(codec, _ALL_TICKS))
        self._container = self._av.open(str(temporary), "w", format="mp4")
        self._stream = self._container.add_stream(codec, rate=self.rate, options=options)
        self._stream.width, self._stream.height = self.size
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.time_base = Fraction(1, self._ticks)
        context.sample_aspect_ratio = self._aspect
        context.colorspace = context.color_primaries = context.color_trc = _BT601

    def _ticks_at(self, time: float) -> int:
        """Return a time in ticks: on the grid of the frame rate where it lies near it."""
        position = time * self.rate
        whole = round(position)
        return round((whole if abs(position - whole) < _ON_THE_GRID else position) / self.rate * self._ticks)

    def _mux(self, packets: list) -> None:
        for packet in packets:
            if not packet.duration:  # a file of one frame would last no time, and have no rate
                packet.duration = round(1 / (self.rate * packet.time_base))
            self._container.mux(packet)

    @contextlib.contextmanager
    def _naming(self):
        """Give FFmpeg's errors the file's name."""
        av = import_av()
        try:
            yield
        except av.error.FFmpegError as error:
            raise ConfigError(
                f"{self.path}: video cannot be written ({reason_of(error)}): free space or choose another folder"
            ) from error


def _codec(size: tuple[int, int]) -> tuple[str, dict]:
    """Return the best codec there is for that size, and its options."""
    av = import_av()
    odd = size[0] % 2 or size[1] % 2
    for name, takes_odd, options in _CODECS:
        if (takes_odd or not odd) and name in av.codec.codecs_available:
            with contextlib.suppress(ValueError):  # listed for reading only
                av.codec.Codec(name, "w")
                return name, options
    raise ConfigError("this PyAV writes neither H.264 nor MPEG-4: run `pip install --force-reinstall av`")


def _ticks_a_second(rate: Fraction, most: int) -> int:
    """Return in how many parts a second is divided: a multiple of what the rate needs, fine enough for any time."""
    step = rate.numerator
    if step > most:
        return most
    return min(most // step, -(-int(1 / _FINEST) // step)) * step

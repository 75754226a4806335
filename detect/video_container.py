"""PyAV (FFmpeg's libraries): opening a video file or stream, with a clear word where that cannot be, and pixels.

PyAV rather than OpenCV: it states frame rates as fractions (30000/1001) and the number of frames as the file does,
tells damage where OpenCV ends without a word, turns a time limit into an error, and keeps silent on stderr.
"""

from __future__ import annotations

import errno
import os
import re
import time
from pathlib import Path

import numpy as np

from common.errors import ImageError
from common.files import describe
from common.libraries import require

TIMEOUT = 10.0  # seconds that a stream may take to open, or be silent
SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "tcp", "rtp", "srt")
_PICTURES = re.compile(r"image2|.*_pipe")  # FFmpeg's readers of single pictures
_TIME = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_TEXT = "tty"  # FFmpeg's reader of text, which it would show as a film of letters
# FFmpeg's AVColorSpace; else, also where nothing is declared, BT.601 as OpenCV takes it
_COLOURS = {1: "ITU709", 9: "BT2020", 10: "BT2020"}
_MEND = "`ffmpeg -i BROKEN MENDED.mp4` may mend it"


def import_av():
    """Import PyAV, which keeps quiet about what it reads.

    Raises:
        DependencyError: it is not installed.
    """
    return require("av", "videos need")


def open_file(path: Path) -> tuple:
    """Open a video file.

    Returns:
        PyAV's container and its first video stream.

    Raises:
        ImageError: there is no such file, or it is no video.
        DependencyError: PyAV is not installed.
    """
    if path.is_dir():
        raise ImageError(f"{path}: a folder, not a video: give a folder of pictures by --dir")
    if path.exists() and not path.is_file():  # opening a pipe waits for its other end
        raise ImageError(
            f"{path}: a pipe or device, not a file: give a file, a camera by --camera or a stream by --url"
        )
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise ImageError(f"{path}: video cannot be read ({error.strerror or error})") from error
    av = import_av()
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise ImageError(f"{path}: {_no_video(head)}") from error
    return _with_stream(container, str(path))


def _no_video(head: bytes) -> str:
    """Say why a file that begins like that could not be opened as a video."""
    if head[4:8] == b"ftyp":
        return (
            "an MP4 file without its index (moov), which is written last: it was cut short; copy it again, or let"
            " the recording end by itself"
        )
    return f"not a video that can be read: it is {describe(head)}"


def open_url(url: str, timeout: float = TIMEOUT) -> tuple:
    """Open a stream.

    Args:
        url: its address.
        timeout: seconds that opening, and later each read, may take.

    Returns:
        PyAV's container and its first video stream.

    Raises:
        ImageError: it does not answer in time, or gives no video.
        DependencyError: PyAV is not installed.
    """
    av = import_av()
    # Over UDP, FFmpeg's first choice, cameras lose parts of pictures, and it waits long before it tries TCP.
    options = {"rtsp_flags": "prefer_tcp"} if url.lower().startswith("rtsp") else {}
    started = time.monotonic()
    try:
        container = av.open(url, options=options, timeout=(timeout, timeout))
    except (av.error.FFmpegError, OSError) as error:
        late = time.monotonic() - started >= 0.95 * timeout
        reason = f"no answer within {timeout:g} s" if late else reason_of(error)
        if reason == os.strerror(errno.EIO):  # what FFmpeg says of a name that is not found
            reason = "cannot be reached"
        raise ImageError(
            f"{printable_url(url)}: {reason}: check the address, and that the other end is switched on"
        ) from error
    return _with_stream(container, printable_url(url))


def _with_stream(container, name: str) -> tuple:
    """Return a container and its first video stream, which fails on damage in place of guessing.

    Raises:
        ImageError: there is none, or it is a picture or text.
    """
    problem = ""
    if _PICTURES.fullmatch(container.format.name):
        problem = "a picture, not a video: give it by --images"
    elif container.format.name == _TEXT:
        problem = "not a video that can be read: it is text"
    elif not container.streams.video:
        problem = "holds no video" + (", sound only" if container.streams.audio else "")
    elif container.streams.video[0].codec_context is None:
        problem = "its video is of a kind that this FFmpeg cannot decode: " + _MEND
    if problem:
        container.close()
        raise ImageError(f"{name}: {problem}")
    stream = container.streams.video[0]
    stream.thread_type = "SLICE"  # with threads by frame an error would come some frames late
    return container, stream


def duration_of(container, stream, start: int | None) -> tuple[float | None, bool]:
    """Return how long a video is by what its file states.

    Args:
        container: PyAV's.
        stream: the video's.
        start: of the first frame, in the stream's ticks; None where unknown.

    Returns:
        Seconds from the first frame, None where the file does not tell; and whether that is of the video alone, not
        of its sound too.
    """
    if stream.duration:
        return float(stream.duration * stream.time_base), True
    tag = _TIME.fullmatch(stream.metadata.get("DURATION", "").strip())  # Matroska's, of each stream
    seconds = (
        int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) if tag else (container.duration or 0) / 1e6
    )
    if container.format.name.startswith("matroska") and start:
        seconds -= float(start * stream.time_base)  # it counts from 0, wherever the first frame lies
    return (seconds if seconds > 0 else None), tag is not None or len(container.streams) == 1


def reason_of(error: Exception) -> str:
    """Return FFmpeg's words for an error, without the address, which may hold a password."""
    return getattr(error, "strerror", None) or type(error).__name__


def printable_url(url: str) -> str:
    """Return an address without user name and password, and without its query, which may hold a token."""
    return re.sub(r"\?.+", "?***", re.sub(r"(?<=://)[^/?#]*@", "***@", url), flags=re.DOTALL)


def to_pixels(frame) -> np.ndarray:
    """Return the pixels of PyAV's frame, upright: (height, width, 3) uint8 RGB."""
    from av.video.reformatter import Colorspace

    declared = _COLOURS.get(int(frame.colorspace), "ITU601")
    source = getattr(Colorspace, declared, Colorspace.ITU709)  # older PyAV has no BT2020
    # PyAV 15 heeds the source's only where the other differs; to RGB the other is of no account.
    pixels = frame.to_ndarray(format="rgb24", src_colorspace=source, dst_colorspace=Colorspace.ITU601)
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels

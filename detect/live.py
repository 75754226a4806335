"""Live sources: a camera, or a stream from the network, of which always the newest frame is looked at.

A thread takes frames as they come and keeps one; what comes while the network computes is dropped, so that the picture
does not fall behind the world. A stream that breaks off is opened again, a bounded number of times.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

from common.errors import ConfigError, ImageError
from common.mx import cv2
from detect.video import Frame, Video
from detect.video_container import (
    SCHEMES,
    TIMEOUT,
    import_av,
    open_url,
    printable_url,
    reason_of,
    to_pixels,
)

_ATTEMPTS = 5  # to open a stream again before it is given up
_PAUSES = (0.5, 1, 2, 4, 8)  # seconds before each
_POLL = 0.1  # seconds between looks at whether to stop
_USUAL_RATE = Fraction(30)
_OF_FILES = ("http", "https")  # the other schemes are live also where they tell a duration


class Live:
    """The newest frame of a source that does not wait, again and again; a context manager.

    Args:
        name: for messages.
        connect: opens the source: returns its frames a second (None where unknown) and a generator of frames,
            (height, width, 3) uint8 RGB; both it and the generator raise ImageError.
        attempts: how often a source that breaks off is opened again before that is an error; 0 for a camera.

    Attributes:
        size: (width, height) of the first frame in pixels.
        rate: frames a second, as the source states.
        frames: how many were taken to be looked at.
        dropped: how many came and were not.

    Raises:
        ImageError: the source cannot be opened, or gives no frame.
    """

    count = None  # frames: nobody knows
    pixel_aspect = Fraction(1)

    def __init__(
        self,
        name: str,
        connect: Callable[[], tuple[float | None, Iterator[np.ndarray]]],
        *,
        attempts: int = 0,
    ):
        self.name, self._connect, self._attempts = name, connect, attempts
        self.frames = self._arrived = 0
        self._newest: Frame | None = None
        self._error: ImageError | None = None
        self._stopped, self._over = False, False
        self._news = threading.Condition()
        rate, pixels = connect()
        self.rate = Fraction(rate).limit_denominator(1001) if rate else _USUAL_RATE
        first = next(pixels, None)
        if first is None:
            raise ImageError(f"{name}: gives no frame")
        self.size = (first.shape[1], first.shape[0])
        self._started = time.monotonic()
        self._keep(first)
        self._thread = threading.Thread(target=self._run, args=(pixels,), name=f"live {name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many frames came and were not looked at."""
        return self._arrived - self.frames

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *problem) -> None:
        self.close()

    def stop(self) -> None:
        """End the iteration; may be called from a signal handler, which must not wait for a lock."""
        self._stopped = True

    def close(self) -> None:
        """Stop, and wait a little for the thread: one that waits for a silent stream ends with its time limit."""
        self.stop()
        self._thread.join(2)

    def __iter__(self) -> Iterator[Frame]:
        """Yield the newest frame each time.

        Raises:
            ImageError: the source broke off and did not come back.
        """
        while not self._stopped:
            with self._news:
                frame, self._newest = self._newest, None
                if frame is None and self._over:
                    break
                if frame is None:
                    self._news.wait(_POLL)
                    continue
            self.frames += 1
            yield frame
        if self._error is not None and not self._stopped:
            raise self._error

    def _keep(self, pixels: np.ndarray) -> None:
        """Take a frame in the place of the one before."""
        frame = Frame(self._arrived, time.monotonic() - self._started if self._arrived else 0.0, pixels)
        with self._news:
            self._arrived += 1
            self._newest = frame
            self._news.notify()

    def _run(self, frames: Iterator[np.ndarray]) -> None:
        """Take frames until told to stop, opening the source again where it breaks off."""
        failures = 0
        while not self._stopped:
            arrived = self._arrived
            try:
                with contextlib.closing(frames):
                    for pixels in frames:
                        self._keep(pixels)
                        if self._stopped:
                            break
                problem = ImageError(f"{self.name}: ended")
            except ImageError as error:
                problem = error
            except Exception as error:  # noqa: BLE001 (OpenCV's, of memory: what was seen so far must not be lost)
                problem = ImageError(f"{self.name}: cannot be read on: {type(error).__name__}: {error}")
            failures = 1 if self._arrived > arrived else failures + 1
            if self._stopped or failures > self._attempts:
                break
            frames = self._again(failures)
        if not self._stopped:
            tried = f"; opened again {self._attempts} times in vain" if self._attempts else ""
            self._error = ImageError(f"{problem}{tried}; {self._arrived} frames came")
        with self._news:
            self._over = True
            self._news.notify()

    def _again(self, failures: int) -> Iterator[np.ndarray]:
        """Return the source's frames, opened again after a pause; the error comes with the first frame."""
        until = time.monotonic() + _PAUSES[min(failures, len(_PAUSES)) - 1]
        while time.monotonic() < until and not self._stopped:
            time.sleep(_POLL)
        if not self._stopped:
            yield from self._connect()[1]


def open_camera(number: int) -> Live:
    """Open a camera of this computer.

    Args:
        number: of the camera, from 0.

    Raises:
        ImageError: it is not there, is in use, or gives no picture.
    """
    return Live(f"camera {number}", lambda: _connect_camera(number))


def _connect_camera(number: int) -> tuple[float | None, Iterator[np.ndarray]]:
    with _quiet_opencv():
        camera = cv2.VideoCapture(number)
    if not camera.isOpened():
        camera.release()
        raise ImageError(
            f"camera {number}: cannot be opened: {_cameras_there()}; another program may be using it"
        )
    camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return camera.get(cv2.CAP_PROP_FPS) or None, _camera_frames(camera, number)


def _camera_frames(camera, number: int) -> Iterator[np.ndarray]:
    try:
        while True:
            with _quiet_opencv():
                fine, pixels = camera.read()
            if not fine:
                raise ImageError(f"camera {number}: gives no more pictures: is it still connected?")
            yield cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    finally:
        camera.release()


def _cameras_there() -> str:
    """Say which cameras there are, where the system tells."""
    if not os.path.isdir("/dev"):
        return "give the number of one that is there, from 0"
    there = sorted(name[5:] for name in os.listdir("/dev") if name.startswith("video") and name[5:].isdigit())
    if there:
        return f"there are {', '.join(there)}"
    return "this system has no /dev/video*" if os.path.exists("/proc") else "there may be none"


@contextlib.contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Keep OpenCV from writing to stderr what the error says."""
    level = cv2.getLogLevel()
    cv2.setLogLevel(0)
    try:
        yield
    finally:
        cv2.setLogLevel(level)


def open_stream(
    url: str,
    *,
    on_error: Callable[[ImageError], None] | None = None,
    timeout: float = TIMEOUT,
    attempts: int = _ATTEMPTS,
) -> Video | Live:
    """Open a video on the network: a live stream, or a file, of which every frame is read.

    Args:
        url: its address.
        on_error: for a file, as in `read_video`.
        timeout: seconds that opening, and each read, may take.
        attempts: how often a live stream that breaks off is opened again before that is an error.

    Raises:
        ConfigError: it is no address.
        ImageError: nothing answers in time, or what answers is no video.
    """
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme not in SCHEMES:
        there = ": that is a file: give it by --video" if os.path.exists(url) else ""
        raise ConfigError(f"--url {printable_url(url)}: expected {'://, '.join(SCHEMES[:6])}://...{there}")
    name = printable_url(url)
    container, stream = open_url(url, timeout)
    if scheme in _OF_FILES and (container.duration or container.size > 0):
        return Video(container, stream, name, on_error)
    first = [(container, stream)]

    def connect() -> tuple[float | None, Iterator[np.ndarray]]:
        opened = first.pop() if first else open_url(url, timeout)
        return opened[1].average_rate, _stream_frames(*opened, name, timeout)

    return Live(name, connect, attempts=attempts)


def _stream_frames(container, stream, name: str, timeout: float) -> Iterator[np.ndarray]:
    """Yield the frames of a stream; damage is patched by FFmpeg, since the next picture comes at once."""
    av = import_av()
    with contextlib.closing(container):
        packets = container.demux(stream)
        while True:
            started = time.monotonic()
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                silent = time.monotonic() - started >= 0.95 * timeout
                reason = f"silent for {timeout:g} s" if silent else reason_of(error)
                raise ImageError(f"{name}: broke off: {reason}") from error
            with contextlib.suppress(av.error.FFmpegError):
                for frame in packet.decode():
                    yield to_pixels(frame)

"""Videos as frames, and what a detector finds in each.

    with read_video("clip.mp4") as video:
        print(video.size, video.rate, video.count)
        for frame in video:
            frame.index, frame.time, frame.pixels

    for frame, found in watch(Detector("model/ssd"), "clip.mp4"):
        print(frame.time, found)

Frames come one at a time and in order, so that a video of any length needs the memory of a few frames. A frame that is
damaged is left out and told, as a picture would be; FFmpeg would patch it with parts of the last one and say nothing.

Deviations: pixels count as square for the detector, also where the video says otherwise (`pixel_aspect`); the two
halves of interlaced frames are not separated; sound is not read.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.errors import ImageError
from common.structures import Detections
from detect.look_ahead import read_ahead
from detect.video_container import duration_of, import_av, open_file, reason_of, to_pixels

if TYPE_CHECKING:
    from detect.detector import Detector
    from detect.live import Live

_USUAL_RATE = Fraction(25)  # where a video does not say
_AHEAD = 4  # frames decoded before their turn, beside those that the Detector prepares
_PACKETS = (188, 192, 204)  # bytes, of MPEG transport streams
_CLOCK_SLACK = 1.0  # seconds by which the sound may be longer than the picture
OnError = Callable[[ImageError], None]


@dataclass(frozen=True)
class Frame:
    """A frame of a video.

    Attributes:
        index: of the frame, from 0; of a live source, how many came before it, dropped ones too.
        time: seconds from the beginning.
        pixels: (height, width, 3) uint8 RGB, upright.
    """

    index: int
    time: float
    pixels: np.ndarray


class Video:
    """The frames of a video file, once, in order; a context manager. Made by `read_video`.

    Attributes:
        name: of the file, for messages.
        size: (width, height) in pixels, upright.
        rate: frames a second, exactly; the mean where they vary.
        count: how many frames there are, as the file states it or its duration tells; None where neither does.
        pixel_aspect: width of a pixel by its height.
        frames: how many were read.
        broken: how many were damaged and left out.
    """

    def __init__(self, container, stream, name: str, on_error: OnError | None = None):
        self.name, self._container, self._stream, self._on_error = name, container, stream, on_error
        stream.codec_context.options = {"err_detect": "explode"}  # damage is an error
        self.rate = Fraction(stream.average_rate or stream.guessed_rate or _USUAL_RATE)
        self._start: int | None = stream.start_time
        self.count = stream.frames or self._count_by_duration()
        self.frames = self.broken = self._packets = self._next = 0
        self._end = 0.0  # seconds, of the last frame
        self._damaged: set[int] = set()  # times of damaged packets whose frames may still come, in ticks
        self._decoded: int | None = None  # decoding time of the last packet, in ticks
        self._restarted = False  # whether those went back, as where files are joined
        self._shift = self._last = 0.0  # seconds: added to times since then; of the last frame
        self._items = self._decode()
        self._first: deque = deque()
        try:
            self._read_first()
        except BaseException:
            self.close()
            raise

    def _read_first(self) -> None:
        """Read up to the first frame, which alone tells the size and which side is up."""
        for item in self._items:
            self._first.append(item)
            if isinstance(item, Frame):
                height, width = item.pixels.shape[:2]
                self.size = (width, height)
                aspect = self._stream.sample_aspect_ratio or Fraction(1)
                turned = self.size != (self._stream.width, self._stream.height)
                self.pixel_aspect = 1 / aspect if turned and aspect else Fraction(aspect or 1)
                return
        problem = f": {self._first[0]}" if self._first else ""
        raise ImageError(f"{self.name}: no frame in it can be decoded{problem}")

    @property
    def position(self) -> int:
        """The index of the next frame."""
        return self._next - sum(isinstance(item, Frame) for item in self._first)

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *problem) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._items.close()
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        return self.resolve(self.items())

    def items(self) -> Iterator[Frame | ImageError]:
        """Yield frames, and an error in the place of each that is damaged, and at the end where it came too early."""
        while self._first:
            yield self._first.popleft()
        yield from self._items

    def resolve(self, items: Iterator[Frame | ImageError]) -> Iterator[Frame]:
        """Yield the frames among items; hand errors to `on_error`, or raise them where there is none."""
        for item in items:
            if isinstance(item, Frame):
                self.frames += 1
                yield item
            elif self._on_error is None:
                raise item
            else:
                self._on_error(item)

    def _count_by_duration(self) -> int | None:
        duration, _ = duration_of(self._container, self._stream, self._start)
        return round(duration * self.rate) if duration else None

    def _decode(self) -> Iterator[Frame | ImageError]:
        av = import_av()
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except av.error.FFmpegError as error:
                yield ImageError(f"{self.name}: cannot be read on at {self._end:.2f} s: {reason_of(error)}")
                break
            self._packets += packet.size > 0
            if packet.dts is not None:
                self._restarted |= self._decoded is not None and packet.dts < self._decoded
                self._decoded = packet.dts
            yield from self._frames_of(packet, av.error.FFmpegError)
        if self._next:
            yield from self._early_end()

    def _frames_of(self, packet, damage: type[Exception]) -> Iterator[Frame | ImageError]:
        """Yield what decodes when a packet is fed; an error where the container or the decoder calls it damaged."""
        problem = ""
        if packet.is_corrupt:  # its frame may come later, patched
            self._damaged.update([] if packet.pts is None else [packet.pts])
            problem = "the file is damaged or cut short there"
        try:
            decoded = packet.decode()
        except damage as error:
            decoded, problem = [], reason_of(error)
        if problem:
            self.broken += 1
            yield ImageError(f"{self.name}: a frame near {self._end:.2f} s is damaged: {problem}")
        for frame in decoded:
            patched = frame.pts in self._damaged
            self._damaged.discard(frame.pts)
            if not patched and not (problem and packet.pts is None):
                yield self._finish(frame)

    def _finish(self, frame) -> Frame:
        """Turn PyAV's frame into ours."""
        ticks, base = frame.pts, frame.time_base or self._stream.time_base
        if ticks is None:
            time = float(self._next / self.rate)
        else:
            self._start = ticks if self._start is None else self._start
            time = max(0.0, self._on(float((ticks - self._start) * base)))
        self._end, self._last = max(self._end, time), time
        self._next += 1
        return Frame(self._next - 1, time, to_pixels(frame))

    def _on(self, time: float) -> float:
        """Return a frame's time where times restart, as in joined files: one frame after the last."""
        step = 1 / float(self.rate)
        if (
            self._restarted and time + self._shift < self._last - 2 * step
        ):  # damage alone may disorder frames too
            self._shift, self._restarted = self._last + step - time, False
            self._damaged.clear()  # they were of the times before
        return time + self._shift

    def _early_end(self) -> Iterator[ImageError]:
        """Yield an error where a file ended before what it states."""
        kind, read = self._container.format.name, f"{self._next} frames were read"
        duration, alone = duration_of(self._container, self._stream, self._start)
        slack = 0.05 if alone else max(_CLOCK_SLACK, (duration or 0) / 20)
        late = duration is not None and duration > self._end + 2 / float(self.rate) + slack
        stated = self._stream.frames
        # An MP4 file may hold frames that are cut off when it is played, and AVI counts those that were dropped as it
        # was recorded: there the time must be short too.
        if stated and self._packets < stated and (late or not kind.startswith(("mov", "avi"))):
            yield ImageError(f"{self.name}: ends early: {read} of {stated} stated")
        elif not stated and late:
            yield ImageError(f"{self.name}: ends early, at {self._end:.2f} s of {duration:.2f} s: {read}")
        elif kind == "mpegts" and all(self._container.size % length for length in _PACKETS):
            yield ImageError(f"{self.name}: ends early, within a packet: {read}")


def read_video(path: str | os.PathLike, *, on_error: OnError | None = None) -> Video:
    """Open a video file, whose frames are then iterated over.

    Args:
        path: of the file.
        on_error: called with the error of each frame that is damaged, which is left out, and of a file that ends
            early; None raises them.

    Raises:
        ImageError: it is no video, or no frame in it can be decoded.
        DependencyError: PyAV is not installed.
    """
    return Video(*open_file(Path(path)), str(path), on_error)


def watch(
    detector: Detector,
    source: str | os.PathLike | Video | Live,
    batch_size: int | None = None,
    *,
    on_error: OnError | None = None,
) -> Iterator[tuple[Frame, Detections]]:
    """Find the objects in every frame of a video, decoding ahead while the network computes.

    Of a live source the newest frame is taken each time, so that what is seen does not fall behind.

    Args:
        detector: any.
        source: a file, a `Video`, or a live source (`detect.live`).
        batch_size: how many frames are computed at once; None takes the Detector's. Live sources are looked at frame
            by frame.
        on_error: for a file, as in `read_video`.

    Yields:
        Each frame and what was found in it, in pixels.

    Raises:
        ImageError: the source cannot be used, or is damaged where no `on_error` is given.
    """
    if isinstance(source, (str, os.PathLike)):
        with read_video(source, on_error=on_error) as video:
            yield from watch(detector, video, batch_size)
    elif isinstance(source, Video):
        yield from _in_batches(detector, source, batch_size)
    else:
        for frame in source:
            yield frame, detector.detect(frame.pixels, 1)


def _in_batches(
    detector: Detector, video: Video, batch_size: int | None
) -> Iterator[tuple[Frame, Detections]]:
    """Yield the frames of a video with their detections."""
    waiting: deque = deque()
    with contextlib.closing(read_ahead(video.items(), _AHEAD)) as items:

        def pixels() -> Iterator[np.ndarray]:
            for frame in video.resolve(items):
                waiting.append(frame)
                yield frame.pixels

        with contextlib.closing(detector.stream(pixels(), batch_size)) as results:
            for result in results:
                yield waiting.popleft(), result.detections

"""demo.py on a video, a camera or a stream: looks at its frames, and writes a video and what was found in each frame.

NAME.jsonl has a line for each frame, {"frame", "time", "detections"}, so that a video of any length needs the memory of
a few frames; detections.json tells the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Union

from tqdm import tqdm

from common.errors import ConfigError, ImageError
from common.structures import Detections
from detect.detector import Detector
from detect.live import Live, open_camera, open_stream
from detect.look import Clock, Lines, Rate, Stop, Wanted, about, draw_rate, printable
from detect.look_ahead import apart
from detect.out_folder import announce, check_targets, same_file, write_summary
from detect.output_names import file_name
from detect.outputs import Outputs
from detect.pictures import annotate
from detect.video import Frame, Video, read_video, watch
from detect.video_container import printable_url
from detect.video_writer import VideoWriter
from detect.window import Window

_TOLD = 5  # damaged frames that are told one by one
Source = Union[Video, Live]


class Faults:
    """Errors of single frames, kept in `messages` and told as they come, the first few."""

    def __init__(self):
        self.messages: list[str] = []
        self.untold = 0

    def add(self, error: ImageError) -> None:
        """Note an error."""
        if len(self.messages) == _TOLD:
            self.untold += 1
            return
        self.messages.append(printable(error))
        with tqdm.external_write_mode(sys.stderr):
            print(self.messages[-1], file=sys.stderr)

    def sum_up(self) -> None:
        """Tell how many more there were."""
        if self.untold:
            print(f"{self.untold} more frames are damaged", file=sys.stderr)


def open_source(args: argparse.Namespace, faults: Faults) -> Source:
    """Open the video, camera or stream that flags name.

    Raises:
        ConfigError: a flag cannot be.
        ImageError: it cannot be opened.
    """
    if args.camera is not None:
        return open_camera(args.camera)
    if args.url is not None:
        return apart(lambda: open_stream(args.url, on_error=faults.add))  # so that Ctrl-C ends the wait
    if "://" in args.video:
        raise ConfigError(f"--video {printable_url(args.video)}: an address: give it by --url")
    return read_video(args.video, on_error=faults.add)


def name_of(args: argparse.Namespace) -> str:
    """Return the name of the results, without ending."""
    if args.camera is not None:
        return f"camera-{args.camera}"
    if args.url is not None:
        return Path(re.sub(r"[?#].*|^.*?://[^/]*", "", args.url)).stem or "stream"
    return Path(args.video).stem


def target(args: argparse.Namespace) -> Path:
    """Return where the video goes.

    Raises:
        ConfigError: it would take the place of the video looked at, or of a file that the demo did not write.
    """
    path = Path(args.out) / f"{file_name(printable(name_of(args)))}.mp4"
    if args.video is not None and same_file(path, args.video):
        raise ConfigError(f"--out {args.out}: {path} is the video to look at: choose another folder")
    check_targets(_files(path), args.out)
    return path


def _files(path: Path) -> list[Path]:
    """Return the files that belong to a video that is written."""
    return [path, path.with_suffix(".jsonl")]


def look_at_video(
    detector: Detector, source: Source, path: Path, wanted: Wanted, args: argparse.Namespace, faults: Faults
) -> int:
    """Look at every frame of a video, or the newest ones of a live source; write a video and what was found.

    Args:
        detector: any.
        source: from `open_source`.
        path: where the video goes, from `target`.
        wanted: which detections count.
        args: of the command.
        faults: where `source` notes its damaged frames.

    Returns:
        The exit code: 2 where a frame was damaged or the source ended early, `Stop.code`
        where the user stopped it.
    """
    files = [args.video] if args.video is not None else []
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(Stop(getattr(source, "stop", None)))
        outputs = stack.enter_context(Outputs.open(args, detector, args.out, files, results=_files(path)))
        announce(_files(path), args.out, about(detector, wanted))
        lines = stack.enter_context(Lines(path.with_suffix(".jsonl")))
        writer = stack.enter_context(
            VideoWriter(path, source.size, source.rate, pixel_aspect=source.pixel_aspect)
        )
        look = _Looking(wanted, args, writer, lines, outputs)
        look.run(detector, source, faults, stop)
    faults.sum_up()
    name = printable(source.name)
    summary = {
        **about(detector, wanted),
        "images": [],
        "video": {
            "file": name,
            "video": path.name,
            "detections": lines.path.name,
            "size": list(source.size),
            "rate": float(source.rate),
            "frames": writer.frames,
            "stated": source.count,
        },
        "failed": [{"file": name, "error": message} for message in faults.messages],
    }
    write_summary(_files(path), args.out, summary)
    _tell(look, source, args)
    if stop.asked:
        print("stopped; what was looked at is written", file=sys.stderr)
        return stop.code
    return 2 if faults.messages else 0


def _tell(look: _Looking, source: Source, args: argparse.Namespace) -> None:
    """Print what was seen and written."""
    frames = look.writer.frames
    print(f"{printable(source.name)}: {frames} frames, objects in {look.with_objects} of them", end="")
    print(f"; {source.dropped} came while the network computed" if isinstance(source, Live) else "")
    if args.timer and frames:
        print(
            f"{frames} frames in {look.seeing:.2f} s, {frames / look.seeing:.1f} frames/s;"
            f" with drawing and writing {look.seconds:.2f} s, {frames / look.seconds:.1f} frames/s"
        )
    print(f"written: {look.writer.path.name}, {look.lines.path.name} and detections.json in {args.out}")
    print("".join(f"written: {line}\n" for line in look.outputs.written()), end="")


class _Looking:
    """Takes frames from a source to the files.

    Attributes:
        with_objects: how many frames had any.
        seeing: seconds that were spent waiting for frames and detections.
        seconds: those spent in all.
    """

    def __init__(
        self, wanted: Wanted, args: argparse.Namespace, writer: VideoWriter, lines: Lines, outputs: Outputs
    ):
        self.writer, self.lines, self.outputs = writer, lines, outputs
        self._wanted, self._args = wanted, args
        self._rate, self._window = Rate(), Window() if args.show else None
        self.with_objects, self.seeing, self.seconds = 0, 0.0, 0.0

    def run(self, detector: Detector, source: Source, faults: Faults, stop: Stop) -> None:
        """Look at frames until they end, or the user has had enough."""
        started = time.perf_counter()
        clock = Clock(watch(detector, source))
        try:
            for frame, found in self._bar(clock, source.count):
                enough = self._write(frame, found)
                if enough or stop.asked or self.writer.frames == self._args.max_frames:
                    break
        except ImageError as error:  # a live source that did not come back
            faults.add(error)
        finally:
            clock.close()
        self.seeing, self.seconds = clock.seconds, time.perf_counter() - started

    def _bar(self, items: Iterator, count: int | None) -> Iterator:
        """Put a progress bar around frames, on terminals only."""
        most = [number for number in (count, self._args.max_frames) if number]
        return tqdm(
            items,
            total=min(most, default=None),
            desc=self.writer.path.stem,
            unit="frame",
            leave=False,
            disable=not sys.stderr.isatty(),
        )

    def _write(self, frame: Frame, found: Detections) -> bool:
        """Write a frame and what was found in it; tell whether the user has had enough of it in the window."""
        counted = self._wanted.among(found)
        drawn = annotate(frame.pixels, counted)
        if self._args.show_fps:
            draw_rate(drawn, self._rate.tick())
        self.writer.write(drawn, frame.time)
        name = f"{self.writer.path.stem}_{frame.index:06d}"
        self.outputs.add(name, frame.pixels, counted, image_id=frame.index)
        self.lines.add(
            {"frame": frame.index, "time": round(frame.time, 6), "detections": counted.as_records()}
        )
        self.with_objects += len(counted) > 0
        return self._window is not None and not self._window.show(drawn, wait=False)

"""demo.py: find objects in pictures or videos, draw them, and write what was found to a folder; or serve a page."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.command import CommandParser, add_switch, command, parse_whole
from common.errors import ConfigError
from detect.detector import Detector
from detect.flags import (
    add_detection_flags,
    add_device_flags,
    add_model_flags,
    open_detector,
    thresholds_of,
)
from detect.look import Wanted
from detect.look_pictures import look_at_pictures, pictures_of
from detect.look_video import Faults, look_at_video, open_source, target
from detect.outputs import add_output_flags
from detect.pictures import targets
from detect.sources import kind_of_source
from detect.window import require_window

_HOST, _PORT = "127.0.0.1", 8000


def build_parser() -> CommandParser:
    """Return the parser of the command's flags."""
    parser = CommandParser(
        prog="demo.py",
        description="Find objects in pictures or videos and draw them. Without any flag: the detector that ships with"
        " the project, on scenes that it draws itself.",
        epilog="What cannot be decoded, a picture or a frame, is reported and left out; then the exit code is 2."
        " Ctrl-C, SIGTERM and SIGHUP finish the files that are begun; then it is 130, 143, 129.",
    )
    _add_source_flags(parser)
    _add_result_flags(parser)
    add_output_flags(parser)
    group = parser.add_argument_group("a page in the browser")
    group.add_argument("--serve", action="store_true", help="serve a page on which pictures are dropped")
    group.add_argument(
        "--host", metavar="NAME", help=f"address to listen at (default: {_HOST}: this computer only)"
    )
    group.add_argument("--port", type=int, metavar="N", help=f"(default: {_PORT})")
    add_model_flags(parser)
    add_detection_flags(parser)
    add_device_flags(parser, batch_size=1)
    return parser


def _add_source_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to look at, one of")
    group.add_argument(
        "--images",
        nargs="+",
        default=[],
        metavar="A,B",
        help="picture files, with commas or spaces between; patterns ('shots/*.jpg'); text files (.txt) with a name on"
        " each line",
    )
    group.add_argument("--dir", metavar="FOLDER", help="where --images lie; alone: every picture in it")
    group.add_argument("--ext", metavar=".jpg", help="appended to the names of --images")
    group.add_argument("--video", metavar="FILE", help="a video; its sound is not kept")
    group.add_argument(
        "--camera", type=_camera, metavar="N", help="a camera of this computer, the first is 0"
    )
    group.add_argument(
        "--url",
        metavar="rtsp://...",
        help="a stream, or a video at an address: rtsp, rtmp, http(s), udp, srt",
    )
    group.add_argument(
        "--max-frames",
        type=parse_whole,
        metavar="N",
        help="end after N frames of a video, camera or stream; of the last two the newest frame is taken each time",
    )


def _add_result_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("results")
    group.add_argument(
        "--out",
        default="output/seen",
        metavar="FOLDER",
        help="for annotated pictures and detections.json; of a video NAME.mp4, of its size and frame rate, and"
        " NAME.jsonl with the detections of each frame on a line",
    )
    group.add_argument(
        "--thresh",
        default=0.5,
        metavar="X|FILE",
        help="draw and write detections above this score, or above that of their class in a file that"
        " evaluate.py --report wrote",
    )
    group.add_argument("--show", action="store_true", help="show pictures or frames in a window; q ends")
    add_switch(group, "--show-fps", default=False, help="draw on each frame how many a second are done")
    add_switch(group, "--timer", default=True, help="print the time taken, decoding included")


def _camera(text: str) -> int:
    """Read the number of a camera.

    Raises:
        argparse.ArgumentTypeError: it is something else.
    """
    if text.isascii() and text.isdigit() and len(text) < 5:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected the number of a camera, from 0, found {text!r}")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Look at what flags name; return 2 where some of it could not be decoded, 130 where Ctrl-C ended it."""
    args = build_parser().parse_args(argv)
    kind = kind_of_source(args)
    _check(args, kind)
    if kind == "serve":
        return _serve(args)
    if args.show:
        require_window()
    if kind in ("", "images"):
        pictures = pictures_of(args)
        paths = targets(pictures, Path(args.out))
        detector, thresholds = _detector(args)
        return look_at_pictures(detector, pictures, paths, Wanted.of(args, detector, thresholds), args)
    path, faults = target(args), Faults()
    with contextlib.closing(open_source(args, faults)) as source:
        detector, thresholds = _detector(args)
        return look_at_video(detector, source, path, Wanted.of(args, detector, thresholds), args, faults)


def _check(args: argparse.Namespace, kind: str) -> None:
    """Refuse flags that the source has no use for.

    Raises:
        ConfigError: one is given.
    """
    moving, serving = kind in ("video", "camera", "url"), kind == "serve"
    frames, seen = "--video, --camera and --url", "pictures and videos, not for --serve"
    flags = (  # name, whether it is given, whether there is a use for it, what it is for
        ("--max-frames", args.max_frames is not None, moving, frames),
        ("--show-fps", args.show_fps, moving, frames),
        ("--ext", args.ext is not None, bool(args.images), "--images"),
        ("--host", args.host is not None, serving, "--serve"),
        ("--port", args.port is not None, serving, "--serve"),
        ("--show", args.show, not serving, seen),
        ("--classes", args.classes is not None, not serving, seen),
        ("--max-det", args.max_det is not None, not serving, seen),
        ("--save-results", args.save_results is not None, not serving, seen),
        ("--truth", args.truth is not None, not serving, seen),
        ("--save-txt", args.save_txt, not serving, seen),
        ("--save-crop", args.save_crop, not serving, seen),
    )
    for flag, given, useful, purpose in flags:
        if given and not useful:
            raise ConfigError(f"{flag} is for {purpose}: leave it out")


def _detector(args: argparse.Namespace) -> tuple[Detector, float | np.ndarray]:
    """Return the detector and the score thresholds that flags describe; its own is lowered where they are lower."""
    detector = open_detector(args)
    thresholds = thresholds_of(args.thresh, detector)
    lowest = float(np.min(thresholds))
    if lowest < detector.card.detection.score_threshold:
        detector = open_detector(args, score_threshold=lowest)
    print(f"detector {detector.name}: {', '.join(detector.class_names[:10])}", end="")
    print(", ..." if len(detector.class_names) > 10 else "")
    return detector, thresholds


def _serve(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    from detect.serve import serve

    detector, thresholds = _detector(args)
    serve(
        detector,
        host=args.host or _HOST,
        port=_PORT if args.port is None else args.port,
        threshold=thresholds,
    )
    return 0

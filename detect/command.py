"""demo.py: find objects in pictures, draw them, and write pictures and detections.json to a folder."""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from common.command import CommandParser, add_switch, command
from common.errors import ConfigError
from common.files import write_json
from detect.detector import Detector, Result
from detect.flags import add_detection_flags, add_device_flags, add_model_flags, open_detector
from detect.pictures import Picture, annotate, counts, targets, write_picture
from detect.sources import find_images
from detect.window import require_window, show

_SCENES = 8  # drawn where no picture is named
_SCENE_SIZE = (480, 480)  # (width, height)
_SCENE_SEED = 20161208  # other scenes than training's: those are drawn from several numbers each


def build_parser() -> CommandParser:
    """Return the parser of the command's flags."""
    parser = CommandParser(
        prog="demo.py",
        description="Find objects in pictures and draw them. Without any flag: the detector that ships with the"
        " project, on scenes that it draws itself.",
        epilog="A picture that cannot be decoded is reported and left out; then the exit code is 2.",
    )
    group = parser.add_argument_group("pictures")
    group.add_argument(
        "--images", nargs="+", default=[], metavar="A,B", help="picture files, with commas or spaces between"
    )
    group.add_argument("--dir", metavar="FOLDER", help="where --images lie; alone: every picture in it")
    group.add_argument("--ext", metavar=".jpg", help="appended to the names of --images")
    group = parser.add_argument_group("results")
    group.add_argument(
        "--out", default="output/seen", metavar="FOLDER", help="for annotated pictures and detections.json"
    )
    group.add_argument(
        "--thresh", type=float, default=0.5, metavar="X", help="draw and write detections above this score"
    )
    group.add_argument("--show", action="store_true", help="show each picture in a window; q ends")
    add_switch(group, "--timer", default=True, help="print the time taken, decoding included, drawing not")
    add_model_flags(parser)
    add_detection_flags(parser)
    add_device_flags(parser, batch_size=1)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Look at pictures; return 2 where one of them could not be decoded."""
    args = build_parser().parse_args(argv)
    if not 0 <= args.thresh < 1:
        raise ConfigError(f"--thresh {args.thresh}: expected a number from 0 to below 1")
    if args.show:
        require_window()
    pictures = _pictures(args)
    paths = targets(pictures, Path(args.out))
    detector = open_detector(args)
    if args.thresh < detector.card.detection.score_threshold:
        detector = open_detector(args, score_threshold=args.thresh)
    names = ", ".join(detector.class_names[:10]) + (", ..." if len(detector.class_names) > 10 else "")
    print(f"detector {detector.name}: {names}")
    entries, failed = _look(detector, pictures, paths, args)
    summary = {
        "model": str(detector.prefix),
        "epoch": detector.epoch,
        "threshold": args.thresh,
        "class_names": list(detector.class_names),
        "images": entries,
        "failed": failed,
    }
    write_json(Path(args.out) / "detections.json", summary)
    print(f"written: {len(entries)} pictures and detections.json in {args.out}")
    return 2 if failed else 0


def _pictures(args: argparse.Namespace) -> list[Picture]:
    """Return what to look at: the files named, or drawn scenes where nothing at all is named."""
    if args.images or args.dir is not None:
        return [Picture(_printable(path), path) for path in find_images(args.images, args.dir, args.ext)]
    if args.prefix or args.network:
        raise ConfigError("no pictures: give --images with names, or --dir with a folder")
    return [
        Picture(f"scene-{number + 1}.png", functools.partial(_scene, number)) for number in range(_SCENES)
    ]


def _printable(value: object) -> str:
    """Return a value as text that can be printed and stored; file names on Linux may hold bytes that are no text."""
    return str(value).encode("utf-8", "replace").decode("utf-8")


def _scene(number: int) -> np.ndarray:
    """Draw a scene: (height, width, 3) uint8 RGB."""
    from dataset.scenes import draw_scene

    return draw_scene(_SCENE_SEED + number, _SCENE_SIZE, empty_share=0.0)[0]


def _look(
    detector: Detector, pictures: list[Picture], paths: list[Path], args: argparse.Namespace
) -> tuple[list[dict], list[dict]]:
    """Look at every picture, write it and print a line for it.

    Returns:
        What was found in each, and what could not be decoded, both ready for JSON.
    """
    entries, failed = [], []

    def report(index: int, error: Exception) -> None:
        failed.append({"file": pictures[index].name, "error": _printable(error)})
        print(f"left out: {_printable(error)}", file=sys.stderr)

    clock = _Clock(detector.stream([picture.source for picture in pictures], on_error=report))
    for result in clock:
        picture, path = pictures[result.index], paths[result.index]
        found = result.detections.above(args.thresh)
        drawn = annotate(result.pixels, found)
        write_picture(path, drawn)
        entries.append(
            {
                "file": picture.name,
                "picture": path.name,
                "size": list(found.size),
                "detections": found.as_records(),
            }
        )
        print(f"{picture.name}: {counts(found)}")
        if args.show and not show(drawn):
            break
    if args.timer and entries:
        print(
            f"{len(entries)} pictures in {clock.seconds:.2f} s, {len(entries) / clock.seconds:.1f} pictures/s"
        )
    return entries, failed


class _Clock:
    """Yields results and adds up the time that was spent waiting for them, in `seconds`."""

    def __init__(self, results: Iterator[Result]):
        self._results, self.seconds = results, 0.0

    def __iter__(self) -> Iterator[Result]:
        return self

    def __next__(self) -> Result:
        started = time.perf_counter()
        try:
            return next(self._results)
        finally:
            self.seconds += time.perf_counter() - started

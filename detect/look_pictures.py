"""demo.py on pictures: looks at each, draws what it finds, and writes pictures and detections.json."""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

import numpy as np

from common.errors import ConfigError
from detect.detector import Detector, Result
from detect.look import Clock, Stop, Wanted, about, printable
from detect.out_folder import announce, write_summary
from detect.outputs import Outputs
from detect.pictures import Picture, annotate, counts, write_picture
from detect.sources import find_images
from detect.window import Window

_SCENES = 8  # drawn where no picture is named
_SCENE_SIZE = (480, 480)  # (width, height)
_SCENE_SEED = 20161208  # other scenes than training's: those are drawn from several numbers each


def pictures_of(args: argparse.Namespace) -> list[Picture]:
    """Return what to look at: the files named, or drawn scenes where nothing at all is named.

    Raises:
        ConfigError: a detector is named and no picture, or a flag cannot be.
        ImageError: a picture is missing.
    """
    if args.images or args.dir is not None:
        return [Picture(printable(path), path) for path in find_images(args.images, args.dir, args.ext)]
    if args.prefix or args.network:
        raise ConfigError(
            "nothing to look at: give --images with names, --dir with a folder, --video, --camera or --url"
        )
    return [
        Picture(f"scene-{number + 1}.png", functools.partial(_scene, number)) for number in range(_SCENES)
    ]


def _scene(number: int) -> np.ndarray:
    """Draw a scene: (height, width, 3) uint8 RGB."""
    from dataset.scenes import draw_scene

    return draw_scene(_SCENE_SEED + number, _SCENE_SIZE, empty_share=0.0)[0]


def look_at_pictures(
    detector: Detector, pictures: list[Picture], paths: list[Path], wanted: Wanted, args: argparse.Namespace
) -> int:
    """Look at every picture, write it and print a line for it; then detections.json.

    Args:
        detector: any.
        pictures: to look at.
        paths: where each one's annotated copy goes.
        wanted: which detections count.
        args: of the command.

    Returns:
        The exit code: 2 where a picture could not be decoded, `Stop.code` where the user stopped it.
    """
    look = _Looking(pictures, paths, wanted)
    sources = [picture.source for picture in pictures]
    with Outputs.open(args, detector, args.out, sources, results=paths) as outputs, Stop() as stop:
        announce(paths, args.out, about(detector, wanted))
        clock = Clock(detector.stream(sources, on_error=look.report))
        window = Window() if args.show else None
        for result in clock:
            drawn = look.write(result, outputs)
            if stop.asked or (window is not None and not window.show(drawn, wait=True)):
                break
        clock.close()
    done = len(look.entries)
    if args.timer and done:
        print(f"{done} pictures in {clock.seconds:.2f} s, {done / clock.seconds:.1f} pictures/s")
    results = {**about(detector, wanted), "images": look.entries, "failed": look.failed}
    write_summary(paths, args.out, results)
    print(f"written: {done} pictures and detections.json in {args.out}")
    print("".join(f"written: {line}\n" for line in outputs.written()), end="")
    if stop.asked:
        print(f"stopped after {done} of {len(pictures)} pictures", file=sys.stderr)
        return stop.code
    return 2 if look.failed else 0


class _Looking:
    """What was found so far, in `entries`, and what could not be decoded, in `failed`; both ready for JSON."""

    def __init__(self, pictures: list[Picture], paths: list[Path], wanted: Wanted):
        self._pictures, self._paths, self._wanted = pictures, paths, wanted
        self.entries, self.failed = [], []

    def report(self, index: int, error: Exception) -> None:
        """Note a picture that cannot be decoded."""
        self.failed.append({"file": self._pictures[index].name, "error": printable(error)})
        print(f"left out: {printable(error)}", file=sys.stderr)

    def write(self, result: Result, outputs: Outputs) -> np.ndarray:
        """Write what was found in a picture; return it with the boxes drawn."""
        picture, path = self._pictures[result.index], self._paths[result.index]
        found = self._wanted.among(result.detections)
        drawn = annotate(result.pixels, found)
        write_picture(path, drawn)
        file = picture.source if isinstance(picture.source, Path) else None
        outputs.add(path.name, result.pixels, found, source=file)
        size, records = list(found.size), found.as_records()
        self.entries.append({"file": picture.name, "picture": path.name, "size": size, "detections": records})
        print(f"{picture.name}: {counts(found)}")
        return drawn

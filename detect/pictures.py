"""The demo's results as files: annotated pictures and detections.json, which never touch the pictures looked at."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from common.drawing import class_colours, draw_boxes
from common.errors import ConfigError
from common.files import write_bytes
from common.images import encode_jpeg
from common.structures import Detections
from detect.out_folder import check_targets, same_file
from detect.output_names import TakenNames

_JPEG = (".jpg", ".jpeg")


@dataclass(frozen=True)
class Picture:
    """A picture to look at.

    Attributes:
        name: its file, or what stands for one.
        source: a path, or a function that returns (height, width, 3) uint8 RGB.
    """

    name: str
    source: Path | Callable[[], np.ndarray]


def targets(pictures: list[Picture], folder: Path) -> list[Path]:
    """Return where each annotated picture goes: its own name in `folder`, numbered where two have the same.

    JPEG stays JPEG, everything else becomes PNG.

    Args:
        pictures: to look at.
        folder: for the results.

    Raises:
        ConfigError: a result would take the place of a picture looked at, or of a file that the demo did not write.
    """
    sources: dict[str, list[Path]] = {}  # by name, case folded: many pictures need not be compared with many
    for picture in pictures:
        if isinstance(picture.source, Path):
            for path in (picture.source, picture.source.resolve()):
                sources.setdefault(path.name.casefold(), []).append(path)
    names, result = TakenNames(), []
    for picture in pictures:
        path = Path(picture.name)
        ending = path.suffix if path.suffix.lower() in _JPEG else ".png"
        name = names.new(path.stem, ending)
        if any(same_file(folder / name, source) for source in sources.get(name.casefold(), [])):
            raise ConfigError(
                f"--out {folder}: {folder / name} is one of the pictures to look at: choose another folder"
            )
        result.append(folder / name)
    check_targets(result, folder)
    return result


def annotate(pixels: np.ndarray, found: Detections) -> np.ndarray:
    """Return a copy of a picture with its detections drawn: (height, width, 3) uint8 RGB."""
    palette = class_colours(max([len(found.class_names), *(found.class_id + 1)], default=0))
    labels = [f"{found.name(i)} {found.score[i]:.2f}" for i in range(len(found))]
    return draw_boxes(pixels, found.boxes, labels, [palette[class_id] for class_id in found.class_id])


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Write RGB pixels, (height, width, 3) uint8, as the JPEG or PNG that the name asks for, atomically."""
    if path.suffix.lower() in _JPEG:
        write_bytes(path, encode_jpeg(pixels))
        return
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    write_bytes(path, stream.getvalue())


def counts(found: Detections) -> str:
    """Return how many of each class were found, most first, as words: "2 person, 1 dog"."""
    names = [found.name(i) for i in range(len(found))]
    order = sorted(set(names), key=lambda name: (-names.count(name), name))
    return ", ".join(f"{names.count(name)} {name}" for name in order) or "nothing found"

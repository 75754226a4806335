"""What the demo writes beside its pictures: COCO's results, YOLO's labels, crops; and which detections count.

- `--save-results FILE.json`: a list of {"image_id", "category_id", "bbox", "score"} in pixels, as pycocotools' loadRes
  takes it. Without `--truth` an image's id is the number that its file is named after (000000000139.jpg: 139), else
  its name, and a class's id is its place in the detector's list, from 1. With `--truth` both come from that file.
- `--save-txt`: labels/NAME.txt for each picture, a line "class x_center y_center width height score" for each
  detection, relative to the picture's size, classes from 0; an empty file where nothing is found.
- `--save-crop`: crops/CLASS/NAME_K.jpg, K the detection's rank in its picture, from 1.

Labels and crops go into folders that are new, empty, or the demo's own (they hold a marker), so that the labels of a
data set are never replaced.

Source: the labels are those of YOLO's save_txt with save_conf. Deviations: eight digits after the point in place of
six in all; boxes end at the picture's border.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from common.command import parse_whole
from common.errors import ConfigError, did_you_mean
from common.files import check_place, write_bytes, write_text
from common.images import EXTENSIONS, encode_jpeg
from common.structures import Detections
from detect.out_folder import SUMMARY
from detect.output_ids import TruthIds, image_id_of
from detect.output_names import TakenNames, file_name, folder_names
from detect.results_file import ResultsFile

_MARKER = ".written-by-demo"  # in a folder that may be written into again


def add_output_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose detections and say what is written of them."""
    group = parser.add_argument_group("which detections, and files beside the pictures")
    group.add_argument("--classes", metavar="A,B", help="only these classes (default: all)")
    group.add_argument(
        "--max-det", type=parse_whole, metavar="N", help="the best N of a picture at most (default: all)"
    )
    group.add_argument(
        "--save-results",
        metavar="FILE.json",
        help="write COCO's results; image_id is the number that a file is named after (else its name), of a video the"
        " frame, from 0; category_id counts the classes from 1; --truth changes both",
    )
    group.add_argument(
        "--truth",
        metavar="FILE.json",
        help="take the ids of images and categories from COCO's instances or image_info, or from a NAME.gt.json",
    )
    group.add_argument(
        "--save-txt",
        action="store_true",
        help="write YOLO's labels, OUT/labels/NAME.txt: class x_center y_center width height score",
    )
    group.add_argument(
        "--save-crop", action="store_true", help="write what was found as OUT/crops/CLASS/NAME_K.jpg"
    )


def class_ids_of(text: str | None, class_names: Sequence[str]) -> tuple[int, ...] | None:
    """Read `--classes`.

    Args:
        text: names with commas between; a name that has a comma itself stands alone. None for all.
        class_names: of the detector, in the order of their ids.

    Returns:
        The ids, ascending; None for all.

    Raises:
        ConfigError: a name is unknown, or there is none.
    """
    if text is None:
        return None
    names = [text] if text in class_names else [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise ConfigError("--classes is empty: give names with commas between them, or leave it out")
    for name in names:
        if name not in class_names:
            raise ConfigError(
                f"--classes {name}: not a class of the detector{did_you_mean(name, class_names)}"
            )
    return tuple(sorted({class_names.index(name) for name in names}))


def choose(
    found: Detections,
    thresholds: float | np.ndarray,
    class_ids: Sequence[int] | None = None,
    max_det: int | None = None,
) -> Detections:
    """Return the detections that count.

    Args:
        found: best first.
        thresholds: scores must be above; one, or (C,) one for each class.
        class_ids: only these; None for all.
        max_det: the best of those at most; None for all.
    """
    found = found.above(thresholds)
    if class_ids is not None:
        found = found.select(np.isin(found.class_id, np.asarray(class_ids, np.int64)))
    return found.select(slice(0, max_det))


class Outputs:
    """Writes what `--save-results`, `--save-txt` and `--save-crop` ask for, picture by picture.

    A context manager: labels and crops are written as pictures come, the results when the block ends well. `open`
    makes it; None stands for what is not asked for.
    """

    def __init__(
        self,
        results: ResultsFile | None,
        truth: TruthIds | None,
        labels: Path | None,
        crops: Path | None,
        class_names: Sequence[str],
    ):
        self._results, self._truth, self._labels, self._crops = results, truth, labels, crops
        self._folders = folder_names(class_names)
        self._names, self._ids, self._doubled = TakenNames(), set(), 0
        self._pictures = self._cropped = 0

    @classmethod
    def open(
        cls,
        args: argparse.Namespace,
        detector,
        folder: str | os.PathLike,
        sources: Iterable = (),
        *,
        results: Iterable[Path] = (),
    ) -> Outputs:
        """Make it from flags; whatever cannot be written or found is told before the work.

        Args:
            args: with what `add_output_flags` adds.
            detector: whose class names count.
            folder: for labels and crops.
            sources: the files to look at, as far as they are known; what is no path is passed over.
            results: the files that the demo writes anyway, beside detections.json.

        Raises:
            ConfigError: a flag cannot be, or a file would be replaced that the demo did not write.
        """
        files = [Path(source) for source in sources if isinstance(source, (str, os.PathLike))]
        if args.truth and not args.save_results:
            raise ConfigError("--truth is for --save-results: give that too, or leave --truth out")
        truth = TruthIds.read(args.truth, detector.class_names) if args.truth else None
        for path in files if truth else ():
            if path.suffix.lower() in EXTENSIONS:  # no video: its images are frames
                truth.image_id(path)
        labels = _own_folder(Path(folder) / "labels", "--save-txt", files) if args.save_txt else None
        crops = _own_folder(Path(folder) / "crops", "--save-crop", files) if args.save_crop else None
        read = [*files, Path(args.truth)] if args.truth else files
        own = [*results, Path(folder) / SUMMARY]
        collected = ResultsFile(args.save_results, read, own) if args.save_results else None
        return cls(collected, truth, labels, crops, detector.class_names)

    def add(
        self,
        name: str,
        pixels: np.ndarray,
        found: Detections,
        *,
        image_id: int | str | None = None,
        source: str | os.PathLike | None = None,
    ) -> None:
        """Write what was found in a picture or frame.

        Args:
            name: of the picture, without folder; the ending of an image file is dropped.
            pixels: (height, width, 3) uint8 RGB, without boxes on it.
            found: what counts, in pixels; see `choose`.
            image_id: for the results; None takes what the truth file or the name of `source` (or `name`) says.
            source: the picture's file, where it is one.

        Raises:
            ConfigError: a file cannot be written, or the truth file has no such image.
        """
        stem = name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in EXTENSIONS else name
        stem = self._names.new(file_name(stem))
        if self._results is not None:
            image_id = self._image_id(stem, source or name) if image_id is None else image_id
            self._results.add(found, image_id, self._truth.category_ids if self._truth else ())
        if self._labels is not None:
            write_text(self._labels / f"{stem}.txt", yolo_lines(found))
        if self._crops is not None:
            for rank, class_id, crop in crops_of(pixels, found):
                path = self._crops / self._folders[class_id] / f"{stem}_{rank}.jpg"
                write_bytes(path, encode_jpeg(crop))
                self._cropped += 1
        self._pictures += 1

    def _image_id(self, stem: str, source: str | os.PathLike) -> int | str:
        """Return the id of a picture, and its unique name where another had the id before."""
        image_id = image_id_of(source) if self._truth is None else self._truth.image_id(source)
        if image_id in self._ids:
            self._doubled, image_id = self._doubled + 1, stem
        self._ids.add(image_id)
        return image_id

    def written(self) -> list[str]:
        """Return a line for each kind of files that was written; none where none was asked for."""
        lines = []
        if self._results is not None:
            doubled = (
                f"; {self._doubled} images had the id of another and go by their names"
                if self._doubled
                else ""
            )
            lines.append(f"{self._results.path}: {self._results.count} results in COCO's form{doubled}")
        if self._labels is not None:
            lines.append(f"{self._labels}: {self._pictures} files of labels in YOLO's form")
        if self._crops is not None:
            lines.append(f"{self._crops}: {self._cropped} crops")
        return lines

    def __enter__(self) -> Outputs:
        return self

    def __exit__(self, kind, *problem) -> None:
        if self._results is not None:
            if kind is None:
                self._results.write()
            self._results.close()


def _own_folder(folder: Path, flag: str, sources: list[Path]) -> Path:
    """Return a folder that may be written into, made and marked.

    Raises:
        ConfigError: it holds what the demo did not write, or pictures to look at.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _MARKER).exists():
        raise ConfigError(
            f"{flag}: {folder} holds files that the demo did not write: choose another --out, or move it"
        )
    inside = os.path.join(os.path.realpath(folder), "")
    for source in sources:
        if os.path.realpath(source).startswith(inside):
            raise ConfigError(f"{flag}: {source}, to look at, lies in {folder}: choose another --out")
    check_place(folder / _MARKER)
    write_text(folder / _MARKER, "")
    return folder


def yolo_lines(found: Detections) -> str:
    """Return detections as YOLO's labels.

    Args:
        found: in pixels.

    Returns:
        A line "class x_center y_center width height score" for each, relative to the picture's size; "" for none.
    """
    if not len(found):
        return ""
    width, height = found.size
    corners = found.boxes.astype(np.float64) / (width, height, width, height)
    corners = np.clip(corners, 0, 1)  # readers of YOLO's labels refuse what lies outside
    rows = np.concatenate(
        [(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2], found.score[:, None]], axis=1
    )
    rows = [" ".join(f"{value:.8f}" for value in row) for row in rows]
    return "".join(f"{class_id} {row}\n" for class_id, row in zip(found.class_id.tolist(), rows))


def crops_of(pixels: np.ndarray, found: Detections) -> list[tuple[int, int, np.ndarray]]:
    """Cut detections out of a picture.

    Args:
        pixels: (height, width, 3).
        found: in its pixels.

    Returns:
        (rank from 1, class id, pixels) of each that has a pixel of the picture; boxes are rounded outward.
    """
    height, width = pixels.shape[:2]
    low = np.floor(found.boxes[:, :2]).clip(0).astype(np.int64)
    high = np.ceil(found.boxes[:, 2:]).clip(None, (width, height)).astype(np.int64)
    return [
        (rank + 1, int(found.class_id[rank]), pixels[y0:y1, x0:x1])
        for rank, ((x0, y0), (x1, y1)) in enumerate(zip(low.tolist(), high.tolist()))
        if x0 < x1 and y0 < y1
    ]

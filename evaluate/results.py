"""Results files: what a detector found on a data set, saved once and scored as often as one likes.

Two forms, both in pixels of the original images and with the data set's own ids: COCO's results, one JSON file
(here), and Pascal VOC's text files in a folder (`evaluate.voc_results`). Numbers are not rounded, and equal scores
keep their order: what is loaded scores as what was saved, to the last digit. Where the data set's ids are texts, the
entries of COCO's form carry "image_name" beside the number, and it decides.

Files of other programs load too. COCO's image ids may also be texts: the data set's own ids or names of image files.

Source: https://cocodataset.org/#format-results
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common import boxes as box_ops
from common.errors import ConfigError, did_you_mean
from common.files import atomic_path, check_place, read_json
from detect.results_file import holds_results
from evaluate import voc_results
from evaluate.findings import Findings, by_image, image_finder
from evaluate.voc import check_values

_KEYS = ("image_id", "category_id", "bbox", "score")
_WHAT = "results file in COCO's form"


def is_coco_form(path: str | os.PathLike) -> bool:
    """Tell by a name whether results are COCO's file (.json); anything else is a folder of VOC's files."""
    return Path(path).suffix.lower() == ".json"


def check_results_place(path: str | os.PathLike, findings: Findings) -> None:
    """Make sure that results can be saved there, before the work: earlier results are replaced, nothing else.

    Args:
        path: a .json file, or a folder.
        findings: their truth; the detections may be missing yet.

    Raises:
        ConfigError: it cannot be written, or holds something that is no results file.
    """
    if not is_coco_form(path):
        voc_results.check_folder(Path(path), findings)
        return
    check_place(path)
    if Path(path).exists() and not holds_results(Path(path)):
        raise ConfigError(
            f"{path}: is there already and holds no results in COCO's form: choose another name (--save-results)"
        )


def save_results(path: str | os.PathLike, findings: Findings) -> None:
    """Write what was found; each file is replaced in one step.

    Args:
        path: a .json file for COCO's form, anything else a folder of VOC's comp4_det_<set>_<class>.txt.
        findings: with detections in pixels.

    Raises:
        ConfigError: it cannot be written, or a detection holds values that are not finite.
    """
    check_results_place(path, findings)
    check_values(findings.truths, findings.detections, findings.class_names)
    if is_coco_form(path):
        _save_coco(path, findings)
    else:
        voc_results.save(Path(path), findings)


def load_results(path: str | os.PathLike, findings: Findings) -> Findings:
    """Read what was found.

    Args:
        path: a JSON file in COCO's form, or a folder of VOC's files.
        findings: the truth that it belongs to; its detections are replaced.

    Returns:
        The same truth with the file's detections, float64, best first; equal scores in the file's order.

    Raises:
        ConfigError: the file is missing or something else, or an entry cannot be or is of another data set.
    """
    if not findings.class_names:
        raise ConfigError("results are of classes, and the records have no names: give them by --class-names")
    if Path(path).is_dir():
        return voc_results.load(Path(path), findings)
    return _load_coco(path, findings)


def coco_results(findings: Findings) -> list[dict]:
    """Return what was found in COCO's form: [{"image_id", "category_id", "bbox": [x, y, width, height], "score"}].

    Args:
        findings: with detections in pixels.
    """
    return [entry for part in _coco_parts(findings) for entry in part]


def _coco_parts(findings: Findings):
    """Yield the results of each image.

    A data set whose ids are texts is numbered while it is packed, and another pack may number it otherwise: its entries
    name the image too.
    """
    for image_id, truth, found in zip(findings.image_ids, findings.truths, findings.detections):
        named = {"image_name": truth.image_id} if isinstance(truth.image_id, str) else {}
        yield [{**entry, **named} for entry in found.to_coco(image_id, findings.category_ids)]


def _save_coco(path: str | os.PathLike, findings: Findings) -> None:
    """Write one detection on each line; all at once as objects would take gigabytes."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        stream.write("[")
        separator = "\n"
        for part in _coco_parts(findings):
            for entry in part:
                stream.write(separator + json.dumps(entry, allow_nan=False))
                separator = ",\n"
        stream.write("\n]\n")


def _load_coco(path: str | os.PathLike, findings: Findings) -> Findings:
    """Read COCO's form."""
    entries = read_json(path, _WHAT, ConfigError)
    if not isinstance(entries, list):
        raise ConfigError(
            f"{path}: not a {_WHAT}: expected a list of {{{', '.join(_KEYS)}}}, found"
            f" {_shown(entries) if not isinstance(entries, dict) else 'an object with ' + _shown(list(entries))}"
        )
    images = {**image_finder(findings), **{number: i for i, number in enumerate(findings.image_ids)}}
    classes = {number: class_id for class_id, number in enumerate(findings.category_ids)}
    rows = []
    for number, entry in enumerate(entries, 1):
        try:
            rows.append(_row(entry, images, classes))
        except ValueError as problem:
            raise ConfigError(f"{path}: entry {number}: {problem}") from problem
    rows = np.array(rows, np.float64).reshape(-1, 7)
    boxes = box_ops.from_xywh(rows[:, 3:])
    found = by_image(
        findings, rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64), score=rows[:, 2], boxes=boxes
    )
    return findings.with_detections(found)


def _row(entry: object, images: dict, classes: dict) -> tuple:
    """Return (image, class id, score, x, y, width, height) of an entry.

    Raises:
        ValueError: with the reason why it cannot be.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"expected an object with {', '.join(_KEYS)}, found {_shown(entry)}")
    missing = [key for key in _KEYS if key not in entry]
    if missing:
        raise ValueError(f"has no {missing[0]}: found {_shown(list(entry))}, expected {', '.join(_KEYS)}")
    key = "image_name" if "image_name" in entry else "image_id"
    image = _look_up(entry[key], images)
    if image is None:
        raise ValueError(
            f"{key} {_shown(entry[key])} is not of the data set{_some(images)}; images that were left out when it was"
            " packed stand in its .skipped.csv"
        )
    class_id = _look_up(entry["category_id"], classes)
    if class_id is None:
        raise ValueError(
            f"category_id {_shown(entry['category_id'])} is not of the data set"
            f"{did_you_mean('', map(str, classes))} (the ids of its own annotations)"
        )
    score, box = entry["score"], entry["bbox"]
    if not _is_number(score):
        raise ValueError(f"score {_shown(score)}: expected a finite number")
    if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
        raise ValueError(f"bbox {_shown(box)}: expected four finite numbers, [x, y, width, height] in pixels")
    if box[2] < 0 or box[3] < 0:
        raise ValueError(
            f"bbox {_shown(box)}: expected [x, y, width, height], found a width or height below 0"
        )
    return image, class_id, score, *box


def _look_up(key: object, table: dict) -> int | None:
    """Return what a number or text stands for."""
    return table.get(key) if type(key) in (int, float, str) else None


def _is_number(value: object) -> bool:
    """Tell whether a JSON value is a number that can be reckoned with; True is not 1 here."""
    return type(value) in (int, float) and -voc_results.LARGEST < value < voc_results.LARGEST


def _shown(value: object) -> str:
    """Return a JSON value as text, short enough for a message."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _some(known: Sequence) -> str:
    """Return the first few ids that there are."""
    numbers = [str(key) for key in known if isinstance(key, int)]
    return f", whose ids are {', '.join(numbers[:5])}{', ...' if len(numbers) > 5 else ''}"

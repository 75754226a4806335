"""The objects of an image in COCO's form: each annotation judged, the good ones as arrays.

Used by the reader (`dataset.coco`), once for each image; plain Python, since a data set has a million small lists.

Source: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common import boxes as box_ops
from common.structures import Sample
from dataset.annotations import Reason
from dataset.coco_file import shown, whole_number

_LARGEST_NUMBER = 2**63 - 1  # of int64


@dataclass
class Objects:
    """The objects of an image that can be used, and what is wrong with others.

    Attributes:
        numbers: the annotations' own ids.
        class_ids: 0-based.
        boxes: (x, y, width, height) in pixels.
        areas: in square pixels.
        crowd: whether the box is around a group.
        difficult: only this program's own truth files state it.
        faults: (annotation id, reason, what was found).
    """

    numbers: list[int] = field(default_factory=list)
    class_ids: list[int] = field(default_factory=list)
    boxes: list[list[float]] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)
    difficult: list[bool] = field(default_factory=list)
    faults: list[tuple[int, Reason, str]] = field(default_factory=list)

    def sample(self, path: Path, *, size: tuple[int, int] | None, image_id: int | str, source: str) -> Sample:
        """Return them as a Sample of an image."""
        return Sample(
            image_path=path,
            size=size,
            boxes=box_ops.from_xywh(self.boxes),
            class_ids=self.class_ids,
            difficult=self.difficult,
            crowd=np.array(self.crowd, bool),
            areas=np.array(self.areas, np.float64),
            image_id=image_id,
            source=source,
        )


def read_objects(
    entries: Iterable[tuple[int, dict]], class_ids: dict[int, int], categories: dict[int, str]
) -> Objects:
    """Judge the annotations of an image.

    Args:
        entries: (position in the file, annotation).
        class_ids: category number -> class id, of the classes that are asked for.
        categories: category number -> name, of all.
    """
    objects = Objects()
    for position, entry in entries:
        number = annotation_number(entry, position)
        reason, value = _fault(entry, class_ids, categories)
        if reason is not None:
            objects.faults.append((number, reason, value))
            continue
        objects.numbers.append(number)
        objects.class_ids.append(class_ids[whole_number(entry["category_id"])])
        objects.boxes.append(entry["bbox"])
        objects.areas.append(_area(entry, number, objects))
        objects.crowd.append(entry.get("iscrowd", 0) == 1)
        objects.difficult.append(entry.get("difficult", 0) == 1)
    return objects


def annotation_number(entry: object, position: int) -> int:
    """Return an annotation's own id, its position in the file where it has none that is a number."""
    number = whole_number(entry.get("id")) if isinstance(entry, dict) else None
    return position if number is None or abs(number) > _LARGEST_NUMBER else number


def _fault(entry: dict, class_ids: dict[int, int], categories: dict[int, str]) -> tuple[Reason | None, str]:
    """Return why an annotation cannot be used, with what was found; None where it can."""
    reason, value = _box_fault(entry.get("bbox"))
    if reason is not None:
        return reason, value
    category = whole_number(entry.get("category_id"))
    if category is None:
        return Reason.BAD_OBJECT, f"category_id {shown(entry.get('category_id'))}"
    if category not in class_ids:
        known = category in categories
        return (
            (Reason.CLASS_NOT_ASKED, categories[category])
            if known
            else (
                Reason.BAD_CLASS_ID,
                f"category_id {shown(category)}",
            )
        )
    crowd = entry.get("iscrowd", 0)
    if not isinstance(crowd, (int, float)) or crowd not in (0, 1):
        return Reason.BAD_OBJECT, f"iscrowd {shown(crowd)}"
    return None, ""


def _box_fault(box: object) -> tuple[Reason | None, str]:
    """Return what is wrong with a box of COCO's form; None where nothing is."""
    if type(box) is not list or len(box) != 4 or not all(type(side) in (int, float) for side in box):
        return Reason.BAD_OBJECT, f"bbox {shown(box)}"
    try:
        x, y, width, height = map(float, box)
    except OverflowError:
        return Reason.NOT_FINITE, f"bbox {shown(box)}"
    if not (math.isfinite(x + width) and math.isfinite(y + height)):
        return Reason.NOT_FINITE, f"bbox {shown(box)}"
    if width < 0 or height < 0:
        return Reason.INVERTED, f"bbox {shown(box)}"
    if width == 0 or height == 0:
        return Reason.DEGENERATE, f"bbox {shown(box)}"
    return None, ""


def _area(entry: dict, number: int, objects: Objects) -> float:
    """Return an annotation's area; that of its box where it has none, or (noted) where it is no such number."""
    area, box = entry.get("area"), entry["bbox"]
    of_box = float(box[2]) * float(box[3])
    if area is None:
        return of_box
    try:
        if type(area) in (int, float) and math.isfinite(area) and area >= 0:
            return float(area)
    except OverflowError:
        pass
    objects.faults.append((number, Reason.BAD_AREA, f"area {shown(area)}"))
    return of_box

"""Class names from a labelmap.prototxt, the list that SSD's training scripts for Caffe come with.

Stands beside the converter's way: the model itself knows numbers only.

Source: LabelMap of Caffe's SSD branch; VOC's has the background as label 0 under the name "none_of_the_above".
"""

from __future__ import annotations

import collections
import os

from common.errors import ConversionError
from tools.caffe_converter.prototxt import parse_text, read_bytes, shown
from tools.caffe_converter.schema import label_map


def read_label_map(path: str | os.PathLike, background_label_id: int = 0) -> tuple[str, ...]:
    """Read class names in the order of their labels.

    Args:
        path: the label map.
        background_label_id: label that is no class; -1 where all are classes.

    Returns:
        Names (display_name, else name) by rising label, without the background.

    Raises:
        ConversionError: the file is no label map, a label is missing or there twice, or a name is.
    """
    where = shown(path)
    message = parse_text(read_bytes(path, "label map"), str(path), label_map(), "label map")
    names = {}
    for index, item in enumerate(message.item):
        name = (item.display_name or item.name).strip()
        if not item.HasField("label") or not name:
            missing = "label" if name else "name"
            raise ConversionError(
                f"{where}: item {index + 1} of {len(message.item)} has no {missing}: add one"
            )
        if item.label in names:
            raise ConversionError(
                f"{where}: label {item.label} is there twice: {shown(names[item.label])!r}, {shown(name)!r}"
            )
        names[item.label] = name
    _check_labels(names, background_label_id, where)
    classes = tuple(names[label] for label in sorted(names) if label != background_label_id)
    _check_names(classes, where)
    return classes


def _check_labels(names: dict[int, str], background: int, where: str) -> None:
    """Check that labels run from 0 without a gap; the background's may be left out.

    Raises:
        ConversionError: names the first one that is missing or too many.
    """
    labels = set(names)
    if background >= 0:
        labels.add(background)
    missing = next(label for label in range(len(labels) + 1) if label not in labels)
    if missing < len(labels):
        raise ConversionError(
            f"{where}: label {missing} is missing, found {sorted(names)[:10]}: labels run from 0 without a gap"
            f" (background is {background})"
        )


def _check_names(classes: tuple[str, ...], where: str) -> None:
    """Check that there are classes and that their names differ.

    Raises:
        ConversionError: names the first one that is there twice.
    """
    if not classes:
        raise ConversionError(f"{where}: no class in it: expected item {{ name: ... label: ... }}")
    counts = collections.Counter(classes)
    for name, count in counts.items():
        if count > 1:
            raise ConversionError(
                f"{where}: the name {shown(name)!r} is there {count} times: class names must differ"
            )

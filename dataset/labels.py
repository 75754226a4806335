"""The label of a packed record: [2, width, (class, xmin, ymin, xmax, ymax[, difficult])*], float32, normalised.

Stands between boxes and records. mxnet-ssd's layout; width is 6, old records may have 5. An image without objects
carries one row of -1, because MXNet's iterator refuses a label with a header alone and drops such a row.

Source: mxnet-ssd `dataset/imdb.py`; MXNet `src/io/image_det_aug_default.cc`.
"""

from __future__ import annotations

import numpy as np

from common import boxes as box_ops
from common.errors import RecordError

HEADER_WIDTH = 2
OBJECT_WIDTH = 6
_OLD_WIDTH = 5
_MOST_OUTSIDE = 1.0  # of the image's side; old records may hold boxes that reach a little beyond the image


def encode_label(
    class_ids: np.ndarray, boxes: np.ndarray, *, difficult: np.ndarray, width: int, height: int
) -> np.ndarray:
    """Return the label of an image.

    Args:
        class_ids: (N,) 0-based foreground ids.
        boxes: (N, 4) corner form in pixels; cut to the image.
        difficult: (N,) bool.
        width: of the image, in pixels.
        height: of the image, in pixels.

    Returns:
        (2 + 6 * max(N, 1),) float32.
    """
    rows = np.full((max(len(class_ids), 1), OBJECT_WIDTH), -1, np.float64)
    if len(class_ids):
        rows[:, 0] = class_ids
        rows[:, 1:5] = np.clip(box_ops.normalise(boxes, width, height), 0, 1)
        rows[:, 5] = difficult
    return np.concatenate([[HEADER_WIDTH, OBJECT_WIDTH], rows.ravel()]).astype("<f4")


def label_rows(label: bytes, where: str) -> np.ndarray:
    """Take a record's label apart.

    Args:
        label: float32 little endian.
        where: file and record, for messages.

    Returns:
        (N, 5 or 6) float32, as stored, rows of -1 included.

    Raises:
        RecordError: it is not a label of a detection record.
    """
    values = np.frombuffer(label, "<f4")
    if len(values) < HEADER_WIDTH:
        raise RecordError(
            f"{where}: the label has {len(values)} numbers, expected [2, 6, objects...]: these are records for"
            " classification, or damaged; pack them with tools/prepare_dataset.py"
        )
    header, width = values[0], values[1]
    if header != HEADER_WIDTH or width not in (_OLD_WIDTH, OBJECT_WIDTH):
        raise RecordError(
            f"{where}: the label begins with {header:g}, {width:g}; expected 2, then 5 or 6 numbers an object"
        )
    if (len(values) - HEADER_WIDTH) % int(width):
        raise RecordError(
            f"{where}: {len(values) - HEADER_WIDTH} numbers do not make objects of {width:g} numbers"
        )
    return values[HEADER_WIDTH:].reshape(-1, int(width))


def objects_of(rows: np.ndarray) -> np.ndarray:
    """Return a label's objects, six columns wide, without the rows of -1: (N, 5 or 6) -> (M, 6) float32."""
    rows = rows[rows[:, 0] >= 0]
    if rows.shape[1] < OBJECT_WIDTH:
        rows = np.concatenate([rows, np.zeros((len(rows), 1), np.float32)], axis=1)
    return np.array(rows, np.float32)


def check_rows(rows: np.ndarray, num_classes: int | None, where: str) -> None:
    """Hold a label's objects to what training needs.

    Args:
        rows: (N, 5 or 6), as stored.
        num_classes: None where unknown.
        where: file and record, for messages.

    Raises:
        RecordError: a number is not finite, a class id is not one, or boxes are not normalised.
    """
    rows = rows[~(rows == -1).all(axis=1)]
    if not np.isfinite(rows).all():
        raise RecordError(
            f"{where}: the label holds {rows[~np.isfinite(rows)][0]}, which is no finite number"
        )
    ids = rows[:, 0]
    if (ids < 0).any() or (ids != np.round(ids)).any():
        raise RecordError(
            f"{where}: class id {ids[(ids < 0) | (ids != np.round(ids))][0]:g}, expected 0, 1, 2, ..."
        )
    if num_classes is not None and (ids >= num_classes).any():
        raise RecordError(
            f"{where}: class id {ids.max():g}, but there are {num_classes} classes (0..{num_classes - 1})"
        )
    box = rows[:, 1:5]
    if ((box < -_MOST_OUTSIDE) | (box > 1 + _MOST_OUTSIDE)).any():
        raise RecordError(
            f"{where}: coordinate {box.flat[np.abs(box).argmax()]:g}, expected 0 to 1: boxes must be normalised"
        )

"""What the labels of all packed records say together, each held to the rules on the way.

Used by `dataset.records`; the training iterator's checks and the inspection report start from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from common.errors import RecordError
from dataset.labels import check_rows, objects_of
from dataset.record_io import REPACK


@dataclass(frozen=True)
class LabelScan:
    """What all labels together say.

    Attributes:
        objects: (N, 6) float32, all objects of all records, in file order.
        counts: (R,) int64, how many of them each record has.
        rows: the most rows that a label has, void ones included.
        object_width: 5 or 6.
        bare: position of the first label that is a header alone, without even a void row; None where none is.
    """

    objects: np.ndarray
    counts: np.ndarray
    rows: int
    object_width: int
    bare: int | None


def scan_labels(
    labels: Iterable[np.ndarray], *, object_width: int, num_classes: int | None, where: Callable[[int], str]
) -> LabelScan:
    """Read and check every label, once.

    Args:
        labels: (N, 5 or 6) float32 rows of each record, in file order, as stored.
        object_width: of the first record.
        num_classes: foreground classes; None where unknown.
        where: position -> file and record, for messages.

    Raises:
        RecordError: a label is not finite, not normalised, has a class id beyond the classes, or another width.
    """
    objects, most, bare = [], 0, None
    for index, rows in enumerate(labels):
        if rows.shape[1] != object_width:
            raise RecordError(
                f"{where(index)}: {rows.shape[1]} numbers an object, the first record has {object_width}; the"
                f" training iterator would read them wrongly: {REPACK}"
            )
        check_rows(rows, num_classes, where(index))
        objects.append(objects_of(rows))
        most = max(most, len(rows))
        if bare is None and len(rows) == 0:
            bare = index
    counts = np.array([len(label) for label in objects], np.int64)
    return LabelScan(np.concatenate(objects), counts, most, object_width, bare)

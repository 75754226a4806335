"""Small data sets, truth and detections, written out row by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.structures import Detections, Sample
from evaluate.findings import Findings


def image_of(objects, rows):
    """Truth of (class, box[, "difficult" | "crowd"]) and detections of (class, score, box)."""
    marks = [(*row, "")[2] for row in objects]
    truth = Sample(
        Path("image.jpg"),
        (100, 100),
        [row[1] for row in objects],
        [row[0] for row in objects],
        [mark == "difficult" for mark in marks],
        crowd=np.array([mark == "crowd" for mark in marks], bool),
    )
    found = Detections(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.float32),
        np.array([row[2] for row in rows], np.float32).reshape(-1, 4),
        (100, 100),
    )
    return truth, found


def findings_of(truths, detections, classes=2):
    """Findings of that many classes, with numbers for ids."""
    names = tuple(f"class {number}" for number in range(classes))
    return Findings(truths, detections, names, tuple(range(classes)), tuple(range(len(truths))))

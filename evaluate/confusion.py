"""The confusion matrix of a detector: which classes it takes for which, what it overlooks and what it invents.

Part of the report after evaluation. Unlike average precision it looks at the detections above a score threshold only,
those that a user would see, and lets a detection take an object of any class.

The rule, image by image: all pairs of a detection and an object whose IoU reaches the threshold are gone through, pairs
of one class first, then by descending IoU (of equals the better scored detection first, then the first object). A pair
whose detection and object are both free is a match. What stays free is counted against the background.

Source: the greedy matching of supervision's `ConfusionMatrix` (0.31); other tools go by IoU alone, which calls an
object confused that has a right detection, as soon as a wrong one lies a little better.

Deviations from it:
- An IoU of exactly the threshold is a match, as everywhere here; scores must be above theirs, as for drawing.
- Difficult objects (VOC) are matched like others but never used up, as in `evaluate.voc`; what takes one counts
  nowhere. A detection left over counts nowhere if at least the threshold's share of its area lies in a crowd, of
  whatever class: who is in the crowd is not known.
"""

from __future__ import annotations

import numpy as np

from common.errors import ConfigError
from common.structures import Detections, Sample
from evaluate.findings import Findings
from evaluate.overlaps import in_coco_form, overlaps
from evaluate.voc import check_values


def confusion_matrix(
    findings: Findings, *, iou_threshold: float = 0.5, thresholds: float | np.ndarray = 0.5
) -> np.ndarray:
    """Count which class was taken for which.

    Args:
        findings: truth and detections, boxes in pixels.
        iou_threshold: from which overlap a detection takes an object, in (0, 1].
        thresholds: detections of a score above it count; one, or (C,) one for each class.

    Returns:
        (C + 1, C + 1) int64, rows truth, columns predicted, the last of both background. A class's row sums to its
        objects (without difficult ones and crowds); background taken for background is 0.

    Raises:
        ConfigError: the IoU threshold is out of range; or as `evaluate.voc.evaluate`.
        RecordError: as `evaluate.voc.evaluate`.
        ValueError: as many thresholds as classes are needed, or one; or as `evaluate.voc.evaluate`.
    """
    classes = len(findings.class_names)
    if not 0 < iou_threshold <= 1:
        raise ConfigError(
            f"IoU threshold {iou_threshold}: expected a number above 0 and at most 1 (--overlap)"
        )
    if np.shape(thresholds) not in ((), (classes,)):
        raise ValueError(f"score thresholds: found {np.shape(thresholds)}, expected one or ({classes},)")
    check_values(findings.truths, findings.detections, findings.class_names)
    shown = [found.above(thresholds) for found in findings.detections]
    sides = in_coco_form([found.boxes for found in shown]), in_coco_form([t.boxes for t in findings.truths])
    pairs = [np.zeros((2, 0), np.int64)] + [
        _count_image(truth, found, boxes, iou_threshold, classes)
        for truth, found, *boxes in zip(findings.truths, shown, *sides)
    ]
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    np.add.at(matrix, tuple(np.concatenate(pairs, axis=1)), 1)
    return matrix


def _count_image(
    truth: Sample, found: Detections, boxes: list[np.ndarray], iou_threshold: float, background: int
) -> np.ndarray:
    """Return the (row, column) of everything that counts in one image, (2, K).

    Args:
        truth: the objects.
        found: the detections that count.
        boxes: of detections and of objects, in COCO's form.
        iou_threshold: from which overlap a detection takes an object.
        background: the number of classes.
    """
    order = np.argsort(-found.score, kind="stable")
    found, (found_boxes, truth_boxes) = found.select(order), boxes
    iou, share = overlaps(found_boxes[order], truth_boxes)  # (D, N)
    in_crowd = (share[:, truth.crowd] >= iou_threshold).any(axis=1)
    real = ~truth.crowd
    class_id, difficult = truth.class_ids[real], truth.difficult[real]
    iou = iou[:, real]

    detection, thing = np.nonzero(iou >= iou_threshold)
    same = found.class_id[detection] == class_id[thing]
    taken, free = np.full(len(found), -1), np.ones(len(class_id), bool)
    for pair in np.lexsort((-iou[detection, thing], ~same)):
        if taken[detection[pair]] < 0 and free[thing[pair]]:
            taken[detection[pair]] = thing[pair]
            free[thing[pair]] = difficult[thing[pair]]

    rows = np.append(class_id, background)[taken]  # -1, nothing taken, is the last: background
    counts = ~np.where(taken < 0, in_crowd, np.append(difficult, False)[taken])
    overlooked = class_id[free & ~difficult]
    of_detections = np.stack([rows[counts], found.class_id[counts]])
    return np.concatenate([of_detections, [overlooked, np.full(len(overlooked), background)]], axis=1)

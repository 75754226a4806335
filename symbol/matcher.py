"""Matching and box encoding in numpy: what MultiBoxTarget does, for training on the CPU.

MXNet's CPU operator takes about 60 ns for every pair of default box and label row, on one thread, void rows included:
over half of a small network's training step. This takes a twentieth. The tests hold both to each other; on a GPU the
operator stays in the graph.

Source: SSD paper, section 2.2, matching strategy: each object gets its best default box, the best pair first; then
every default box whose best overlap is above the threshold joins that object. Encoding with variances: Caffe's SSD.
Default boxes that are left and overlap an object well enough to be no fair background can be ignored: ssd_keras.
"""

from __future__ import annotations

import numpy as np

# MultiBoxTarget gives no default box to an object that none overlaps by more than this.
_LEAST_OVERLAP = 1e-6
BACKGROUND, NEUTRAL = -1, -2  # in place of an object


def match(
    anchors: np.ndarray, boxes: np.ndarray, overlap_threshold: float, neutral_from: float = 0.0
) -> np.ndarray:
    """Give default boxes to objects.

    Args:
        anchors: (A, 4) float32 corner form.
        boxes: (G, 4) float32 corner form, in the unit of the anchors; one without area is given nothing.
        overlap_threshold: IoU above which a default box joins its best object; above 1 each object has its best alone.
        neutral_from: IoU from which a default box that no object has is ignored; 0 ignores none.

    Returns:
        (A,) int64: the object of each default box, BACKGROUND, or NEUTRAL for one to ignore.
    """
    overlap = _overlaps(boxes, anchors)  # (G, A)
    if not len(overlap):
        return np.full(len(anchors), BACKGROUND, np.int64)
    best, most = overlap.argmax(axis=0), overlap.max(axis=0)
    matched = np.where(most > overlap_threshold, best, BACKGROUND)
    if neutral_from:
        matched[(matched == BACKGROUND) & (most >= neutral_from)] = NEUTRAL
    for anchor, box in _best_pairs(overlap):
        matched[anchor] = box
    return matched


def _overlaps(boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Return the IoU of every object with every default box, (G, A) float32."""
    left, top, right, bottom = np.ascontiguousarray(anchors.T)  # each (A,)
    b = boxes[:, :, None]  # (G, 4, 1)
    width = np.minimum(right, b[:, 2]) - np.maximum(left, b[:, 0])
    height = np.minimum(bottom, b[:, 3]) - np.maximum(top, b[:, 1])
    intersection = np.maximum(width, 0) * np.maximum(height, 0)  # (G, A)
    area = np.maximum(b[:, 2] - b[:, 0], 0) * np.maximum(b[:, 3] - b[:, 1], 0)
    union = area + (right - left) * (bottom - top) - intersection
    # A box without area overlaps nothing, not even a default box without area.
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=(union > 0) & (area > 0))


def _best_pairs(overlap: np.ndarray) -> list[tuple[int, int]]:
    """Match every object with a default box of its own, the best pair of all first.

    Args:
        overlap: (G, A).

    Returns:
        [(default box, object)].
    """
    pairs, taken = [], []
    best = [(-row.max(), int(row.argmax()), box) for box, row in enumerate(overlap)]
    while best:
        best.sort()
        score, anchor, box = best.pop(0)
        if -score <= _LEAST_OVERLAP:
            continue
        if anchor not in taken:
            pairs.append((anchor, box))
            taken.append(anchor)
            continue
        row = overlap[box].copy()  # another object has its default box: the next best of those left
        row[taken] = -1
        best.append((-row.max(), int(row.argmax()), box))
    return pairs


def encode(anchors: np.ndarray, boxes: np.ndarray, variances: tuple) -> np.ndarray:
    """Encode boxes relative to default boxes.

    Args:
        anchors: (N, 4) float32 corner form.
        boxes: (N, 4) float32 corner form, with an area.
        variances: four: of x, y, width, height.

    Returns:
        (N, 4) float32 of (dx, dy, log width, log height), divided by the variances.
    """
    anchor_size, size = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    anchor_centre, centre = (anchors[:, 2:] + anchors[:, :2]) / 2, (boxes[:, 2:] + boxes[:, :2]) / 2
    shift = (centre - anchor_centre) / anchor_size
    scale = np.log(np.maximum(size / anchor_size, 1e-8))
    return np.concatenate([shift, scale], axis=1) / np.asarray(variances, np.float32)


def targets(
    anchors: np.ndarray,
    label: np.ndarray,
    variances: tuple,
    overlap_threshold: float,
    neutral_from: float = 0.0,
) -> dict:
    """Make the inputs of `symbol.loss.matched_training_symbol` from a batch of labels.

    Args:
        anchors: (A, 4) float32 corner form, normalised.
        label: (B, M, 5 or more) float32 rows of (class, xmin, ymin, xmax, ymax, ...), normalised; class -1 is void.
        variances: of the box encoding.
        overlap_threshold: see `match`.
        neutral_from: see `match`.

    Returns:
        {"loc_target": (B, 4A), "loc_mask": (B, 4A), "cls_target": (B, A)}, float32; class 0 is background, -1 is to be
        ignored.
    """
    batch, count = len(label), len(anchors)
    loc_target = np.zeros((batch, count, 4), np.float32)
    cls_target = np.zeros((batch, count), np.float32)
    for image, rows in enumerate(label):
        rows = rows[rows[:, 0] >= 0]
        matched = match(anchors, rows[:, 1:5], overlap_threshold, neutral_from)
        positive = np.flatnonzero(matched >= 0)
        rows = rows[matched[positive]]
        cls_target[image, matched == NEUTRAL] = -1
        cls_target[image, positive] = rows[:, 0] + 1
        loc_target[image, positive] = encode(anchors[positive], rows[:, 1:5], variances)
    loc_mask = np.repeat((cls_target > 0).astype(np.float32), 4, axis=1)  # (B, A) -> (B, 4A)
    return {"loc_target": loc_target.reshape(batch, -1), "loc_mask": loc_mask, "cls_target": cls_target}

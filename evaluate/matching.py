"""Which detections are right: the matching of detections with objects, for all images and classes at once.

The rule stands in `evaluate.voc`, which calls this. Everything is flat arrays and no loop runs over images: five
thousand images with a hundred detections each take under a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common import boxes as box_ops
from common.structures import Detections, Sample

RIGHT, WRONG, NEUTRAL = 1, 0, -1
_PAIRS_AT_ONCE = 1 << 20  # bounds the memory of matching to some 100 MB


@dataclass(frozen=True)
class Objects:
    """All objects of all images: parallel arrays."""

    image: np.ndarray
    class_id: np.ndarray
    boxes: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray


@dataclass(frozen=True)
class Found:
    """All detections of all images: parallel arrays."""

    image: np.ndarray
    class_id: np.ndarray
    boxes: np.ndarray
    score: np.ndarray

    def by_score(self) -> Found:
        """Sort by class, then descending score; equal scores keep their order."""
        order = np.lexsort((-self.score, self.class_id))
        return Found(self.image[order], self.class_id[order], self.boxes[order], self.score[order])


def _joined(parts: list[np.ndarray], empty: np.ndarray) -> np.ndarray:
    return np.concatenate([empty, *parts])


def flatten_truths(truths: list[Sample]) -> Objects:
    """Return the objects of all images."""
    return Objects(
        np.repeat(np.arange(len(truths)), [len(truth.class_ids) for truth in truths]),
        _joined([truth.class_ids for truth in truths], np.zeros(0, np.int64)),
        _joined([truth.boxes for truth in truths], np.zeros((0, 4))),
        _joined([truth.difficult for truth in truths], np.zeros(0, bool)),
        _joined([truth.crowd for truth in truths], np.zeros(0, bool)),
    )


def flatten_detections(detections: list[Detections]) -> Found:
    """Return the detections of all images."""
    return Found(
        np.repeat(np.arange(len(detections)), [len(found) for found in detections]),
        _joined([found.class_id for found in detections], np.zeros(0, np.int64)),
        _joined([found.boxes for found in detections], np.zeros((0, 4))),
        _joined([found.score for found in detections], np.zeros(0, np.float32)),
    )


def judge(found: Found, objects: Objects, neutral: np.ndarray, threshold: float) -> np.ndarray:
    """Return what each detection is: right, wrong or neutral.

    Args:
        found: sorted by class and score.
        objects: the truth.
        neutral: (N,) bool, objects that do not count.
        threshold: of the overlap.

    Returns:
        (D,) int8.
    """
    verdicts = np.full(len(found.score), WRONG, np.int8)
    overlap, taken = _best_object(found, objects, ~objects.crowd, _pair_iou)
    takes = np.flatnonzero(overlap >= threshold)
    first = np.unique(taken[takes], return_index=True)[
        1
    ]  # np.unique gives the first, that is the best scored
    verdicts[takes[first]] = RIGHT
    verdicts[takes[neutral[taken[takes]]]] = NEUTRAL
    if objects.crowd.any():
        overlap, _ = _best_object(found, objects, objects.crowd, _pair_share)
        verdicts[(verdicts == WRONG) & (overlap >= threshold)] = NEUTRAL
    return verdicts


def _best_object(found: Found, objects: Objects, mask: np.ndarray, measure) -> tuple[np.ndarray, np.ndarray]:
    """Return for every detection the object of its image and class that it overlaps most.

    Args:
        found: D detections.
        objects: N objects.
        mask: (N,) bool, which objects to look at.
        measure: of the overlap, (P, 4), (P, 4) -> (P,).

    Returns:
        (D,) float64 overlaps, -1 where there is no object; (D,) int64 indices into `objects`, the first of equals.
    """
    classes = int(max([0, *found.class_id[-1:], *objects.class_id])) + 1
    candidates = np.flatnonzero(mask)
    keys = objects.image[candidates] * classes + objects.class_id[candidates]
    order = np.argsort(keys, kind="stable")
    candidates, keys = candidates[order], keys[order]
    wanted = found.image * classes + found.class_id
    begin, end = (np.searchsorted(keys, wanted, side) for side in ("left", "right"))
    overlap, taken = np.full(len(wanted), -1.0), np.zeros(len(wanted), np.int64)
    for part in _in_portions(np.flatnonzero(end > begin), end - begin):
        counts = (end - begin)[part]
        starts = np.cumsum(counts) - counts  # where each detection's pairs begin
        pairs = np.repeat(begin[part] - starts, counts) + np.arange(counts.sum())
        values = measure(np.repeat(found.boxes[part], counts, axis=0), objects.boxes[candidates[pairs]])
        best = np.maximum.reduceat(values, starts)
        equal = np.flatnonzero(values == np.repeat(best, counts))
        overlap[part] = best
        taken[part] = candidates[pairs[equal[np.searchsorted(equal, starts)]]]
    return overlap, taken


def _in_portions(index: np.ndarray, counts: np.ndarray) -> list[np.ndarray]:
    """Split indices so that the counts of each portion sum to about a million at most."""
    if not len(index):
        return []
    portion = np.cumsum(counts[index]) // _PAIRS_AT_ONCE
    return np.split(index, np.flatnonzero(np.diff(portion)) + 1)


def _intersection(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the areas that boxes share, pair by pair: (P, 4), (P, 4) -> (P,)."""
    sides = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
    return np.prod(np.clip(sides, 0, None), axis=1)


def _pair_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersection over union, pair by pair: (P, 4), (P, 4) -> (P,)."""
    shared = _intersection(first, second)
    union = box_ops.area(first) + box_ops.area(second) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _pair_share(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the share of the first box's area that lies in the second, pair by pair: (P, 4), (P, 4) -> (P,)."""
    area = box_ops.area(first)
    shared = _intersection(first, second)
    return np.divide(shared, area, out=np.zeros_like(shared), where=area > 0)

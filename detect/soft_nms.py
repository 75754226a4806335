"""Soft-NMS, on the host, in place of NMS in the graph: a box that overlaps a better one stays, with a lower score.

The best candidate is a detection; every other one of its class (with `force` of any class) has its score multiplied by
exp(-IoU^2 / sigma); and so on with the best that is left, until none is above the score threshold. Since scores only
fall, detections come in the order of their last scores, so the work ends with the last one that is kept; and what has
fallen to the threshold could only lower what is below it too.

Source: N. Bodla et al., "Soft-NMS - Improving Object Detection With One Line of Code", ICCV 2017, figure 2 and
equation 3 (the gaussian form, which needs no IoU threshold). Deviation: boxes are half-open, a pixel is not added to
their sides.
"""

from __future__ import annotations

import numpy as np

DEFAULT_SIGMA = 0.5  # the paper's


def soft_nms(
    rows: np.ndarray, *, sigma: float, score_threshold: float, keep_topk: int = -1, force: bool = False
) -> np.ndarray:
    """Lower the scores of boxes that overlap better ones, and keep what stays above the threshold.

    Args:
        rows: (N, 6) of (class id, score, xmin, ymin, xmax, ymax), the candidates of an image; those with the id -1 are
            void.
        sigma: width of the bell, above 0; the smaller, the more an overlap costs.
        score_threshold: detections score above this, before and after.
        keep_topk: detections at most, the best ones; -1 for all.
        force: across classes.

    Returns:
        (M, 6) float32 in the same form, best first; of equals the one of the lower class (not with `force`), then the
        one that began with the better score, then the earlier row.
    """
    rows = rows[(rows[:, 0] >= 0) & (rows[:, 1] > score_threshold)]
    group = np.zeros(len(rows)) if force else rows[:, 0]
    rows = rows[np.lexsort((-rows[:, 1], group))]  # stable: classes one after the other, each best first
    if not len(rows):
        return rows.astype(np.float32)
    group = np.zeros(len(rows)) if force else rows[:, 0]
    begins = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    classes = _Classes(rows[:, 1:].astype(np.float64), begins, sigma)
    kept = classes.best_first(score_threshold, len(rows) if keep_topk < 0 else keep_topk)
    result = rows[[index for index, _ in kept]].astype(np.float32)
    result[:, 1] = [score for _, score in kept]
    return result


class _Classes:
    """The candidates of an image, class after class, and their scores, which fall.

    Args:
        values: (N, 5) float64 of (score, xmin, ymin, xmax, ymax).
        begins: where each class begins.
        sigma: width of the bell.
    """

    def __init__(self, values: np.ndarray, begins: np.ndarray, sigma: float):
        self._score, self._sides = values[:, 0].copy(), np.ascontiguousarray(values[:, 1:].T)  # (4, N)
        xmin, ymin, xmax, ymax = self._sides
        self._area = np.maximum(xmax - xmin, 0) * np.maximum(ymax - ymin, 0)
        ends = np.r_[begins[1:], len(values)]
        self._slices = [slice(begin, end) for begin, end in zip(begins.tolist(), ends.tolist())]
        self._best = begins.copy()  # of each class
        self._best_score = self._score[begins]
        self._sigma = sigma

    def best_first(self, score_threshold: float, most: int) -> list[tuple[int, float]]:
        """Return (index, last score) of the detections, at most so many."""
        kept: list[tuple[int, float]] = []
        while len(kept) < most:
            turn = int(self._best_score.argmax())
            score = float(self._best_score[turn])
            if not score > score_threshold:
                break
            kept.append((int(self._best[turn]), score))
            self._lower(turn)
        return kept

    def _lower(self, turn: int) -> None:
        """Take the best of a class out and lower the scores of the others."""
        these, best = self._slices[turn], self._best[turn]
        score = self._score[these]  # a view
        score *= np.exp(self._iou(best, these) ** 2 / -self._sigma)
        self._score[best] = -1  # taken; below every threshold
        self._best[turn] = these.start + score.argmax()
        self._best_score[turn] = self._score[self._best[turn]]

    def _iou(self, index: int, these: slice) -> np.ndarray:
        """Return the intersection over union of a box with those of its class; 0 where neither has an area."""
        xmin, ymin, xmax, ymax = self._sides[:, these]
        left, top, right, bottom = self._sides[:, index]
        width = np.minimum(xmax, right) - np.maximum(xmin, left)
        height = np.minimum(ymax, bottom) - np.maximum(ymin, top)
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        union = self._area[these] + self._area[index] - shared
        return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)

"""Precision, recall and F1 of each class over the score threshold, and the threshold at which F1 is best.

Average precision says how good the order of a class's detections is; whoever draws boxes needs one threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from evaluate.voc import ClassResult

_DEFAULT = 0.5  # suggested where a class gives nothing to choose by


@dataclass(frozen=True)
class OperatingCurve:
    """What one class would give at every threshold that changes something.

    Attributes:
        name: of the class.
        score: (K,) descending, the distinct scores; at entry i all detections of at least score[i] count.
        precision: (K,) float64 in [0, 1].
        recall: (K,) float64 in [0, 1].
        f1: (K,) float64, the harmonic mean of the two.
        best: index of the best F1 (the highest threshold of equals); None without objects or detections.
    """

    name: str
    score: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    best: int | None

    @property
    def threshold(self) -> float:
        """The suggested threshold: detections above it are those of the best F1 (demo.py draws what is above)."""
        if self.best is None:
            return _DEFAULT
        score = float(self.score[self.best])
        if self.best + 1 < len(self.score):
            return _round_between(max(0.0, float(self.score[self.best + 1])), score)
        return _just_below(score)  # nobody knows what lower ones would have brought

    def at_best(self) -> tuple[float, float, float] | None:
        """Return (precision, recall, F1) at the best threshold; None where there is none."""
        if self.best is None:
            return None
        return tuple(float(curve[self.best]) for curve in (self.precision, self.recall, self.f1))


def operating_curve(result: ClassResult) -> OperatingCurve:
    """Return a class's curve over the threshold.

    Args:
        result: of `evaluate.voc.evaluate`.
    """
    scores = np.asarray(result.scores, np.float64)
    ends = np.flatnonzero(np.append(scores[1:] < scores[:-1], True)) if len(scores) else np.zeros(0, int)
    precision, recall = result.precision[ends], result.recall[ends]
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    # A threshold is 0 or more, and what is drawn lies above it.
    reachable = np.where(scores[ends] > 0, f1, 0.0)
    usable = len(ends) and result.objects and reachable.max() > 0
    return OperatingCurve(
        result.name, scores[ends], precision, recall, f1, int(np.argmax(reachable)) if usable else None
    )


def _just_below(score: float) -> float:
    """Return the number of fewest decimals below a score, in float32 too, and within a hundredth of it."""
    for digits in range(2, 17):
        rounded = round(math.floor(score * 10**digits) / 10**digits, digits)
        if np.float32(rounded) >= np.float32(score):
            rounded = round(rounded - 10**-digits, digits)
        if score * 0.99 <= rounded:
            return rounded
    return score * 0.99


def _round_between(low: float, high: float) -> float:
    """Return the number of fewest decimals from low up to the middle: what a person would write down.

    Not beyond the middle: a threshold next to `high` would lose it where scores are compared in float32.
    """
    middle = (low + high) / 2
    for digits in range(2, 17):
        rounded = round(middle, digits)
        if rounded > middle:
            rounded = round(rounded - 10**-digits, digits)
        if rounded >= low:
            return rounded
    return low

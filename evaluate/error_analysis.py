"""Where the missing average precision goes: what mending each kind of error alone would add to the mAP.

Part of the report after evaluation: findings in; six prices, six counts and every single mistake out.

Source: TIDE (Bolya et al., ECCV 2020), section 2; the kinds and their rule stand in `evaluate.error_kinds`. What the
paper leaves open is as in the authors' library tidecv 1.0.1, which the tests hold this module to:
- AP is COCO's at the one IoU threshold: the best precision at or above each of 101 recalls.
- The mean is over the classes that have objects or detections that count: a class that is detected but never there
  has AP 0 (VOC's and COCO's means leave it out). When mending takes its last detection, it leaves the mean.
- Mending matches nothing anew. A "class" or "box" error becomes right, under the object's class and with its own
  score, if its object was free and it is the best scored of both kinds there; every other error of the kind that is
  mended disappears. Mending "missed" leaves the missed objects out of the count of objects.
- A neutral detection can become right so, though it was no wrong one before.
- Once something is mended, wrong detections stand before those that were right from the start where scores are equal.
  By such ties, or by the 101 steps, the mAP can fall; the gain is 0 then. The two special gains are not cut off at 0.

Deviation: tidecv divides by zero where no class has objects or detections. Here the mAP is 0 where that is so from the
start, and 1 where mending leads there, since nothing that is wrong is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from common.errors import ConfigError
from evaluate.error_kinds import BACKGROUND, KINDS, MISSED, RIGHT, Outcomes, Verdicts, judge
from evaluate.findings import Findings
from evaluate.voc import check_values


class Mistake(NamedTuple):
    """One error.

    Attributes:
        kind: one of `evaluate.error_kinds.KINDS`.
        image: index into the findings.
        detection: index into the image's detections; None for "missed".
        truth: index into the image's objects, the one that the detection was compared with; None for "background".
        iou: of detection and object; for "background" the highest with any object, for "missed" with any detection.
        neutral: the detection lies in a crowd or on a difficult object, and does not lower the AP.
    """

    kind: str
    image: int
    detection: int | None
    truth: int | None
    iou: float
    neutral: bool = False


@dataclass(frozen=True)
class ErrorAnalysis:
    """Where the missing AP goes.

    Attributes:
        ap: mAP in [0, 1] at the foreground threshold, by the rule of this module.
        gain: by kind, what mending all its errors, and these alone, would add to the mAP, in [0, 1]. Together they
            need not give what is missing.
        special: "false positives": what putting every wrong detection behind all right ones would add; "false
            negatives": what leaving every object that was not found out of the count would.
        counts: by kind, how many errors there are, neutral ones included.
        mistakes: every error, by image; in each the detections by descending score, then the missed objects.
    """

    ap: float
    gain: dict[str, float]
    special: dict[str, float]
    counts: dict[str, int]
    mistakes: tuple[Mistake, ...]


def analyse_errors(findings: Findings, *, foreground: float = 0.5, background: float = 0.1) -> ErrorAnalysis:
    """Find the cause of every error, and what mending each kind would give.

    Args:
        findings: truth and detections, boxes in pixels.
        foreground: the IoU from which a detection takes an object.
        background: the IoU up to which nothing is near a detection; less than `foreground`.

    Raises:
        ConfigError: the thresholds cannot be; or as `evaluate.voc.evaluate`.
        RecordError, ValueError: as `evaluate.voc.evaluate`.

    Source: TIDE, section 2; see this module's header.
    """
    if not 0 < background < foreground <= 1:
        raise ConfigError(
            f"error analysis at IoU {background:g} (background) and {foreground:g} (foreground, --overlap):"
            " expected 0 < background < foreground <= 1"
        )
    check_values(findings.truths, findings.detections, findings.class_names)
    verdicts, outcomes = judge(findings.truths, findings.detections, foreground, background)
    ap, gain, special = _gains(verdicts, outcomes, len(findings.class_names))
    counts = np.bincount(verdicts.kind[verdicts.kind != RIGHT], minlength=len(KINDS))
    counts[MISSED] = np.count_nonzero(outcomes.missed)
    return ErrorAnalysis(ap, gain, special, dict(zip(KINDS, counts.tolist())), _mistakes(verdicts, outcomes))


def _gains(
    verdicts: Verdicts, outcomes: Outcomes, classes: int
) -> tuple[float, dict[str, float], dict[str, float]]:
    """Return the mAP, what each mending adds to it, and the special gains."""
    objects, found, missed = (
        np.bincount(outcomes.class_id[mask], minlength=classes)
        for mask in (slice(None), outcomes.found, outcomes.missed)
    )
    base = _mean_ap(*_mended(verdicts, None), objects)
    if base is None:
        return 0.0, dict.fromkeys(KINDS, 0.0), {"false positives": 0.0, "false negatives": 0.0}
    wrong_first = verdicts.select(np.argsort(verdicts.kind == RIGHT, kind="stable"))
    class_id, score, right = _mended(wrong_first, None)

    def gain(*mended) -> float:
        mean = _mean_ap(*mended)
        return (1.0 if mean is None else mean) - base

    gains = [gain(*_mended(wrong_first, kind), objects) for kind in range(MISSED)]
    gains.append(gain(class_id, score, right, objects - missed))
    special = {
        "false positives": gain(class_id, right.astype(np.float64), right, objects),
        "false negatives": gain(class_id, score, right, found),
    }
    return base, {kind: max(value, 0.0) for kind, value in zip(KINDS, gains)}, special


def _mended(verdicts: Verdicts, kind: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return class, score and whether it is right of every detection that counts once a kind of error is mended."""
    of_kind = np.zeros(len(verdicts.kind), bool) if kind is None else verdicts.kind == kind
    right = (verdicts.kind == RIGHT) | (of_kind & verdicts.saves)
    kept = right | ~(of_kind | verdicts.neutral)
    class_id = np.where(right, verdicts.truth_class, verdicts.class_id)
    return class_id[kept], verdicts.score[kept], right[kept]


def _mean_ap(class_id: np.ndarray, score: np.ndarray, right: np.ndarray, objects: np.ndarray) -> float | None:
    """Return the mean AP of the classes that have objects or detections; None where none has.

    Args:
        class_id: (D,) of the detections; equal scores keep their order.
        score: (D,).
        right: (D,) bool.
        objects: (C,) how many there are of each class.
    """
    order = np.lexsort((-score, class_id))
    ends = np.cumsum(np.bincount(class_id, minlength=len(objects)))
    curves = np.split(right[order], ends[:-1])
    values = [
        _average_precision(curve, count) for curve, count in zip(curves, objects) if count or len(curve)
    ]
    return float(np.mean(values)) if values else None


def _average_precision(right: np.ndarray, objects: int) -> float:
    """Return the mean over 101 recalls of the best precision at that recall or above.

    Args:
        right: (D,) bool, by descending score.
        objects: how many there are to find.
    """
    if not objects:
        return 0.0
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(envelope[np.searchsorted(hits / objects, np.arange(101) / 100)].mean())


def _mistakes(verdicts: Verdicts, outcomes: Outcomes) -> tuple[Mistake, ...]:
    """Return all errors, by image."""
    wrong = verdicts.select(verdicts.kind != RIGHT)
    columns = (wrong.kind, wrong.image, wrong.index, wrong.truth, wrong.iou, wrong.neutral)
    of_detections = [
        Mistake(KINDS[kind], image, index, None if kind == BACKGROUND else truth, iou, neutral)
        for kind, image, index, truth, iou, neutral in zip(*(column.tolist() for column in columns))
    ]
    columns = (outcomes.image, outcomes.index, outcomes.iou)
    of_objects = [
        Mistake("missed", image, None, index, iou)
        for image, index, iou in zip(*(column[outcomes.missed].tolist() for column in columns))
    ]
    return tuple(sorted(of_detections + of_objects, key=lambda mistake: mistake.image))

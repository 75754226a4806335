"""Average precision by the rule of Pascal VOC: area under the curve (2010 on) or 11 points (2007).

Last step of evaluation: truths and detections in pixels go in, a table of classes comes out.

The rule: the detections of a class over all images go by descending score, equal ones in the order given. Each takes
the object of its class and image that it overlaps most (the first of equals), if their IoU is at least the threshold.
The first to take an object is right; later ones, and those that take none, are wrong. Difficult objects are neutral:
they are not counted, and who takes one is neither right nor wrong. A class without countable objects has no AP
and stays out of the mean; one with objects and no detections has AP 0.

Deviations from the development kit:
- Boxes are half-open, so no pixel is added to widths and heights; VOC's inclusive boxes come in through
  `common.boxes.from_voc`, which makes the two measures the same.
- Crowds (COCO's iscrowd; VOC has none) are no objects: a detection that would be wrong is neutral when at least the
  threshold's share of its own area lies in a crowd of its class, as COCO measures it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.errors import ConfigError, RecordError
from common.structures import Detections, Sample
from evaluate.matching import NEUTRAL, RIGHT, flatten_detections, flatten_truths, judge

METRICS = ("voc", "voc07")


@dataclass(frozen=True)
class ClassResult:
    """How well one class was found.

    Attributes:
        name: of the class.
        ap: average precision in [0, 1]; None where the class has no countable objects.
        objects: how many count (without difficult ones and crowds).
        difficult: objects that are neutral.
        crowds: boxes around groups, neutral too.
        detections: all of the class, neutral ones included.
        scores: (D,) float32, descending, of the detections that are right or wrong.
        precision: (D,) float64, right ones among the first i + 1.
        recall: (D,) float64, share of the objects found by the first i + 1; nan without objects.
    """

    name: str
    ap: float | None
    objects: int
    difficult: int
    crowds: int
    detections: int
    scores: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    @property
    def final_recall(self) -> float | None:
        """The share of the objects that is found by all detections; None without objects."""
        if not self.objects:
            return None
        return float(self.recall[-1]) if len(self.recall) else 0.0


@dataclass(frozen=True)
class VOCResult:
    """Average precision of every class.

    Attributes:
        classes: one result for each class, in the order of their ids.
        metric: "voc" (area) or "voc07" (11 points).
        iou_threshold: from which overlap a detection takes an object.
        images: how many were looked at.
        use_difficult: whether difficult objects were counted like all others.
    """

    classes: tuple[ClassResult, ...]
    metric: str
    iou_threshold: float
    images: int
    use_difficult: bool = False

    @property
    def mean(self) -> float | None:
        """The mean average precision (mAP) over the classes with objects; None where there is none."""
        values = [result.ap for result in self.classes if result.ap is not None]
        return float(np.mean(values)) if values else None

    @property
    def without_truth(self) -> tuple[str, ...]:
        """The classes that the mean leaves out, for want of objects that count."""
        return tuple(result.name for result in self.classes if result.ap is None)

    def summary(self) -> str:
        """Return the mean, its rule, and what it leaves out, as lines of text for a console."""
        rule = "11 points" if self.metric == "voc07" else "area"
        mean = "undefined: no object counts" if self.mean is None else f"{self.mean:.4f}"
        lines = [f"mAP {mean} (VOC {rule}, IoU {self.iou_threshold:g}, {self.images} images)"]
        if self.without_truth and self.mean is not None:
            lines.append(f"left out of the mean, no objects: {', '.join(self.without_truth)}")
        return "\n".join(lines)

    def as_dict(self) -> dict:
        """Return the results as JSON values, without the curves; what does not exist is None."""
        return {
            "metric": self.metric,
            "iou_threshold": self.iou_threshold,
            "images": self.images,
            "mAP": self.mean,
            "classes_without_objects": list(self.without_truth),
            "classes": [
                {
                    "name": result.name,
                    "ap": result.ap,
                    "recall": result.final_recall,
                    "objects": result.objects,
                    "difficult": result.difficult,
                    "crowds": result.crowds,
                    "detections": result.detections,
                }
                for result in self.classes
            ],
        }


def average_precision(recall: np.ndarray, precision: np.ndarray, use_07_metric: bool = False) -> float:
    """Return the average precision of a curve.

    Args:
        recall: (D,) ascending, in [0, 1].
        precision: (D,) in [0, 1].
        use_07_metric: True takes the mean of the best precision at recalls of at least 0, 0.1, ..., 1 (VOC 2007);
            False the area under the curve, whose precision is made to fall only (VOC 2010 and later).

    Returns:
        A value in [0, 1]; 0 for an empty curve.

    Source: VOC development kits, VOCevaldet.m of 2007 and VOCap.m of 2010.
    """
    recall, precision = np.asarray(recall, np.float64), np.asarray(precision, np.float64)
    # The best precision at this recall or any above it.
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    if use_07_metric:
        # tenths as fractions: 3 of 10 objects reach 3 / 10, and would not reach 3 * 0.1
        return float(envelope[np.searchsorted(recall, np.arange(11) / 10)].mean())
    steps = np.diff(np.concatenate([[0.0], recall]))
    return float(np.sum(steps * envelope[:-1]))


def evaluate(
    truths: list[Sample],
    detections: list[Detections],
    class_names: tuple[str, ...],
    *,
    iou_threshold: float = 0.5,
    metric: str = "voc",
    use_difficult: bool = False,
) -> VOCResult:
    """Score detections against the truth.

    Args:
        truths: of each image, boxes in pixels.
        detections: of each image, in pixels, in the order of `truths`.
        class_names: in the order of the class ids.
        iou_threshold: from which overlap a detection takes an object, in (0, 1].
        metric: "voc" (area) or "voc07" (11 points).
        use_difficult: count difficult objects like all others.

    Raises:
        ConfigError: the metric or threshold cannot be, there are no classes, or detections are of other classes or
            hold values that are not finite.
        RecordError: a truth has a class id that the names do not have.
        ValueError: the lists differ in length, or detections are not in pixels.
    """
    check_rule(iou_threshold, metric)
    check_values(truths, detections, class_names)
    objects, found = flatten_truths(truths), flatten_detections(detections)
    neutral = np.zeros_like(objects.difficult) if use_difficult else objects.difficult
    found = found.by_score()
    verdicts = judge(found, objects, neutral, iou_threshold)
    counts = [
        np.bincount(objects.class_id[mask], minlength=len(class_names))
        for mask in (~objects.crowd & ~neutral, ~objects.crowd & neutral, objects.crowd)
    ]
    ends = np.searchsorted(found.class_id, np.arange(len(class_names) + 1))
    classes = tuple(
        _class_result(
            name,
            verdicts[ends[i] : ends[i + 1]],
            found.score[ends[i] : ends[i + 1]],
            [int(n[i]) for n in counts],
            metric,
        )
        for i, name in enumerate(class_names)
    )
    return VOCResult(classes, metric, float(iou_threshold), len(truths), use_difficult)


def check_rule(iou_threshold: float, metric: str) -> None:
    """Refuse a rule that cannot be, before the detector has run over all images.

    Raises:
        ConfigError: the threshold is out of range, or the metric is unknown.
    """
    if metric not in METRICS:
        raise ConfigError(f"metric {metric!r}: expected one of {', '.join(METRICS)}")
    if not 0 < iou_threshold <= 1:
        raise ConfigError(
            f"IoU threshold {iou_threshold}: expected a number above 0 and at most 1 (--overlap)"
        )


def check_values(truths: list[Sample], detections: list[Detections], class_names: tuple[str, ...]) -> None:
    """Refuse truths and detections that no measure can score; arguments and errors as for `evaluate`."""
    if not len(class_names):
        raise ConfigError("no class names to evaluate: give them by --class-names")
    if len(truths) != len(detections):
        raise ValueError(
            f"{len(truths)} truths and {len(detections)} detections: one of each image is needed"
        )
    for index, found in enumerate(detections):
        if found.size is None and len(found):
            raise ValueError(f"detections of image {index} are normalised: give them in pixels")
        if not (np.isfinite(found.score).all() and np.isfinite(found.boxes).all()):
            raise ConfigError(
                f"image {index}: a detection holds values that are not finite: the model is damaged"
            )
    _check_ids([truth.class_ids for truth in truths], truths, len(class_names), RecordError)
    _check_ids([found.class_id for found in detections], detections, len(class_names), ConfigError)


def _check_ids(ids: list[np.ndarray], images: list, num_classes: int, error: type) -> None:
    """Refuse class ids that have no name."""
    class_ids = np.concatenate([np.zeros(0, np.int64), *ids])
    wrong = (class_ids < 0) | (class_ids >= num_classes)
    if wrong.any():
        ends = np.cumsum([len(image.boxes) for image in images])
        index = int(np.searchsorted(ends, np.flatnonzero(wrong)[0], side="right"))
        where = getattr(images[index], "source", "") or f"image {index}"
        raise error(
            f"{where}: class id {class_ids[wrong][0]}, but there are {num_classes} class names (ids from 0):"
            " the data and the model are of different classes; check --class-names"
        )


def _class_result(
    name: str, verdicts: np.ndarray, scores: np.ndarray, counts: list[int], metric: str
) -> ClassResult:
    """Make one class's curve and average precision from its detections in the order of their scores."""
    objects, difficult, crowds = counts
    counted = verdicts != NEUTRAL
    right = np.cumsum(verdicts[counted] == RIGHT)
    precision = right / np.arange(1, len(right) + 1)
    recall = right / objects if objects else np.full(len(right), np.nan)
    ap = average_precision(recall, precision, metric == "voc07") if objects else None
    return ClassResult(
        name, ap, objects, difficult, crowds, len(verdicts), scores[counted], precision, recall
    )

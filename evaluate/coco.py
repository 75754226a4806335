"""COCO's average precision and recall: the twelve numbers, and those of each class, computed by faster-coco-eval.

Last step of evaluation: Findings in pixels of the original images go in, COCO's numbers come out. Average precision is
the mean over ten IoU thresholds, 0.50 to 0.95, of the precision at 101 recalls; sizes go by the objects' areas (of the
segment, where the truth states it) in square pixels: small up to 32x32, medium up to 96x96. Crowds are neutral: they
take any number of detections that would be wrong, by the share of a detection that lies in them.

Equal to pycocotools to rounding: the order of images (by id), of equal scores and of equal overlaps is COCO's.

Deviation: COCO knows no difficult objects. They are neutral here, as elsewhere in this project: an object that does
not count and may be taken by one detection, which is COCO's own rule for objects outside the range of sizes looked at.
pycocotools, which overwrites its "ignore" by "iscrowd", counts them when it reads NAME.gt.json; so does
`use_difficult`.

Source: https://cocodataset.org/#detection-eval
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from common import boxes as box_ops
from common.errors import ConfigError
from common.libraries import require
from evaluate.findings import Findings
from evaluate.matching import Found, Objects, flatten_detections, flatten_truths
from evaluate.text_table import aligned, shown
from evaluate.voc import check_values

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
AREAS = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}
_NEUTRAL_AREA = -1.0  # outside every range: such an object does not count, and who takes it neither
_SIZES = ("small", "medium", "large")


@dataclass(frozen=True)
class COCOClass:
    """How well one class was found, by COCO's rule; None where no object of the class and size counts.

    Attributes:
        name: of the class.
        ap: average precision in [0, 1], mean over IoU 0.50 to 0.95.
        ap50: at IoU 0.50.
        ap75: at IoU 0.75.
        ap_small: of objects up to 32x32 pixels.
        ap_medium: of objects from there to 96x96.
        ap_large: of objects from there on.
        objects: how many count (without crowds and difficult ones).
    """

    name: str
    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    objects: int


@dataclass(frozen=True)
class COCOResult:
    """COCO's numbers.

    Attributes:
        class_names: in the order of the class ids.
        objects: of each class, how many count.
        images: how many were looked at.
        max_detections: of an image and class, the best that many count.
        precision: (10, 101, C, 4, M) by IoU, recall, class, size and `max_detections`; -1 where no object counts.
        recall: (10, C, 4, M), the highest recall.
    """

    class_names: tuple[str, ...]
    objects: tuple[int, ...]
    images: int
    max_detections: tuple[int, ...]
    precision: np.ndarray = field(repr=False)
    recall: np.ndarray = field(repr=False)

    @cached_property
    def stats(self) -> dict[str, float | None]:
        """COCO's twelve numbers by name, in COCO's order; None where COCO says -1 (no object counts)."""
        values = {"AP": self.average_precision()}
        values.update({f"AP{round(100 * iou)}": self.average_precision(iou=iou) for iou in (0.5, 0.75)})
        values.update({f"AP{size}": self.average_precision(area=size) for size in _SIZES})
        values.update({f"AR{most}": self.average_recall(most=most) for most in self.max_detections})
        values.update({f"AR{size}": self.average_recall(area=size) for size in _SIZES})
        return values

    @cached_property
    def by_class(self) -> tuple[COCOClass, ...]:
        """The average precisions of each class, in the order of the class ids."""
        return tuple(
            COCOClass(
                name,
                *(self.average_precision(iou=iou, class_id=class_id) for iou in (None, 0.5, 0.75)),
                *(self.average_precision(class_id=class_id, area=size) for size in _SIZES),
                self.objects[class_id],
            )
            for class_id, name in enumerate(self.class_names)
        )

    def average_precision(
        self, *, iou: float | None = None, class_id: int | None = None, area: str = "all"
    ) -> float | None:
        """Return the mean precision over recalls, and over what is not chosen.

        Args:
            iou: one of 0.5, 0.55 ... 0.95; None takes the mean over all ten.
            class_id: of one class; None takes the mean over the classes with objects.
            area: "all", "small", "medium" or "large".

        Returns:
            In [0, 1]; None where no object counts.

        Raises:
            ConfigError: the IoU or the area is none of these.
        """
        values = self.precision[_iou_index(iou), :, :, _area_index(area), -1]  # (ious, recalls, C)
        return _mean(values if class_id is None else values[..., class_id])

    def average_recall(
        self, *, class_id: int | None = None, area: str = "all", most: int | None = None
    ) -> float | None:
        """Return the mean over the IoU thresholds of the highest recall; None where no object counts.

        Args:
            class_id: of one class; None takes the mean over the classes with objects.
            area: "all", "small", "medium" or "large".
            most: one of `max_detections`; None takes the last.
        """
        at = -1 if most is None else self.max_detections.index(most)
        values = self.recall[:, :, _area_index(area), at]  # (ious, C)
        return _mean(values if class_id is None else values[:, class_id])

    def summary(self) -> str:
        """Return COCO's twelve numbers as lines of text, as users of pycocotools know them."""
        most, stats = self.max_detections[-1], self.stats
        rows = [("Precision", "AP", span, "all", most) for span in ("0.50:0.95", "0.50", "0.75")]
        rows += [("Precision", "AP", "0.50:0.95", size, most) for size in _SIZES]
        rows += [("Recall", "AR", "0.50:0.95", "all", count) for count in self.max_detections]
        rows += [("Recall", "AR", "0.50:0.95", size, most) for size in _SIZES]
        return "\n".join(
            f"Average {kind:9} ({short}) @[ IoU={span:9} | area={area:>6} | maxDets={count:>3} ] = {shown(value)}"
            for (kind, short, span, area, count), value in zip(rows, stats.values())
        )

    def table(self) -> str:
        """Return the classes and the twelve numbers as lines of text for a console."""
        names = ("class", "AP", "AP50", "AP75", "small", "medium", "large", "objects")
        rows = [tuple(vars(entry).values()) for entry in self.by_class]
        return f"{aligned(names, rows)}\n{self.summary()}"

    def as_dict(self) -> dict:
        """Return the results as JSON values, without the curves; what does not exist is None."""
        return {
            "images": self.images,
            "max_detections": list(self.max_detections),
            "stats": dict(self.stats),
            "classes": [vars(entry).copy() for entry in self.by_class],
        }


def evaluate_coco(
    findings: Findings, *, max_detections: tuple[int, ...] = (1, 10, 100), use_difficult: bool = False
) -> COCOResult:
    """Score findings by COCO's rule.

    Args:
        findings: truth and detections, in pixels of the original images.
        max_detections: of an image and class, ascending; recall is told for each, precision for the last.
        use_difficult: count difficult objects like all others.

    Raises:
        ConfigError: `max_detections` cannot be, there are no classes, or detections are of other classes or hold
            values that are not finite.
        RecordError: a truth has a class id that the names do not have.
        DependencyError: faster-coco-eval is not installed.
    """
    if not max_detections or min(max_detections) < 1 or list(max_detections) != sorted(set(max_detections)):
        raise ConfigError(f"max_detections {max_detections}: expected numbers from 1, ascending")
    check_values(findings.truths, findings.detections, findings.class_names)
    objects, found = flatten_truths(findings.truths), flatten_detections(findings.detections)
    neutral = objects.crowd if use_difficult else objects.crowd | objects.difficult
    counts = np.bincount(objects.class_id[~neutral], minlength=len(findings.class_names))
    sides = _truth_columns(findings, objects, neutral), _found_columns(findings, found)
    measures = []
    for class_id in range(len(findings.class_names)):  # one after the other: all at once take gigabytes
        rows = (np.flatnonzero(side.class_id == class_id) for side in (objects, found))
        entries = [_entries(columns, index) for columns, index in zip(sides, rows)]
        measures.append(_measure(*entries, max_detections))
    precision, recall = (np.concatenate(arrays, axis=-3) for arrays in zip(*measures))
    return COCOResult(
        findings.class_names, tuple(counts.tolist()), len(findings), tuple(max_detections), precision, recall
    )


def library() -> tuple[type, type]:
    """Return faster-coco-eval's COCO and COCOeval_faster; a command may ask before the work that they measure.

    Raises:
        DependencyError: it is not installed.
    """
    found = require("faster_coco_eval", "COCO's numbers need", "faster-coco-eval")
    return found.COCO, found.COCOeval_faster


def _measure(
    truths: list[dict], found: list[dict], max_detections: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Let faster-coco-eval match and count one class; return its precision and recall, shaped as in COCOResult."""
    dataset_type, measure_type = library()
    # Images without objects and detections of the class change nothing.
    images = [{"id": number} for number in sorted({entry["image_id"] for entry in (*truths, *found)})]
    base = {"images": images or [{"id": 1}], "categories": [{"id": 1}]}
    measure = measure_type(
        *(dataset_type({**base, "annotations": entries}) for entries in (truths, found)), iouType="bbox"
    )
    measure.params.iouThrs, measure.params.recThrs = IOUS, RECALLS
    measure.params.areaRng, measure.params.areaRngLbl = [list(span) for span in AREAS.values()], list(AREAS)
    measure.params.maxDets = list(max_detections)
    measure.evaluate()
    measure.accumulate()
    return np.asarray(measure.eval["precision"]), np.asarray(measure.eval["recall"])


def _image_ranks(image_ids: tuple) -> np.ndarray:
    """Return the place of each image, from 1, in the order of the ids: COCO takes equal scores in that order."""
    ranks = np.arange(1, len(image_ids) + 1)
    if all(isinstance(image_id, (int, np.integer)) for image_id in image_ids):
        ranks[sorted(range(len(image_ids)), key=image_ids.__getitem__)] = ranks.copy()
    return ranks


def _truth_columns(findings: Findings, objects: Objects, neutral: np.ndarray) -> dict[str, np.ndarray]:
    """Return the objects as the columns of COCO's annotations."""
    areas = np.concatenate([np.zeros(0), *(truth.areas for truth in findings.truths)])
    return {
        "image_id": _image_ranks(findings.image_ids)[objects.image],
        "bbox": box_ops.to_xywh(objects.boxes),
        "area": np.where(neutral & ~objects.crowd, _NEUTRAL_AREA, areas),
        "iscrowd": objects.crowd.astype(int),
    }


def _found_columns(findings: Findings, found: Found) -> dict[str, np.ndarray]:
    """Return the detections as the columns of COCO's results, with the areas of the boxes."""
    boxes = box_ops.to_xywh(found.boxes)
    return {
        "image_id": _image_ranks(findings.image_ids)[found.image],
        "bbox": boxes,
        "area": boxes[:, 2] * boxes[:, 3],
        "iscrowd": np.zeros(len(boxes), int),
        "score": found.score,
    }


def _entries(columns: dict[str, np.ndarray], index: np.ndarray) -> list[dict]:
    """Return the rows of one class as COCO's tools want them."""
    values = zip(*(column[index].tolist() for column in columns.values()))
    return [
        {"id": number, "category_id": 1, **dict(zip(columns, row))} for number, row in enumerate(values, 1)
    ]


def _iou_index(iou: float | None):
    """Return what picks an IoU threshold, keeping the axis."""
    if iou is None:
        return slice(None)
    index = np.flatnonzero(np.isclose(IOUS, iou, rtol=0, atol=1e-9))
    if not len(index):
        raise ConfigError(f"IoU {iou}: COCO has {', '.join(f'{value:.2f}' for value in IOUS)}")
    return slice(index[0], index[0] + 1)


def _area_index(area: str) -> int:
    """Return the position of a range of sizes."""
    if area not in AREAS:
        raise ConfigError(f"area {area!r}: expected one of {', '.join(AREAS)}")
    return list(AREAS).index(area)


def _mean(values: np.ndarray) -> float | None:
    """Return the mean of the values that exist; None where none does."""
    values = values[values > -1]
    return float(np.mean(values)) if len(values) else None

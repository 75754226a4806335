"""A detector over packed records: the one path that training's validation and evaluate.py share.

Records are decoded by the Detector's own code, never by the training iterator, whose OpenCV decodes and resizes
differently: so one model has one mAP.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator

import numpy as np
from tqdm import tqdm

from common import images
from common.structures import Detections, Sample
from dataset.records import RecordDataset
from detect.detector import Detector, Result
from evaluate.findings import Findings
from evaluate.voc import VOCResult, check_rule, evaluate


def evaluate_records(
    detector: Detector,
    dataset: RecordDataset,
    *,
    metric: str = "voc",
    iou_threshold: float = 0.5,
    batch_size: int | None = None,
    use_difficult: bool = False,
    progress: bool = False,
) -> VOCResult:
    """Score a detector on packed records.

    Args:
        detector: whose classes are those of the records.
        dataset: the records.
        metric: "voc" (area) or "voc07" (11 points).
        iou_threshold: from which overlap a detection takes an object.
        batch_size: images computed at once; None takes the Detector's.
        use_difficult: count difficult objects like all others.
        progress: show a bar, on terminals only.

    Raises:
        RecordError: the records are damaged, or of other classes than the detector.
        ImageError: the image of a record cannot be decoded.
    """
    check_rule(iou_threshold, metric)
    findings = find(detector, dataset, batch_size=batch_size, progress=progress)
    return score(findings, metric=metric, iou_threshold=iou_threshold, use_difficult=use_difficult)


def score(
    findings: Findings, *, metric: str = "voc", iou_threshold: float = 0.5, use_difficult: bool = False
) -> VOCResult:
    """Score findings by VOC's rule; arguments as for `evaluate_records`."""
    return evaluate(
        findings.truths,
        findings.detections,
        findings.class_names,
        iou_threshold=iou_threshold,
        metric=metric,
        use_difficult=use_difficult,
    )


def find(
    detector: Detector,
    dataset: RecordDataset,
    *,
    batch_size: int | None = None,
    progress: bool = False,
    on_result: Callable[[Result], None] | None = None,
) -> Findings:
    """Run a detector over packed records.

    Args:
        detector: whose classes are those of the records.
        dataset: the records.
        batch_size: images computed at once; None takes the Detector's.
        progress: show a bar, on terminals only.
        on_result: called with each image's Result, pixels and raw predictions included, as it comes.

    Returns:
        Truth and detections, in pixels of the original images.

    Raises:
        RecordError: the records are damaged, or of other classes than the detector.
        ImageError: the image of a record cannot be decoded.
    """
    findings = truth_of(dataset, detector.class_names)
    found = detect_records(detector, dataset, batch_size=batch_size, progress=progress, on_result=on_result)
    return findings.with_detections([_scaled(*pair) for pair in zip(found, findings.truths)])


def truth_of(dataset: RecordDataset, class_names: tuple[str, ...]) -> Findings:
    """Return the truth of packed records, with nothing found yet.

    Args:
        dataset: the records.
        class_names: of the model, or of results, in the order of the ids.

    Raises:
        RecordError: the records are damaged, or of other classes.
    """
    dataset.check_classes(class_names)
    dataset.check_hash()
    truths = [dataset.truth(index) for index in range(len(dataset))]
    none = np.zeros(0)
    found = [
        Detections(none.astype(np.int64), none, none.reshape(0, 4), truth.size, tuple(class_names))
        for truth in truths
    ]
    numbers = dataset.category_ids or tuple(range(1, len(class_names) + 1))
    return Findings(truths, found, tuple(class_names), numbers, dataset.image_ids, dataset.set_name)


def _scaled(found: Detections, truth: Sample) -> Detections:
    """Return detections in pixels of the original image, which the truth is of; the packed one may be smaller."""
    if truth.size is None or found.size == tuple(truth.size):
        return found
    scale = np.tile(np.divide(truth.size, found.size), 2)
    boxes = (found.boxes * scale).astype(np.float32)
    return Detections(found.class_id, found.score, boxes, tuple(truth.size), found.class_names)


def detect_records(
    detector: Detector,
    dataset: RecordDataset,
    *,
    batch_size: int | None = None,
    progress: bool = False,
    on_result: Callable[[Result], None] | None = None,
) -> list[Detections]:
    """Return what a detector finds in each record, in pixels of the packed image, in file order.

    Args:
        detector: any.
        dataset: the records.
        batch_size: images computed at once; None takes the Detector's.
        progress: show a bar, on terminals only.
        on_result: called with each image's Result.

    Raises:
        RecordError: a record is damaged.
        ImageError: the image of a record cannot be decoded.
    """
    sources = (functools.partial(decode_record, dataset, index) for index in range(len(dataset)))
    results: Iterator[Result] = detector.stream(sources, batch_size)
    bar = tqdm(
        results,
        total=len(dataset),
        desc="evaluate",
        unit=" images",
        leave=False,
        disable=not (progress and sys.stderr.isatty()),
    )
    found = []
    for result in bar:
        if on_result is not None:
            on_result(result)
        found.append(result.detections)
    return found


def decode_record(dataset: RecordDataset, index: int) -> np.ndarray:
    """Return the pixels of a record's image, (height, width, 3) uint8 RGB, at the size it was packed in.

    Raises:
        RecordError: the record is damaged.
        ImageError: the image cannot be decoded.
    """
    return images.decode(dataset.read_parts(index).image, dataset.where(index))

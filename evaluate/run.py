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
from common.structures import Detections
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

    Raises:
        RecordError: the records are damaged, or of other classes than the detector.
        ImageError: the image of a record cannot be decoded.
    """
    dataset.check_classes(detector.class_names)
    dataset.check_hash()
    found = detect_records(detector, dataset, batch_size=batch_size, progress=progress, on_result=on_result)
    truths = [dataset.truth(index) for index in range(len(dataset))]
    number = tuple(range(1, len(detector.class_names) + 1))
    return Findings(truths, found, detector.class_names, number, tuple(dataset.keys), dataset.path.stem)


def detect_records(
    detector: Detector,
    dataset: RecordDataset,
    *,
    batch_size: int | None = None,
    progress: bool = False,
    on_result: Callable[[Result], None] | None = None,
) -> list[Detections]:
    """Return what a detector finds in each record, in pixels, in file order.

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
    sources = (functools.partial(_decode, dataset, index) for index in range(len(dataset)))
    results: Iterator[Result] = detector.stream(sources, batch_size)
    bar = tqdm(
        results,
        total=len(dataset),
        desc="evaluate",
        unit="image",
        leave=False,
        disable=not (progress and sys.stderr.isatty()),
    )
    found = []
    for result in bar:
        if on_result is not None:
            on_result(result)
        found.append(result.detections)
    return found


def _decode(dataset: RecordDataset, index: int) -> np.ndarray:
    """Return the pixels of a record's image, (height, width, 3) uint8 RGB."""
    return images.decode(dataset.read_parts(index).image, dataset.where(index))

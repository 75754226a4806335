"""What evaluate.py prints and saves of a score: the table of classes, and the same as JSON values."""

from __future__ import annotations

from evaluate.coco import COCOResult
from evaluate.operating_points import OperatingCurve, operating_curve
from evaluate.text_table import aligned
from evaluate.voc import ClassResult, VOCResult


def figures_at_best(
    result: ClassResult, curve: OperatingCurve
) -> tuple[float | None, float | None, float | None]:
    """Return (precision, recall, F1) of a class at its best threshold, as tables show them.

    Args:
        result: of the class.
        curve: of the same class.

    Returns:
        Zeros where there are objects and no right detection, so that means count the class as that of AP does;
        None three times where there is no object to judge by.
    """
    if not result.objects:
        return None, None, None
    return curve.at_best() or (0.0, 0.0, 0.0)


def threshold_text(curve: OperatingCurve) -> str:
    """Return a class's suggested threshold, and whether nothing was there to choose it by."""
    return repr(curve.threshold) if curve.best is not None else f"{curve.threshold!r}, no data"


def class_table(voc: VOCResult, coco: COCOResult | None = None) -> str:
    """Return the table of classes: average precision, what the best threshold gives, and counts.

    Args:
        voc: its AP stands in the table, unless there is COCO's; its matching gives precision, recall and F1.
        coco: of the same findings.
    """
    names = ("AP", "AP50") if coco else ("AP",)
    names = ("class", *names, "precision", "recall", "F1", "threshold", "objects", "difficult", "detections")
    rows = []
    for index, result in enumerate(voc.classes):
        curve = operating_curve(result)
        figures = (coco.by_class[index].ap, coco.by_class[index].ap50) if coco else (result.ap,)
        best = (*figures_at_best(result, curve), threshold_text(curve))
        counts = (result.objects, result.difficult + result.crowds, result.detections)
        rows.append((result.name, *figures, *best, *counts))
    note = f"precision, recall and F1: at the class's best threshold and IoU {voc.iou_threshold:g}"
    return f"{aligned(names, rows)}\n{note}"


def as_values(voc: VOCResult, coco: COCOResult | None, metric: str) -> dict:
    """Return the results as JSON values: the chosen metric's mAP and AP on top, and all others below.

    Args:
        voc: average precision by VOC's rule.
        coco: COCO's; None where it was not asked for.
        metric: "voc", "voc07" or "coco".
    """
    values = {**voc.as_dict(), "metric": metric}
    for entry, result in zip(values["classes"], voc.classes):
        entry["best_f1"] = _best_values(operating_curve(result))
    if coco is None:
        return values
    values["coco"] = coco.as_dict()
    if metric == "coco":
        values["mAP"] = coco.stats["AP"]
        for entry, of_coco in zip(values["classes"], coco.by_class):
            entry["ap"] = of_coco.ap
    return values


def _best_values(curve: OperatingCurve) -> dict | None:
    """Return what the best threshold of a class gives; None where there is none."""
    if curve.best is None:
        return None
    precision, recall, f1 = curve.at_best()
    return {"threshold": curve.threshold, "precision": precision, "recall": recall, "f1": f1}

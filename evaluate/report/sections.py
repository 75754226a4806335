"""The report's words and tables: what the template fills in, made from the measures.

The template decides how things look, this module what is said. Nothing here is HTML; the template escapes all text.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from evaluate.coco import AREAS, COCOResult
from evaluate.console import figures_at_best, threshold_text
from evaluate.error_analysis import ErrorAnalysis
from evaluate.findings import Findings
from evaluate.operating_points import OperatingCurve
from evaluate.voc import VOCResult

_MOST_AFFECTED = 4  # classes named beside a kind of error

# Kind of error -> title, what it is, what to do about it.
ERRORS = {
    "missed": (
        "Missed",
        "An object that no detection of any score takes, nor comes near enough to be “box off” or “class confused”.",
        (
            "Add pictures with such objects. If they are small, take a larger --data-shape or smaller default boxes"
            " (--anchor-sizes); look also whether they are found below the threshold."
        ),
    ),
    "box": (
        "Box off",
        "The class is right, but the box overlaps the object too little.",
        (
            "Check that the labels are tight and alike, that the default boxes have the objects' sizes and shapes"
            " (--anchor-sizes, --anchor-ratios), and train longer at a lower learning rate."
        ),
    ),
    "class": (
        "Class confused",
        "The box is right, but the class is wrong.",
        (
            "See the confusion matrix for the pairs: add pictures of both, correct labels that mix them up, or join"
            " classes that nobody can tell apart."
        ),
    ),
    "background": (
        "Nothing there",
        "A detection where no object is.",
        (
            "Look at the gallery first: it may be an object that was not labelled. Else add pictures of what fools the"
            " detector, without objects. A higher threshold hides such detections from whoever looks, but cannot raise"
            " this mAP, which goes over all scores."
        ),
    ),
    "duplicate": (
        "Found twice",
        "One more detection of an object that a better one has found already.",
        "Suppress more: lower --nms, or --force where classes never overlap.",
    ),
    "both": (
        "Class and box",
        "Near an object, but the class is wrong and the box is off.",
        "The object is hardly learnt: add pictures of its class, and look whether its labels are right.",
    ),
}


@dataclass(frozen=True)
class ClassRow:
    """A row of the table by class; None where a value does not exist, for want of objects."""

    class_id: int
    name: str
    ap: float | None
    threshold: float
    threshold_text: str
    precision: float | None
    recall: float | None
    f1: float | None
    objects: int
    neutral: int
    detections: int
    coco: tuple[float | None, ...]


COCO_COLUMNS = ("COCO AP", "AP50", "AP75", "AP small", "AP medium", "AP large")


def class_rows(voc: VOCResult, curves: list[OperatingCurve], coco: COCOResult | None) -> list[ClassRow]:
    """Return the table by class."""
    by_class = coco.by_class if coco else ()
    of_coco = [(c.ap, c.ap50, c.ap75, c.ap_small, c.ap_medium, c.ap_large) for c in by_class]
    rows = []
    for class_id, (result, curve) in enumerate(zip(voc.classes, curves)):
        rows.append(
            ClassRow(
                class_id,
                result.name,
                result.ap,
                curve.threshold,
                threshold_text(curve),
                *figures_at_best(result, curve),
                result.objects,
                result.difficult + result.crowds,
                result.detections,
                of_coco[class_id] if coco else (),
            )
        )
    return rows


def mean_row(rows: list[ClassRow], voc: VOCResult, coco: COCOResult | None) -> dict:
    """Return the table's last row: means over the classes that have objects, and sums."""
    stats = coco.stats if coco else {}
    return {
        "ap": voc.mean,
        **{name: _mean([getattr(row, name) for row in rows]) for name in ("precision", "recall", "f1")},
        **{name: sum(getattr(row, name) for row in rows) for name in ("objects", "neutral", "detections")},
        "coco": tuple(value for key, value in stats.items() if key.startswith("AP")),
    }


def _mean(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def error_rows(analysis: ErrorAnalysis, findings: Findings) -> list[dict]:
    """Return the kinds of error, the dearest first.

    Returns:
        Of each kind {"kind", "title", "what", "advice", "gain", "mended" (mAP then), "count", "classes": the most
        affected as (name, count)}.
    """
    affected = {kind: Counter() for kind in ERRORS}
    for mistake in analysis.mistakes:
        if mistake.kind == "missed":
            class_id = findings.truths[mistake.image].class_ids[mistake.truth]
        else:
            class_id = findings.detections[mistake.image].class_id[mistake.detection]
        affected[mistake.kind][int(class_id)] += 1
    rows = [
        {
            "kind": kind,
            "title": title,
            "what": what,
            "advice": advice,
            "gain": analysis.gain[kind],
            "mended": analysis.ap + analysis.gain[kind],
            "count": analysis.counts[kind],
            "classes": [
                (findings.class_names[i], count) for i, count in affected[kind].most_common(_MOST_AFFECTED)
            ],
        }
        for kind, (title, what, advice) in ERRORS.items()
    ]
    return sorted(rows, key=lambda row: -row["gain"])


def size_rows(findings: Findings, coco: COCOResult | None) -> list[dict]:
    """Return AP and AR of COCO by size of object, with the number of objects that count.

    Returns:
        {"name", "range", "objects", "classes" (that have such objects), "ap", "ar"} of small, medium and large;
        empty without COCO's measure.
    """
    if coco is None:
        return []
    areas = [truth.areas[~(truth.crowd | truth.difficult)] for truth in findings.truths]
    areas = np.concatenate([np.zeros(0), *areas])
    ranges = (
        ("small", "up to 32 × 32 px", *AREAS["small"]),
        ("medium", "32 × 32 to 96 × 96 px", *AREAS["medium"]),
        ("large", "from 96 × 96 px", *AREAS["large"]),
    )
    return [
        {
            "name": name,
            "range": text,
            "objects": int(np.count_nonzero((low <= areas) & (areas <= high))),
            "classes": sum(getattr(c, f"ap_{name}") is not None for c in coco.by_class),
            "ap": coco.stats[f"AP{name}"],
            "ar": coco.stats[f"AR{name}"],
        }
        for name, text, low, high in ranges
    ]


def coco_rows(coco: COCOResult) -> list[tuple[str, float | None, str]]:
    """Return COCO's twelve numbers as (name, value, what it is)."""
    words = {"AP": "mean over IoU 0.50 to 0.95", "AP50": "at IoU 0.50", "AP75": "at IoU 0.75"}
    for size in ("small", "medium", "large"):
        words[f"AP{size}"], words[f"AR{size}"] = f"{size} objects", f"recall of {size} objects"
    return [
        (key, value, words.get(key) or f"recall with {key[2:]} detections per image")
        for key, value in coco.stats.items()
    ]


def header(findings: Findings, voc: VOCResult, coco: COCOResult | None, metric: str) -> dict:
    """Return the page's large number and the smaller ones beside it.

    Args:
        findings: truth and detections.
        voc: their score by VOC's rule.
        coco: their score by COCO's rule, or None.
        metric: "coco" makes COCO's AP the large number, anything else VOC's mAP.

    Returns:
        "headline": (name, value or None, how it is measured), "tiles": [(what, value, small print)].
    """
    rule = "11 points" if voc.metric == "voc07" else "area"
    measures = [("mAP", voc.mean, f"VOC, {rule}, IoU {voc.iou_threshold:g}")]
    if coco is not None:
        measures.insert(metric != "coco", ("COCO AP", coco.stats["AP"], "mean over IoU 0.50 to 0.95"))
    objects = sum(result.objects for result in voc.classes)
    neutral = sum(result.difficult + result.crowds for result in voc.classes)
    tiles = [(name, f"{value:.4f}", how) for name, value, how in measures[1:] if value is not None]
    tiles += [
        ("Images", f"{voc.images:,}", ""),
        ("Objects", f"{objects:,}", f"+ {neutral:,} neutral" if neutral else ""),
        ("Classes", f"{len(voc.classes):,}", ""),
        ("Detections", f"{sum(map(len, findings.detections)):,}", ""),
    ]
    return {"headline": measures[0], "tiles": tiles}

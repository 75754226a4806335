"""The report's curves as lines of SVG: thinned to some hundred points, the shape unchanged.

Charts have a plot of 1000 x 700 units, so that whole numbers are exact enough; the page draws the axes around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluate.operating_points import OperatingCurve
from evaluate.voc import VOCResult

WIDTH, HEIGHT = 1000, 700  # of the plot, in units of the SVG
SLOTS = 8  # colours that tell chosen classes apart

_GRID = np.linspace(0, 1, 201)  # thresholds or recalls of the mean lines
_MANY = 20  # classes; above it lines are thinned more, to bound the page
_BINS, _BINS_OF_MANY = 100, 50


@dataclass(frozen=True)
class Line:
    """One class on a chart.

    Attributes:
        class_id: of the class.
        path: SVG path data; of precision over recall the envelope.
        raw: path data of the curve below its envelope; empty on the other charts.
        mark: (x, y) of the best F1 in units of the SVG; None where there is none.
    """

    class_id: int
    path: str
    raw: str = ""
    mark: tuple[int, int] | None = None


@dataclass(frozen=True)
class Chart:
    """A chart of all classes: its lines and the mean line; `best` is where that line is highest, or None."""

    key: str
    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    mean: str
    best: tuple[float, float] | None = None


def draw_charts(voc: VOCResult, curves: list[OperatingCurve]) -> list[Chart]:
    """Return the four charts: precision over recall; F1, precision and recall over the threshold.

    Args:
        voc: of the evaluation.
        curves: of each class, in the order of `voc.classes`.
    """
    bins = _BINS_OF_MANY if len(curves) > _MANY else _BINS
    return [
        _precision_recall(voc, curves, bins),
        _over_threshold(voc, curves, "f1", "F1 over threshold", bins),
        _over_threshold(voc, curves, "precision", "Precision over threshold", bins),
        _over_threshold(voc, curves, "recall", "Recall over threshold", bins),
    ]


def _precision_recall(voc: VOCResult, curves: list[OperatingCurve], bins: int) -> Chart:
    """Return the chart that average precision is the area of."""
    lines, rows = [], []
    for class_id, (result, curve) in enumerate(zip(voc.classes, curves)):
        if not result.objects:
            continue
        recall, precision = result.recall, result.precision
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        rows.append(np.append(envelope, 0.0)[np.searchsorted(recall, _GRID)])
        if not len(recall):
            continue
        mark = None if curve.best is None else _at(curve.recall[curve.best], curve.precision[curve.best])
        outline = path(*_falling_steps(recall, envelope), bins)
        lines.append(Line(class_id, outline, path(recall, precision, bins), mark))
    mean = path(_GRID, np.mean(rows, axis=0), len(_GRID)) if rows else ""
    return Chart("pr", "Precision over recall", "recall", "precision", tuple(lines), mean)


def _over_threshold(
    voc: VOCResult, curves: list[OperatingCurve], measure: str, title: str, bins: int
) -> Chart:
    """Return the chart of one of the operating curve's measures over the score threshold."""
    lines, rows = [], []
    nothing = np.nan if measure == "precision" else 0.0  # no detection above: no precision, and no recall
    for class_id, (result, curve) in enumerate(zip(voc.classes, curves)):
        if not result.objects:
            continue
        score, value = np.clip(curve.score[::-1], 0, 1), getattr(curve, measure)[::-1]
        rows.append(np.append(value, nothing)[np.searchsorted(score, _GRID, side="right")])
        if not len(score):
            continue
        mark = None if curve.best is None else _at(curve.threshold, getattr(curve, measure)[curve.best])
        lines.append(Line(class_id, path(*_steps(score, value, nothing), bins), "", mark))
    x, mean = _mean(rows)
    best = None
    if measure == "f1" and len(mean) and mean.max() > 0:
        highest = np.flatnonzero(mean == mean.max())  # the middle one is farthest from where it falls
        best = (float(x[highest[len(highest) // 2]]), float(mean.max()))
    label = "F1" if measure == "f1" else measure
    return Chart(measure, title, "score threshold", label, tuple(lines), path(x, mean, len(_GRID)), best)


def _mean(rows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return where rows (C, G) have values, and the mean of these: (G',), (G',)."""
    if not rows:
        return np.zeros(0), np.zeros(0)
    values = np.stack(rows)
    there = np.isfinite(values)
    some = there.any(axis=0)
    return _GRID[some], np.nansum(values[:, some], axis=0) / there[:, some].sum(axis=0)


def _falling_steps(recall: np.ndarray, envelope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of VOC's envelope: up to each recall the best precision there or beyond it."""
    first = np.flatnonzero(np.append(True, np.diff(recall) > 0))  # the best of those at one recall
    x = np.concatenate([[0.0], np.repeat(recall[first], 2)[:-1]])
    return x, np.repeat(envelope[first], 2)


def _steps(score: np.ndarray, value: np.ndarray, nothing: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of a measure over the threshold: it holds until the next higher score is passed.

    Args:
        score: (K,) ascending.
        value: (K,) with all detections of at least that score.
        nothing: the measure above the highest score; nan ends the line there.
    """
    x = np.concatenate([[0.0], np.repeat(score, 2), [1.0]])
    y = np.concatenate([np.repeat(value, 2), [nothing, nothing]])
    there = np.isfinite(y)
    return x[there], y[there]


def path(x: np.ndarray, y: np.ndarray, bins: int) -> str:
    """Return SVG path data of a line in the unit square.

    Args:
        x: (N,) ascending, in [0, 1].
        y: (N,) in [0, 1].
        bins: columns that the line is thinned to; each keeps its first, last, lowest and highest point, so that the
            line covers the same pixels as the whole one where a column is no wider than a pixel or two.

    Returns:
        "M0 0L10 5 ..." in whole units of the SVG; empty without points.
    """
    if not len(x):
        return ""
    keep = thin(x, y, bins)
    points = np.stack([np.round(x[keep] * WIDTH), np.round((1 - y[keep]) * HEIGHT)], axis=1).astype(int)
    points = _without_idle(points)
    texts = [f"{px} {py}" for px, py in points.tolist()]
    return f"M{texts[0]}L{' '.join(texts[1:] or texts)}"


def thin(x: np.ndarray, y: np.ndarray, bins: int) -> np.ndarray:
    """Return the indices of the first, last, lowest and highest point in each column: (N,), (N,) -> (at most 4 bins,).

    Source: U. Jugel et al., "M4: A Visualization-Oriented Time Series Data Aggregation", VLDB 2014.
    """
    column = np.minimum((np.asarray(x) * bins).astype(int), bins - 1)
    first = np.flatnonzero(np.append(True, np.diff(column) != 0))
    last = np.append(first[1:], len(column)) - 1
    by_height = np.lexsort((y, column))  # within each column from low to high; columns keep their places
    return np.unique(np.concatenate([first, last, by_height[first], by_height[last]]))


def _without_idle(points: np.ndarray) -> np.ndarray:
    """Drop points that a line through the others passes anyway: (N, 2) -> (M, 2)."""
    points = points[np.append(True, np.any(np.diff(points, axis=0) != 0, axis=1))]
    if len(points) < 3:
        return points
    before, after = points[1:-1] - points[:-2], points[2:] - points[1:-1]
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    back = np.sum(before * after, axis=1) < 0
    return points[np.concatenate([[True], turns | back, [True]])]


def _at(x: float, y: float) -> tuple[int, int]:
    """Return a point of the unit square in units of the SVG."""
    return round(min(float(x), 1.0) * WIDTH), round((1 - float(y)) * HEIGHT)

"""The confusion matrix as a heat map for the report, and its largest mistakes as lists to read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LEVELS = 20  # of colour; all cells of one level are one path, which keeps 80 classes small
_WHOLE, _SMALLEST_CELL, _LARGEST_CELL = 700, 12, 56  # pixels
_CELL_WITH_COUNT = 30  # pixels; in smaller ones digits cannot be read
_LONGEST_NAME = 16  # letters
_LIST = 8


@dataclass(frozen=True)
class HeatMap:
    """What the page draws of a confusion matrix.

    Attributes:
        cell: side of a cell in pixels.
        side: cells in a row: classes and background.
        rows: labels of the rows, shortened; `columns` likewise.
        levels: (kind, opacity, path data in cells); kind is "hit" on the diagonal, else "miss".
        counts: (column, row, text, opacity) of the cells that show their number; empty where cells are small.
        matrix: the numbers as lists, for the page's script.
    """

    cell: int
    side: int
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    levels: tuple[tuple[str, float, str], ...]
    counts: tuple[tuple[int, int, str, float], ...]
    matrix: list[list[int]]


def draw_heat_map(matrix: np.ndarray, class_names: tuple[str, ...]) -> HeatMap:
    """Return a heat map, each row normalised by its sum.

    Args:
        matrix: (C + 1, C + 1) int64, rows truth, columns predicted, background last.
        class_names: C names.
    """
    side = len(matrix)
    shares = row_shares(matrix)
    strength = np.sqrt(shares)  # the eye should see a mistake of 2 %, too
    cell = int(np.clip(_WHOLE // side, _SMALLEST_CELL, _LARGEST_CELL))
    levels = np.ceil(strength * _LEVELS).astype(int)
    counts = ()
    if cell >= _CELL_WITH_COUNT:
        counts = tuple(
            (int(x), int(y), _short_count(int(matrix[y, x])), round(float(strength[y, x]), 2))
            for y, x in np.argwhere(matrix > 0)
        )
    names = tuple(_shorten(name) for name in class_names)
    return HeatMap(
        cell,
        side,
        (*names, "no match"),
        (*names, "missed"),
        tuple(_paths(levels)),
        counts,
        matrix.tolist(),
    )


def row_shares(matrix: np.ndarray) -> np.ndarray:
    """Return each number as a share of its row's sum, 0 in empty rows: (N, N) -> (N, N) float64."""
    total = matrix.sum(axis=1, keepdims=True)
    return np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)


def _paths(levels: np.ndarray):
    """Yield (kind, opacity, path data) of the cells of each level."""
    diagonal = np.eye(len(levels), dtype=bool)
    for kind, mask in (("hit", diagonal), ("miss", ~diagonal)):
        for level in range(1, _LEVELS + 1):
            cells = np.argwhere((levels == level) & mask).tolist()
            if cells:
                yield kind, level / _LEVELS, "".join(f"M{x} {y}h1v1h-1z" for y, x in cells)


def _short_count(count: int) -> str:
    """Return a number in at most four letters: 9999, 12k, 3M."""
    if count < 10_000:
        return str(count)
    return f"{count // 1000}k" if count < 1_000_000 else f"{count // 1_000_000}M"


def _shorten(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def confused_pairs(matrix: np.ndarray, class_names: tuple[str, ...]) -> list[dict]:
    """Return the pairs of classes that are most often confused, most frequent first.

    Args:
        matrix: (C + 1, C + 1) as for `draw_heat_map`.
        class_names: C names.

    Returns:
        Up to 8 of {"truth", "found", "count", "share" of the truth's row}.
    """
    pairs = matrix[:-1, :-1].copy()
    np.fill_diagonal(pairs, 0)
    shares = row_shares(matrix)
    order = np.argsort(-pairs, axis=None, kind="stable")[:_LIST]
    cells = [np.unravel_index(index, pairs.shape) for index in order if pairs.flat[index]]
    return [
        {
            "truth": class_names[row],
            "found": class_names[column],
            "count": int(pairs[row, column]),
            "share": float(shares[row, column]),
        }
        for row, column in cells
    ]


def most_frequent(counts: np.ndarray, totals: np.ndarray, class_names: tuple[str, ...]) -> list[dict]:
    """Return the classes with the highest counts, highest first.

    Args:
        counts: (C,) of mistakes.
        totals: (C,) that a share is taken of.
        class_names: C names.

    Returns:
        Up to 8 of {"name", "count", "share"}; those without mistakes are left out.
    """
    order = [index for index in np.argsort(-counts, kind="stable")[:_LIST] if counts[index]]
    return [
        {
            "name": class_names[index],
            "count": int(counts[index]),
            "share": float(counts[index] / totals[index]) if totals[index] else None,
        }
        for index in order
    ]

"""Tables of classes as text, for a console."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(names: Sequence[str], rows: Sequence[Sequence]) -> str:
    """Return a table as lines of text: the first column to the left, the others to the right.

    Args:
        names: of the columns.
        rows: of texts, counts, figures in [0, 1], and None for what does not exist.
    """
    cells = [names, *([cell if isinstance(cell, str) else shown(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join(
        "  ".join([f"{first:{widths[0]}}", *(f"{cell:>{w}}" for cell, w in zip(rest, widths[1:]))])
        for first, *rest in cells
    )


def shown(value: float | None) -> str:
    """Return a count, a figure with four decimals, or "-" for None."""
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}"

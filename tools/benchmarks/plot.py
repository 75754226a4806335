"""Pictures of measurements: bars of milliseconds for each engine, and lines of the cost as work grows."""

from __future__ import annotations

import io
from collections.abc import Sequence

from common.drawing import class_colours

_OURS, _THEIRS, _TAIL = "#1f77b4", "#b0b0b0", "#444444"


def _figure(width: float, height: float):
    """Return a figure that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()


def bars(
    title: str,
    groups: Sequence[tuple[str, Sequence[tuple[str, float, float, str]]]],
    unit: str,
    *,
    others: Sequence[str],
) -> bytes:
    """Draw bars, one panel for each group.

    Args:
        title: of the picture.
        groups: (name of the panel, its bars): each (name, length, of that the detection tail, what stands behind it).
        unit: of the lengths.
        others: names of bars that are not ours; they are grey.

    Returns:
        A PNG.
    """
    groups = [(name, entries) for name, entries in groups if entries]
    columns = min(2, max(1, len(groups)))
    rows = max(1, -(-len(groups) // columns))
    most = max((len(entries) for _, entries in groups), default=1)
    figure = _figure(7.5 * columns, 0.6 + rows * (0.9 + 0.42 * most))
    has_tail = any(tail for _, entries in groups for _, _, tail, _ in entries)
    figure.suptitle(title + (" (dark: the detection tail)" if has_tail else ""))
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (name, entries) in zip(panels, groups):
        _draw_bars(axes, entries, others)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel(unit)
    for axes in panels[len(groups) :]:
        axes.set_visible(False)
    return _png(figure)


def _draw_bars(axes, entries, others: Sequence[str]) -> None:
    """Draw one panel's bars, the first at the top."""
    places = range(len(entries))
    longest = max(length for _, length, _, _ in entries)
    colours = [_THEIRS if name in others else _OURS for name, *_ in entries]
    axes.barh(places, [length for _, length, _, _ in entries], color=colours)
    tails = [min(tail, length) for _, length, tail, _ in entries]
    lefts = [length - tail for (_, length, _, _), tail in zip(entries, tails)]
    axes.barh(places, tails, left=lefts, color=_TAIL)
    for place, (_, length, _, text) in zip(places, entries):
        axes.text(length + longest * 0.01, place, text, va="center", fontsize=8)
    axes.set_yticks(list(places), [name for name, *_ in entries], fontsize=9)
    axes.set_xlim(0, longest * 1.35)
    axes.invert_yaxis()


def lines(
    title: str, x_label: str, networks: Sequence[tuple[str, Sequence[tuple[float, float, float]]]]
) -> bytes:
    """Draw the cost of an image as work grows.

    Args:
        title: of the picture.
        x_label: what grows.
        networks: (name, its points): each (x, milliseconds of the network, milliseconds of the detection tail).

    Returns:
        A PNG.
    """
    figure = _figure(12, 4.8)
    figure.suptitle(title)
    panels = figure.subplots(1, 2)
    colours = class_colours(len(networks))
    for (name, points), colour in zip(networks, colours):
        shade = tuple(channel / 255 for channel in colour)
        places = [point[0] for point in points]
        panels[0].plot(places, [point[1] for point in points], "o-", color=shade, label=name)
        panels[1].plot(places, [point[2] for point in points], "o-", color=shade, label=name)
    for axes, part in zip(panels, ("network", "detection tail")):
        axes.set_title(part, fontsize=10)
        axes.set_xlabel(x_label)
        axes.set_ylabel("ms for an image")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return _png(figure)

"""results.png: what results.csv holds, as curves over the epochs; for those who look before they read.

Stands beside the table and is drawn from it alone, so that it can be drawn again at any time.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

from common.drawing import class_colours
from common.files import write_bytes

_LONGEST_NAME = 20  # letters, of a class in the legend
_MOST_CLASSES = 20  # of which the average precision is drawn; more would hide the mean
_LOSSES = (
    ("cls_loss", "classification", "C0", "-"),
    ("loc_loss", "localisation", "C1", "-"),
    ("val_cls_loss", "classification, validation", "C0", "--"),
    ("val_loc_loss", "localisation, validation", "C1", "--"),
)


def column(rows: Sequence[dict], name: str) -> tuple[list[int], list[float]]:
    """Return a column of results.csv without its empty places: epochs and values."""
    present = [row for row in rows if row.get(name) not in (None, "")]
    return [int(row["epoch"]) for row in present], [float(row[name]) for row in present]


def draw_results(path: Path, rows: Sequence[dict], title: str) -> None:
    """Draw losses, average precision and learning rate over the epochs.

    Args:
        path: of the PNG, written atomically.
        rows: of results.csv, texts or numbers by column.
        title: of the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_plain(title))
    axes = figure.subplots(1, 3)
    _draw_losses(axes[0], rows)
    _draw_precision(axes[1], rows)
    _draw_rate(axes[2], rows)
    for one in axes:
        one.set_xlabel("epoch")
        one.grid(alpha=0.3)
        one.xaxis.get_major_locator().set_params(integer=True)
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # letters that no font here has become boxes
        figure.savefig(stream, format="png", dpi=90)
    write_bytes(path, stream.getvalue())


def _draw_losses(axes, rows: Sequence[dict]) -> None:
    for name, label, colour, style in _LOSSES:
        epochs, values = column(rows, name)
        if epochs:
            axes.plot(epochs, values, style, color=colour, label=label, marker=_marker(epochs))
    axes.set_title("loss")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)


def _draw_precision(axes, rows: Sequence[dict]) -> None:
    """Draw mAP as a thick line, and each class's average precision as a thin one where there are few."""
    names = list(dict.fromkeys(name for row in rows for name in row if name.startswith("AP_")))
    if 1 < len(names) <= _MOST_CLASSES:
        for name, colour in zip(names, class_colours(len(names))):
            epochs, values = column(rows, name)
            shade = tuple(part / 255 for part in colour)
            axes.plot(
                epochs, values, color=shade, lw=1, label=_plain(_short(name[3:])), marker=_marker(epochs)
            )
    epochs, values = column(rows, "mAP")
    axes.plot(epochs, values, color="black", lw=2.5, label="mAP", marker=_marker(epochs))
    axes.set_title(f"average precision, best mAP {max(values):.3f}" if values else "average precision")
    axes.set_ylim(0, 1)
    if epochs:
        axes.legend(fontsize=8, ncols=1 + len(names) // 11)
    else:
        axes.text(0.5, 0.5, "no validation yet", ha="center", transform=axes.transAxes)


def _draw_rate(axes, rows: Sequence[dict]) -> None:
    epochs, values = column(rows, "lr")
    axes.plot(epochs, values, color="C2", marker=_marker(epochs))
    axes.set_title("learning rate at the epoch's end")
    axes.set_ylim(bottom=0)


def _marker(epochs: Sequence[int]) -> str:
    """Return a marker for curves of few points, which a line alone would hide."""
    return "o" if len(epochs) < 8 else ""


def _short(name: str) -> str:
    """Return a class name that leaves room for the curves."""
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _plain(text: str) -> str:
    """Return a text that matplotlib writes as it stands: no formulas between dollar signs, no hidden underscore."""
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text

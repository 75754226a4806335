"""The table of inference: a row for each network, type, batch and engine."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from tools.benchmarks import machine, plot
from tools.benchmarks.inference import CLOSE, OURS, WHOLE, Row
from tools.benchmarks.report import Report, megabytes, milliseconds, noise_notes, ratio
from tools.benchmarks.settings import PEERS, Settings

_COLUMNS = (
    "network",
    "type",
    "batch",
    "engine",
    "network ms",
    "tail ms",
    "both ms",
    "images/s",
    "ours is x times as fast",
    "differs by",
    "peak MB",
    "ran as",
)


def make_report(
    settings: Settings, rows: Sequence[Row], versions: dict, about: Sequence[dict]
) -> tuple[Report, bytes]:
    """Return the report and its picture.

    Args:
        settings: of the measurement.
        rows: of all networks.
        versions: engine -> {library: version}.
        about: of each network.
    """
    title = f"Inference on {settings.threads} threads, {settings.rounds} rounds"
    report = Report(
        name="benchmark",
        title=title,
        machine=machine.describe(settings.threads),
        versions=versions,
        columns=_COLUMNS,
        rows=[_cells(row) for row in rows],
        notes=_notes(settings, rows, about),
        data={
            "networks": list(about),
            "rows": [_values(row) for row in rows],
            "rounds": settings.rounds,
            "seconds_of_a_run": settings.seconds,
        },
    )
    return report, plot.bars(title, _groups(rows), "ms for an image", others=PEERS)


def _cells(row: Row) -> list[str]:
    """Return a row as texts."""
    differs = (
        "-" if row.difference is None else f"{row.difference:.1e}" + ("" if row.agrees is not False else " !")
    )
    return [
        row.network,
        row.precision,
        str(row.batch),
        row.engine,
        milliseconds(row.network_seconds),
        milliseconds(row.tail_seconds),
        milliseconds(row.seconds),
        f"{1 / row.seconds:.1f}" if row.seconds else "-",
        ratio(row.ratio, row.noisy) if not row.error else "failed",
        differs,
        megabytes(row.peak),
        row.note or "-",
    ]


def _values(row: Row) -> dict:
    """Return a row as JSON values, which have no infinity."""
    difference = row.difference if row.difference is None or math.isfinite(row.difference) else "inf"
    return {**dataclasses.asdict(row), "seconds": row.seconds, "difference": difference}


def _groups(rows: Sequence[Row]) -> list[tuple[str, list]]:
    """Return the bars of each network, type and batch."""
    groups: dict[str, list] = {}
    for row in rows:
        if row.seconds:
            name = f"{row.network} {row.precision}, batch {row.batch}"
            times = f"{1 / row.seconds:.1f}/s" + (f", ours x{row.ratio['median']:.2f}" if row.ratio else "")
            entry = (row.engine, 1000 * row.seconds, 1000 * (row.tail_seconds or 0.0), times)
            groups.setdefault(name, []).append(entry)
    return list(groups.items())


def _notes(settings: Settings, rows: Sequence[Row], about: Sequence[dict]) -> list[str]:
    """Return the sentences below the table."""
    weights = "trained weights" if settings.prefix else f"random weights (seed {settings.seed})"
    shapes = "; ".join(
        f"{one['name']}: {one['classes']} classes, {one['anchors']} default boxes,"
        f" {one['parameter_bytes'] / 1e6:.1f} MB, {one.get('detections', 0):.0f} detections an image"
        for one in about
    )
    notes = [
        f"{shapes}; {weights}, images {'from ' + settings.images if settings.images else 'drawn'}.",
        (
            "Every engine begins with the same float32 input, ready for the network, and is charged for the same"
            f' detection tail on its own raw outputs; "{WHOLE}" begins with an array in memory instead. Medians of'
            f" {settings.rounds} rounds of {settings.seconds:g} s each; ratios are taken round by round, with the"
            " lowest and the highest."
        ),
    ]
    if "int8" in settings.precisions:
        notes.append(
            "int8: ours by deploy.py --quantize, OpenVINO by NNCF after training, ONNX Runtime by static quantisation;"
            ' the same calibration images. There "differs by" is noise over signal, against ours in float32; random'
            " weights say nothing about a trained detector's accuracy (--prefix)."
        )
    return notes + closing_notes(rows, f"Raw outputs differ from ours by more than {CLOSE:g}", settings)


def closing_notes(rows: Sequence[Row], differs: str, settings: Settings) -> list[str]:
    """Return what every comparison ends with: who differs, who failed, what disturbed it.

    Args:
        rows: of the table.
        differs: begins the sentence that names the rows that do not agree with ours.
        settings: of the measurement.
    """
    wrong = [row.label for row in rows if row.agrees is False]
    notes = [f"{differs}: {', '.join(wrong)}."] if wrong else []
    notes += [f"{row.label} failed: {row.error}" for row in rows if row.error]
    others = [value for row in rows for value in row.others]
    idle = [value for row in rows for value in row.idle]
    return notes + noise_notes(noisy_groups(rows), others, idle, settings.noise_limit)


def noisy_groups(rows: Sequence[Row]) -> list[str]:
    """Return which rows cannot be told: "ssd7_300 float32 batch 1 (torch, opencv)"."""
    groups: dict[str, list[str]] = {}
    for row in rows:
        if row.noisy:
            groups.setdefault(row.group, []).append(row.engine)
    return [f"{group} ({', '.join(engines)})" for group, engines in groups.items()]


def best_ratios(rows: Sequence[Row]) -> list[str]:
    """Return a line for each network, type and batch: ours against its best peer."""
    lines, groups = [], {}
    for row in rows:
        if row.ratio and row.engine not in (OURS, WHOLE):
            groups.setdefault(row.group, []).append(row)
    for group, peers in groups.items():
        best = min(peers, key=lambda row: row.ratio["median"])
        lines.append(
            f"{group}: {best.ratio['median']:.2f} of the best peer, {best.engine}"
            + (" (noisy)" if best.noisy else "")
        )
    return lines

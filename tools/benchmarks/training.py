"""Training: a bare step (forward, loss, backward, update) of ours against PyTorch's on an equally shaped network."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from common.errors import DependencyError, SSDError
from tools.benchmarks import machine, plot
from tools.benchmarks.figures import Spread, ratios
from tools.benchmarks.inference import OURS, Row
from tools.benchmarks.inference_report import closing_notes
from tools.benchmarks.prepared import Prepared
from tools.benchmarks.report import Report, megabytes, ratio
from tools.benchmarks.rounds import Contestant, measure
from tools.benchmarks.settings import TRAINING_PEERS, Settings

CLOSE = 1e-2  # largest relative difference of the first step's losses
_COLUMNS = (
    "network",
    "batch",
    "engine",
    "ms a step",
    "images/s",
    "ours is x times as fast",
    "first loss",
    "peak MB",
)


def prepare(settings: Settings, network: str, folder: Path) -> Prepared:
    """Make a network with random weights and a training batch, and hand them over; BatchNorm is not folded.

    Raises:
        ConfigError: the network is unknown.
        SSDError: it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with settings.preparing() as worker:
        values = {"classes": settings.classes, "seed": settings.seed, "folder": str(folder)}
        about = worker.ask("make", network=network, **values)
        batch = settings.batches[0]
        arrays = worker.ask(
            "training", prefix=about["prefix"], batch=batch, seed=settings.seed, folder=str(folder)
        )
        found = Prepared(about, folder, arrays)
        if settings.peers:
            path = str(folder / "heads.onnx")
            where = {"prefix": about["prefix"], "epoch": about["epoch"]}
            found.onnx[batch] = worker.ask("onnx", **where, batch=batch, path=path)["path"]
        return found


def compare(settings: Settings, prepared: Prepared) -> list[Row]:
    """Measure a training step of ours and of the peers on one network; the loss of the first step stands in `note`."""
    name, batch = prepared.about["name"], settings.batches[0]
    peers = [peer for peer in settings.peers if peer in TRAINING_PEERS]
    rows = {engine: Row(name, "float32", batch, engine) for engine in (OURS, *peers)}
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(settings.open_own("ours_training"))
        loaded = ours.ask("load", prefix=prepared.about["prefix"], arrays=prepared.images["arrays"])
        contestants, expected = [Contestant(OURS, ours, batch)], loaded["loss"]
        rows[OURS].note = _losses(expected)
        for peer in peers:
            with _noting(rows[peer]):
                settings.say(f"{rows[peer].label}: loading")
                worker = stack.enter_context(settings.open_peer(f"{peer}_training"))
                loaded = worker.ask(
                    "load",
                    model=prepared.onnx[batch],
                    arrays=prepared.images["arrays"],
                    variances=prepared.about["variances"],
                )
                _hold(rows[peer], loaded["loss"], expected)
                contestants.append(Contestant(peer, worker, batch))
        measured = measure(contestants, None, rounds=settings.rounds, seconds=settings.seconds)
        for one in contestants:
            row, found = rows[one.name], measured[one.name]
            row.peak = one.worker.ask("memory")["peak"]
            row.rounds, row.idle, row.others = found.run, found.idle, found.others
    for name, row in rows.items():
        if name != OURS and row.rounds:
            spread = Spread.of(ratios(rows[OURS].rounds, row.rounds))
            row.ratio = dataclasses.asdict(spread)
            row.noisy = spread.is_noisy(settings.noise_limit)
    return list(rows.values())


@contextlib.contextmanager
def _noting(row: Row):
    """Note in a row why an engine fails; one that is not installed is for the user to hear at once."""
    try:
        yield
    except DependencyError:
        raise
    except SSDError as error:
        row.error = str(error)


def _losses(loss: dict) -> str:
    return f"{loss['cls']:.1f} + {loss['loc']:.1f} of {loss['positives']:.0f}"


def _hold(row: Row, found: dict, expected: dict) -> None:
    """Hold the losses of a peer's first step to ours."""
    row.note = _losses(found)
    row.difference = max(abs(found[name] - value) / max(abs(value), 1e-9) for name, value in expected.items())
    row.agrees = row.difference <= CLOSE


def make_report(
    settings: Settings, rows: Sequence[Row], versions: dict, about: Sequence[dict]
) -> tuple[Report, bytes]:
    """Return the report and its picture."""
    title = f"Training on {settings.threads} threads, {settings.rounds} rounds"
    groups: dict[str, list] = {}
    for row in rows:
        if row.seconds:
            entry = (row.engine, 1 / row.seconds, 0.0, f"{1 / row.seconds:.2f}")
            groups.setdefault(f"{row.network}, batch {row.batch}", []).append(entry)
    report = Report(
        name="training",
        title=title,
        machine=machine.describe(settings.threads),
        versions=versions,
        columns=_COLUMNS,
        rows=[_cells(row) for row in rows],
        notes=_notes(settings, rows),
        data={
            "networks": list(about),
            "rows": [{**dataclasses.asdict(row), "seconds": row.seconds} for row in rows],
        },
    )
    return report, plot.bars(title, list(groups.items()), "images/s", others=TRAINING_PEERS)


def _cells(row: Row) -> list[str]:
    """Return a row as texts."""
    return [
        row.network,
        str(row.batch),
        row.engine,
        f"{1000 * row.batch * row.seconds:.0f}" if row.seconds else "-",
        f"{1 / row.seconds:.2f}" if row.seconds else "-",
        ratio(row.ratio, row.noisy) if not row.error else "failed",
        row.note + (" !" if row.agrees is False else ""),
        megabytes(row.peak),
    ]


def _notes(settings: Settings, rows: Sequence[Row]) -> list[str]:
    """Return the sentences below the table."""
    notes = [
        (
            "A step is forward, matching, mining, loss, backward and SGD with momentum and weight decay, on one batch"
            f' of drawn scenes again and again, {settings.classes} classes. "First loss" is the summed cross-entropy'
            " plus the summed smooth L1 of the first step, of so many positive boxes: the same parameters and images"
            f" must give the same (within {CLOSE:g})."
        ),
        (
            "The same: network, first parameters, images, labels, matching (IoU above 0.5), three hard negatives for"
            " each positive, loss, SGD, BatchNorm with the batch's statistics. Not the same: PyTorch computes channels"
            " last, and does not train what is a constant in ONNX (the scale of the L2 normalisation); ours matches in"
            " numpy, PyTorch in torch, both inside the step."
        ),
    ]
    return notes + closing_notes(rows, f"The first loss differs from ours by more than {CLOSE:g}", settings)

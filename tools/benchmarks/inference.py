"""Inference: ours and each peer on the same network, images and threads, in turn, batch by batch and type by type."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from common.errors import DependencyError, SSDError
from tools.benchmarks.figures import Spread, noise_over_signal, ratios, relative_difference
from tools.benchmarks.prepared import Prepared
from tools.benchmarks.rounds import Contestant, Measured, measure
from tools.benchmarks.settings import INT8_PEERS, Settings
from tools.benchmarks.worker import Worker

OURS, WHOLE, REFERENCE = "ours", "ours, detect()", "reference"
CLOSE = 1e-3  # largest difference of raw outputs in float32, of their largest value


@dataclass
class Row:
    """One line of the table.

    Attributes:
        network: with its size.
        precision: of it.
        batch: images at once.
        engine: OURS, WHOLE or a peer.
        note: how it ran.
        network_seconds: for an image, the median of the rounds; None where it failed.
        tail_seconds: of the detection tail, the same.
        rounds: seconds for an image of each round, network and tail.
        ratio: how many times as fast ours is, {"median", "low", "high"}; None for ours.
        noisy: whether the ratio cannot be told.
        difference: of the raw outputs from ours in float32: the largest, relative to the largest value; in int8 the
            noise, relative to the spread.
        agrees: whether that is small enough; None where it need not be.
        peak: bytes, of loading and running.
        error: why there is nothing.
        idle: see `rounds.Measured`.
        others: the same.
    """

    network: str
    precision: str
    batch: int
    engine: str
    note: str = ""
    network_seconds: float | None = None
    tail_seconds: float | None = None
    rounds: list[float] = field(default_factory=list)
    ratio: dict | None = None
    noisy: bool = False
    difference: float | None = None
    agrees: bool | None = None
    peak: int | None = None
    error: str = ""
    idle: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float | None:
        """For an image, network and tail."""
        return None if not self.rounds else Spread.of(self.rounds).median

    @property
    def group(self) -> str:
        """What is measured together: network, type and batch."""
        return f"{self.network} {self.precision} batch {self.batch}"

    @property
    def label(self) -> str:
        """Which row it is."""
        return f"{self.group} {self.engine}"


def compare(settings: Settings, prepared: Prepared, precision: str, batch: int) -> list[Row]:
    """Measure ours and the peers on one network.

    Args:
        settings: of the measurement.
        prepared: the network.
        precision: of PRECISIONS.
        batch: images at once.

    Returns:
        A row for ours, for ours from arrays in memory, and for each peer.
    """
    name = prepared.about["name"]
    if precision in prepared.errors:
        return [Row(name, precision, batch, OURS, error=prepared.errors[precision])]
    peers = [peer for peer in settings.peers if precision == "float32" or peer in INT8_PEERS]
    rows = {engine: Row(name, precision, batch, engine) for engine in (OURS, WHOLE, *peers)}
    if precision != "float32":
        with _open_ours(settings, prepared, "float32", batch)[0] as plain:
            _outputs(prepared, REFERENCE, plain)
    with contextlib.ExitStack() as stack:
        contestants = _enter_ours(settings, prepared, rows, stack)
        for peer in peers:
            worker = _load_peer(settings, prepared, rows[peer], stack)
            if worker is not None:
                contestants.append(Contestant(peer, worker, batch, tail=str(prepared.folder / f"raw-{peer}")))
                _hold(rows[peer], prepared)
        judge = contestants[0].worker
        measured = measure(contestants, judge, rounds=settings.rounds, seconds=settings.seconds)
    _fill(rows, measured, settings.noise_limit)
    return list(rows.values())


def _open_ours(settings: Settings, prepared: Prepared, precision: str, batch: int) -> tuple[Worker, float]:
    """Start our own process with a deployed network; return it, and the detections of an image."""
    worker = settings.open_own("ours")
    try:
        loaded = worker.ask(
            "load",
            prefix=prepared.deployed[precision],
            epoch=prepared.about["epoch"],
            batch=batch,
            **prepared.images,
        )
    except SSDError:
        worker.close()
        raise
    return worker, loaded["detections"]


def _enter_ours(
    settings: Settings, prepared: Prepared, rows: dict[str, Row], stack: contextlib.ExitStack
) -> list[Contestant]:
    """Start our own process for the time of the stack; return its two contestants."""
    row = rows[OURS]
    worker, detections = _open_ours(settings, prepared, row.precision, row.batch)
    stack.enter_context(worker)
    prepared.about.setdefault("detections", detections)
    # Asked before anything but the network is there: the raw outputs, and others' tails, take memory too.
    row.peak = rows[WHOLE].peak = worker.ask("memory")["peak"]
    raw = _outputs(prepared, OURS, worker)
    if row.precision != "float32":
        _hold(row, prepared)
    return [
        Contestant(OURS, worker, row.batch, {"what": "tensor"}, raw),
        Contestant(WHOLE, worker, row.batch, {"what": "detect"}),
    ]


def _outputs(prepared: Prepared, engine: str, worker: Worker) -> str:
    """Let an engine write its raw outputs; return their folder."""
    folder = prepared.folder / f"raw-{engine}"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.npy"):
        old.unlink()
    worker.ask("outputs", folder=str(folder))
    return str(folder)


def _load_peer(
    settings: Settings, prepared: Prepared, row: Row, stack: contextlib.ExitStack
) -> Worker | None:
    """Start a peer and load its network; None where it fails, with the reason in its row."""
    settings.say(f"{row.label}: loading")
    worker = None
    try:
        worker = settings.open_peer(row.engine)
        loaded = worker.ask(
            "load",
            model=_model_of(settings, prepared, row),
            inputs=prepared.images["inputs"],
            batch=row.batch,
        )
        row.note, row.peak = loaded["note"], worker.ask("memory")["peak"]
        _outputs(prepared, row.engine, worker)
    except DependencyError:
        raise
    except SSDError as error:
        row.error = str(error)
        if worker is not None:
            worker.close()
        return None
    return stack.enter_context(worker)


def _model_of(settings: Settings, prepared: Prepared, row: Row) -> str:
    """Return the file that an engine loads; for int8 it makes one, in another process: that takes memory too."""
    if row.precision == "float32":
        return prepared.onnx[row.batch]
    folder = prepared.folder / f"int8-{row.engine}-{row.batch}"
    folder.mkdir(exist_ok=True)
    with settings.open_peer(row.engine) as worker:
        return worker.ask(
            "quantise",
            model=prepared.onnx[row.batch],
            calibration=prepared.calibration,
            batch=row.batch,
            folder=str(folder),
        )["model"]


def _hold(row: Row, prepared: Prepared) -> None:
    """Hold an engine's raw outputs to ours in float32."""
    expected = prepared.folder / f"raw-{OURS if row.precision == 'float32' else REFERENCE}"
    found = prepared.folder / f"raw-{row.engine}"
    compare_arrays = relative_difference if row.precision == "float32" else noise_over_signal
    row.difference = max(
        compare_arrays(np.load(found / path.name), np.load(path)) for path in sorted(expected.glob("*.npy"))
    )
    if row.precision == "float32":
        row.agrees = row.difference <= CLOSE


def _fill(rows: dict[str, Row], measured: dict[str, Measured], noise_limit: float) -> None:
    """Turn rounds into rows. Ours has its tail inside; what it takes without it is its network."""
    for name, found in measured.items():
        row = rows[name]
        row.idle, row.others = found.idle, found.others
        tail = Spread.of(found.tail).median if found.tail else 0.0
        if name in (OURS, WHOLE):
            row.rounds = found.run
            row.tail_seconds = tail if found.tail else None
            row.network_seconds = max(0.0, Spread.of(found.run).median - tail) if found.tail else None
        else:
            row.rounds = [run + after for run, after in zip(found.run, found.tail)]
            row.tail_seconds, row.network_seconds = tail, Spread.of(found.run).median
    for name, row in rows.items():
        if name != OURS and row.rounds:
            spread = Spread.of(ratios(rows[OURS].rounds, row.rounds))
            row.ratio = {"median": spread.median, "low": spread.low, "high": spread.high}
            row.noisy = spread.is_noisy(noise_limit)


def failed(rows: Sequence[Row]) -> bool:
    """Tell whether an engine gave nothing, or in float32 something else than ours."""
    return any(row.error or row.agrees is False for row in rows)

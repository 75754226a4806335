"""The cost of an image as batch, input size, classes or default boxes grow; ours alone, network and tail apart."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from common.errors import ConfigError, did_you_mean
from tools.benchmarks import machine, plot
from tools.benchmarks.figures import Spread
from tools.benchmarks.report import Report, megabytes, milliseconds, noise_notes
from tools.benchmarks.rounds import Contestant, measure
from tools.benchmarks.settings import Settings

SWEEPS = {
    "batch": (1, 2, 4, 8, 16),
    "size": (200, 256, 300, 384, 512),
    "classes": (1, 20, 80, 600),
    "anchors": (2, 4, 6, 9),
}
_LABELS = {
    "batch": "images at once",
    "size": "side of the input in pixels",
    "classes": "classes",
    "anchors": "default boxes",
}
_COLUMNS = (
    "network",
    "value",
    "classes",
    "default boxes",
    "network ms",
    "tail ms",
    "both ms",
    "images/s",
    "detections",
    "peak MB",
)


@dataclass
class Point:
    """One place of a sweep.

    Attributes:
        network: without what is swept.
        value: of what is swept.
        about: of the detector (prepare.Prepare.do_describe).
        rounds: seconds for an image, network and tail.
        tails: of that the tail.
        peak: bytes.
        others: see `rounds.Measured`.
    """

    network: str
    value: int
    about: dict
    rounds: list[float] = field(default_factory=list)
    tails: list[float] = field(default_factory=list)
    peak: int | None = None
    others: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """For an image."""
        return Spread.of(self.rounds).median

    @property
    def tail_seconds(self) -> float:
        """Of the detection tail, for an image."""
        return Spread.of(self.tails).median


def check(kind: str) -> None:
    """Refuse a sweep that there is not.

    Raises:
        ConfigError: names the closest.
    """
    if kind not in SWEEPS:
        raise ConfigError(f"--sweep {kind}: there is none of that name{did_you_mean(kind, SWEEPS)}")


def sweep(settings: Settings, kind: str, network: str, folder: Path) -> list[Point]:
    """Measure one network at all places of a sweep, in turn.

    Args:
        settings: of the measurement.
        kind: of SWEEPS.
        network: with its input size, which gives way where the size is swept.
        folder: for files.
    """
    points, batches = [], []
    for value in SWEEPS[kind]:
        settings.say(f"{network}: {_LABELS[kind]} {value}: making")
        points.append(_prepare(settings, kind, network, value, folder / f"{kind}-{value}"))
        batches.append(value if kind == "batch" else 1)
    with contextlib.ExitStack() as stack:
        contestants = []
        for point, batch in zip(points, batches):
            worker = stack.enter_context(settings.open_own("ours"))
            loaded = worker.ask("load", **point.about["load"], batch=batch)
            point.about["detections"], point.peak = loaded["detections"], worker.ask("memory")["peak"]
            raw = folder / f"{kind}-{point.value}" / "raw"
            raw.mkdir(exist_ok=True)
            worker.ask("outputs", folder=str(raw))
            contestants.append(Contestant(str(point.value), worker, batch))
            point.about["raw"] = str(raw)
        _measure(settings, points, contestants)
    return points


def _measure(settings: Settings, points: list[Point], contestants: list[Contestant]) -> None:
    """Measure all places in turn; each runs its own tail."""
    found = measure(contestants, None, rounds=settings.rounds, seconds=settings.seconds)
    for point, one in zip(points, contestants):
        for _ in range(settings.rounds):
            times = one.worker.ask("tail", folder=point.about["raw"], seconds=0.3, least=3)["times"]
            point.tails.append(Spread.of(times).median / one.batch)
        point.rounds, point.others = found[one.name].run, found[one.name].others


def _prepare(settings: Settings, kind: str, network: str, value: int, folder: Path) -> Point:
    """Make the detector of one place and deploy it."""
    folder.mkdir(parents=True, exist_ok=True)
    batch = value if kind == "batch" else 1
    with settings.preparing() as worker:
        about = worker.ask(
            "make",
            network=f"{network.rsplit('_', 1)[0]}_{value}" if kind == "size" else network,
            classes=value if kind == "classes" else settings.classes,
            seed=settings.seed,
            folder=str(folder),
            anchors_per_cell=value if kind == "anchors" else 0,
        )
        where = {"prefix": about["prefix"], "epoch": about["epoch"]}
        images = worker.ask(
            "images",
            **where,
            count=2 * batch if batch > 4 else 8,
            seed=settings.seed,
            folder=str(folder),
            source=settings.images,
        )
        out = worker.ask("deploy", **where, out=str(folder / "deployed"), flags=[])["prefix"]
    about["load"] = {"prefix": out, "epoch": about["epoch"], **images}
    return Point(network, value, about)


def make_report(
    settings: Settings, kind: str, points: Sequence[Point], versions: dict
) -> tuple[Report, bytes]:
    """Return the report of a sweep and its picture."""
    title = f"Cost of an image by {_LABELS[kind]}, {settings.threads} threads, {settings.rounds} rounds"
    networks: dict[str, list] = {}
    for point in points:
        x = point.about["anchors"] if kind == "anchors" else point.value
        times = (1000 * max(0.0, point.seconds - point.tail_seconds), 1000 * point.tail_seconds)
        networks.setdefault(point.network, []).append((x, *times))
    noisy = [
        f"{point.network} at {point.value}"
        for point in points
        if Spread.of(point.rounds).is_noisy(settings.noise_limit)
    ]
    report = Report(
        name=f"sweep_{kind}",
        title=title,
        machine=machine.describe(settings.threads),
        versions=versions,
        columns=_COLUMNS,
        rows=[_cells(point) for point in points],
        notes=[
            (
                f"Random weights (seed {settings.seed}), scores like a trained detector's; the network's time is the"
                " whole's less the detection tail's, which runs on the same raw outputs alone."
            ),
            *noise_notes(
                noisy, [value for point in points for value in point.others], [], settings.noise_limit
            ),
        ],
        data={"sweep": kind, "points": [asdict(point) for point in points]},
    )
    return report, plot.lines(title, _LABELS[kind], list(networks.items()))


def _cells(point: Point) -> list[str]:
    """Return a place as texts."""
    return [
        point.network,
        str(point.value),
        str(point.about["classes"]),
        str(point.about["anchors"]),
        milliseconds(max(0.0, point.seconds - point.tail_seconds)),
        milliseconds(point.tail_seconds),
        milliseconds(point.seconds),
        f"{1 / point.seconds:.1f}",
        f"{point.about['detections']:.0f}",
        megabytes(point.peak),
    ]

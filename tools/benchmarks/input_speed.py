"""Input: decoding and augmentation alone, by recipe, against OpenCV's bare decoding and resizing of the same records.

All in one process and on as many threads; round by round in turn. Each augmentation is also measured alone, over none,
so that its cost can be told.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common.errors import RecordError
from common.mx import cv2, mx
from dataset.augmentation import RECIPES, Augmentation
from dataset.iterator import TrainingIterator
from dataset.records import RecordDataset
from tools.benchmarks import machine, plot
from tools.benchmarks.figures import NOISE_LIMIT, Spread, ratios
from tools.benchmarks.report import Report, noise_notes, ratio

BOUND = "OpenCV, decode + resize"
_COLUMNS = ("what", "images/s", "of the bound", "ms more than none, a core")
_LEAST_SECONDS = 1.0  # of a round; a small file is read again and again


@dataclass(frozen=True)
class InputSettings:
    """Settings of the measurement.

    Attributes:
        records: packed file.
        data_shape: (height, width) that images are resized to.
        batch: images in a batch.
        threads: that decode.
        rounds: of measurements.
        noise_limit: see `settings.Settings`.
    """

    records: str
    data_shape: tuple[int, int] = (300, 300)
    batch: int = 16
    threads: int = 1
    rounds: int = 5
    noise_limit: float = NOISE_LIMIT


def recipes() -> dict[str, Augmentation]:
    """Return what is measured: none, each augmentation alone, then the recipes."""
    none, whole = RECIPES["none"], RECIPES["ssd"]
    alone = {
        "mirror": ("mirror_probability",),
        "upside down": (),
        "colour": ("colour_probability",),
        "zoom out": ("zoom_out_probability", "max_zoom_out"),
        "crop": ("crop_probability",),
        "random interpolation": ("random_interpolation",),
    }
    found = {"none": none}
    for name, fields in alone.items():
        changes = {key: getattr(whole, key) for key in fields} or {"flip_probability": 0.5}
        found[f"{name} alone"] = dataclasses.replace(none, **changes)
    wholes = {name: made for name, made in RECIPES.items() if name not in ("none", "mirror")}
    return {**found, **{f"recipe {name}": made for name, made in wholes.items()}}


@dataclass
class InputMeasured:
    """What the rounds gave for one thing, an entry for each round.

    Attributes:
        seconds: for an image.
        others: processors that other processes took meanwhile; below 0 is unknown.
    """

    seconds: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)


def measure(settings: InputSettings, say: Callable[[str], None]) -> dict[str, InputMeasured]:
    """Measure the bound and every recipe, round by round.

    Args:
        settings: of the measurement.
        say: called with lines that tell how far it has come.

    Raises:
        RecordError: the records cannot be used.
    """
    with RecordDataset(settings.records) as dataset, tempfile.TemporaryDirectory() as folder:
        if not len(dataset):
            raise RecordError(f"{settings.records}: no records in it: give another by --input")
        work = {BOUND: _bound(dataset, settings)}
        readers = []
        for number, (name, augmentation) in enumerate(recipes().items()):
            readers.append(_reader(dataset, settings, augmentation, Path(folder) / str(number)))
            work[name] = _epochs(readers[-1])
        found = {name: InputMeasured() for name in work}
        epochs = {name: _epochs_of_a_round(run) for name, run in work.items()}
        for number in range(settings.rounds):
            say(f"round {number + 1} of {settings.rounds}")
            for name, run in work.items():
                _once(run, epochs[name], found[name])
        for reader in readers:
            reader.close()
        return found


def _epochs_of_a_round(run: Callable[[int], int]) -> int:
    """Run an epoch that does not count; return how many make a round."""
    run(1)
    started = time.perf_counter()
    run(1)
    return max(1, math.ceil(_LEAST_SECONDS / (time.perf_counter() - started)))


def _once(run: Callable[[int], int], epochs: int, into: InputMeasured) -> None:
    """Run so many epochs and note what they and the rest of the machine took."""
    busy, own, started = machine.busy_seconds(), time.process_time(), time.perf_counter()
    images = run(epochs)
    passed = time.perf_counter() - started
    into.seconds.append(passed / images)
    used = -1.0
    if busy is not None:
        used = max(0.0, (machine.busy_seconds() - busy - (time.process_time() - own)) / passed)
    into.others.append(used)


def _reader(
    dataset: RecordDataset, settings: InputSettings, augmentation: Augmentation, folder: Path
) -> TrainingIterator:
    """Return the iterator that training has."""
    return TrainingIterator(
        dataset,
        batch_size=min(settings.batch, len(dataset)),
        data_shape=settings.data_shape,
        mean=(123.0, 117.0, 104.0),
        std=(1.0, 1.0, 1.0),
        augmentation=augmentation,
        seed=0,
        workers=settings.threads,
        folder=folder,
    )


def _epochs(reader: TrainingIterator) -> Callable[[int], int]:
    """Return what reads so many epochs, as training does, and returns the number of images."""
    numbers = iter(range(10**9))

    def run(count: int) -> int:
        images = 0
        for left in reversed(range(count)):
            for batch in reader.epoch(next(numbers), next_epoch=left > 0):
                batch.data.wait_to_read()
                images += len(batch.records)
        mx.nd.waitall()
        return images

    return run


def _bound(dataset: RecordDataset, settings: InputSettings) -> Callable[[int], int]:
    """Return what decodes and resizes every record so many times with OpenCV and returns their number."""
    images = [np.frombuffer(dataset.read(i).image, np.uint8) for i in range(len(dataset))]
    pool = ThreadPoolExecutor(settings.threads)
    size = settings.data_shape[::-1]

    def one(data: np.ndarray) -> None:
        cv2.resize(cv2.imdecode(data, cv2.IMREAD_COLOR), size, interpolation=cv2.INTER_LINEAR)

    def run(count: int) -> int:
        before = cv2.getNumThreads()
        cv2.setNumThreads(0)  # one thread for an image, as the iterator has it
        try:
            return sum(1 for _ in pool.map(one, images * count))
        finally:
            cv2.setNumThreads(before)

    return run


def make_report(
    settings: InputSettings, found: dict[str, InputMeasured], versions: dict
) -> tuple[Report, bytes]:
    """Return the report and its picture."""
    height, width = settings.data_shape
    title = f"Input at {height}x{width} on {settings.threads} threads, {settings.rounds} rounds"
    rows, noisy, bars = [], [], []
    none = Spread.of(found["none"].seconds).median
    for name, measured in found.items():
        median = Spread.of(measured.seconds).median
        spread = Spread.of(ratios(measured.seconds, found[BOUND].seconds))
        if spread.is_noisy(settings.noise_limit):
            noisy.append(name)
        more = "-" if name in (BOUND, "none") else f"{1000 * (median - none) * settings.threads:.2f}"
        values = dataclasses.asdict(spread)
        rows.append([name, f"{1 / median:.0f}", ratio(values, name in noisy), more])
        bars.append((name, 1 / median, 0.0, f"{1 / median:.0f}, {spread.median:.2f} of the bound"))
    report = Report(
        name="input",
        title=title,
        machine=machine.describe(settings.threads),
        versions=versions,
        columns=_COLUMNS,
        rows=rows,
        notes=_notes(settings, noisy, [value for measured in found.values() for value in measured.others]),
        data={
            "records": Path(settings.records).name,
            "seconds": {name: measured.seconds for name, measured in found.items()},
        },
    )
    return report, plot.bars(title, [("decoding and augmentation", bars)], "images/s", others=[BOUND])


def _notes(settings: InputSettings, noisy: Sequence[str], others: Sequence[float]) -> list[str]:
    """Return the sentences below the table."""
    return [
        (
            f"Of {Path(settings.records).name}, batches of {settings.batch}. The bound is JPEG decoding and bilinear"
            f" resizing by OpenCV alone, one image a thread, {settings.threads} threads; the iterator also normalises,"
            ' turns to channels first and copies a shuffled file for each epoch. An augmentation "alone" is over none.'
        ),
        *noise_notes(noisy, others, [], settings.noise_limit),
    ]

"""Records of a few drawn scenes, and a way to run train.py's `main` on them and to read what it left behind."""

from __future__ import annotations

import csv
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dataset.pack import pack
from dataset.prepare_image import PackOptions
from dataset.scenes import CLASS_NAMES, write_scenes
from dataset.voc import read_voc
from model.card import Card, read_card
from model.parameters import load_arrays
from train.command import main
from train.devices import DeviceGroup

SIZE = (96, 64)  # of the scenes, (width, height) in pixels
# With this network an epoch of 12 images takes a fraction of a second.
TINY = ("--network", "ssd7", "--data-shape", "64,96", "--batch-size", "4", "--workers", "1", "--cpu")


@dataclass(frozen=True)
class Records:
    """Packed scenes.

    Attributes:
        train: 12 scenes.
        val: 4 others.
        other: 12 others, of the same classes.
        two_classes: 4 scenes, packed with two of the five classes.
        empty: 4 scenes without objects.
    """

    train: Path
    val: Path
    other: Path
    two_classes: Path
    empty: Path


def _pack(
    folder: Path, name: str, count: int, *, seed: int, class_names=CLASS_NAMES, empty_share=0.1
) -> Path:
    root = folder / f"scenes-{name}"
    write_scenes(root, count, seed=seed, size=SIZE, set_name=name, empty_share=empty_share)
    annotations = read_voc(root, [name], class_names=class_names)
    pack(annotations, folder / f"{name}.lst", options=PackOptions(shuffle=False))
    return folder / f"{name}.rec"


@pytest.fixture(scope="session")
def records(tmp_path_factory) -> Records:
    """The packed scenes, made once."""
    folder = tmp_path_factory.mktemp("records")
    return Records(
        train=_pack(folder, "train", 12, seed=1),
        val=_pack(folder, "val", 4, seed=2),
        other=_pack(folder, "other", 12, seed=3),
        two_classes=_pack(folder, "two", 4, seed=4, class_names=("square", "triangle")),
        empty=_pack(folder, "empty", 4, seed=5, empty_share=1.0),
    )


@dataclass
class Trainer:
    """Runs train.py in this process.

    Attributes:
        records: to train on.
        folder: of the runs, one folder each.
        cache: flags -> what an unbroken run with them ends with.
    """

    records: Records
    folder: Path
    cache: dict = field(default_factory=dict)

    def prefix(self, name: str) -> str:
        """Return the prefix of a run."""
        return str(self.folder / name / "ssd")

    def data(self, *, val: bool = False) -> list[str]:
        """Return the flags of network and records."""
        val_flags = ["--val-path", str(self.records.val)] if val else []
        return [*TINY, "--train-path", str(self.records.train), *val_flags]

    @staticmethod
    def run(*flags: str) -> int:
        """Run train.py with these flags and no others; returns the exit code."""
        return main(list(flags))

    def new(self, name: str, *flags: str, val: bool = False) -> int:
        """Begin a run on the tiny network; returns the exit code."""
        return main([*self.data(val=val), "--prefix", self.prefix(name), *flags])

    def resume(self, name: str, *flags: str) -> int:
        """Go on with a run; returns the exit code."""
        flags = flags if "--resume" in flags else ("--resume", *flags)
        return main(["--prefix", self.prefix(name), "--cpu", *flags])

    def copy(self, source: str, name: str) -> str:
        """Copy a run's folder; returns the copy's prefix."""
        shutil.copytree(self.folder / source, self.folder / name)
        return self.prefix(name)

    def card(self, name: str) -> Card:
        """Return the card of a run."""
        return read_card(self.prefix(name))

    def files(self, name: str) -> set[str]:
        """Return the names of a run's checkpoint files, half-written ones included."""
        names = {path.name for path in (self.folder / name).iterdir()}
        return {n for n in names if n.endswith((".params", ".states", ".tmp"))}

    def rows(self, name: str) -> list[dict]:
        """Return the rows of results.csv."""
        with open(self.folder / name / "results.csv", newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))

    def log(self, name: str) -> str:
        """Return train.log."""
        return (self.folder / name / "train.log").read_text(encoding="utf-8")

    def arrays(self, name: str, epoch: int | None = None) -> dict:
        """Return every parameter, auxiliary state and optimiser state of an epoch (the last one): name -> numpy."""
        card, prefix = self.card(name), self.prefix(name)
        epoch = epoch or card.last
        params = load_arrays(f"{prefix}-{epoch:04d}.params", card.epochs[epoch]["sha256"])
        states = load_arrays(f"{prefix}-{epoch:04d}.states", card.epochs[epoch]["states_sha256"])
        joined = {**params, **{f"state:{key}": array for key, array in states.items()}}
        return {key: array.asnumpy() for key, array in sorted(joined.items())}

    def bytes(self, name: str, epoch: int | None = None) -> dict[str, bytes]:
        """Return the same as bytes, to be compared bit by bit."""
        return {key: array.tobytes() for key, array in self.arrays(name, epoch).items()}

    def unbroken(self, *flags: str) -> dict[str, bytes]:
        """Return what a run of 4 epochs that nothing stopped ends with; the same flags are run once."""
        if flags not in self.cache:
            name = f"unbroken{len(self.cache)}"
            assert self.new(name, "--end-epoch", "4", *flags) == 0
            self.cache[flags] = self.bytes(name)
        return self.cache[flags]


@pytest.fixture(scope="session")
def shared_cache() -> dict:
    """What unbroken runs end with, for all modules."""
    return {}


@pytest.fixture
def trainer(records, tmp_path, shared_cache) -> Trainer:
    """Runs train.py in this test's folder."""
    return Trainer(records, tmp_path, shared_cache)


@pytest.fixture(scope="session")
def finished(records, tmp_path_factory) -> Path:
    """The folder of a run of 2 epochs with validation; not to be changed (see `trained`)."""
    session = Trainer(records, tmp_path_factory.mktemp("finished"))
    assert session.new("run", "--end-epoch", "2", val=True) == 0
    return session.folder / "run"


@pytest.fixture
def trained(trainer, finished) -> str:
    """The prefix of a copy of that run, called "run"."""
    shutil.copytree(finished, trainer.folder / "run")
    return trainer.prefix("run")


@pytest.fixture
def signal_at(monkeypatch):
    """A function (updates, number=SIGINT): the process gets the signal right after each of those updates (0-based)."""
    old = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it

    def plan(*updates: int, number: int = signal.SIGINT) -> None:
        original, seen = DeviceGroup.update, iter(range(10**6))

        def update(self, *args):
            original(self, *args)
            if next(seen) in updates:
                signal.raise_signal(number)

        monkeypatch.setattr(DeviceGroup, "update", update)

    yield plan
    signal.signal(signal.SIGINT, old)

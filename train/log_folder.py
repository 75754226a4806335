"""The folder of a run's TensorBoard logs: what lies where, and which step a resumed run goes on at.

`<prefix folder>/logs` belongs to the run whose table is results.csv; another run in the same folder, whose table is
NAME-results.csv, has `logs/NAME`. So TensorBoard on `logs` shows both, side by side and never mixed.

    train/scalar  means over --frequent batches, by batch       val/scalar  AP of each class, mAP, losses, by epoch
    train/epoch   the columns of results.csv, by epoch          val/roc     precision-recall curves, by epoch
    train/dist    histograms of --monitor, by batch             val/images  validation pictures, by epoch
    about         command, card and manifests as text

The folders are mxnet-ssd's, `train/epoch` and `about` are new. `steps.json` beside them says at which batch each epoch
ended: where the batch size changes on resume the loop's count of batches jumps, and the curves must not.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import ConfigError
from common.files import read_json, write_json
from train.checkpoint import Position
from train.event_files import drop_from, others, own_files, remove_half_written
from train.log import EpochSums

BY_BATCH = ("train/scalar", "train/dist", "about")
BY_EPOCH = ("train/epoch", "val/scalar", "val/roc", "val/images")
_PLAIN_TABLE = "results.csv"
_MOST_STEPS = 1 << 53


def log_runs(*, validated: bool, monitored: bool) -> list[str]:
    """Return the folders that a run writes."""
    skipped = [] if validated else [run for run in BY_EPOCH if run.startswith("val/")]
    skipped += [] if monitored else ["train/dist"]
    return [run for run in (*BY_BATCH, *BY_EPOCH) if run not in skipped]


@dataclass
class LogFolder:
    """A run's folder of logs.

    Attributes:
        root: the folder.
        start: batches trained before this run began or resumed.
        jump: what is added to the loop's count of batches to give the step in the logs.
        epoch: epochs finished before this run began or resumed.
        batches_per_epoch: from here on.
        ends: finished epochs -> batches trained by then.
        window: sums of the batches that wait for the next point of the curves, where the run stopped; {} for none.
        before: our event files of earlier runs, by their folder ("train/scalar").
    """

    root: Path
    start: int = 0
    jump: int = 0
    epoch: int = 0
    batches_per_epoch: int = 0
    ends: dict[int, int] = field(default_factory=dict)
    window: dict = field(default_factory=dict)
    before: dict[str, list[Path]] = field(default_factory=dict)

    @classmethod
    def of_run(cls, prefix: str, table: str, position: Position, batches_per_epoch: int) -> LogFolder:
        """Return the folder of a run at the position from which it goes on; nothing is changed.

        Args:
            prefix: of the run.
            table: name of its results.csv.
            position: where it begins.
            batches_per_epoch: from here on.
        """
        root = Path(prefix).parent / "logs"
        root = root if table == _PLAIN_TABLE else root / Path(prefix).name
        ends, window = _read_steps(root / "steps.json")
        ends = {epoch: steps for epoch, steps in ends.items() if epoch <= position.epoch}
        known = max(ends, default=0)
        # Epochs that were trained without logs had as many batches as there are now, as far as anybody knows.
        begun = ends.get(known, 0) + (position.epoch - known) * batches_per_epoch
        jump, start = begun - position.epoch * batches_per_epoch, begun + position.batch
        goes_on = position.batch > 0 and window.get("step") == start
        before = {run: own_files(root / run) for run in (*BY_BATCH, *BY_EPOCH)}
        return cls(
            root, start, jump, position.epoch, batches_per_epoch, ends, window if goes_on else {}, before
        )

    def trim(self, *, continued: bool) -> None:
        """Drop what the run will log again, and what an older run left, from the files of earlier runs.

        Args:
            continued: whether this run writes logs. Then the point of an unfinished window goes too, since the whole
                window's will stand for it.

        Raises:
            ConfigError: a file cannot be changed.
        """
        if not continued:
            self.window = {}
        waiting = int(self.window.get("sums", {}).get("batches", 0))
        try:
            for run, paths in self.before.items():
                step = self.epoch + 1 if run in BY_EPOCH else self.start
                step -= waiting if run == "train/scalar" else 0
                remove_half_written(self.root / run)
                for path in paths:
                    drop_from(path, step)
            if (self.root / "steps.json").exists():
                self.save()
        except OSError as error:
            raise ConfigError(
                f"{error.filename or self.root}: cannot be changed ({error.strerror or error}): make the folder"
                " writable, or move it away"
            ) from error

    def others(self) -> list[Path]:
        """Return the event files of other programs that would be shown together with this run's."""
        return [path for run in self.before for path in others(self.root / run)]

    def save(self) -> None:
        """Write steps.json.

        Raises:
            ConfigError: it cannot be written.
        """
        ends = {str(epoch): steps for epoch, steps in sorted(self.ends.items())}
        write_json(self.root / "steps.json", {"epochs": ends, "window": self.window})


def _read_steps(path: Path) -> tuple[dict[int, int], dict]:
    """Return (ends of epochs, window) of a steps.json; what is missing or damaged is empty: the loop's count serves."""
    with contextlib.suppress(ConfigError, TypeError, ValueError, AttributeError, KeyError):
        values = read_json(path, "table of steps", ConfigError)
        ends = {int(epoch): int(steps) for epoch, steps in values["epochs"].items()}
        window = values["window"]
        if window:
            window = {"step": int(window["step"]), "sums": {k: float(v) for k, v in window["sums"].items()}}
            EpochSums(**window["sums"])
        if all(0 <= number < _MOST_STEPS for pair in ends.items() for number in pair):
            return ends, window
    return {}, {}

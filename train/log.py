"""What a run tells: a line for each epoch on the console and in train.log, a row in results.csv."""

from __future__ import annotations

import contextlib
import csv
import glob
import io
import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import ConfigError
from common.files import remove_half_written, write_text

log = logging.getLogger("train")
_DATA_BOUND = 0.2  # of the time waited for data; below it more decoding would gain next to nothing


@dataclass
class EpochSums:
    """The sums of one epoch, filled batch by batch.

    Attributes:
        images: trained.
        batches: trained.
        cls: sum over batches of the normalised classification loss.
        loc: sum over batches of the normalised localisation loss.
        positives: matched default boxes.
        negatives: mined default boxes.
        seconds: of training, without validation and saving.
        waited: seconds of these in which the step waited for data.
    """

    images: int = 0
    batches: int = 0
    cls: float = 0.0
    loc: float = 0.0
    positives: float = 0.0
    negatives: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0

    def add(self, loss, images: int, normaliser: float) -> None:
        """Add one batch.

        Args:
            loss: a BatchLoss.
            images: of the batch.
            normaliser: what its loss is divided by.
        """
        self.images += images
        self.batches += 1
        self.cls += loss.cls / normaliser
        self.loc += loss.loc / normaliser
        self.positives += loss.positives
        self.negatives += loss.negatives

    def row(self, epoch: int, rate: float) -> dict:
        """Return the epoch's figures by the names of results.csv's columns."""
        batches, images, seconds = max(1, self.batches), max(1, self.images), max(1e-9, self.seconds)
        return {
            "epoch": epoch,
            "lr": f"{rate:.6g}",
            "cls_loss": f"{self.cls / batches:.5f}",
            "loc_loss": f"{self.loc / batches:.5f}",
            "positives_per_image": f"{self.positives / images:.2f}",
            "negatives_per_image": f"{self.negatives / images:.2f}",
            "images_per_second": f"{self.images / seconds:.2f}",
            "seconds": f"{self.seconds:.1f}",
            "waited_for_data": f"{self.waited / seconds:.3f}",
        }


@dataclass
class ResultsFile:
    """`results.csv`: a row for each epoch; a resumed run drops the rows that it trains again.

    Attributes:
        path: of the file.
        rows: in order of the epochs.
    """

    path: Path
    rows: list[dict] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path, finished_epochs: int) -> ResultsFile:
        """Open the file, keeping the rows of finished epochs; what a killed run left of it half written goes."""
        remove_half_written(path.parent, glob.escape(path.name))
        rows = []
        if finished_epochs and path.exists():
            # A spreadsheet may have been at it: a mark (BOM) first, another encoding, stray zero bytes.
            text = path.read_text(encoding="utf-8-sig", errors="replace").replace("\0", "")
            rows = [row for row in csv.DictReader(io.StringIO(text)) if (row.get("epoch") or "").isdecimal()]
        return cls(path, [row for row in rows if int(row["epoch"]) <= finished_epochs])

    def add(self, row: dict) -> None:
        """Add an epoch and write the file, atomically."""
        self.rows.append(row)
        columns = list(dict.fromkeys(name for r in self.rows for name in r))
        stream = io.StringIO()
        writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, stream.getvalue())


class _LogFile(logging.FileHandler):
    """A log file that goes silent on a full disk: what stops the run then is the checkpoint, with one clear line."""

    def handleError(self, record) -> None:
        """Say nothing; the same line stands on the console."""

    def close(self) -> None:
        """Close the file; what did not fit is dropped."""
        with contextlib.suppress(OSError):
            super().close()


def attach_log_file(path: Path) -> list[logging.Handler]:
    """Send this package's messages to the console and to a file; returns the handlers, for `detach`.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        to_file = _LogFile(path, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--log {path}: cannot be written ({error.strerror or error})") from error
    to_file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(to_file)
    return [to_file, *console_only()]


def console_only() -> list[logging.Handler]:
    """Send this package's messages to the console alone; returns the handlers, for `detach`."""
    to_console = logging.StreamHandler(sys.stdout)
    to_console.setFormatter(logging.Formatter("%(message)s"))
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(to_console)
    return [to_console]


def detach(handlers: list[logging.Handler]) -> None:
    """Take the handlers off again and close them."""
    for handler in handlers:
        log.removeHandler(handler)
        handler.close()


def duration(seconds: float) -> str:
    """Return seconds as 1:02:03 or 2:03."""
    hours, rest = divmod(int(round(seconds)), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def epoch_line(row: dict, end_epoch: int, eta_seconds: float) -> str:
    """Return the console's line of an epoch.

    Args:
        row: of results.csv.
        end_epoch: epochs of the whole run.
        eta_seconds: that the remaining epochs will take.
    """
    score = f"  mAP {float(row['mAP']):.4f}" if row.get("mAP") not in (None, "") else ""
    waited = float(row["waited_for_data"])
    bound = "data" if waited > _DATA_BOUND else "compute"
    return (
        f"epoch {row['epoch']}/{end_epoch}  cls {float(row['cls_loss']):.4f}  loc {float(row['loc_loss']):.4f}"
        f"  lr {row['lr']}  {float(row['positives_per_image']):.1f} pos/image"
        f"  {float(row['images_per_second']):.1f} images/s"
        f"  {bound}-bound (waited {waited:.0%} for data)"
        f"{score}  ETA {duration(eta_seconds)}"
    )

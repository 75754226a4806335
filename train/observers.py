"""What watches a run: the loop tells each observer what happens, and none of them changes the run.

An observer is an object with these methods; TensorBoard's logger (train/tensorboard.py), the layers' monitor
(train/monitor.py) and the pictures of the run's folder (train/pictures.py) are such. With or without them a run ends
in the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from dataset.iterator import Batch
from train.devices import BatchLoss
from train.validation import Validated


@dataclass(frozen=True)
class BatchDone:
    """A batch that was trained.

    Attributes:
        step: batches trained before it, over all epochs: 0-based.
        epoch: finished epochs.
        batch: its images and labels, as the network saw them.
        loss: sums over its images.
        normaliser: what the sums are divided by.
        rate: learning rate of its update.
    """

    step: int
    epoch: int
    batch: Batch
    loss: BatchLoss
    normaliser: float
    rate: float


@dataclass(frozen=True)
class EpochDone:
    """An epoch that was trained, validated where that was due, and is about to be saved.

    Told before the checkpoint is written: a resumed run drops what is too much in a log, but could not make up for
    what is missing.

    Attributes:
        epoch: finished epochs, this one included: 1 after the first.
        step: batches trained so far.
        row: its row of results.csv, texts and numbers by column.
        validated: what validation found; None where it was not due.
        best: whether its mAP is the best so far.
        rows: all rows of results.csv so far, this one last.
    """

    epoch: int
    step: int
    row: dict
    validated: Validated | None
    best: bool
    rows: tuple[dict, ...]


class Observer:
    """Does nothing; observers override what they want to hear of."""

    def before_batch(self, step: int) -> None:
        """Hear that a batch is about to be trained: `step` batches were before it."""

    def after_batch(self, done: BatchDone) -> None:
        """Hear that a batch was trained; its update may still be under way."""

    def after_epoch(self, done: EpochDone) -> None:
        """Hear that an epoch ends, before its checkpoint is written."""

    def close(self) -> None:
        """Hear that the run ends, whole or broken; called once."""

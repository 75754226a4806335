"""The training loop, written out: batches -> losses -> update; at each epoch's end validation, checkpoint, log.

A run ends with its last epoch, or early where the figure that it watches stands still (train/progress.py).

Ctrl-C finishes the batch, saves everything with the batch's number, and raises `Interrupted`; the run goes on from
there with `--resume` and ends bit for bit where an unbroken one ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from common.errors import TrainingError
from common.mx import mx
from dataset.iterator import Batch, TrainingIterator
from evaluate.voc import VOCResult
from train.checkpoint import Checkpoints, Position, check_finite
from train.devices import BatchLoss, DeviceGroup
from train.log import EpochSums, ResultsFile, epoch_line
from train.observers import BatchDone, EpochDone, Observer
from train.progress import Progress, figure_of
from train.schedule import Schedule
from train.settings import TrainSettings
from train.validation import Validated, Validation
from train.workers import Workers

log = logging.getLogger(__name__)

_DIVERGED = 200.0  # classification loss; random weights have 5 to 40


class Interrupted(Exception):
    """The user stopped the run; everything is saved."""


@dataclass
class StopRequest:
    """Whether the user asked the run to stop (Ctrl-C, or a polite kill).

    Attributes:
        requested: of this process.
        agreed: what all processes of a run found after a batch; None where there is one.
    """

    requested: bool = False
    agreed: bool | None = None

    @property
    def due(self) -> bool:
        """Whether to stop now."""
        return self.requested if self.agreed is None else self.agreed

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Turn the first SIGINT or SIGTERM into a request while the block runs; a second one stops at once."""
        old = {}

        def handle(number, frame):
            self.requested = True
            for name, handler in old.items():
                signal.signal(name, handler)
            log.info("stopping after this batch; press Ctrl-C again to stop at once, without saving")

        with contextlib.suppress(
            ValueError
        ):  # signals belong to the main thread; elsewhere there are none to hear
            for name in (signal.SIGINT, signal.SIGTERM):
                old[name] = signal.signal(name, handle)
        try:
            yield
        finally:
            for name, handler in old.items():
                signal.signal(name, handler)


@dataclass
class Run:
    """All that a run consists of.

    Attributes:
        settings: what decides the result.
        schedule: of the learning rate.
        batches: the training data.
        feed: labels -> the network's other inputs (train/matching.py).
        devices: the network.
        checkpoints: where it is saved.
        results: results.csv.
        validation: None without validation records.
        observers: told what happens, in this order (train/observers.py).
        progress: of the figure that plateau schedule and early stopping watch.
        bar: makes a progress bar of an epoch's batches (on terminals), or hands them through.
        workers: the processes that train together; the first of them validates, saves and tells.
    """

    settings: TrainSettings
    schedule: Schedule
    batches: TrainingIterator
    feed: Callable[[object], dict]
    devices: DeviceGroup
    checkpoints: Checkpoints
    results: ResultsFile
    validation: Validation | None
    bar: object
    observers: Sequence[Observer] = ()
    progress: Progress = Progress()
    workers: Workers = dataclasses.field(default_factory=Workers)

    def train(self, start: Position) -> None:
        """Train from a position to the last epoch, or until nothing improves any more.

        Raises:
            TrainingError: a loss or a parameter is not finite.
            RecordError: a record cannot be decoded.
            Interrupted: the user stopped the run.
        """
        stop = StopRequest()
        with stop.listening(), contextlib.ExitStack() as observers:
            for observer in self.observers:
                observers.callback(observer.close)
            for epoch in range(start.epoch, self.settings.end_epoch):
                first = start.batch if epoch == start.epoch else 0
                sums = EpochSums(**(start.sums if first else {}))
                self._train_epoch(epoch, first, sums, stop)
                self._finish_epoch(epoch, sums)
                if epoch + 1 == self.settings.end_epoch:
                    return
                why = self.progress.stop(self.settings)
                if why:
                    log.info(f"stopped early after epoch {epoch + 1}: {why}")
                    return
                if stop.due:
                    raise Interrupted(f"epoch {epoch + 1} is saved")

    def _train_epoch(self, epoch: int, first: int, sums: EpochSums, stop: StopRequest) -> None:
        """Train the batches of one epoch."""
        count = self.batches.batches_per_epoch
        source = self.batches.epoch(epoch, first, next_epoch=epoch + 1 < self.settings.end_epoch)
        started, waited = time.perf_counter(), self.batches.seconds_waited
        seconds_before, waited_before = sums.seconds, sums.waited
        with contextlib.closing(source):
            for batch in self.bar(source, count, first, epoch):
                self._step(epoch, batch, sums, stop)
                sums.seconds = seconds_before + time.perf_counter() - started
                sums.waited = waited_before + self.batches.seconds_waited - waited
                if stop.due and batch.number + 1 < count:
                    self._save_interrupted(epoch, batch.number + 1, sums)
        mx.nd.waitall()
        sums.seconds = seconds_before + time.perf_counter() - started

    def _step(self, epoch: int, batch: Batch, sums: EpochSums, stop: StopRequest) -> None:
        """Train on one batch: forward, backward, update."""
        step = epoch * self.batches.batches_per_epoch + batch.number
        for observer in self.observers:
            observer.before_batch(step)
        own = self.devices.forward_backward({"data": batch.data, **self.feed(batch.label)})
        loss = self.workers.summed(own, stop)
        self._check_loss(epoch, batch, loss)
        normaliser = loss.normaliser(self.settings.loss.negative_ratio)
        rate = self.schedule.rate(step, self.progress.cuts)
        self.devices.update(rate, normaliser)
        sums.add(loss, len(batch.records) * self.workers.count, normaliser)
        for observer in self.observers:
            observer.after_batch(BatchDone(step, epoch, batch, loss, normaliser, rate))

    def _check_loss(self, epoch: int, batch: Batch, loss: BatchLoss) -> None:
        """Stop before a loss that is not finite reaches the parameters."""
        if math.isfinite(loss.cls) and math.isfinite(loss.loc):
            return
        names = ", ".join(self.batches.record_names(batch))
        if self.workers.count > 1:
            names += f" (the part of worker {self.workers.number})"
        raise TrainingError(
            f"epoch {epoch + 1} batch {batch.number + 1}: the loss is not finite (classification {loss.cls},"
            f" localisation {loss.loc}); {self.checkpoints.last_good()}: lower --lr, raise --warmup-epochs or give"
            f" --clip-gradient; look at this batch's records: {names}"
        )

    def _save_interrupted(self, epoch: int, batch: int, sums: EpochSums) -> None:
        """Save a run inside an epoch and leave it."""
        states = {**self.devices.states(), **self.devices.aux_by_device()}
        self.checkpoints.save_interrupted(
            epoch, batch, self.devices.params(), states, dataclasses.asdict(sums)
        )
        raise Interrupted(
            f"epoch {epoch + 1}, after batch {batch} of {self.batches.batches_per_epoch}, is saved"
        )

    def _watch(self, entry: dict, validated: Validated | None, last_step: int) -> None:
        """Bring the epoch's figure to the progress, note that with the epoch, and tell a cut of the learning rate."""
        before, done = self.progress, last_step // self.batches.batches_per_epoch + 1
        # The last epoch's validation is one too many where a greater --end-epoch goes on from there.
        counts = validated is not None and done % self.settings.val_period == 0
        measured = validated.loss.cls + validated.loss.loc if counts else None
        figure = figure_of(entry, measured, validates=self.validation is not None)
        figure = self.workers.share("figure of the epoch", figure)
        if figure is not None:
            self.progress = before.after(*figure, done, self.settings)
        entry["progress"] = self.progress.to_dict()
        old, new = (self.schedule.rate(last_step + 1, cuts) for cuts in (before.cuts, self.progress.cuts))
        if new < old:
            log.info(
                f"  the {figure[0]} of epoch {done} is no better (--plateau-patience {self.settings.plateau_patience}):"
                f" the learning rate goes from {old:.4g} to {new:.4g} (--lr-schedule plateau)"
            )

    def _finish_epoch(self, epoch: int, sums: EpochSums) -> None:
        """Validate where it is due, save, and tell."""
        self.devices.average_aux()
        params = self.devices.params()
        done, validated = epoch + 1, None
        check_finite(params, f"epoch {done}", self.checkpoints.last_good())
        last_step = done * self.batches.batches_per_epoch - 1
        row = sums.row(done, self.schedule.rate(last_step, self.progress.cuts))
        entry = {"cls_loss": float(row["cls_loss"]), "loc_loss": float(row["loc_loss"])}
        if not self.workers.leads:
            self._watch(entry, None, last_step)
            log.info(
                epoch_line(row, self.settings.end_epoch, (self.settings.end_epoch - done) * sums.seconds)
            )
            return
        due = done % self.settings.val_period == 0 or done == self.settings.end_epoch
        if self.validation is not None and due:
            validated = self.validation.run(params)
            entry.update(_scores(validated.result))
            row.update(validated.loss.row())
            row.update({"mAP": entry.get("mAP", ""), **{f"AP_{k}": v for k, v in entry["AP"].items()}})
        self._watch(entry, validated, last_step)
        # Before the checkpoint: a resumed run drops what is too much, but could not make up for what is missing.
        self.results.add(row)
        best = validated is not None and self.checkpoints.is_best(entry)
        told = EpochDone(done, last_step + 1, row, validated, best, tuple(self.results.rows))
        for observer in self.observers:
            observer.after_epoch(told)
        self.checkpoints.save_epoch(done, params, self.devices.states(), entry)
        eta = (self.settings.end_epoch - done) * sums.seconds
        log.info(epoch_line(row, self.settings.end_epoch, eta))
        if entry["cls_loss"] > _DIVERGED:
            log.warning(
                f"  the loss is far beyond what a young network has ({entry['cls_loss']:.3g}): training diverges;"
                " take a smaller --lr"
            )
        if self.validation is not None and due:
            log.info("  " + "  ".join(f"{name} {_show(score)}" for name, score in entry["AP"].items()))


def _scores(result: VOCResult) -> dict:
    """Return a validation's figures as JSON values; mAP is left out where no class has ground truth."""
    scores = {"AP": {one.name: one.ap for one in result.classes}}
    if result.mean is not None:
        scores["mAP"] = result.mean
    return scores


def _show(score: float | None) -> str:
    return "no ground truth" if score is None else f"{score:.4f}"

"""How a run gets on: the figure that plateau schedule and early stopping watch, and what follows from it.

After each validation, or each epoch where nothing is validated, the loop brings one figure here: the validation's mAP;
its loss where no class has ground truth, so that there is no mAP; the training loss where there are no validation
records. The result stands with the epoch in the card, which is written with the checkpoint or not at all, so a resumed
run has it whichever epoch it goes on from; results.csv could not serve: its figures are rounded, and users edit it.

Source: ReduceLROnPlateau and EarlyStopping of Keras, as ssd_keras used them. Deviations: one `--min-delta` serves both;
the figure is the mAP where there is one.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from common.errors import CheckpointError
from train.settings import TrainSettings

MAP, VALIDATION_LOSS, TRAINING_LOSS = "mAP", "validation loss", "training loss"


@dataclass(frozen=True)
class Progress:
    """What a run has seen of the figure that it watches.

    Attributes:
        watched: which figure; "" before the first.
        epoch: finished epochs when the newest came.
        best: the best so far, None before the first that is finite.
        best_epoch: after how many epochs it came.
        waited: figures since then, each without an improvement.
        waited_for_cut: figures since the last improvement or the last cut of the learning rate.
        cuts: of the learning rate, by the plateau schedule.
    """

    watched: str = ""
    epoch: int = 0
    best: float | None = None
    best_epoch: int = 0
    waited: int = 0
    waited_for_cut: int = 0
    cuts: int = 0

    def after(self, watched: str, value: float, epoch: int, settings: TrainSettings) -> Progress:
        """Return the progress after one more figure.

        Args:
            watched: which figure. Another than before (the validation records came or went) begins anew.
            value: of it.
            epoch: finished epochs.
            settings: of the run.
        """
        if watched != self.watched:
            return Progress(watched, cuts=self.cuts).after(watched, value, epoch, settings)
        if self._is_better(value, settings.min_delta):
            return Progress(watched, epoch, value, best_epoch=epoch, cuts=self.cuts)
        waited_for_cut, cuts = self.waited_for_cut + 1, self.cuts
        if settings.lr_schedule == "plateau" and waited_for_cut >= settings.plateau_patience:
            waited_for_cut, cuts = 0, cuts + 1
        return dataclasses.replace(
            self, epoch=epoch, waited=self.waited + 1, waited_for_cut=waited_for_cut, cuts=cuts
        )

    def _is_better(self, value: float, least: float) -> bool:
        """Tell whether a figure improves on the best by more than `least`; one that is not finite never does."""
        if not math.isfinite(value):
            return False
        if self.best is None:
            return True
        return (value - self.best if self.watched == MAP else self.best - value) > least

    def stop(self, settings: TrainSettings) -> str:
        """Return why the run ends early; "" where it goes on.

        It ends with the epoch of a figure and no other: what comes with validation is done then.
        """
        patience = settings.early_stopping
        if not patience or self.waited < patience or self.epoch < settings.min_epochs:
            return ""
        unit = "epochs" if self.watched == TRAINING_LOSS else "validations"
        since = f"in {self.waited} {unit} (--early-stopping {patience})"
        if self.best is None:
            return f"the {self.watched} has not once been finite {since}"
        better = "above" if self.watched == MAP else "below"
        by = f" by more than {settings.min_delta:g}" if settings.min_delta else ""
        return f"the {self.watched} has not come {better} {self.best:.4f}, of epoch {self.best_epoch},{by} {since}"

    def to_dict(self) -> dict:
        """Return the progress as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def of_epoch(cls, entry: dict, path: str) -> Progress:
        """Return the progress that a card's epoch holds; a new one where it holds none (the start, older cards).

        Args:
            entry: the epoch's, `Card.epochs[epoch]`.
            path: of the card, for the message.

        Raises:
            CheckpointError: it is damaged.
        """
        values = entry.get("progress", {})
        try:
            found = cls(**values)
            counts = (found.epoch, found.best_epoch, found.waited, found.waited_for_cut, found.cuts)
            whole = all(type(count) is int and count >= 0 for count in counts)
            if not (whole and isinstance(found.watched, str)):
                raise TypeError("a count is no whole number")
            if found.best is not None and not math.isfinite(found.best):
                raise TypeError("its best figure is not finite")
        except TypeError as error:
            raise CheckpointError(
                f"{path}: what it says of the run's progress is damaged ({error}):"
                " copy the file again, or start a new run from it with --pretrained"
            ) from error
        return found


def figure_of(entry: dict, validation_loss: float | None, *, validates: bool) -> tuple[str, float] | None:
    """Return what is watched and its value, of an epoch that ends; None where its validation is not due.

    Args:
        entry: what the card says of the epoch: "mAP" where there is one, the training losses.
        validation_loss: the whole of it; None where nothing was validated.
        validates: whether the run has validation records.
    """
    if not validates:
        return TRAINING_LOSS, entry["cls_loss"] + entry["loc_loss"]
    if validation_loss is None:
        return None
    return (MAP, entry["mAP"]) if "mAP" in entry else (VALIDATION_LOSS, validation_loss)

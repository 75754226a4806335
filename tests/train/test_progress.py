"""What plateau schedule and early stopping make of the figures they watch, against tables written by hand."""

import json

import pytest

from common.errors import CheckpointError
from train.progress import MAP, TRAINING_LOSS, VALIDATION_LOSS, Progress, figure_of
from train.settings import TrainSettings


def settings(**changes):
    return TrainSettings("x.rec", **changes)


def follow(figures, *, watched=MAP, first=1, start=Progress(), **changes):  # noqa: B008 (frozen)
    """Return the progress after each figure, one an epoch."""
    made, seen = settings(**changes), []
    for epoch, value in enumerate(figures, start=first):
        start = start.after(watched, value, epoch, made)
        seen.append(start)
    return seen


def test_mean_average_precision_must_rise_and_a_loss_must_fall():
    rising = [0.1, 0.2, 0.2, 0.15, 0.3]
    assert [p.waited for p in follow(rising)] == [0, 0, 1, 2, 0]
    assert [p.waited for p in follow(rising, watched=VALIDATION_LOSS)] == [0, 1, 2, 3, 4]
    assert [p.best for p in follow(rising)] == [0.1, 0.2, 0.2, 0.2, 0.3]
    assert follow(rising)[-1].best_epoch == 5


def test_improvement_is_more_than_the_least_difference():
    assert [p.waited for p in follow([0.5, 0.55, 0.6, 0.65], min_delta=0.125)] == [0, 1, 2, 0]
    losses = follow([2.0, 1.5, 1.0, 0.75], watched=TRAINING_LOSS, min_delta=0.5)
    assert [p.waited for p in losses] == [0, 1, 0, 1]


def test_rate_is_cut_each_time_the_patience_runs_out():
    figures = [0.5, 0.4, 0.4, 0.4, 0.4, 0.6, 0.5, 0.5]
    seen = follow(figures, lr_schedule="plateau", plateau_patience=2)
    assert [p.cuts for p in seen] == [0, 0, 1, 1, 2, 2, 2, 3]
    assert [p.waited for p in seen] == [0, 1, 2, 3, 4, 0, 1, 2]


def test_other_schedules_are_not_cut():
    assert follow([0.5, 0.4, 0.4, 0.4], lr_schedule="multi-step", plateau_patience=1)[-1].cuts == 0


def test_run_ends_when_the_patience_runs_out_and_not_before_its_least_epochs():
    figures = [0.5, 0.4, 0.4, 0.4, 0.4]
    for least, expected in ((0, 4), (3, 4), (5, 5)):
        flags = {"early_stopping": 3, "min_epochs": least}
        stops = [bool(p.stop(settings(**flags))) for p in follow(figures, **flags)]
        assert stops.index(True) + 1 == expected
    assert not follow(figures * 9)[-1].stop(settings())


def test_reason_tells_figure_epoch_and_flag():
    flags = {"early_stopping": 2, "min_delta": 0.05}
    why = follow([0.25, 0.5, 0.51, 0.4], **flags)[-1].stop(settings(**flags))
    assert why == (
        "the mAP has not come above 0.5000, of epoch 2, by more than 0.05 in 2 validations (--early-stopping 2)"
    )
    why = follow([2.5, 3.0], watched=TRAINING_LOSS, early_stopping=1)[-1].stop(settings(early_stopping=1))
    assert why == "the training loss has not come below 2.5000, of epoch 1, in 1 epochs (--early-stopping 1)"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_figure_that_is_not_finite_is_never_the_best(bad):
    seen = follow([bad, bad, 4.0, bad], watched=VALIDATION_LOSS, early_stopping=2)
    assert [p.best for p in seen] == [None, None, 4.0, 4.0]
    assert "has not once been finite in 2 validations" in seen[1].stop(settings(early_stopping=2))
    json.loads(json.dumps(seen[0].to_dict(), allow_nan=False))


def test_other_figure_than_before_begins_anew_and_keeps_the_rate():
    flags = {"lr_schedule": "plateau", "plateau_patience": 1}
    before = follow([0.5, 0.4], **flags)[-1]
    after = follow([9.0], watched=TRAINING_LOSS, first=3, start=before, **flags)[-1]
    assert after == Progress(TRAINING_LOSS, epoch=3, best=9.0, best_epoch=3, cuts=1)


def test_figure_is_the_best_there_is():
    entry = {"cls_loss": 2.0, "loc_loss": 0.5}
    assert figure_of(entry, None, validates=False) == (TRAINING_LOSS, 2.5)
    assert figure_of(entry, None, validates=True) is None
    assert figure_of(entry, 3.5, validates=True) == (VALIDATION_LOSS, 3.5)
    assert figure_of({**entry, "mAP": 0.25}, 3.5, validates=True) == (MAP, 0.25)


def test_validation_that_is_not_due_is_no_figure_even_where_the_map_is_known():
    assert figure_of({"cls_loss": 2.0, "loc_loss": 0.5, "mAP": 0.25}, None, validates=True) is None


def test_progress_survives_the_card():
    progress = follow([0.1, 1 / 3, 0.2], lr_schedule="plateau", plateau_patience=1)[-1]
    entry = json.loads(json.dumps({"progress": progress.to_dict()}))
    assert Progress.of_epoch(entry, "ssd.json") == progress
    assert Progress.of_epoch({}, "ssd.json") == Progress()


@pytest.mark.parametrize(
    "values", [{"waited": "3"}, {"cuts": -1}, {"best": "x"}, {"best": float("nan")}, {"else": 1}, 7, None]
)
def test_damaged_progress_names_the_card(values):
    with pytest.raises(CheckpointError, match="ssd.json: what it says of the run's progress is damaged"):
        Progress.of_epoch({"progress": values}, "ssd.json")

"""Validation inside a run: evaluate's own numbers, on the epochs that are asked for, and the best one is kept."""

import pytest

from dataset.records import RecordDataset
from detect.detector import Detector
from evaluate.run import evaluate_records, score
from train.validation import Validation


def test_map_in_training_is_evaluates_own_number(trainer, trained, records):
    card = trainer.card("run")
    for epoch, entry in card.epochs.items():
        result = evaluate_records(Detector(trained, epoch), RecordDataset(records.val))
        assert entry["mAP"] == result.mean
        assert entry["AP"] == {one.name: one.ap for one in result.classes}
    assert float(trainer.rows("run")[-1]["mAP"]) == card.epochs[2]["mAP"]


@pytest.mark.parametrize(
    ("flags", "rule"),
    [
        ((), {"metric": "voc", "iou_threshold": 0.5, "use_difficult": False}),
        (("--voc07", "--overlap", "0.3", "--use-difficult"),
         {"metric": "voc07", "iou_threshold": 0.3, "use_difficult": True}),
    ],
)  # fmt: skip
def test_rule_of_validation_is_that_of_the_flags(trainer, monkeypatch, flags, rule):
    asked = []

    def spy(findings, **options):
        asked.append(options)
        return score(findings, **options)

    monkeypatch.setattr("train.validation.score", spy)
    assert trainer.new("run", *flags, "--batch-size", "12", "--end-epoch", "1", val=True) == 0
    assert asked == [rule]


@pytest.mark.parametrize(("period", "validated"), [("1", [1, 2, 3]), ("2", [2, 3]), ("5", [3])])
def test_period_of_validation(trainer, monkeypatch, period, validated):
    done = []
    run = Validation.run

    def spy(self, params):
        done.append(True)
        return run(self, params)

    monkeypatch.setattr(Validation, "run", spy)
    flags = ("--batch-size", "12", "--end-epoch", "3", "--val-period", period)
    assert trainer.new("run", *flags, val=True) == 0
    assert [int(row["epoch"]) for row in trainer.rows("run") if row["mAP"]] == validated
    assert len(done) == len(validated)


@pytest.mark.parametrize(
    ("means", "best"),
    [([0.2, 0.6, 0.4], 2), ([None, None, None], None)],
)
def test_best_epoch_is_the_first_with_the_highest_map(trainer, monkeypatch, means, best, capsys):
    from train import loop

    found = iter(means)

    def given(result):
        mean = next(found)
        return {"AP": {}, **({} if mean is None else {"mAP": mean})}

    monkeypatch.setattr(loop, "_scores", given)
    assert trainer.new("run", "--batch-size", "12", "--end-epoch", "3", val=True) == 0
    card = trainer.card("run")
    assert card.best == best
    assert sorted(card.epochs) == sorted({3, best or 3})
    assert (f"best epoch {best}" in capsys.readouterr().out) == (best is not None)


def test_records_without_any_object_give_no_map_and_no_best(trainer, records, capsys):
    flags = ("--val-path", str(records.empty), "--batch-size", "12", "--end-epoch", "1")
    assert trainer.new("run", *flags) == 0
    assert trainer.card("run").best is None
    assert "no ground truth" in capsys.readouterr().out


def test_training_on_images_without_objects_is_finite(trainer, records):
    assert trainer.new("run", "--train-path", str(records.empty), "--end-epoch", "2") == 0
    rows = trainer.rows("run")
    assert [float(row["positives_per_image"]) for row in rows] == [0, 0]
    assert all(float(row["negatives_per_image"]) == 3 and float(row["loc_loss"]) == 0 for row in rows)


def test_missing_truth_is_told_before_the_first_epoch(trainer, records, capsys):
    for path in records.val.parent.glob("val.*"):
        if not path.name.endswith("gt.json"):
            (trainer.folder / path.name).write_bytes(path.read_bytes())
    assert trainer.new("run", "--val-path", str(trainer.folder / "val.rec"), "--end-epoch", "1") == 2
    output = capsys.readouterr()
    assert "val.gt.json: missing" in output.err
    assert "epoch 1/1" not in output.out

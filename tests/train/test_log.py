"""What a run tells: a line an epoch, train.log, results.csv."""

import re

import pytest

from train.log import EpochSums, ResultsFile, duration, epoch_line

ROW = {
    "epoch": 3, "lr": "0.01", "cls_loss": "1.23456", "loc_loss": "0.5", "positives_per_image": "7.25",
    "negatives_per_image": "21.75", "images_per_second": "12.5", "seconds": "80.0", "waited_for_data": "0.050",
}  # fmt: skip


def test_every_epoch_has_a_line_on_the_console_and_in_the_log(trainer, capsys):
    assert trainer.new("run", "--end-epoch", "2", val=True) == 0
    pattern = (
        r"epoch (\d)/2  cls \d+\.\d{4}  loc \d+\.\d{4}  lr 0\.02  [\d.]+ pos/image  [\d.]+ images/s"
        r"  (?:data|compute)-bound \(waited \d+% for data\)  mAP [01]\.\d{4}  ETA \d+:\d\d"
    )
    console = capsys.readouterr().out
    assert re.findall(pattern, console) == ["1", "2"]
    assert re.findall(pattern, trainer.log("run")) == ["1", "2"]
    assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} epoch 1/2 ", trainer.log("run"), re.MULTILINE)
    assert "square 0." in console
    assert "disc no ground truth" in console


def test_run_leaves_what_is_written_down_and_nothing_else(trainer):
    assert trainer.new("run", "--end-epoch", "1", "--workers", "2") == 0
    there = {path.name for path in (trainer.folder / "run").iterdir()}
    detector = {"ssd.json", "ssd-symbol.json", "ssd-0001.params", "ssd-0001.states"}
    pictures = {"results.png", "batch-1.jpg", "batch-2.jpg", "batch-3.jpg"}
    assert there == detector | pictures | {"ssd.lock", "train.log", "results.csv"}


def test_log_goes_on_where_a_resumed_run_goes_on(trainer):
    trainer.new("run", "--end-epoch", "1", "--log", "my.log")
    trainer.resume("run", "--end-epoch", "2", "--log", "my.log")
    text = (trainer.folder / "run" / "my.log").read_text()
    assert text.index("epoch 1/1") < text.index("epoch 2/2")


def test_handlers_are_gone_after_a_run(trainer):
    import logging

    before = list(logging.getLogger("train").handlers)
    trainer.new("run", "--end-epoch", "1")
    trainer.new("run", "--end-epoch", "1")  # refused
    assert logging.getLogger("train").handlers == before


def test_results_have_a_row_and_a_column_for_everything(trainer):
    assert trainer.new("run", "--end-epoch", "3", "--val-period", "2", "--lr-steps", "2", val=True) == 0
    rows = trainer.rows("run")
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row["lr"] for row in rows] == ["0.02", "0.02", "0.002"]
    assert [row["mAP"] != "" for row in rows] == [False, True, True]
    losses = {"val_cls_loss", "val_loc_loss"}
    assert set(rows[0]) == {
        *ROW,
        *losses,
        "mAP",
        *(f"AP_{n}" for n in ("disc", "ring", "square", "star", "triangle")),
    }
    assert rows[1]["AP_disc"] == ""  # no ground truth
    assert float(rows[1]["AP_square"]) >= 0
    assert all(float(row["cls_loss"]) > 0 for row in rows)


def test_rows_of_epochs_that_are_trained_again_are_dropped(tmp_path):
    path = tmp_path / "results.csv"
    first = ResultsFile.open(path, 0)
    for epoch in (1, 2, 3):
        first.add({"epoch": epoch, "lr": epoch})
    second = ResultsFile.open(path, 2)
    second.add({"epoch": 3, "lr": 9, "mAP": 0.5})
    assert path.read_text() == "epoch,lr,mAP\n1,1,\n2,2,\n3,9,0.5\n"
    assert ResultsFile.open(path, 0).rows == []


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfepoch,lr\n1,0.1\n",  # saved by a spreadsheet, with its mark
        b"epoch,lr\r\n1,0.1\r\nnote,\xe9\r\n",
        b"epoch,lr\n1,0.1\n\x00\x00\n",
        b"epoch,lr\n1,0.1\n\xc2\xb2,3\n",
    ],
)
def test_edited_results_do_not_stop_a_resume(tmp_path, data):
    path = tmp_path / "results.csv"
    path.write_bytes(data)
    assert ResultsFile.open(path, 5).rows == [{"epoch": "1", "lr": "0.1"}]


def test_sums_are_of_losses_divided_batch_by_batch():
    from train.devices import BatchLoss

    sums = EpochSums(seconds=2.0, waited=0.5)
    sums.add(BatchLoss(12.0, 6.0, 4.0, 12.0), images=8, normaliser=4.0)
    sums.add(BatchLoss(2.0, 0.0, 0.0, 6.0), images=8, normaliser=2.0)
    row = sums.row(5, 0.01)
    assert row == {
        "epoch": 5, "lr": "0.01", "cls_loss": "2.00000", "loc_loss": "0.75000", "positives_per_image": "0.25",
        "negatives_per_image": "1.12", "images_per_second": "8.00", "seconds": "2.0", "waited_for_data": "0.250",
    }  # fmt: skip


def test_epoch_line_tells_what_bounds_the_speed_and_when_it_ends():
    line = epoch_line(ROW, 10, 3725)
    assert line == (
        "epoch 3/10  cls 1.2346  loc 0.5000  lr 0.01  7.2 pos/image  12.5 images/s"
        "  compute-bound (waited 5% for data)  ETA 1:02:05"
    )
    assert "data-bound (waited 40% for data)  mAP 0.5000  ETA" in epoch_line(
        {**ROW, "waited_for_data": "0.4", "mAP": 0.5}, 10, 1
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.6, "1:00"), (125, "2:05"), (3599.7, "1:00:00"), (90061, "25:01:01")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_half_written_table_of_a_killed_run_is_cleared_away(tmp_path):
    ResultsFile.open(tmp_path / "results.csv", 0).add({"epoch": 1})
    for name in (".results.csv.abc.tmp", ".other-results.csv.abc.tmp"):
        (tmp_path / name).touch()
    assert [row["epoch"] for row in ResultsFile.open(tmp_path / "results.csv", 1).rows] == ["1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other-results.csv.abc.tmp", "results.csv"]

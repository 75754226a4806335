"""Plateau schedule and early stopping in whole runs: when they act, what they say, and what a resume makes of them."""

import json

import pytest

# Nothing gains so much: every figure but the first is one without an improvement.
STUCK = ("--min-delta", "1e9")
PLATEAU = ("--lr-schedule", "plateau", "--plateau-patience", "1", "--lr-factor", "0.5", *STUCK)


def rates(trainer, name):
    return [float(row["lr"]) for row in trainer.rows(name)]


def progress(trainer, name):
    card = trainer.card(name)
    return card.epochs[card.last]["progress"]


def test_run_that_stands_still_ends_with_a_whole_checkpoint(trainer, capsys):
    assert trainer.new("run", "--end-epoch", "9", "--early-stopping", "2", *STUCK, val=True) == 0
    card = trainer.card("run")
    assert (card.last, card.interrupted) == (3, None)
    assert {"mAP", "states_sha256"} <= set(card.epochs[3])
    assert [row["epoch"] for row in trainer.rows("run")] == ["1", "2", "3"]
    told = capsys.readouterr().out
    assert "stopped early after epoch 3: the mAP has not come above" in told
    assert "done: " in told.splitlines()[-1]


def test_least_epochs_are_trained_first(trainer):
    flags = ("--early-stopping", "1", "--min-epochs", "4", *STUCK)
    assert trainer.new("run", "--end-epoch", "9", *flags) == 0
    assert trainer.card("run").last == 4
    assert "the training loss has not come below" in trainer.log("run")
    assert "go by the training loss: there is no --val-path" in trainer.log("run")


def test_patience_counts_validations_where_there_are_any(trainer):
    flags = ("--val-period", "2", "--early-stopping", "1", *STUCK)
    assert trainer.new("run", "--end-epoch", "9", *flags, val=True) == 0
    assert trainer.card("run").last == 4


def test_without_ground_truth_the_validation_loss_is_watched(trainer, records):
    flags = ("--val-path", str(records.empty), "--early-stopping", "1", *STUCK)
    assert trainer.new("run", "--end-epoch", "9", *flags) == 0
    assert trainer.card("run").last == 2
    assert "the validation loss has not come below" in trainer.log("run")
    row, seen = trainer.rows("run")[0], progress(trainer, "run")
    assert row["mAP"] == ""
    assert seen["best"] == pytest.approx(float(row["val_cls_loss"]) + float(row["val_loc_loss"]), abs=2e-5)


def test_stopped_run_says_so_and_goes_on_where_the_flag_allows_it(trainer, capsys):
    assert trainer.new("run", "--end-epoch", "4", "--early-stopping", "1", *STUCK) == 0
    before = (trainer.folder / "run" / "ssd.json").read_bytes()
    capsys.readouterr()
    assert trainer.resume("run") == 2
    error = capsys.readouterr().err
    assert "the run was stopped early after epoch 2, since the training loss has not come below" in error
    assert "a greater --early-stopping, or --early-stopping 0, trains on" in error
    assert error.count("\n") == 1
    assert (trainer.folder / "run" / "ssd.json").read_bytes() == before
    assert trainer.resume("run", "--early-stopping", "2") == 0
    assert trainer.card("run").last == 3
    assert trainer.resume("run", "--early-stopping", "0") == 0
    assert trainer.card("run").last == 4
    assert trainer.bytes("run") == trainer.unbroken()


def test_last_epoch_is_not_called_an_early_stop(trainer):
    assert trainer.new("run", "--end-epoch", "2", "--early-stopping", "1", *STUCK) == 0
    assert "stopped early" not in trainer.log("run")


def test_plateau_cuts_the_rate_down_to_the_least(trainer):
    assert trainer.new("run", "--end-epoch", "5", "--lr", "0.02", "--min-lr", "0.004", *PLATEAU) == 0
    assert rates(trainer, "run") == pytest.approx([0.02, 0.02, 0.01, 0.005, 0.004])
    told = trainer.log("run")
    assert "the learning rate goes from 0.02 to 0.01 (--lr-schedule plateau)" in told
    assert told.count("the learning rate goes from") == 3


def test_plateau_that_never_comes_cuts_nothing(trainer):
    assert trainer.new("run", "--end-epoch", "4", "--lr-schedule", "plateau") == 0
    assert trainer.bytes("run") == trainer.unbroken()


@pytest.mark.parametrize("flags", [PLATEAU, (*PLATEAU, "--warmup-epochs", "2.5")], ids=["plateau", "warm-up"])
def test_plateau_in_two_parts_ends_like_one(trainer, flags):
    assert trainer.new("halves", "--end-epoch", "2", *flags) == 0
    assert trainer.resume("halves", "--end-epoch", "4") == 0
    assert trainer.bytes("halves") == trainer.unbroken(*flags)
    assert trainer.bytes("halves") != trainer.unbroken()
    assert "the learning rate was cut 1 times so far" in trainer.log("halves")


def test_plateau_stopped_inside_an_epoch_ends_like_an_unbroken_one(trainer, signal_at):
    signal_at(10)  # in the fourth epoch, after two cuts
    assert trainer.new("run", "--end-epoch", "4", *PLATEAU) == 130
    assert trainer.resume("run") == 0
    assert trainer.bytes("run") == trainer.unbroken(*PLATEAU)


def test_going_back_to_an_epoch_goes_back_to_its_rate(trainer):
    assert trainer.new("run", "--end-epoch", "4", "--checkpoint-period", "1", *PLATEAU) == 0
    before = rates(trainer, "run")
    assert trainer.resume("run", "--resume", "2", "--overwrite") == 0
    assert rates(trainer, "run") == before
    assert trainer.bytes("run") == trainer.unbroken(*PLATEAU)


def test_resume_does_not_lean_on_the_table(trainer):
    assert trainer.new("run", "--end-epoch", "2", *PLATEAU) == 0
    (trainer.folder / "run" / "results.csv").unlink()
    assert trainer.resume("run", "--end-epoch", "4") == 0
    assert trainer.bytes("run") == trainer.unbroken(*PLATEAU)


def test_validation_of_an_end_that_is_moved_later_counts_for_nothing(trainer):
    flags = ("--val-period", "2", *PLATEAU)
    assert trainer.new("whole", "--end-epoch", "6", *flags, val=True) == 0
    assert trainer.new("parts", "--end-epoch", "3", *flags, val=True) == 0
    assert trainer.resume("parts", "--end-epoch", "6") == 0
    assert progress(trainer, "parts") == progress(trainer, "whole")
    assert trainer.bytes("parts") == trainer.bytes("whole")


def test_card_of_an_earlier_version_resumes_bit_for_bit(trainer):
    """One that knows nothing of what came later: no progress, no later settings."""
    assert trainer.new("run", "--end-epoch", "2") == 0
    path = trainer.folder / "run" / "ssd.json"
    values = json.loads(path.read_text())
    del values["checksum"], values["epochs"]["2"]["progress"]
    later = ("lr_scale_by_batch", "plateau_patience", "min_lr", "early_stopping", "min_epochs", "min_delta")
    for name in later:
        del values["training"]["settings"][name]
    path.write_text(json.dumps(values))
    graph = (trainer.folder / "run" / "ssd-symbol.json").read_bytes()
    assert trainer.resume("run", "--end-epoch", "4") == 0
    assert trainer.bytes("run") == trainer.unbroken()
    assert (trainer.folder / "run" / "ssd-symbol.json").read_bytes() == graph
    assert "changed on resume: loss" not in trainer.log("run")


def test_rate_is_scaled_to_each_batch_size_and_said(trainer):
    flags = ("--lr-scale-by-batch", "--lr", "0.08", "--lr-schedule", "constant")
    assert trainer.new("run", "--end-epoch", "1", *flags) == 0
    assert "learning rate 0.08 x batch 4 / 32 = 0.01 (--lr-scale-by-batch)" in trainer.log("run")
    assert trainer.resume("run", "--end-epoch", "2", "--batch-size", "6") == 0
    assert rates(trainer, "run") == pytest.approx([0.01, 0.015])
    assert trainer.new("plain", "--end-epoch", "1", "--lr", "0.01", "--lr-schedule", "constant") == 0
    assert trainer.bytes("run", 2) != trainer.bytes("plain")


def test_loss_options_are_kept_in_graph_and_card_and_resume_bit_for_bit(trainer):
    flags = (
        "--matching",
        "bipartite",
        "--neutral-iou",
        "0.4",
        "--label-smoothing",
        "0.1",
        "--loc-weight",
        "2",
    )
    assert trainer.new("halves", "--end-epoch", "2", *flags) == 0
    nodes = json.loads((trainer.folder / "halves" / "ssd-symbol.json").read_text())["nodes"]
    assert {"_contrib_MultiBoxTarget", "_contrib_box_iou"} <= {node["op"] for node in nodes}
    assert trainer.resume("halves", "--end-epoch", "4") == 0
    assert trainer.bytes("halves") == trainer.unbroken(*flags)
    kept = trainer.card("halves").training["settings"]["loss"]
    assert (kept["matching"], kept["neutral_iou"], kept["label_smoothing"], kept["loc_weight"]) == (
        "bipartite",
        0.4,
        0.1,
        2.0,
    )


def test_flag_without_effect_is_told(trainer):
    flags = ("--min-lr", "0.001", "--min-epochs", "3", "--min-delta", "0.1")
    assert trainer.new("run", "--end-epoch", "1", *flags) == 0
    told = trainer.log("run")
    assert "--min-lr has no effect without --lr-schedule plateau" in told
    assert "--min-epochs has no effect without --early-stopping" in told
    assert "--min-delta has no effect without --early-stopping or --lr-schedule plateau" in told


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--neutral-iou", "0.7"), "--neutral-iou is 0.7, expected 0.5 at most"),
        (("--matching", "bipartit"), "--matching 'bipartit' is unknown; did you mean bipartite"),
        (("--label-smoothing", "1"), "--label-smoothing is 1.0, expected from 0"),
        (("--loc-weight", "-1"), "--loc-weight is -1.0, expected a number of 0 or more"),
        (("--early-stopping", "-3"), "--early-stopping -3: expected a whole number of at least 0"),
        (("--lr-schedule", "plateau", "--min-lr", "5"), "--min-lr 5.0: expected 0.02 at most"),
        (("--lr-schedule", "platau"), "--lr-schedule platau: no such schedule; did you mean plateau?"),
    ],
)
def test_impossible_flag_is_refused_in_one_line_before_anything_is_written(trainer, capsys, flags, message):
    assert trainer.new("run", *flags) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert trainer.files("run") == set()
    assert not (trainer.folder / "run" / "ssd.json").exists()

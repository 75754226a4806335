"""--resume: a run in two parts ends with the same bytes as one without a break, and nothing is replaced unasked."""

import json
import shutil

import pytest

ADAM = ("--optimizer", "adam", "--lr", "0.001")
RMSPROP = ("--optimizer", "rmsprop", "--lr", "0.001")
ONE_BATCH = ("--batch-size", "12")  # an epoch is one update
TWO_DEVICES = ("--gpus", "cpu:2")


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param((), id="sgd"),
        pytest.param(("--momentum", "0", *ONE_BATCH), id="sgd without momentum"),
        pytest.param(ADAM, id="adam"),
        pytest.param(RMSPROP, id="rmsprop"),
        pytest.param(("--lr-steps", "1,3", "--warmup-epochs", "1", *ONE_BATCH), id="across a schedule step"),
        pytest.param(("--workers", "2", "--augment", "microscope"), id="two workers, another augmentation"),
        pytest.param(("--freeze", "conv[12]_|bn1_", *ONE_BATCH), id="frozen parameters"),
    ],
)
def test_two_and_two_epochs_end_like_four(trainer, flags):
    assert trainer.new("halves", "--end-epoch", "2", *flags) == 0
    assert trainer.resume("halves", "--end-epoch", "4") == 0
    assert trainer.bytes("halves") == trainer.unbroken(*flags)


@pytest.mark.parametrize("flags", [(), ADAM], ids=["sgd", "adam"])
def test_two_and_two_epochs_on_two_devices_end_like_four(trainer, flags):
    data = [flag for flag in trainer.data() if flag != "--cpu"]
    halves, whole = trainer.prefix("halves"), trainer.prefix("whole")
    assert trainer.run(*data, *TWO_DEVICES, *flags, "--prefix", whole, "--end-epoch", "4") == 0
    assert trainer.run(*data, *TWO_DEVICES, *flags, "--prefix", halves, "--end-epoch", "2") == 0
    assert trainer.run("--prefix", halves, "--resume", "--end-epoch", "4") == 0
    assert "changed on resume: contexts" not in trainer.log("halves")
    assert trainer.bytes("halves") == trainer.bytes("whole")


def test_cosine_is_resumed_where_the_whole_run_has_its_end(trainer):
    """The end of a cosine belongs to the schedule, so the first part must know it."""
    flags = ("--lr-schedule", "cosine", "--end-epoch", "3", *ONE_BATCH)
    assert trainer.new("whole", *flags, "--checkpoint-period", "1") == 0
    shutil.copytree(trainer.folder / "whole", trainer.folder / "part")
    assert trainer.resume("part", "--resume", "1", "--overwrite") == 0
    assert trainer.bytes("part") == trainer.bytes("whole")


def test_run_of_single_epochs_ends_like_one_of_four(trainer):
    assert trainer.new("steps", "--end-epoch", "1") == 0
    for end in ("2", "3", "4"):
        assert trainer.resume("steps", "--end-epoch", end) == 0
    assert trainer.bytes("steps") == trainer.unbroken()


def test_resume_takes_an_epoch_last_or_best(trainer, trained):
    best = trainer.card("run").best
    for wanted in ("2", "LAST"):
        shutil.rmtree(trainer.folder / "copy", ignore_errors=True)
        trainer.copy("run", "copy")
        assert trainer.resume("copy", "--resume", wanted, "--end-epoch", "3", "--val-path", "") == 0
        assert trainer.card("copy").last == 3
    assert trainer.resume("run", "--resume", "best", "--end-epoch", "3", "--overwrite", "--val-path", "") == 0
    assert f"{best} epochs and 0 batches are done" in trainer.log("run")


def test_earlier_epoch_is_not_gone_back_to_unasked(trainer, capsys):
    trainer.new("run", "--end-epoch", "2", "--checkpoint-period", "1")
    before = (trainer.folder / "run" / "ssd.json").read_bytes()
    capsys.readouterr()
    assert trainer.resume("run", "--resume", "1", "--end-epoch", "2") == 2
    assert "--resume 1 would replace epochs 2" in capsys.readouterr().err
    assert (trainer.folder / "run" / "ssd.json").read_bytes() == before


def test_going_back_forgets_later_epochs_and_their_files(trainer):
    trainer.new("run", "--end-epoch", "3", "--checkpoint-period", "1")
    assert trainer.resume("run", "--resume", "1", "--end-epoch", "2", "--overwrite") == 0
    assert sorted(trainer.card("run").epochs) == [1, 2]
    assert trainer.files("run") == {f"ssd-000{n}.{kind}" for n in (1, 2) for kind in ("params", "states")}
    assert [row["epoch"] for row in trainer.rows("run")] == ["1", "2"]


def test_failed_start_forgets_nothing(trainer, capsys):
    trainer.new("run", "--end-epoch", "2", "--checkpoint-period", "1")
    before = {path: path.read_bytes() for path in (trainer.folder / "run").glob("ssd*") if path.is_file()}
    for flags in (("--val-path", "missing.rec"), ("--freeze", "("), ("--batch-size", "5", "--gpus", "cpu:2")):
        common = ("--prefix", trainer.prefix("run"), "--resume", "1", "--overwrite", "--end-epoch", "3")
        assert trainer.run(*common, *flags) == 2
    del before[trainer.folder / "run" / "ssd.lock"]
    assert {path: path.read_bytes() for path in before} == before


def test_finished_run_says_so(trainer, trained, capsys):
    assert trainer.resume("run") == 2
    assert "2 epochs are trained already, of 2: a greater --end-epoch trains on" in capsys.readouterr().err


def test_other_records_are_refused(trainer, trained, records, capsys):
    assert trainer.resume("run", "--train-path", str(records.other), "--end-epoch", "3") == 2
    assert "other.rec: not the records that" in capsys.readouterr().err


def test_same_records_at_another_place_are_taken(trainer, trained, records):
    for path in records.train.parent.glob("train*"):
        shutil.copy(path, trainer.folder)
    moved = str(trainer.folder / "train.rec")
    assert trainer.resume("run", "--train-path", moved, "--end-epoch", "3", "--val-path", "") == 0
    assert trainer.card("run").training["settings"]["train_path"] == moved


def test_changed_flag_is_told_and_kept(trainer, trained):
    flags = ("--end-epoch", "3", "--lr", "0.005", "--val-path", "", "--nms", "0.6")
    assert trainer.resume("run", *flags) == 0
    assert "changed on resume: lr 0.02 -> 0.005" in trainer.log("run")
    assert "changed on resume: detection" in trainer.log("run")
    assert trainer.card("run").training["settings"]["lr"] == 0.005
    assert trainer.card("run").detection.nms_threshold == 0.6


def test_batch_size_may_change_between_epochs(trainer, trained):
    assert trainer.resume("run", "--end-epoch", "3", "--batch-size", "6", "--val-path", "") == 0
    assert trainer.card("run").last == 3


def test_changed_loss_is_in_the_graph_too(trainer, trained):
    before = (trainer.folder / "run" / "ssd-symbol.json").read_text()
    assert trainer.resume("run", "--end-epoch", "3", "--min-neg-samples", "7", "--val-path", "") == 0
    after = (trainer.folder / "run" / "ssd-symbol.json").read_text()
    scalars = {node.get("attrs", {}).get("scalar") for node in json.loads(after)["nodes"]}
    assert before != after
    assert scalars & {"7", "7.0"}
    assert trainer.card("run").training["settings"]["loss"]["minimum_negatives"] == 7


def test_flags_of_the_first_run_may_be_given_again(trainer):
    """The usual way to resume: the same command line with --resume at its end."""
    flags = ("--anchor-ratios", "1,2,0.5", "--mean-r", "100", "--num-class", "5", "--end-epoch", "1")
    assert trainer.new("run", *flags) == 0
    assert trainer.new("run", *flags, "--resume", "--end-epoch", "2") == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--network", "vgg16_reduced"), "--network vgg16_reduced: a resumed run keeps its own (ssd7)"),
        (("--data-shape", "128"), "--data-shape 128x128: a resumed run keeps its own (64x96)"),
        (("--anchor-sizes", "0.1;0.2;0.3;0.4"), "--anchor-sizes"),
        (("--anchor-steps", "0.1,0.2,0.3,0.4"), "--anchor-steps"),
        (("--mean-g", "3"), "--mean-r, -g, -b 123,3,104"),
        (("--num-class", "20"), "--num-class 20: a resumed run keeps its own (5)"),
        (("--class-names", "cat,dog"), "--class-names"),
        (("--pretrained", "model/vgg"), "--pretrained model/vgg"),
        (("--optimizer", "adam"), "resume with the optimiser and the frozen parameters of the first run"),
        (("--resume", "7"), "no epoch 7: kept are 1, 2: give one by --resume"),
        (("--resume", "first"), "--resume first: expected best, last or a number"),
        (("--resume", "²"), "--resume ²: expected best, last or a number"),
    ],
)
def test_what_would_make_another_run_is_refused(trainer, trained, capsys, flags, message):
    before = (trainer.folder / "run" / "ssd.json").read_bytes()
    assert trainer.resume("run", "--end-epoch", "3", *flags) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert (trainer.folder / "run" / "ssd.json").read_bytes() == before

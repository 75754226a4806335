"""Ctrl-C and a polite kill: the batch is finished, everything is saved, and the run goes on as if nothing had been."""

import shutil
import signal

import pytest

# 12 images in batches of 4: updates 0, 1, 2 are epoch 1, updates 3, 4, 5 epoch 2, and so on.
ADAM = ("--optimizer", "adam", "--lr", "0.001")


def whole_rows(trainer, name):
    """The rows of results.csv without what depends on the clock."""
    clock = ("images_per_second", "seconds", "waited_for_data")
    return [{key: value for key, value in row.items() if key not in clock} for row in trainer.rows(name)]


@pytest.mark.parametrize("flags", [(), ADAM, ("--workers", "2", "--augment", "microscope")])
def test_run_stopped_inside_an_epoch_ends_like_an_unbroken_one(trainer, signal_at, flags):
    signal_at(4)
    assert trainer.new("run", "--end-epoch", "4", *flags) == 130
    assert trainer.card("run").interrupted["batch"] == 2
    assert "--resume" in trainer.log("run").splitlines()[-1]
    assert trainer.resume("run") == 0
    assert trainer.bytes("run") == trainer.unbroken(*flags)
    assert [row["epoch"] for row in trainer.rows("run")] == ["1", "2", "3", "4"]
    assert trainer.card("run").interrupted is None


def test_run_stopped_in_its_first_batch_ends_like_an_unbroken_one(trainer, signal_at, capsys):
    signal_at(0)
    assert trainer.new("run", "--end-epoch", "4") == 130
    assert trainer.card("run").last is None
    assert trainer.new("run", "--end-epoch", "4") == 2
    assert "a detector lies there (no whole epoch, and a part of one)" in capsys.readouterr().err
    assert trainer.resume("run") == 0
    assert trainer.bytes("run") == trainer.unbroken()


def test_losses_of_a_broken_epoch_are_those_of_an_unbroken_one(trainer, signal_at):
    assert trainer.new("whole", "--end-epoch", "2") == 0
    signal_at(1, 4)
    assert trainer.new("run", "--end-epoch", "2") == 130
    assert trainer.resume("run") == 130
    assert trainer.resume("run") == 0
    assert whole_rows(trainer, "run") == whole_rows(trainer, "whole")


def test_stop_in_an_epochs_last_batch_saves_the_epoch(trainer, signal_at, capsys):
    signal_at(5)
    assert trainer.new("run", "--end-epoch", "4") == 130
    assert "epoch 2 is saved" in capsys.readouterr().out
    assert (trainer.card("run").last, trainer.card("run").interrupted) == (2, None)
    assert trainer.resume("run") == 0
    assert trainer.bytes("run") == trainer.unbroken()
    assert [row["epoch"] for row in trainer.rows("run")] == ["1", "2", "3", "4"]


def test_stop_in_the_very_last_batch_is_a_finished_run(trainer, signal_at):
    signal_at(5)
    assert trainer.new("run", "--end-epoch", "2") == 0
    assert trainer.card("run").last == 2


def test_run_stopped_again_and_again_ends_like_an_unbroken_one(trainer, signal_at):
    """Update 1 of epoch 1; then at once in the batch after it; then in the last of epoch 2; then inside epoch 3."""
    signal_at(1, 2, 5, 7)
    assert trainer.new("run", "--end-epoch", "4") == 130
    assert [trainer.resume("run") for _ in range(3)] == [130, 130, 130]
    assert trainer.resume("run") == 0
    assert trainer.bytes("run") == trainer.unbroken()
    assert [row["epoch"] for row in trainer.rows("run")] == ["1", "2", "3", "4"]
    assert trainer.files("run") == {"ssd-0004.params", "ssd-0004.states"}


def test_run_on_two_devices_stopped_inside_an_epoch_ends_like_an_unbroken_one(trainer, signal_at):
    """Within an epoch each device has its own BatchNorm statistics; they must not be averaged, or lost, by a stop."""
    data = [flag for flag in trainer.data() if flag != "--cpu"]
    for name in ("whole", "run"):
        if name == "run":
            signal_at(3)
        flags = ("--gpus", "cpu:2", "--prefix", trainer.prefix(name), "--end-epoch", "2")
        assert trainer.run(*data, *flags) == (130 if name == "run" else 0)
    assert trainer.log("run").splitlines()[-1].endswith("--resume --gpus cpu:2")
    assert trainer.run("--prefix", trainer.prefix("run"), "--resume") == 0
    assert trainer.bytes("run") == trainer.bytes("whole")


def test_sigterm_saves_like_ctrl_c(trainer, signal_at):
    signal_at(1, number=signal.SIGTERM)
    assert trainer.new("run", "--end-epoch", "2") == 130
    assert trainer.card("run").interrupted["batch"] == 2


def test_second_ctrl_c_stops_at_once_and_the_last_epoch_stays(trainer, signal_at, monkeypatch, capsys):
    from train.devices import DeviceGroup

    signal_at(4)
    update = DeviceGroup.update  # sends the first signal after update 4; the second one follows at once
    calls = iter(range(100))

    def twice(self, *args):
        update(self, *args)
        if next(calls) == 4:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(DeviceGroup, "update", twice)
    assert trainer.new("run", "--end-epoch", "4") == 130
    printed = capsys.readouterr().out
    assert "stopped at once; epoch 1 of" in printed
    assert "go on with: python train.py --prefix" in printed
    assert (trainer.card("run").last, trainer.card("run").interrupted) == (1, None)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert trainer.resume("run") == 0
    assert trainer.bytes("run") == trainer.unbroken()


def test_signals_are_given_back_after_the_run(trainer):
    before = (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    trainer.new("run", "--end-epoch", "1")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_going_back_to_the_whole_epoch_before_a_stop_needs_overwrite(trainer, signal_at, capsys):
    signal_at(4)
    trainer.new("run", "--end-epoch", "4")
    assert trainer.resume("run", "--resume", "1") == 2
    assert "--resume 1 would replace an interrupted epoch 2" in capsys.readouterr().err
    assert trainer.resume("run", "--resume", "1", "--overwrite") == 0
    assert trainer.bytes("run") == trainer.unbroken()


@pytest.mark.parametrize("flags", [("--batch-size", "6"), ("--seed", "1")])
def test_batches_of_a_broken_epoch_cannot_change(trainer, signal_at, capsys, flags):
    signal_at(4)
    trainer.new("run", "--end-epoch", "4")
    assert trainer.resume("run", *flags) == 2
    assert "the run stopped inside epoch 2" in capsys.readouterr().err


def test_damaged_file_of_a_stopped_run_is_told(trainer, signal_at, capsys):
    signal_at(4)
    trainer.new("run", "--end-epoch", "4")
    path = trainer.folder / "run" / "ssd-interrupted-0001-000002.states"
    whole = path.read_bytes()
    shutil.copy(path, trainer.folder / "kept")
    path.write_bytes(whole[:-100])
    assert trainer.resume("run") == 2
    assert f"{path}: damaged" in capsys.readouterr().err

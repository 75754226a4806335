"""A loss or a parameter that is not finite stops the run, in one line that names the records, and spoils nothing."""

import pytest

from common.mx import mx
from model.parameters import load_arrays, save_arrays
from model.saved import load
from train.devices import DeviceGroup


def error_line(capfd):
    error = capfd.readouterr().err
    assert error.startswith("error: "), error
    assert error.count("\n") == 1, error
    return error


def names_in(error):
    """The records that a message names."""
    return {word.strip(",\n") for word in error.split("records: ")[1].split()}


def all_names(trainer):
    return {f"JPEGImages/train_{index:06d}.jpg" for index in range(12)}


def test_diverging_run_names_the_records_and_keeps_the_last_good_checkpoint(trainer, trained, capfd):
    before = trainer.bytes("run", 2)
    assert trainer.resume("run", "--lr", "1e30", "--clip-gradient", "0", "--end-epoch", "4") == 2
    error = error_line(capfd)
    assert "epoch 3 batch " in error
    assert "the loss is not finite" in error
    assert f"epoch 2 of {trained} is the last good checkpoint" in error
    named = names_in(error)
    assert len(named) == 4
    assert named <= all_names(trainer)
    assert trainer.card("run").last == 2
    assert trainer.bytes("run", 2) == before
    assert load(trained, "last").epoch == 2
    assert trainer.resume("run", "--end-epoch", "3", "--lr", "0.02") == 0


def test_loss_that_is_not_finite_in_the_first_batch_leaves_no_checkpoint(trainer, trained, tmp_path, capfd):
    arrays = load_arrays(f"{trained}-0002.params")
    name = "arg:relu4_cls_pred_conv_weight"
    poisoned = {**arrays, name: mx.nd.full(arrays[name].shape, 1e38)}
    save_arrays(tmp_path / "poisoned-0001.params", poisoned)
    assert trainer.new("new", "--pretrained", str(tmp_path / "poisoned"), "--end-epoch", "2") == 2
    error = error_line(capfd)
    assert "epoch 1 batch 1: the loss is not finite" in error
    assert "nothing was saved" in error
    assert len(names_in(error)) == 4
    assert trainer.files("new") == set()


def test_pretrained_file_with_nan_is_refused_before_anything_begins(trainer, trained, tmp_path, capfd):
    arrays = load_arrays(f"{trained}-0002.params")
    arrays["arg:conv2_weight"][0, 0, 0, 0] = float("nan")
    save_arrays(tmp_path / "nan-0001.params", arrays)
    assert trainer.new("new", "--pretrained", str(tmp_path / "nan"), "--end-epoch", "2") == 2
    assert "nan-0001.params: parameter conv2_weight holds values that are not finite" in error_line(capfd)


@pytest.mark.parametrize("val", [False, True])
def test_parameter_spoilt_by_an_epochs_last_update_is_not_saved(trainer, monkeypatch, capfd, val):
    """The loss was finite in every batch: only the parameters tell."""
    update, count = DeviceGroup.update, iter(range(100))

    def spoil(self, *args):
        update(self, *args)
        if next(count) == 5:
            for executor in self._executors:
                executor.arg_dict["conv3_weight"][:] = float("inf")

    monkeypatch.setattr(DeviceGroup, "update", spoil)
    assert trainer.new("run", "--end-epoch", "3", val=val) == 2
    error = error_line(capfd)
    assert "epoch 2: parameter conv3_weight is not finite" in error
    assert "is the last good checkpoint" in error
    assert trainer.card("run").last == 1
    assert trainer.files("run") == {"ssd-0001.params", "ssd-0001.states"}
    assert [row["epoch"] for row in trainer.rows("run")] == ["1"]


def test_nan_on_a_stop_keeps_the_last_good_checkpoint(trainer, monkeypatch, signal_at, capfd):
    signal_at(4)
    update, count = DeviceGroup.update, iter(range(100))

    def spoil(self, *args):
        if next(count) == 4:
            for executor in self._executors:
                executor.aux_dict["bn7_moving_var"][:] = float("nan")
        update(self, *args)

    monkeypatch.setattr(DeviceGroup, "update", spoil)
    assert trainer.new("run", "--end-epoch", "3") == 2
    assert "epoch 2 batch 2: parameter bn7_moving_var is not finite" in capfd.readouterr().err
    assert (trainer.card("run").last, trainer.card("run").interrupted) == (1, None)


def test_loss_that_grows_beyond_reason_is_told(trainer):
    assert trainer.new("far", "--lr", "50", "--end-epoch", "2", "--seed", "1") == 0
    assert "training diverges; take a smaller --lr" in " ".join(trainer.log("far").split())
    assert trainer.new("near", "--lr", "0.01", "--end-epoch", "2", "--seed", "1") == 0
    assert "diverges" not in trainer.log("near")

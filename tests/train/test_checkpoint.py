"""Checkpoints: what is kept, what is pruned, and that a stop at any moment of writing leaves a prefix that resumes."""

import os
from pathlib import Path

import pytest

from common.files import sha256
from common.mx import mx
from model.card import Card
from model.saved import load
from symbol.presets import network_config
from train.checkpoint import Checkpoints

ONE_BATCH = ("--batch-size", "12")  # an epoch is one update


class Killed(BaseException):
    """Stands for a process that ends here."""


def pairs(*epochs):
    return {f"ssd-{epoch:04d}.{kind}" for epoch in epochs for kind in ("params", "states")}


@pytest.fixture
def checkpoints(tmp_path):
    """A function (keep_period) -> Checkpoints of an empty prefix, and a function that saves an epoch of a mAP."""
    config = network_config("ssd7", (64, 96), 2)
    card = Card("ssd7", (64, 96), ("cat", "dog"), config.mean, config.std, config.anchors)

    def make(keep_period):
        return Checkpoints(str(tmp_path / "ssd"), card, keep_period)

    return make


def save(checkpoints, epoch, score=None):
    params = {"weight": mx.nd.full((3,), epoch)}, {"mean": mx.nd.zeros(2)}
    entry = {} if score is None else {"mAP": score}
    checkpoints.save_epoch(epoch, params, {"weight/0": mx.nd.ones(3)}, entry)


def there(tmp_path):
    return {path.name for path in tmp_path.iterdir()} - {"ssd.json", "ssd-symbol.json", "ssd.lock"}


@pytest.mark.parametrize(
    ("period", "scores", "kept"),
    [
        (0, [None, None, None], [3]),
        (0, [0.1, 0.5, 0.3, 0.4], [2, 4]),
        (0, [0.1, 0.5, 0.5], [2, 3]),  # of equal ones the first stays
        (0, [None, 0.2, None, None], [2, 4]),
        (0, [0.0, 0.0], [1, 2]),
        (2, [0.1, 0.9, 0.3, 0.4, 0.5], [2, 4, 5]),
        (2, [0.9, 0.1, 0.3, 0.4, 0.5, 0.6, 0.7], [1, 2, 4, 6, 7]),
        (1, [None, None, None], [1, 2, 3]),
    ],
)
def test_last_best_and_periods_stay_and_nothing_else(checkpoints, tmp_path, period, scores, kept):
    run = checkpoints(period)
    for epoch, score in enumerate(scores, start=1):
        save(run, epoch, score)
    assert sorted(run.card.epochs) == kept
    assert there(tmp_path) == pairs(*kept)
    for epoch in kept:
        assert load(run.prefix, epoch).arg_params["weight"].asnumpy().tolist() == [epoch] * 3


@pytest.fixture(autouse=True)
def _symbol(tmp_path):
    (tmp_path / "ssd-symbol.json").write_text(mx.sym.Variable("weight").tojson())


def test_files_of_other_prefixes_and_of_the_user_stay(checkpoints, tmp_path):
    others = {"ssd2-0001.states", "ssd-2-0001.params", "ssd-2-0001.states", ".ssd-2-0001.params.ab.tmp"}
    others |= {"ssd-0000.params", "notes.txt", "ssd-deploy-0001.params"}
    for name in others:
        (tmp_path / name).write_text("mine")
    run = checkpoints(0)
    for epoch in (1, 2):
        save(run, epoch)
    assert there(tmp_path) == others | pairs(2)


def test_what_a_killed_run_left_is_cleared_away(checkpoints, tmp_path):
    strays = {".ssd-0001.params.x1_y.tmp", ".ssd.json.abc.tmp", "ssd-interrupted-0000-000002.params"}
    for name in strays | pairs(1):  # epoch 1 without the card that would name it
        (tmp_path / name).write_text("half")
    run = checkpoints(0)
    run.begin(mx.sym.Variable("weight"))
    assert there(tmp_path) == set()


def test_card_has_the_hash_of_every_file(trainer, trained):
    card = trainer.card("run")
    for epoch, entry in card.epochs.items():
        assert entry["sha256"] == sha256(f"{trained}-{epoch:04d}.params")
        assert entry["states_sha256"] == sha256(f"{trained}-{epoch:04d}.states")


def test_checkpoint_holds_the_networks_parameters_and_nothing_else(trainer, trained):
    from symbol.network import heads

    network = heads(network_config("ssd7", (64, 96), 5))
    names = {f"arg:{n}" for n in network.list_arguments() if n != "data"}
    names |= {f"aux:{n}" for n in network.list_auxiliary_states()}
    arrays = trainer.arrays("run")
    assert {n for n in arrays if not n.startswith("state:")} == names
    assert {n for n in arrays if n.startswith("state:")} == {
        f"state:{n[4:]}/0" for n in names if n.startswith("arg:")
    }


def test_states_are_plain_arrays_and_no_pickle(trained):
    assert (
        Path(f"{trained}-0002.states").read_bytes().startswith(b"\x12\x01" + bytes(6))
    )  # MXNet's list of arrays


def kill_at_write(monkeypatch, number):
    """Make the process "end" when the number-th file, pictures aside, is about to get its name."""
    replace, count = os.replace, iter(range(1, 10**6))

    def killed(source, target):
        if Path(target).suffix not in (".png", ".jpg") and next(count) == number:
            raise Killed(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)


@pytest.mark.parametrize("number", range(2, 7))
def test_run_killed_at_any_file_of_an_epoch_resumes(trainer, monkeypatch, number):
    """The second is results.csv, then parameters, states and card of epoch 3; the sixth is results.csv of epoch 4."""
    assert trainer.new("run", *ONE_BATCH, "--end-epoch", "2") == 0
    with monkeypatch.context() as patch:
        kill_at_write(patch, number)
        with pytest.raises(Killed):
            trainer.resume("run", "--end-epoch", "4")
    assert load(trainer.prefix("run")).epoch == (3 if number == 6 else 2)
    assert trainer.resume("run", "--end-epoch", "4") == 0
    assert trainer.bytes("run") == trainer.unbroken(*ONE_BATCH)
    assert [row["epoch"] for row in trainer.rows("run")] == ["1", "2", "3", "4"]
    assert trainer.files("run") == pairs(4)


@pytest.mark.parametrize("number", [1, 2, 4, 6])
def test_run_killed_before_its_first_checkpoint_is_begun_anew(trainer, monkeypatch, number, capsys):
    """Card, symbol, results.csv, parameters, states, card."""
    with monkeypatch.context() as patch:
        kill_at_write(patch, number)
        with pytest.raises(Killed):
            trainer.new("run", *ONE_BATCH, "--end-epoch", "4")
    assert trainer.resume("run") == 2
    if number > 1:  # the card is there
        assert "nothing to resume: start it again without --resume" in capsys.readouterr().err
    assert trainer.new("run", *ONE_BATCH, "--end-epoch", "4") == 0
    assert trainer.bytes("run") == trainer.unbroken(*ONE_BATCH)


@pytest.mark.parametrize("number", range(1, 4))
def test_run_killed_while_it_saves_a_stop_resumes(trainer, monkeypatch, signal_at, number):
    """Parameters, states, card of the interrupted epoch."""
    assert trainer.new("run", "--end-epoch", "2") == 0
    signal_at(1)
    with monkeypatch.context() as patch:
        kill_at_write(patch, 1 + number)  # the first is the card at the start
        with pytest.raises(Killed):
            trainer.resume("run", "--end-epoch", "4")
    assert trainer.resume("run", "--end-epoch", "4") == 0
    assert trainer.bytes("run") == trainer.unbroken()
    assert trainer.files("run") == pairs(4)


def test_overwrite_replaces_only_when_the_new_run_can_begin(trainer, trained, capsys):
    before = (trainer.folder / "run" / "ssd.json").read_bytes()
    assert trainer.new("run", "--overwrite", "--train-path", "missing.rec") == 2
    assert (trainer.folder / "run" / "ssd.json").read_bytes() == before
    assert trainer.new("run", "--overwrite", *ONE_BATCH, "--end-epoch", "4") == 0
    assert trainer.bytes("run") == trainer.unbroken(*ONE_BATCH)
    assert trainer.files("run") == pairs(4)
    assert [row["epoch"] for row in trainer.rows("run")] == ["1", "2", "3", "4"]


def test_new_run_does_not_replace_a_detector(trainer, trained, capsys):
    assert trainer.new("run", "--end-epoch", "1") == 2
    error = capsys.readouterr().err
    assert "a detector lies there (its last epoch is 2): --resume goes on with it" in error
    os.remove(f"{trained}.json")  # as mxnet-ssd's own files are
    assert trainer.new("run", "--end-epoch", "1") == 2

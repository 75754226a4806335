"""Options and default boxes of a run: kept in its card, the same when it goes on, refused when they would change."""

import shutil

import pytest

from model.card import read_card
from model.saved import load
from train.command import main

OPTIONS = ("--heads", "separable", "--extra-layers", "1", "--norm", "batch")
BOXES = (
    "--anchor-scales",
    "0.1,0.9",
    "--anchor-steps",
    "8,16,32,64,64",
    "--anchor-clip",
    "--anchor-variances",
    "0.2,0.2",
)


@pytest.fixture(scope="module")
def once(records, tmp_path_factory):
    """The folder of a run of one epoch with options; not to be changed (see `run`)."""
    folder = tmp_path_factory.mktemp("options") / "run"
    flags = ("--network", "ssd7", "--data-shape", "64,96", "--batch-size", "4", "--workers", "1", "--cpu")
    flags += ("--train-path", str(records.train), "--prefix", str(folder / "ssd"), "--end-epoch", "1")
    assert main([*flags, *OPTIONS, *BOXES]) == 0
    return folder


@pytest.fixture
def run(trainer, once):
    """The prefix of a copy of that run."""
    shutil.copytree(once, trainer.folder / "run")
    return trainer.prefix("run")


def test_options_stand_in_the_card_and_in_the_graph_and_survive_resume(trainer, run):
    before = read_card(run)
    assert before.network_options == {"heads": "separable", "norm": "batch", "extra_layers": 1}
    assert (before.anchors.clip, before.anchors.variances) == (True, (0.2,) * 4)
    assert before.anchors.steps[0] == (8 / 64, 8 / 96)
    names = set(load(run).symbol.list_arguments())
    assert {"relu4_norm_gamma", "relu4_loc_pred_dw_weight", "multi_feat_4_conv_3x3_conv_weight"} <= names
    assert trainer.resume("run", "--end-epoch", "2", *OPTIONS, *BOXES) == 0
    after = read_card(run)
    assert (after.last, after.network_options, after.anchors) == (2, before.network_options, before.anchors)
    assert set(load(run).symbol.list_arguments()) == names


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--heads", "plain"), "--heads plain: a resumed run keeps its own (separable)"),
        (("--norm", "l2"), "--norm l2: a resumed run keeps its own (batch)"),
        (("--extra-layers", "2"), "--extra-layers 2: a resumed run keeps its own (1)"),
        (("--width-mult", "0.5"), "--width-mult 0.5: a resumed run keeps its own (1)"),
        (("--from-layers", "relu6"), "--from-layers relu6: a resumed run keeps its own (none)"),
        (("--anchor-scales", "0.1,0.8"), "--anchor-scales 0.1"),
        (("--anchor-steps", "auto"), "--anchor-steps auto: a resumed run keeps its own ("),
        (("--no-anchor-clip",), "--anchor-clip False: a resumed run keeps its own (True)"),
        (("--anchor-offsets", "0,0"), "--anchor-offsets 0,0: a resumed run keeps its own (0.5,0.5)"),
        (("--anchor-variances", "0.1,0.2"), "--anchor-variances 0.1,0.1,0.2,0.2: a resumed run keeps its own"),
        (("--data-shape", "64"), "--data-shape 64x64: a resumed run keeps its own (64x96)"),
    ],
)  # fmt: skip
def test_other_option_is_refused_on_resume(trainer, run, capfd, flags, expected):
    capfd.readouterr()
    assert main(["--prefix", run, "--cpu", "--resume", "--end-epoch", "2", *flags]) == 2
    error = capfd.readouterr().err
    assert expected in error
    assert "start a new run at another --prefix" in error
    assert read_card(run).last == 1


def test_file_of_default_boxes_is_compared_on_resume(trainer, run, capfd, tmp_path):
    same, other = tmp_path / "same.json", tmp_path / "other.json"
    same.write_text('{"clip": true}')
    other.write_text('{"clip": false}')
    assert trainer.resume("run", "--end-epoch", "2", "--anchors", str(same)) == 0
    assert trainer.resume("run", "--end-epoch", "3", "--anchors", str(other)) == 2
    assert f"--anchors {other}: clip False: a resumed run keeps its own (True)" in capfd.readouterr().err

"""train.py --finetune: from a detector of five drawn shapes to one of two, and what can be wrong with the flag."""

import json
import shutil
import sys
import types
from dataclasses import replace

import numpy as np
import pytest

from common.mx import mx
from model.card import read_card, write_card
from model.class_rows import match_classes, move_rows
from model.parameters import load_arrays, save_arrays
from symbol.anchors import FixedAnchors
from train.finetune_flag import same_source, split_source
from train.flags import build_parser

# A run with it leaves the parameters where they were (zeros become 1e-30), but for BatchNorm's statistics.
STILL = ("--lr", "1e-30", "--wd", "0", "--end-epoch", "1")
SMALL = ("--batch-size", "4", "--workers", "1", "--cpu")
FIVE = ("disc", "ring", "square", "star", "triangle")
TWO = ("square", "triangle")


def report_of(trainer, name="tuned"):
    return trainer.card(name).training["finetune"]


def tune(trainer, source, *flags, records=None, name="tuned"):
    records = records or trainer.records.two_classes
    given = ("--finetune", source, "--train-path", str(records), "--prefix", trainer.prefix(name))
    return trainer.run(*given, *SMALL, *flags)


def refused(trainer, capsys, *flags):
    """Run with flags that cannot be; returns the error's line."""
    given = ("--train-path", str(trainer.records.two_classes), "--prefix", trainer.prefix("tuned"))
    assert trainer.run(*given, *SMALL, *flags) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert not (trainer.folder / "tuned" / "ssd.json").exists()
    return lines[-1]


def unmoved(result, expected, name):
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-20, err_msg=name)


def everything_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# ---- what is taken


def test_detector_of_five_classes_becomes_one_of_two(trainer, trained, capsys):
    before = everything_in(trainer.folder / "run")
    assert tune(trainer, trained, *STILL) == 0
    said = capsys.readouterr().out
    for line in (
        "classes kept: square, triangle",
        "classes dropped: disc, ring, star",
        "43 parameters taken",
    ):
        assert line in said
    assert everything_in(trainer.folder / "run") == before
    source, card = trainer.card("run"), trainer.card("tuned")
    for name in ("network", "data_shape", "mean", "std", "anchors", "detection", "network_options"):
        assert getattr(card, name) == getattr(source, name), name
    assert card.class_names == TWO
    taken, result = trainer.arrays("run", source.best), trainer.arrays("tuned")
    for name, array in result.items():
        if name.startswith("arg:") and "_cls_pred_" in name:
            expected = move_rows(taken[name], np.zeros_like(array), match_classes(FIVE, TWO))
        elif name.startswith("arg:"):
            expected = taken[name]
        else:
            continue
        unmoved(array, expected, name)


def test_card_says_what_was_taken(trainer, trained):
    assert tune(trainer, f"{trained}:2", "--end-epoch", "1") == 0
    assert trainer.card("tuned").training["settings"]["finetune"] == f"{trained}:2"
    assert report_of(trainer) == {
        "source": trained, "epoch": 2, "kept": ["square", "triangle"], "new": [],
        "dropped": ["disc", "ring", "star"], "nearly": [], "reset_heads": False, "taken": 43, "by_rows": 8,
        "anew": [], "unused": [],
    }  # fmt: skip


def test_new_classes_begin_as_the_network_begins_them(trainer, trained, records):
    """From two classes back to five: the rows of the others are those of a run from random weights."""
    assert tune(trainer, trained, *STILL) == 0
    assert tune(trainer, trainer.prefix("tuned"), *STILL, records=records.train, name="back") == 0
    assert trainer.new("random", *STILL) == 0
    assert report_of(trainer, "back")["new"] == ["disc", "ring", "star"]
    two, back, random = (trainer.arrays(name) for name in ("tuned", "back", "random"))
    name = "arg:relu4_cls_pred_conv_weight"
    expected = move_rows(two[name], random[name], match_classes(TWO, FIVE))
    unmoved(back[name], expected, name)


def test_same_classes_keep_everything(trainer, trained, records):
    assert tune(trainer, f"{trained}:2", *STILL, records=records.other) == 0
    taken, result = trainer.arrays("run", 2), trainer.arrays("tuned")
    for name in (name for name in result if name.startswith("arg:")):
        unmoved(result[name], taken[name], name)


def test_reset_heads_start_anew(trainer, trained, records, capsys):
    assert tune(trainer, f"{trained}:2", *STILL, "--reset-heads", records=records.train) == 0
    assert "all heads start anew (--reset-heads)" in capsys.readouterr().out
    assert trainer.new("random", *STILL) == 0
    taken, result, random = trainer.arrays("run", 2), trainer.arrays("tuned"), trainer.arrays("random")
    for name in (name for name in result if name.startswith("arg:")):
        unmoved(result[name], (random if "_pred_" in name else taken)[name], name)


def test_flags_go_over_the_card(trainer, trained):
    flags = ("--data-shape", "96", "--mean-r", "1", "--nms", "0.3", "--lr", "0.001", "--end-epoch", "1")
    assert tune(trainer, trained, *flags) == 0
    source, card = trainer.card("run"), trainer.card("tuned")
    assert (card.data_shape, card.mean, card.std) == ((96, 96), (1.0, *source.mean[1:]), source.std)
    assert card.detection == replace(source.detection, nms_threshold=0.3)


def test_heads_whose_boxes_changed_start_anew_and_are_told(trainer, trained, capsys):
    sizes = "0.1,0.15;0.2,0.3,0.4;0.4,0.5;0.7,0.8"
    assert tune(trainer, trained, *STILL, "--anchor-sizes", sizes) == 0
    assert report_of(trainer)["anew"] == ["relu5_cls_pred_conv", "relu5_loc_pred_conv"]
    assert "2 layers started anew: relu5_cls_pred_conv, relu5_loc_pred_conv" in capsys.readouterr().out


def test_default_boxes_of_ones_own_stay_with_another_input(trainer, trained):
    """Sizes are parts of the image; only the boxes' distance follows from the input."""
    sizes = ("--anchor-sizes", "0.1;0.2,0.3;0.4,0.5;0.7", "--anchor-variances", "0.2,0.4")
    assert trainer.new("own", *sizes, "--end-epoch", "1") == 0
    assert tune(trainer, trainer.prefix("own"), *STILL, "--data-shape", "96") == 0
    assert tune(trainer, trained, *STILL, "--data-shape", "96", name="plain") == 0
    own, anchors, plain = (trainer.card(name).anchors for name in ("own", "tuned", "plain"))
    assert report_of(trainer)["anew"] == []
    assert anchors == replace(own, steps=plain.steps)
    assert anchors.steps != own.steps


def test_usual_rate_is_a_third_of_that_from_random_weights(trainer, trained):
    assert tune(trainer, trained, "--end-epoch", "1") == 0
    assert trainer.card("tuned").training["settings"]["lr"] == pytest.approx(0.02 / 3)


def test_names_that_case_alone_keeps_apart_are_suggested(trainer, trained, capsys):
    given = "disc,ring,Square,star,triangle"
    assert tune(trainer, trained, *STILL, "--finetune-class-names", given) == 0
    assert report_of(trainer)["kept"] == ["triangle"]
    assert "'square' is taken for a new class, 'Square' of the source is dropped" in capsys.readouterr().out


def test_classes_of_the_source_can_be_called_otherwise(trainer, trained):
    assert tune(trainer, f"{trained}:2", *STILL, "--finetune-class-names", "square,b,c,d,triangle") == 0
    name = "arg:relu4_cls_pred_conv_bias"
    taken, result = trainer.arrays("run", 2)[name], trainer.arrays("tuned")[name]
    by_box, ours = taken.reshape(-1, 6), result.reshape(-1, 3)
    unmoved(ours, by_box[:, [0, 1, 5]], name)


# ---- which detector


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("output/ssd", ("output/ssd", None)),
        ("output/ssd:12", ("output/ssd", "12")),
        ("output/ssd:Best", ("output/ssd", "best")),
        ("C:\\runs\\ssd", ("C:\\runs\\ssd", None)),
        ("C:\\runs\\ssd:last", ("C:\\runs\\ssd", "last")),
        ("a:b/ssd", ("a:b/ssd", None)),
    ],
)
def test_epoch_stands_behind_the_last_colon(text, expected):
    assert split_source(text) == expected


def test_same_source_is_known_with_and_without_its_epoch(tmp_path):
    assert same_source(f"{tmp_path}/a/ssd:3", f"{tmp_path}/b/../a/ssd")
    assert same_source(f"{tmp_path}/ssd:3", f"{tmp_path}/ssd:3")
    assert not same_source(f"{tmp_path}/ssd:3", f"{tmp_path}/ssd:2")
    assert not same_source(f"{tmp_path}/ssd:3", f"{tmp_path}/sd:3")


def test_epoch_can_be_given_by_its_own_flag(trainer, trained):
    for epoch in (1, 2):
        assert tune(trainer, trained, *STILL, "--epoch", str(epoch), "--overwrite") == 0
        assert report_of(trainer)["epoch"] == epoch


@pytest.mark.parametrize("text", ["-1", "0"])
def test_mxnet_ssds_off_is_off(trainer, text):
    assert trainer.new("run", "--end-epoch", "1", "--finetune", text) == 0
    assert trainer.card("run").training["settings"]["finetune"] == ""
    assert "finetune" not in trainer.card("run").training


def test_bare_number_is_an_epoch_of_the_prefix_and_out_says_where_to(trainer, trained, records):
    before = everything_in(trainer.folder / "run")
    flags = ("--finetune", "2", "--prefix", trained, "--out", trainer.prefix("tuned"))
    assert trainer.run(*flags, "--train-path", str(records.two_classes), *SMALL, *STILL) == 0
    assert report_of(trainer)["source"] == trained
    assert everything_in(trainer.folder / "run") == before


def test_bare_number_without_another_prefix_says_what_to_type(trainer, trained, records, capsys):
    typed = ["--finetune", "2", "--prefix", trained, "--train-path", str(records.two_classes), *SMALL, *STILL]
    assert trainer.run(*typed) == 2
    line = capsys.readouterr().err.strip()
    assert "needs a prefix of its own: python train.py --finetune 2" in line
    command = line.split("python train.py ")[1].split()
    assert command[:-1] == [*typed, "--out"]
    assert trainer.run(*command) == 0
    assert read_card(command[-1]).training["finetune"]["source"] == trained


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_source_is_never_the_target(trainer, trained, capsys, overwrite):
    before = everything_in(trainer.folder / "run")
    (trainer.folder / "link").symlink_to(trainer.folder / "run")
    for prefix in (trained, trainer.prefix("link"), f"{trainer.folder}/other/../run/ssd"):
        line = refused(trainer, capsys, "--finetune", trained, "--prefix", prefix, *overwrite)
        assert "is what --finetune starts from, and would be overwritten: give another --prefix" in line
    line = refused(trainer, capsys, "--finetune", "2", "--prefix", trained, "--out", trained, *overwrite)
    assert "give another --out" in line
    assert everything_in(trainer.folder / "run") == before


# ---- errors


def test_missing_detector_is_refused_with_the_closest(trainer, trained, capsys):
    line = refused(trainer, capsys, "--finetune", trained.replace("/ssd", "/sdd"))
    assert f"there is no detector at {trained[:-4]}/sdd (no sdd-NNNN.params); did you mean {trained}?" in line
    line = refused(trainer, capsys, "--finetune", str(trainer.folder / "run"))
    assert f"did you mean {trained}?" in line
    assert "there is no folder nowhere" in refused(trainer, capsys, "--finetune", "nowhere/ssd")
    line = refused(trainer, capsys, "--finetune", f"{trained}-0002.params")
    assert line.endswith(f"expected its prefix: --finetune {trained}:2")


def test_missing_epoch_is_refused_with_those_there_are(trainer, trained, capsys):
    line = refused(trainer, capsys, "--finetune", f"{trained}:7")
    assert "no epoch 7: kept are 1, 2: give one by --finetune PREFIX:EPOCH" in line


def test_another_network_is_refused_with_both_names(trainer, trained, capsys):
    line = refused(trainer, capsys, "--finetune", trained, "--network", "resnet50")
    assert "--network resnet50: " in line
    assert "is of the network ssd7: leave the flag out" in line


def test_detector_whose_layers_have_other_shapes_is_refused(trainer, trained, capsys):
    """What --width-mult would do: the card says ssd7, the file holds a narrower one."""
    arrays = load_arrays(f"{trained}-0002.params")
    arrays["arg:conv2_weight"] = mx.nd.zeros((24, 32, 3, 3))
    digest = save_arrays(f"{trained}-0002.params", arrays)
    card = trainer.card("run")
    write_card(trained, replace(card, epochs={**card.epochs, 2: {**card.epochs[2], "sha256": digest}}))
    line = refused(trainer, capsys, "--finetune", f"{trained}:2")
    assert "conv2_weight has (24, 32, 3, 3), expected (48, 32, 3, 3): leave --network and its options" in line


def test_detector_of_which_nothing_fits_is_refused(trainer, trained, capsys):
    arrays = {
        f"{name[:4]}other_{name[4:]}": array for name, array in load_arrays(f"{trained}-0002.params").items()
    }
    digest = save_arrays(f"{trained}-0002.params", arrays)
    card = trainer.card("run")
    write_card(trained, replace(card, epochs={**card.epochs, 2: {**card.epochs[2], "sha256": digest}}))
    line = refused(trainer, capsys, "--finetune", f"{trained}:2")
    assert "no weight of its backbone fits the network ssd7: its parameters are called like other_" in line


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (("--reset-heads",), "--reset-heads: says how to --finetune PREFIX, which is not given"),
        (("--finetune-class-names", "a,b"), "--finetune-class-names: says how to --finetune PREFIX"),
        (("--epoch", "3"), "--epoch 3: is the epoch of --pretrained PREFIX or --finetune PREFIX"),
        (("--out", "x/ssd"), "--out x/ssd: belongs to --finetune with a bare epoch number"),
        (("--finetune", "SOURCE", "--pretrained", "x"), "leave one of them out"),
        (("--finetune", "SOURCE:2", "--epoch", "2"), "says an epoch too: leave one of them out"),
        (
            ("--finetune", "SOURCE", "--finetune-class-names", "a,b"),
            "for 5 classes, there are 2 names (a, b)",
        ),
        (("--finetune", "SOURCE", "--finetune-class-names", "a,a"), "--finetune-class-names a,a: 'a' twice"),
    ],
)
def test_flags_that_cannot_be_are_refused(trainer, trained, capsys, flags, part):
    assert part in refused(trainer, capsys, *(flag.replace("SOURCE", trained) for flag in flags))


# ---- files without a card, and networks that nobody knows


@pytest.fixture
def bare(trainer, trained):
    """The same detector as mxnet-ssd would have left it: a graph and parameters."""
    (trainer.folder / "run" / "ssd.json").unlink()
    return trained


def test_files_without_a_card_ask_for_the_class_names(trainer, bare, capsys):
    line = refused(trainer, capsys, "--finetune", bare, "--network", "ssd7", "--data-shape", "64,96")
    assert (
        "has no card that names its classes: give them, in the order of their ids, by --finetune-class-names"
        in line
    )
    line = refused(trainer, capsys, "--finetune", bare, "--finetune-class-names", ",".join(FIVE))
    assert "give --data-shape" in line


def test_parameters_alone_are_tuned_by_the_networks_name(trainer, bare, capsys):
    (trainer.folder / "run" / "ssd-symbol.json").unlink()
    flags = ("--data-shape", "64,96", "--finetune-class-names", ",".join(FIVE))
    assert "is not there, so the graph must be built from the network's name: give --network" in refused(
        trainer, capsys, "--finetune", bare, *flags
    )
    line = refused(trainer, capsys, "--finetune", bare, "--network", "ssd7", *flags[:3], "a,b,c")
    assert "heads are made for 5 classes, there are 3 names: mend --finetune-class-names" in line
    assert tune(trainer, bare, *STILL, *flags, "--network", "ssd7") == 0
    assert report_of(trainer)["by_rows"] == 8


@pytest.mark.parametrize("network", [(), ("--network", "ssd7")])
def test_files_without_a_card_are_tuned_by_name_or_by_their_graph_alone(trainer, bare, network):
    flags = ("--data-shape", "64,96", "--finetune-class-names", ",".join(FIVE), *network)
    assert tune(trainer, bare, *STILL, *flags) == 0
    card = trainer.card("tuned")
    assert (card.network, card.class_names) == (network[1] if network else "", TWO)
    taken, result = (
        load_arrays(f"{trainer.prefix(name)}-000{n}.params") for name, n in (("run", 2), ("tuned", 1))
    )
    for name in (name for name in result if name.startswith("arg:")):
        ours, theirs = result[name].asnumpy(), taken[name].asnumpy()
        if "_cls_pred_" in name:
            theirs = move_rows(theirs, np.zeros_like(ours), match_classes(FIVE, TWO))
        unmoved(ours, theirs, name)


def test_graph_alone_gives_the_run_that_the_preset_gives(trainer, bare):
    flags = (
        "--data-shape",
        "64,96",
        "--finetune-class-names",
        ",".join(FIVE),
        "--end-epoch",
        "2",
        "--lr",
        "0.001",
    )
    pixels = [f"--{name}-{channel}" for name in ("mean", "std") for channel in "rgb"]
    flags += tuple(text for flag in pixels for text in (flag, "58"))
    assert tune(trainer, bare, *flags, name="graph") == 0
    assert tune(trainer, bare, *flags, "--network", "ssd7", name="preset") == 0
    assert trainer.bytes("graph") == trainer.bytes("preset")
    assert trainer.resume("graph", "--end-epoch", "3") == 0


def test_graph_that_nobody_can_build_keeps_its_default_boxes_and_layers(trainer, bare, capsys):
    flags = ("--finetune", bare, "--data-shape", "64,96", "--finetune-class-names", ",".join(FIVE))
    for flag in (("--anchor-sizes", "0.1;0.2;0.3;0.4"), ("--heads", "separable")):
        line = refused(trainer, capsys, *flags, *flag)
        assert f"{flag[0]}: the network of {bare}:2 is not known here" in line


def test_converted_model_whose_boxes_are_fixed_is_refused(trainer, trained, capsys):
    write_card(trained, replace(trainer.card("run"), network="", anchors=FixedAnchors(10)))
    line = refused(trainer, capsys, "--finetune", trained)
    assert "its default boxes are fixed in the graph, which cannot be trained: give a --network" in line
    assert f"--pretrained {trained} for --finetune" in line


OWN_NETWORK = """
import mxnet as mx


def net(data):
    maps = []
    for number in range(3):
        layer = mx.sym.Convolution(
            data, num_filter=8, kernel=(3, 3), stride=(2, 2), pad=(1, 1), name=f"own{number}"
        )
        data = mx.sym.Activation(layer, act_type="relu", name=f"own{number}_relu")
        maps.append(data)
    return maps[1:]
"""


@pytest.fixture
def moved(trainer):
    """A detector on a network of a Python file that is now called otherwise: (prefix, the file)."""
    before, now = trainer.folder / "before.py", trainer.folder / "now.py"
    before.write_text(OWN_NETWORK)
    flags = ("--network", str(before), "--train-path", str(trainer.records.train), "--data-shape", "64,96")
    assert trainer.run(*flags, *SMALL, "--end-epoch", "1", "--prefix", trainer.prefix("own")) == 0
    before.rename(now)
    return trainer.prefix("own"), str(now)


def test_network_whose_file_was_moved_is_named_by_its_new_path(trainer, moved, capsys):
    source, file = moved
    flags = ("--anchor-clip", *STILL)
    line = refused(trainer, capsys, "--finetune", source, *flags)
    assert "leave the flag out, or name the network by --network" in line
    assert tune(trainer, source, *flags, "--network", file) == 0
    assert (trainer.card("tuned").network, trainer.card("tuned").anchors.clip) == (file, True)
    assert report_of(trainer)["anew"] == []
    assert report_of(trainer)["dropped"] == ["disc", "ring", "star"]


def test_network_that_is_named_for_an_unknown_one_is_held_to_it(trainer, moved, capsys):
    source, _ = moved
    for card in (trainer.card("own"), replace(trainer.card("own"), network="")):  # "": imported detectors
        write_card(source, card)
        line = refused(trainer, capsys, "--finetune", source, "--network", "ssd77")
        assert "did you mean ssd7?" in line
        line = refused(trainer, capsys, "--finetune", source, "--network", "ssd7")
        assert "no weight of its backbone fits the network ssd7" in line


# ---- a run that goes on, and what it ends with


def test_resumed_run_ends_bit_for_bit_where_an_unbroken_one_ends(trainer, trained):
    flags = ("--freeze", "conv1_", "--base-lr", "0.001", "--head-lr", "0.01", "--lr-schedule", "cosine")
    assert tune(trainer, trained, *flags, "--end-epoch", "4", name="whole") == 0
    half = ("--end-epoch", "4", "--checkpoint-period", "1")
    assert tune(trainer, trained, *flags, *half, name="broken") == 0
    assert trainer.resume("broken", "--resume", "2", "--overwrite", "--finetune", trained) == 0
    assert trainer.bytes("broken") == trainer.bytes("whole")
    assert report_of(trainer, "broken") == report_of(trainer, "whole")
    assert trainer.card("broken").training["extra_layers"] == []


def test_resumed_run_keeps_its_source(trainer, trained, finished, capsys):
    assert tune(trainer, trained, "--end-epoch", "1") == 0
    shutil.copytree(finished, trainer.folder / "other")
    assert trainer.resume("tuned", "--end-epoch", "2", "--finetune", trainer.prefix("other")) == 2
    assert f"a resumed run keeps its own ({trained}:" in capsys.readouterr().err
    assert trainer.resume("tuned", "--end-epoch", "2", "--reset-heads") == 2
    assert "--reset-heads True: a resumed run keeps its own" in capsys.readouterr().err


def test_tuned_detector_is_no_worse_than_one_whose_heads_start_anew(trainer, trained):
    kept = ("--lr", "0.002", "--end-epoch", "1")
    assert tune(trainer, trained, *kept, name="kept") == 0
    assert tune(trainer, trained, *kept, "--reset-heads", name="anew") == 0
    kept, anew = (float(trainer.rows(name)[-1]["cls_loss"]) for name in ("kept", "anew"))
    assert kept < anew


def test_several_devices_start_alike(trainer, trained):
    flags = ("--freeze-base", "--end-epoch", "2", "--lr", "0.001")
    given = ("--finetune", trained, "--train-path", str(trainer.records.two_classes), "--batch-size", "4")
    for name, gpus in (("one", "cpu:1"), ("two", "cpu:2")):
        assert (
            trainer.run(*given, "--workers", "1", "--gpus", gpus, "--prefix", trainer.prefix(name), *flags)
            == 0
        )
    one, two = trainer.arrays("one"), trainer.arrays("two")
    for name in (name for name in one if not name.startswith("state:")):
        if "_pred_" in name:
            np.testing.assert_allclose(one[name], two[name], rtol=1e-3, atol=1e-5)
        else:
            assert one[name].tobytes() == two[name].tobytes(), name


def test_imagenet_weights_bring_their_mean_and_std(trainer, monkeypatch):
    weights = {"conv1_weight": mx.nd.full((32, 3, 5, 5), 0.25)}
    module = types.ModuleType("model.gluon_weights")
    module.imagenet_params = lambda network: (weights, {}, (124.0, 116.0, 104.0), (58.0, 57.0, 57.5))
    monkeypatch.setitem(sys.modules, "model.gluon_weights", module)
    assert trainer.new("run", *STILL, "--pretrained", "imagenet", "--std-b", "60") == 0
    card = trainer.card("run")
    assert (card.mean, card.std) == ((124.0, 116.0, 104.0), (58.0, 57.0, 60.0))
    assert card.training["settings"]["pretrained"] == "imagenet"
    assert (trainer.arrays("run")["arg:conv1_weight"] == 0.25).all()
    assert "1 parameters taken" in trainer.log("run")


def test_card_with_the_report_is_plain_json(trainer, trained):
    assert tune(trainer, trained, *STILL) == 0
    values = json.loads((trainer.folder / "tuned" / "ssd.json").read_text(encoding="utf-8"))
    assert values["training"]["finetune"]["kept"] == ["square", "triangle"]


def test_finetune_takes_text_and_not_only_a_number():
    assert build_parser().parse_args(["--finetune", "-1"]).finetune == "-1"
    assert build_parser().parse_args(["--finetune", "a/b:3"]).finetune == "a/b:3"

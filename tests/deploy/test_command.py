"""deploy.py on checkpoints of this project: what comes out finds what went in, and says what it is."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from common.mx import mx
from deploy.command import main
from model.card import DEPLOYED, card_path, read_card
from model.graph import is_training
from model.optimize import optimize
from model.saved import load, params_path, save
from symbol.loss import LossConfig, training_symbol


def run(*flags) -> int:
    return main([str(flag) for flag in flags])


def test_deployed_detector_finds_what_the_checkpoint_finds(checkpoint, tools, capfd):
    assert run("--prefix", checkpoint) == 0
    out, err = capfd.readouterr()
    assert out.startswith(f"{checkpoint}-deploy: epoch 3 of {checkpoint}, 96x64, 3 classes;")
    assert (out.count("\n"), err) == (1, "")
    tools.assert_equal(tools.detect(f"{checkpoint}-deploy"), tools.detect(checkpoint))


def test_loss_layers_are_off_and_the_card_says_what_it_is(checkpoint):
    before = read_card(checkpoint)
    run("--prefix", checkpoint)
    saved, card = load(f"{checkpoint}-deploy"), read_card(f"{checkpoint}-deploy")
    assert saved.symbol.list_outputs() == ["detection_output"]
    assert not is_training(saved.symbol)
    assert set(saved.arg_params) == set(saved.symbol.list_arguments()) - {"data"}
    assert card == dataclasses.replace(
        before,
        graph=DEPLOYED,
        source={"prefix": "ssd", "epoch": 3},
        epochs={3: {"mAP": 0.25, "sha256": card.epochs[3]["sha256"]}},
    )
    assert read_card(checkpoint) == before


def test_plain_graph_carries_weights_over_bit_for_bit(checkpoint):
    assert run("--prefix", checkpoint, "--no-optimize") == 0
    source, deployed = load(checkpoint), load(f"{checkpoint}-deploy")
    for found, given in ((deployed.arg_params, source.arg_params), (deployed.aux_params, source.aux_params)):
        assert {name: array.asnumpy().tobytes() for name, array in found.items()} == {
            name: given[name].asnumpy().tobytes() for name in found
        }


def test_graph_is_optimised_unless_told_otherwise(checkpoint):
    run("--prefix", checkpoint)
    run("--prefix", checkpoint, "--no-optimize", "--out", f"{checkpoint}-plain")
    faster, plain = load(f"{checkpoint}-deploy"), load(f"{checkpoint}-plain")
    assert "BatchNorm" in plain.symbol.tojson()
    assert "BatchNorm" not in faster.symbol.tojson()
    assert (len(plain.aux_params) > 0, faster.aux_params) == (True, {})


def test_optimised_graph_that_gives_something_else_is_not_written(
    checkpoint, tools, capfd, caplog, monkeypatch
):
    def wrong(symbol, params, *args):
        faster = optimize(symbol, params, *args)
        faster.params[0]["conv1_bias"][:] += 1
        return faster

    monkeypatch.setattr("deploy.command.optimize", wrong)
    assert run("--prefix", checkpoint) == 0
    assert "differs from the plain one by" in caplog.text
    assert "--no-optimize" in caplog.text
    tools.assert_equal(tools.detect(f"{checkpoint}-deploy"), tools.detect(checkpoint))


def test_graph_alone_suffices(tmp_path, tools):
    """A network that no preset knows, as a user's own would be: nothing but its files is there."""
    body = mx.sym.Convolution(
        mx.sym.Variable("data"), num_filter=8, kernel=(5, 5), stride=(4, 4), name="own1"
    )
    body = mx.sym.Pooling(
        mx.sym.tanh(body, name="own_tanh"), kernel=(4, 4), stride=(4, 4), pool_type="max", name="p"
    )
    boxes = mx.sym.Convolution(body, num_filter=4, kernel=(1, 1), name="own_boxes")
    classes = mx.sym.Convolution(body, num_filter=4, kernel=(1, 1), name="own_classes")
    anchors = mx.sym.contrib.MultiBoxPrior(body, sizes=(0.3,), name="own_anchors")
    boxes = mx.sym.transpose(boxes, axes=(0, 2, 3, 1), name="own_nhwc")
    parts = mx.sym.Group(
        [
            mx.sym.Flatten(boxes, name="multibox_loc_pred"),
            mx.sym.reshape(classes, shape=(0, 0, -1), name="multibox_cls_pred"),
            mx.sym.reshape(anchors, shape=(1, -1, 4), name="multibox_anchors"),
        ]
    )
    card = dataclasses.replace(read_card(tools.write_checkpoint(tmp_path / "x")), network="")
    graph = training_symbol(parts, 3, card.anchors.variances, LossConfig())
    save(tmp_path / "own", 1, graph, tools.golden_params(parts, card.data_shape), card)
    assert run("--prefix", tmp_path / "own") == 0
    tools.assert_equal(tools.detect(tmp_path / "own-deploy"), tools.detect(tmp_path / "own"))


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        (("--force",), {"force": True}),
        (("--force", "True", "--nms", "0.3"), {"force": True, "nms_threshold": 0.3}),
        (("--nms-mode", "multibox", "--keep-topk", "-1"), {"nms_mode": "multibox", "keep_topk": -1}),
        (
            ("--score-threshold", "0.3", "--topk", "20", "--keep-topk", "5"),
            {"score_threshold": 0.3, "nms_topk": 20, "keep_topk": 5},
        ),
    ],
)
def test_deployed_detector_takes_another_tail(checkpoint, tools, flags, settings):
    run("--prefix", checkpoint, "--nms-mode", "multibox", "--keep-topk", 3)
    again = f"{checkpoint}-again"
    run(
        "--prefix",
        f"{checkpoint}-deploy",
        "--out",
        again,
        "--nms-mode",
        "per_class",
        "--keep-topk",
        50,
        *flags,
    )
    expected = tools.detect(checkpoint, **settings)
    tools.assert_equal(tools.detect(again), expected)
    config = read_card(again).detection
    assert config == dataclasses.replace(read_card(checkpoint).detection, **settings)
    all_kept = {"keep_topk": -1} if config.keep_topk == -1 else {}
    pairs = zip(expected, tools.detect(checkpoint, **all_kept))
    assert any(not np.array_equal(one.score, other.score) for one, other in pairs)


def test_epoch_is_best_then_last_or_as_given(tmp_path, tools):
    prefix = tools.write_checkpoint(tmp_path / "ssd", 3)
    assert run("--prefix", prefix, "--epoch", "best") == 2
    assert run("--prefix", prefix, "--epoch", "last") == 0
    assert run("--prefix", prefix, "--epoch", "4") == 2
    assert sorted(path.name for path in tmp_path.glob("ssd-deploy*")) == [
        "ssd-deploy-0003.params",
        "ssd-deploy-symbol.json",
        "ssd-deploy.json",
    ]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--network", "resnet50"), "its card says ssd7, not --network resnet50"),
        (("--num-class", "4"), "--num-class 4: the detector has 3"),
        (("--class-names", "a,b"), "made for 3 classes, there are 2 names"),
        (("--data-shape", "128"), "laid out for an input of 96x64, not 128x128"),
        (("--nms", "1.5"), "error: --nms is 1.5, expected a number from 0 to below 1"),
        (("--topk", "0"), "error: --topk is 0, expected"),
        (("--score-threshold", "2"), "error: --score-threshold is 2.0"),
        (("--mean-r", "nan"), "--mean-r"),
        (("--nms-mode", "multibux"), "did you mean multibox"),
        (("--keep-topk", "0"), "error: --keep-topk is 0"),
        (("--epoch", "9"), "no epoch 9: kept are 3"),
    ],
)
def test_flags_that_cannot_be_are_one_line_and_write_nothing(check_refused, flags, words):
    check_refused(*flags, words=words)


def test_network_of_the_card_may_be_given_and_changes_nothing(checkpoint):
    anchors = dataclasses.replace(read_card(checkpoint).anchors, sizes=((0.1, 0.2),) * 4)
    save(checkpoint, 3, load(checkpoint).symbol, (load(checkpoint).arg_params, load(checkpoint).aux_params),
         dataclasses.replace(read_card(checkpoint), anchors=anchors))  # fmt: skip
    assert run("--prefix", checkpoint, "--network", "ssd7", "--data-shape", "96,64", "--num-class", 3) == 0
    assert read_card(f"{checkpoint}-deploy").anchors == anchors


def test_damaged_parameters_are_not_deployed(checkpoint, capfd):
    path = params_path(checkpoint, 3)
    path.write_bytes(path.read_bytes()[:-1])
    assert run("--prefix", checkpoint) == 2
    assert "damaged" in capfd.readouterr().err
    assert not card_path(f"{checkpoint}-deploy").exists()


def test_script_at_the_root_runs_it(checkpoint, project_root):
    script = [
        sys.executable,
        str(project_root / "deploy.py"),
        "--prefix",
        checkpoint,
        "--out",
        checkpoint + "2",
    ]
    done = subprocess.run(script, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(card_path(checkpoint + "2").read_text())["graph"] == "deployed"

"""mxnet-ssd's own files: training checkpoints and deployed ones, no card, the graph tells the rest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from common.mx import mx
from deploy.command import main
from model.card import read_card
from model.graph import heads as graph_heads
from model.saved import load, symbol_path
from symbol.network import heads
from symbol.presets import network_config

NAMES = tuple(f"class{number:02d}" for number in range(20))
SIDE = 300


@pytest.fixture(scope="module")
def parts():
    """MobileNet's heads, whose parameter names are held to mxnet-ssd's elsewhere."""
    return heads(network_config("mobilenet", (SIDE, SIDE), len(NAMES)))


@pytest.fixture(scope="module")
def params(parts, tools):
    """The golden parameters, made once."""
    return tools.golden_params(parts, (SIDE, SIDE))


@pytest.fixture(params=["training", "deployed"])
def old(request, parts, params, tools, tmp_path) -> str:
    """A detector as mxnet-ssd's train.py, or its deploy.py, left it."""
    graph = {"training": tools.old_training_graph, "deployed": tools.old_deployed_graph}[request.param](parts)
    return tools.write_old(tmp_path / "old" / "ssd_mobilenet_300", graph, params)


def run(*flags) -> int:
    return main([str(flag) for flag in flags])


def stated(old: str) -> tuple:
    return ("--prefix", old, "--epoch", 0, "--data-shape", SIDE, "--class-names", ",".join(NAMES))


def forward(symbol, saved, data: np.ndarray) -> list[np.ndarray]:
    """Run a graph of a saved detector on inputs (B, 3, H, W); a label is zeros."""
    arrays = {**saved.arg_params, "data": mx.nd.array(data), "label": mx.nd.full((len(data), 1, 6), -1)}
    arguments = {name: arrays[name] for name in symbol.list_arguments()}
    outputs = symbol.bind(mx.cpu(), arguments, aux_states=saved.aux_params).forward(is_train=False)
    return [output.asnumpy() for output in outputs]


def sorted_rows(rows: np.ndarray) -> np.ndarray:
    """Return the detections among rows (K, 6), in an order of their own."""
    rows = rows[rows[:, 0] >= 0]
    return rows[np.lexsort(np.round(rows, 4).T[::-1])]


def test_old_file_gives_the_golden_values(old, shared_golden, capfd):
    assert run(*stated(old)) == 0
    golden = np.load(shared_golden / "networks" / "mobilenet_300.npz")
    saved = load(f"{old}-deploy")
    data = np.random.RandomState(7).standard_normal((1, 3, SIDE, SIDE)).astype("float32") * 64
    loc_pred, cls_pred, anchors = graph_heads(saved.symbol, old)
    graph = mx.sym.Group([loc_pred, mx.sym.softmax(cls_pred, axis=1), anchors])
    names = (("loc_pred", "loc_shape"), ("cls_prob", "cls_shape"), ("anchors", "anchors_shape"))
    for (name, shape), found in zip(names, forward(graph, saved, data)):
        expected = golden[name]
        assert list(found.shape) == list(golden[shape])
        assert np.abs(found.reshape(-1)[::101] - expected).max() <= 1e-4 * np.abs(expected).max()


def test_operators_tail_finds_what_mxnet_ssd_found(old, parts, params, tools, tmp_path):
    settings = ("--nms", 0.5, "--topk", 400, "--nms-mode", "multibox", "--keep-topk", -1)
    assert run(*stated(old), *settings, "--out", tmp_path / "new") == 0
    rng = np.random.default_rng(0)
    data = rng.normal(0, 60, (2, 3, SIDE, SIDE)).astype("float32")
    before = forward(tools.old_deployed_graph(parts), load(old), data)[0]
    after = forward(load(tmp_path / "new").symbol, load(tmp_path / "new"), data)[0]
    for one, other in zip(before, after):
        one, other = sorted_rows(one), sorted_rows(other)
        assert len(one) > 20
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_deployed_equals_undeployed(old, tools):
    assert run(*stated(old)) == 0
    known = {"data_shape": (SIDE, SIDE), "class_names": NAMES, "score_threshold": 0.01}
    tools.assert_equal(tools.detect(f"{old}-deploy"), tools.detect(old, 0, **known))
    card = read_card(f"{old}-deploy")
    assert (card.network, card.class_names, card.data_shape) == ("", NAMES, (SIDE, SIDE))
    expected = network_config("mobilenet", (SIDE, SIDE), 20).anchors
    np.testing.assert_allclose(np.ravel(card.anchors.sizes), np.ravel(expected.sizes), atol=1e-6)
    assert (card.mean, card.std, card.source) == (
        (123.0, 117.0, 104.0),
        (1.0, 1.0, 1.0),
        {"prefix": "ssd_mobilenet_300", "epoch": 0},
    )


def test_mean_may_be_stated(old):
    assert run(*stated(old), "--mean-r", 127.5, "--mean-b", 0) == 0
    assert read_card(f"{old}-deploy").mean == (127.5, 117.0, 0.0)


def test_network_may_be_named_and_ends_the_prefix(old, tmp_path):
    flags = ("--network", "mobilenet", "--epoch", 0, "--data-shape", SIDE, "--class-names", ",".join(NAMES))
    assert (
        run("--prefix", tmp_path / "old" / "ssd_", "--num-class", 20, "--nms", 0.5, "--force", True, *flags)
        == 0
    )
    card = read_card(f"{old}-deploy")
    assert (card.network, card.detection.force, card.detection.nms_threshold) == ("mobilenet", True, 0.5)


def test_json_of_old_mxnet_is_read(old):
    graph = json.loads(symbol_path(old).read_text())
    for node in graph["nodes"]:
        node["attr"] = node.pop("attrs", {})  # until MXNet 1.0
    graph["attrs"] = {"mxnet_version": ["int", 1100]}
    symbol_path(old).write_text(json.dumps(graph))
    assert run(*stated(old)) == 0
    assert len(read_card(f"{old}-deploy").anchors.sizes) == 7


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--class-names", "a,b"), "made for 20 classes, there are 2 names: mend --class-names"),
        (("--num-class", "21"), "--num-class 21: the detector has 20"),
        (("--epoch", "1"), "no epoch 1: kept are 0"),
        (("--epoch", "best"), "no card that says which"),
    ],
)
def test_wrong_statement_is_one_line(old, capfd, change, words):
    assert run(*stated(old), *change) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert words in err


def test_missing_statements_are_asked_for(old, capfd):
    assert run("--prefix", old) == 2
    assert "ssd_mobilenet_300.json): give --data-shape, --class-names by hand" in capfd.readouterr().err


def test_source_is_left_as_it_was(old):
    folder = Path(old).parent
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    run(*stated(old))
    assert run(*stated(old), "--out", old) == 2
    assert run("--prefix", f"{old}-deploy", "--out", old) == 2
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {name: after[name] for name in before} == before

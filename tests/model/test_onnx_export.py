"""One ONNX file from a detector: what it says of itself, what it may take the place of, what is refused and checked."""

from __future__ import annotations

import dataclasses
import json
import logging
import sys

import numpy as np
import pytest

from common.errors import CheckpointError, ConfigError, DependencyError, ExportError
from common.mx import mx
from model.card import DEPLOYED, Card
from model.graph import heads, inference_symbol
from model.onnx_check import check
from model.onnx_export import build_model, write_onnx
from model.onnx_file import ExportSettings, card_of, open_session
from model.saved import SavedDetector, load
from symbol.anchors import FixedAnchors
from symbol.detection import DetectionConfig

onnx = pytest.importorskip("onnx")
KEYS = {"producer", "card", "class_names", "data_shape", "mean", "std", "input_layout", "nms", "checksum"}


@pytest.fixture
def saved(prefix) -> SavedDetector:
    """The small detector of this folder, loaded."""
    return load(prefix)


def by_mxnet(saved: SavedDetector, card: Card, pixels: np.ndarray) -> np.ndarray:
    """Return the rows (N, K, 6) that MXNet finds in pixels (N, 3, H, W)."""
    symbol = inference_symbol(saved.symbol, card.num_classes, card.anchors.variances, card.detection)
    scale = [np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (card.mean, card.std)]
    inputs = {"data": mx.nd.array((pixels - scale[0]) / scale[1])}
    args = {name: saved.arg_params[name] for name in symbol.list_arguments() if name != "data"}
    return symbol.bind(mx.cpu(), {**args, **inputs}, aux_states=saved.aux_params).forward()[0].asnumpy()


def noise(count: int = 1, side: int = 32) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (count, 3, side, side)).astype(np.float32)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("layout", ["float", "uint8"])
@pytest.mark.parametrize("nms", ["inside", "outside"])
def test_inputs_and_outputs_are_those_of_the_contract(saved, tmp_path, nms, layout, dynamic):
    write_onnx(saved, saved.card, tmp_path / "net.onnx", ExportSettings(nms, dynamic, layout))
    session, batch = open_session(tmp_path / "net.onnx"), "N" if dynamic else 1
    (image,) = session.get_inputs()
    shapes = {"float": (3, 32, 32), "uint8": (32, 32, 3)}
    types = {"float": "tensor(float)", "uint8": "tensor(uint8)"}
    assert (image.name, image.type, image.shape) == ("data", types[layout], [batch, *shapes[layout]])
    found = {output.name: (output.type, output.shape) for output in session.get_outputs()}
    kept = saved.card.detection.keep_topk
    if nms == "inside":
        assert found == {
            "boxes": ("tensor(float)", [batch, kept, 4]),
            "scores": ("tensor(float)", [batch, kept]),
            "classes": ("tensor(int64)", [batch, kept]),
            "num": ("tensor(int64)", [batch]),
        }
    else:
        assert found == {
            "scores": ("tensor(float)", [batch, 12, 4]),
            "boxes": ("tensor(float)", [batch, 12, 4]),
        }


@pytest.mark.parametrize("layout", ["float", "uint8"])
def test_pixels_in_detections_out_as_in_mxnet(saved, tmp_path, layout):
    write_onnx(saved, saved.card, tmp_path / "net.onnx", ExportSettings(dynamic_batch=True, layout=layout))
    pixels = noise(3)
    image = pixels if layout == "float" else pixels.transpose(0, 2, 3, 1).astype(np.uint8)
    boxes, scores, classes, num = open_session(tmp_path / "net.onnx").run(None, {"data": image})
    for index, rows in enumerate(by_mxnet(saved, saved.card, pixels)):
        rows = rows[rows[:, 0] >= 0]
        count = num[index]
        assert count == len(rows) > 0
        np.testing.assert_array_equal(classes[index][:count], rows[:, 0])
        np.testing.assert_allclose(scores[index][:count], rows[:, 1], atol=1e-5)
        np.testing.assert_allclose(boxes[index][:count], rows[:, 2:], atol=1e-5)


def test_default_boxes_that_are_a_parameter_are_taken_from_there(saved, tmp_path):
    """As in a converted model: another set than the graph would make, and unclipped sigmoid scores."""
    loc_pred, cls_pred, _ = heads(saved.symbol, "f")
    boxes = np.random.default_rng(2).uniform(0, 0.5, (1, 12, 4)).astype(np.float32)
    boxes[..., 2:] += 0.5
    anchors = mx.sym.identity(mx.sym.Variable("priors", shape=boxes.shape), name="multibox_anchors")
    card = dataclasses.replace(
        saved.card,
        anchors=FixedAnchors(12, (0.1, 0.1, 0.3, 0.2)),
        detection=DetectionConfig(activation="sigmoid", clip=False, score_threshold=0.3),
    )
    symbol = inference_symbol(
        mx.sym.Group([loc_pred, cls_pred, anchors]), 3, card.anchors.variances, card.detection
    )
    args = {**saved.arg_params, "priors": mx.nd.array(boxes)}
    fixed = SavedDetector("fixed", 0, symbol, args, saved.aux_params, card)
    write_onnx(fixed, card, tmp_path / "net.onnx")
    found = open_session(tmp_path / "net.onnx").run(["boxes", "scores", "num"], {"data": noise()})
    (rows,) = by_mxnet(fixed, card, noise())
    rows = rows[rows[:, 0] >= 0]
    assert found[2][0] == len(rows) > 0
    np.testing.assert_allclose(found[0][0][: len(rows)], rows[:, 2:], atol=1e-5)
    np.testing.assert_allclose(found[1][0][: len(rows)], rows[:, 1], atol=1e-5)


def test_metadata_say_what_it_is(saved, tmp_path):
    write_onnx(saved, saved.card, tmp_path / "größe.onnx")
    model = onnx.load(tmp_path / "größe.onnx")
    found = {entry.key: entry.value for entry in model.metadata_props}
    assert set(found) == KEYS
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 13)]
    assert (model.ir_version, model.producer_name, found["producer"]) == (8, "SSD for MXNet", "SSD for MXNet")
    assert json.loads(found["class_names"]) == ["ant", "bee", "größe"]
    assert json.loads(found["data_shape"]) == [32, 32]
    assert json.loads(found["std"]) == [58.0, 57.5, 1.0]
    assert (found["nms"], found["input_layout"]) == ("inside", "NCHW float32 RGB 0..255")
    assert card_of(found, "f") == dataclasses.replace(
        saved.card, graph=DEPLOYED, source={"prefix": "ssd", "epoch": 3}, epochs={}, best=None, last=None
    )


def test_logging_is_not_set_up_by_an_export(saved, tmp_path, monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    write_onnx(saved, saved.card, tmp_path / "net.onnx")
    assert root.handlers == []


def test_same_detector_gives_the_same_bytes(saved, tmp_path):
    for name in ("a.onnx", "b.onnx"):
        write_onnx(saved, saved.card, tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_own_file_is_replaced_and_a_foreign_one_is_not(saved, tmp_path):
    path = tmp_path / "net.onnx"
    write_onnx(saved, saved.card, path, ExportSettings("outside"))
    write_onnx(saved, saved.card, path)
    assert {output.name for output in open_session(path).get_outputs()} == {
        "boxes",
        "scores",
        "classes",
        "num",
    }
    foreign = onnx.load(path)
    del foreign.metadata_props[:]
    for content in (foreign.SerializeToString(), b"notes of mine", b""):
        path.write_bytes(content)
        with pytest.raises(
            ConfigError, match=r"net\.onnx: is there and was not written by deploy\.py --onnx"
        ):
            write_onnx(saved, saved.card, path)
        assert path.read_bytes() == content
    with pytest.raises(ConfigError, match=r"--out .*net: expected a name that ends in \.onnx"):
        write_onnx(saved, saved.card, tmp_path / "net")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ConfigError, match="was not written by"):
        write_onnx(saved, saved.card, tmp_path / "folder.onnx")


def test_quantised_graph_is_refused_and_its_float_prefix_named(saved, tmp_path):
    data = mx.sym.contrib.quantize_v2(mx.sym.Variable("data"), min_calib_range=0.0, max_calib_range=1.0)
    quantised = dataclasses.replace(
        saved, symbol=data, card=dataclasses.replace(saved.card, source={"prefix": "ssd-float", "epoch": 3})
    )
    with pytest.raises(ExportError, match=r"quantised or fused \(_contrib_quantize_v2\).*from, ssd-float"):
        write_onnx(quantised, quantised.card, tmp_path / "net.onnx")
    assert list(tmp_path.glob("*.onnx")) == []


def changed(exported, change) -> object:
    """Return an exported model after `change(model)`."""
    model = onnx.ModelProto()
    model.CopyFrom(exported.model)
    change(model)
    return dataclasses.replace(exported, model=model)


def scale_weight(model) -> None:
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name.endswith("/boxes_weight"))
    weight.CopyFrom(
        onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * np.float32(1.05), weight.name)
    )


def rank_by_lowest(model) -> None:
    tops = [node for node in model.graph.node if node.op_type == "TopK"]
    next(entry for entry in tops[0].attribute if entry.name == "largest").i = 0


def suppress_less(model) -> None:
    node = next(node for node in model.graph.node if node.op_type == "NonMaxSuppression")
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[3])
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.array([0.95], np.float32), tensor.name))


def drop_a_node(model) -> None:
    del model.graph.node[len(model.graph.node) // 2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (scale_weight, "box head differs from MXNet's by"),
        (rank_by_lowest, "detections on noise"),
        (suppress_less, "detections on noise"),
        (drop_a_node, "against the rules of ONNX"),
    ],
)
def test_model_that_finds_something_else_gets_no_name(saved, change, words):
    tail = DetectionConfig(score_threshold=0.0, nms_threshold=0.2, nms_topk=9)
    card = dataclasses.replace(saved.card, std=(2000.0,) * 3, detection=tail)  # boxes that overlap
    exported, settings = build_model(saved, card, ExportSettings()), ExportSettings()
    check(exported, saved, card, settings)
    with pytest.raises(ExportError, match=words):
        check(changed(exported, change), saved, card, settings)


def test_diverged_network_is_not_exported(saved, tmp_path):
    bias = mx.nd.array(saved.arg_params["boxes_bias"].asnumpy() * np.inf)
    broken = dataclasses.replace(saved, arg_params={**saved.arg_params, "boxes_bias": bias})
    with pytest.raises(ExportError, match="values that are not finite"):
        write_onnx(broken, broken.card, tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()


def test_graph_for_one_image_takes_no_batch(saved, small, tmp_path):
    data = mx.sym.reshape(mx.sym.Variable("data"), shape=(1, 3, 32, 32))
    symbol = small.heads()(data=data)
    single = dataclasses.replace(saved, symbol=symbol)
    write_onnx(single, saved.card, tmp_path / "one.onnx")
    with pytest.raises(ExportError, match="made for one image at a time: leave --dynamic-batch out"):
        write_onnx(single, saved.card, tmp_path / "any.onnx", ExportSettings(dynamic_batch=True))


@pytest.mark.parametrize("library", ["onnx", "onnxruntime"])
def test_missing_package_is_named_with_its_command(saved, tmp_path, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)  # what Python takes for a module that is not there
    with pytest.raises(DependencyError, match=f"need the Python package {library} .*pip install '{library}"):
        write_onnx(saved, saved.card, tmp_path / "net.onnx")


def test_unknown_kind_of_file_is_an_error():
    with pytest.raises(ConfigError, match="nms is 'no', expected inside or outside"):
        ExportSettings(nms="no")
    with pytest.raises(ConfigError, match="layout is 'half', expected float or uint8"):
        ExportSettings(layout="half")


def test_card_that_is_none_is_an_error():
    with pytest.raises(CheckpointError, match="f: an ONNX file without a detector's card"):
        card_of({}, "f")
    with pytest.raises(CheckpointError, match="f: damaged card"):
        card_of({"producer": "SSD for MXNet", "card": "{"}, "f")

"""The tail in ONNX: the detections of MXNet's tail, to the order of equal scores, and those of its definition."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from common.boxes import iou
from common.mx import mx
from model.onnx_file import IR_VERSION, OPSET, open_session, require
from model.onnx_nodes import Nodes
from model.onnx_tail import box_nodes, image_nodes, inside_nodes, outside_nodes, score_nodes
from symbol.detection import DetectionConfig, detection_symbol

VARIANCES = (0.1, 0.15, 0.2, 0.25)
ANCHORS = 60
CONFIG = DetectionConfig(score_threshold=0.05, nms_threshold=0.4, nms_topk=20, keep_topk=25)


def anchors(seed: int = 0) -> np.ndarray:
    """Draw default boxes, some of them beyond the border: (A, 4)."""
    rng = np.random.default_rng(seed)
    centre, half = rng.uniform(0, 1, (ANCHORS, 2)), rng.uniform(0.05, 0.3, (ANCHORS, 2))
    return np.hstack([centre - half, centre + half]).astype(np.float32)


def heads(num_classes: int, batch: int, *, levels: int = 0, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Draw heads; with `levels` that many different scores, so that most are equal, and boxes that repeat."""
    rng = np.random.default_rng(seed)
    loc = rng.normal(0, 0.5, (batch, ANCHORS, 4))
    cls = rng.normal(0, 2, (batch, num_classes + 1, ANCHORS))
    if levels:
        cls = rng.integers(0, levels, cls.shape)
        loc[:, 1::2] = loc[:, ::2]
    return loc.reshape(batch, -1).astype(np.float32), cls.astype(np.float32)


def session(num_classes: int, config: DetectionConfig, boxes: np.ndarray, *, nms: bool = True, batch="N"):
    """Return a session on a tail alone."""
    onnx, into = require("onnx"), Nodes()
    scores = score_nodes(into, "cls_pred", config.activation)
    decoded = box_nodes(into, "loc_pred", boxes, VARIANCES, config.clip)
    sizes = (num_classes, len(boxes))
    if nms:
        outputs = inside_nodes(into, ("loc_pred", "cls_pred"), scores, decoded, sizes, config)
    else:
        outputs = outside_nodes(into, scores, decoded, sizes)
    kinds = {"float32": onnx.TensorProto.FLOAT, "int64": onnx.TensorProto.INT64}
    shapes = {"loc_pred": [4 * len(boxes)], "cls_pred": [num_classes + 1, len(boxes)]}
    make = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        into.nodes,
        "tail",
        [make(name, kinds["float32"], [batch, *shape]) for name, shape in shapes.items()],
        [make(name, kinds[kind], [batch, *shape]) for name, (kind, shape) in outputs.items()],
        initializer=into.constants,
    )
    opset = onnx.helper.make_operatorsetid("", OPSET)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return open_session(model.SerializeToString())


def run(found, loc: np.ndarray, cls: np.ndarray) -> dict[str, np.ndarray]:
    names = [output.name for output in found.get_outputs()]
    return dict(zip(names, found.run(names, {"loc_pred": loc, "cls_pred": cls})))


def in_mxnet(num_classes: int, config: DetectionConfig, boxes, loc, cls) -> np.ndarray:
    """Return the rows (B, K, 6) of MXNet's tail."""
    arrays = {"loc": loc, "cls": cls, "anchors": boxes[None]}
    inputs = [mx.sym.Variable(name) for name in arrays]
    tail = detection_symbol(*inputs, num_classes, VARIANCES, config)
    values = {name: mx.nd.array(array) for name, array in arrays.items()}
    return tail.bind(mx.cpu(), values).forward()[0].asnumpy()


def assert_like_mxnet(found: dict, rows: np.ndarray, least: int) -> None:
    """Hold outputs to MXNet's rows: count, order, classes, scores, boxes, and what fills the rest."""
    total = 0
    for image, expected in enumerate(rows):
        expected = expected[expected[:, 0] >= 0]
        count = found["num"][image]
        total += count
        assert count == len(expected)
        np.testing.assert_array_equal(found["classes"][image][:count], expected[:, 0])
        np.testing.assert_allclose(found["scores"][image][:count], expected[:, 1], atol=1e-6)
        np.testing.assert_allclose(found["boxes"][image][:count], expected[:, 2:], rtol=1e-5, atol=1e-5)
        for name in ("classes", "scores", "boxes"):
            assert (found[name][image][count:] == -1).all()
    assert total >= least


RULES = [{}, {"nms_mode": "multibox"}, {"force": True}, {"force": True, "nms_mode": "multibox"}]
COUNTS = [{}, {"nms_topk": -1}, {"keep_topk": -1}, {"nms_topk": 3}, {"keep_topk": 4}, {"keep_topk": 500}]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize("num_classes", [1, 4])
def test_detections_are_those_of_mxnet(num_classes, counts, rule):
    config, boxes = dataclasses.replace(CONFIG, **counts, **rule), anchors()
    loc, cls = heads(num_classes, 3)
    found = run(session(num_classes, config, boxes), loc, cls)
    assert found["boxes"].dtype == np.float32
    assert found["classes"].dtype == found["num"].dtype == np.int64
    if config.keep_topk > 0:
        assert found["scores"].shape == (3, config.keep_topk)
    assert_like_mxnet(found, in_mxnet(num_classes, config, boxes, loc, cls), 6)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("together", [1, 7, 45, 10**6])
@pytest.mark.parametrize("num_classes", [1, 4])
def test_candidates_of_all_classes_together_are_those_of_mxnet(num_classes, together, rule):
    config, boxes = dataclasses.replace(CONFIG, image_topk=together, **rule), anchors()
    loc, cls = heads(num_classes, 3)
    found = run(session(num_classes, config, boxes), loc, cls)
    assert (found["num"] > 0).all()
    assert_like_mxnet(found, in_mxnet(num_classes, config, boxes, loc, cls), 3)


@pytest.mark.parametrize("rule", RULES[:3], ids=str)
@pytest.mark.parametrize("levels", [1, 2, 5])
def test_equal_scores_come_in_the_order_of_mxnet(rule, levels):
    boxes = anchors()
    boxes[1::2] = boxes[::2]
    for seed, topk in itertools.product(range(3), (7, 20, -1)):
        # Without an activation: two libraries' softmaxes differ in the last bit, and then scores are not equal.
        config = dataclasses.replace(CONFIG, nms_topk=topk, activation="none", **rule)
        loc, cls = heads(3, 2, levels=levels, seed=seed)
        cls = (cls + 1) / 10
        assert_like_mxnet(run(session(3, config, boxes), loc, cls), in_mxnet(3, config, boxes, loc, cls), 6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("thresholds", [(0.0, 0.0), (0.3, 0.45), (0.9, 0.99)], ids=str)
def test_settings_of_converted_models_count(activation, clip, thresholds):
    score, overlap = thresholds
    config = dataclasses.replace(
        CONFIG, activation=activation, clip=clip, score_threshold=score, nms_threshold=overlap
    )
    loc, cls = heads(3, 2)
    found = run(session(3, config, anchors()), loc, cls)
    assert_like_mxnet(found, in_mxnet(3, config, anchors(), loc, cls), 2)
    inside = (found["boxes"] >= -1).all() and (found["boxes"] <= 1).all()
    assert inside == clip


def by_definition(scores: np.ndarray, boxes: np.ndarray, config: DetectionConfig) -> list[tuple]:
    """Write the tail out: scores (C, A), boxes (A, 4) -> (class, anchor, score), best first."""
    kept = []
    for class_id, of_class in enumerate(scores):
        order = np.argsort(-of_class, kind="stable")[: config.nms_topk]
        chosen = []
        for anchor in order[of_class[order] > config.score_threshold]:
            overlaps = iou(boxes[[anchor]], boxes[chosen])[0] if chosen else np.zeros(0)
            if not (overlaps > config.nms_threshold).any():
                chosen.append(anchor)
        kept += [(class_id, anchor, of_class[anchor]) for anchor in chosen]
    return sorted(kept, key=lambda entry: -entry[2])[: config.keep_topk]


def test_detections_are_those_of_the_definition():
    boxes, (loc, cls) = anchors(), heads(4, 1)
    powers = np.exp(cls[0].astype(np.float64))
    scores = (powers / powers.sum(0))[1:]
    encoded = loc.reshape(-1, 4) * np.array(VARIANCES)
    size, middle = boxes[:, 2:] - boxes[:, :2], (boxes[:, :2] + boxes[:, 2:]) / 2
    middle, half = middle + encoded[:, :2] * size, np.exp(encoded[:, 2:]) * size / 2
    decoded = np.clip(np.hstack([middle - half, middle + half]), 0, 1)
    expected = by_definition(scores, decoded, CONFIG)
    found = run(session(4, CONFIG, boxes, batch=1), loc, cls)
    count = found["num"][0]
    assert count == len(expected) > 10
    assert found["classes"][0][:count].tolist() == [entry[0] for entry in expected]
    np.testing.assert_allclose(found["scores"][0][:count], [entry[2] for entry in expected], atol=1e-6)
    np.testing.assert_allclose(
        found["boxes"][0][:count], decoded[[entry[1] for entry in expected]], atol=1e-6
    )


def test_outside_gives_every_score_and_every_box():
    boxes, (loc, cls) = anchors(), heads(4, 2)
    found = run(session(4, CONFIG, boxes, nms=False), loc, cls)
    assert found["scores"].shape == (2, ANCHORS, 5)
    np.testing.assert_allclose(found["scores"].sum(2), 1, atol=1e-6)
    scores = mx.nd.softmax(mx.nd.array(cls), axis=1).asnumpy()
    np.testing.assert_allclose(found["scores"], scores.transpose(0, 2, 1), atol=1e-6)
    corners = mx.nd.array(boxes[None])
    stds = {f"std{n}": value for n, value in enumerate(VARIANCES)}
    decoded = mx.nd.contrib.box_decode(
        mx.nd.array(loc.reshape(2, ANCHORS, 4)), corners, format="corner", **stds
    ).asnumpy()
    np.testing.assert_allclose(found["boxes"], np.clip(decoded, 0, 1), atol=1e-5)


@pytest.mark.parametrize("rule", RULES[:3], ids=str)
@pytest.mark.parametrize("first", [0, 1])
def test_image_without_detections_is_all_void(rule, first):
    loc, cls = heads(3, 2)
    cls[first:, 0] = 50  # background
    found = run(session(3, dataclasses.replace(CONFIG, **rule), anchors()), loc, cls)
    assert (found["num"][:first] > 0).all()
    assert (found["num"][first:] == 0).all()
    for name in ("classes", "scores", "boxes"):
        assert (found[name][first:] == -1).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("head", [0, 1])
@pytest.mark.parametrize("rule", RULES[:3], ids=str)
def test_values_that_are_not_finite_show_in_the_scores_of_their_image(rule, head, value):
    both = heads(3, 2)
    both[head].reshape(2, -1)[1, 7] = value
    found = run(session(3, dataclasses.replace(CONFIG, **rule), anchors()), *both)
    assert np.isfinite(found["scores"][0]).all()
    assert np.isnan(found["scores"][1]).all()


def test_image_is_scaled_as_the_card_says_in_either_layout():
    onnx = require("onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, 5, 3), dtype=np.uint8)
    expected = (pixels.astype(np.float32) - np.float32([123, 117, 104])) / np.float32([58, 57, 56])
    for uint8 in (False, True):
        into = Nodes()
        name = image_nodes(into, (123.0, 117.0, 104.0), (58.0, 57.0, 56.0), uint8)
        kind, shape = (
            (onnx.TensorProto.UINT8, [1, 4, 5, 3]) if uint8 else (onnx.TensorProto.FLOAT, [1, 3, 4, 5])
        )
        graph = onnx.helper.make_graph(
            into.nodes,
            "image",
            [onnx.helper.make_tensor_value_info("data", kind, shape)],
            [onnx.helper.make_empty_tensor_value_info(name)],
            initializer=into.constants,
        )
        opset = onnx.helper.make_operatorsetid("", OPSET)
        model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
        image = pixels if uint8 else pixels.transpose(0, 3, 1, 2).astype(np.float32)
        (found,) = open_session(model.SerializeToString()).run(None, {"data": image})
        np.testing.assert_array_equal(found, expected.transpose(0, 3, 1, 2))

"""The tail outside the graph is held to the one in the graph: of the same probabilities, to the last bit."""

import dataclasses

import numpy as np
import pytest

from common.mx import mx
from detect.answers import OpenGraph
from detect.tail import Tail, applies_to
from symbol.detection import DetectionConfig, detection_symbol, open_symbol

VARIANCES = (0.1, 0.1, 0.2, 0.2)
BATCH = 3


def random_boxes(rng, count):
    centres, sides = rng.uniform(0, 1, (count, 2)), rng.uniform(0.02, 0.5, (count, 2))
    return np.concatenate([centres - sides / 2, centres + sides / 2], axis=1).astype(np.float32)


def random_heads(seed, classes, anchors, background):
    """Return (loc_pred, cls_pred, boxes), with the background's score raised."""
    rng = np.random.default_rng(seed)
    cls_pred = rng.normal(0, 2, (BATCH, classes + 1, anchors)).astype(np.float32)
    cls_pred[:, 0] += background
    loc_pred = rng.normal(0, 1, (BATCH, 4 * anchors)).astype(np.float32)
    return loc_pred, cls_pred, random_boxes(rng, anchors)


def variables():
    return mx.sym.Variable("loc"), mx.sym.Variable("cls"), mx.sym.Variable("boxes")


def run(symbol, **arrays):
    arrays = {name: mx.nd.array(values) for name, values in arrays.items()}
    return symbol.bind(mx.cpu(), arrays).forward()


def in_graph(loc_pred, cls_pred, boxes, config):
    loc, cls, anchors = variables()
    scores, given = (
        mx.sym.transpose(open_symbol(loc, cls)[0], axes=(0, 2, 1)),
        dataclasses.replace(config, activation="none"),
    )
    symbol = detection_symbol(loc, scores, anchors, cls_pred.shape[1] - 1, VARIANCES, given)
    (rows,) = run(symbol, loc=loc_pred, cls=cls_pred, boxes=boxes[None])
    return [image[image[:, 0] >= 0] for image in rows.asnumpy()]


def outside(loc_pred, cls_pred, boxes, config):
    answer = answer_of(loc_pred, cls_pred, boxes, config)
    return [answer.rows(image) for image in range(BATCH)]


def answer_of(loc_pred, cls_pred, boxes, config):
    loc, cls, _ = variables()
    return OpenGraph(Tail(config, VARIANCES, boxes)).read(
        run(open_symbol(loc, cls), loc=loc_pred, cls=cls_pred)
    )


@pytest.mark.parametrize("background", [0, 4, 8, 30])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"score_threshold": 0.0},
        {"score_threshold": 0.3},
        {"nms_topk": 5},
        {"nms_topk": -1, "keep_topk": -1},
        {"keep_topk": 3},
        {"clip": False},
        {"image_topk": 20},
        {"nms_threshold": 0.0},
        {"nms_threshold": 0.9},
    ],
    ids=str,
)
@pytest.mark.parametrize("classes", [2, 20])
def test_finds_what_the_graph_finds_bit_for_bit(background, settings, classes):
    config = DetectionConfig(**settings)
    heads = random_heads(classes + background, classes, 300, background)
    expected, found = in_graph(*heads, config), outside(*heads, config)
    for theirs, mine in zip(expected, found):
        assert np.array_equal(theirs, mine)
    if background < 8 and not settings:
        assert sum(map(len, found)) > 20


def test_equal_scores_keep_the_order_of_the_graph():
    loc_pred, cls_pred, boxes = random_heads(0, 4, 200, 2)
    cls_pred = np.round(cls_pred)  # few different scores
    config = DetectionConfig(nms_topk=30, keep_topk=50)
    for theirs, mine in zip(
        in_graph(loc_pred, cls_pred, boxes, config), outside(loc_pred, cls_pred, boxes, config)
    ):
        assert np.array_equal(theirs, mine)


def test_an_image_without_candidates_has_no_detections():
    loc_pred, cls_pred, boxes = random_heads(0, 3, 50, 60)
    assert [rows.shape for rows in outside(loc_pred, cls_pred, boxes, DetectionConfig())] == [(0, 6)] * BATCH


def test_predictions_are_the_heads_outputs():
    loc_pred, cls_pred, boxes = random_heads(0, 3, 50, 2)
    answer = answer_of(loc_pred, cls_pred, boxes, DetectionConfig())
    for image in range(BATCH):
        loc, cls = answer.predictions(image)
        assert np.array_equal(loc, loc_pred[image])
        assert np.array_equal(cls, cls_pred[image])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("head", ["loc", "cls"])
def test_values_that_are_not_finite_are_told_for_their_image_alone(value, head):
    loc_pred, cls_pred, boxes = random_heads(0, 3, 50, 2)
    if head == "loc":
        loc_pred[1, 7] = value
    else:
        cls_pred[1, 2, 7] = value
    answer = answer_of(loc_pred, cls_pred, boxes, DetectionConfig())
    assert [answer.is_finite(image) for image in range(BATCH)] == [True, False, True]


def test_a_network_that_has_just_turned_its_scores_is_not_made_to_turn_them_back():
    rows = mx.sym.Variable("rows")
    turned = mx.sym.transpose(rows, axes=(0, 2, 1))
    symbol = open_symbol(mx.sym.Variable("loc"), turned)
    assert "transpose" not in symbol.tojson()
    values = np.random.default_rng(0).normal(size=(1, 7, 4)).astype(np.float32)
    found, *_ = run(symbol, rows=values, loc=np.zeros((1, 28)))
    exp = np.exp(values.astype(np.float64))
    np.testing.assert_allclose(found.asnumpy(), exp / exp.sum(axis=2, keepdims=True), rtol=1e-5)


def test_other_modes_stay_in_the_graph():
    plain = DetectionConfig()
    assert applies_to(plain, 20)
    assert not applies_to(plain, 1)
    for changes in ({"nms_mode": "multibox"}, {"force": True}, {"activation": "sigmoid"}):
        assert not applies_to(dataclasses.replace(plain, **changes), 20)

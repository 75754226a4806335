"""The training graph against a plain numpy oracle: values, gradients, mining, and every awkward batch."""

import hashlib

import numpy as np
import pytest

from common import boxes as box_ops
from common.errors import ConfigError
from common.mx import mx
from symbol.anchors import AnchorConfig, generate_anchors
from symbol.loss import LossConfig, matched_training_symbol, training_symbol
from symbol.network import heads
from symbol.presets import network_config

VARIANCES = (0.1, 0.1, 0.2, 0.2)
ANCHORS = generate_anchors(AnchorConfig(((0.25, 0.35), (0.6, 0.8)), ((1, 2, 0.5),)), [(6, 6), (3, 3)])
COUNT = len(ANCHORS)


def match(anchors, label, threshold):
    """Return each anchor's object, -1 for none: first every object's best anchor, then by threshold."""
    valid = box_ops.area(label[:, 1:5]) > 0
    overlap = box_ops.iou(anchors, label[:, 1:5])
    overlap[:, (label[:, 0] < 0) | ~valid] = -1
    matched = np.full(len(anchors), -1)
    free = overlap.copy()
    while free.size and free.max() > 1e-6:
        anchor, thing = np.unravel_index(free.argmax(), free.shape)
        matched[anchor] = thing
        free[anchor], free[:, thing] = -1, -1
    if overlap.size:
        above = (matched < 0) & (overlap.max(axis=1) > threshold)
        matched[above] = overlap.argmax(axis=1)[above]
    return matched


def encode(anchors, truth):
    """Return (N, 4) encoded boxes."""
    sides, wanted = anchors[:, 2:] - anchors[:, :2], truth[:, 2:] - truth[:, :2]
    centers, goal = (anchors[:, 2:] + anchors[:, :2]) / 2, (truth[:, 2:] + truth[:, :2]) / 2
    offset, size = (goal - centers) / sides, np.log(np.maximum(wanted, 1e-30) / sides)
    return np.concatenate([offset, size], axis=1) / VARIANCES


def hardest(background_loss, candidates, count):
    """Return a mask of the `count` candidates with the largest loss; equal ones in order."""
    order = np.argsort(np.where(candidates, -background_loss, np.inf), kind="stable")
    mask = np.zeros(len(background_loss), bool)
    mask[order[: int(min(count, candidates.sum()))]] = True
    return mask


def mined(background_loss, positive, neutral, loss):
    """Return (B, A), True for the hard negatives."""
    counts, candidates = positive.sum(axis=1), ~positive & ~neutral
    if loss.mining == "image":
        wanted = np.maximum(np.floor(loss.negative_ratio * counts), loss.minimum_negatives)
        return np.stack([hardest(*row) for row in zip(background_loss, candidates, wanted)])
    wanted = max(np.floor(loss.negative_ratio * counts.sum()), loss.minimum_negatives * len(counts))
    return hardest(background_loss.ravel(), candidates.ravel(), wanted).reshape(positive.shape)


def in_band(anchors, label, least):
    """Return (A,), True where the best IoU with an object is at least that; all False for 0."""
    real = (label[:, 0] >= 0) & (box_ops.area(label[:, 1:5]) > 0)
    overlap = box_ops.iou(anchors, label[real, 1:5])
    return overlap.max(axis=1, initial=0) >= least if least else np.zeros(len(anchors), bool)


def oracle(loc_pred, cls_pred, label, loss, anchors=ANCHORS):
    """Return (cls_loss, loc_loss, positives, negatives, gradient of cls_pred, gradient of loc_pred)."""
    threshold = 99 if loss.matching == "bipartite" else loss.overlap_threshold
    matched = np.stack([match(anchors, rows, threshold) for rows in label])
    positive = matched >= 0
    neutral = np.stack([in_band(anchors, rows, loss.neutral_iou) for rows in label]) & ~positive
    target = np.where(positive, np.take_along_axis(label[:, :, 0], np.maximum(matched, 0), 1) + 1, 0).astype(
        int
    )
    shifted = cls_pred.astype(np.float64) - cls_pred.max(axis=1, keepdims=True)
    log_prob = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))  # (B, C+1, A)
    keep = positive | mined(-log_prob[:, 0], positive, neutral, loss)
    one_hot = np.moveaxis(np.eye(cls_pred.shape[1])[target], 2, 1)
    one_hot = one_hot * (1 - loss.label_smoothing) + loss.label_smoothing / cls_pred.shape[1]
    cls_loss = -((log_prob * one_hot).sum(axis=1) * keep).sum(axis=1)
    goal = np.stack([encode(anchors, rows[np.maximum(m, 0), 1:5]) for rows, m in zip(label, matched)])
    mask = np.repeat(positive, 4, axis=1)
    d = np.where(mask, loc_pred - goal.reshape(len(label), -1), 0)
    loc_loss = np.where(np.abs(d) < 1, d * d / 2, np.abs(d) - 0.5).sum(axis=1) * loss.loc_weight
    cls_gradient = (np.exp(log_prob) - one_hot) * keep[:, None]
    negatives = (keep & ~positive).sum(axis=1)
    return (
        cls_loss,
        loc_loss,
        positive.sum(axis=1),
        negatives,
        cls_gradient,
        np.clip(d, -1, 1) * loss.loc_weight,
    )


def run(loc_pred, cls_pred, label, loss, anchors=ANCHORS):
    """Return the same six from the graph."""
    group = mx.sym.Group([mx.sym.Variable(name) for name in ("loc_pred", "cls_pred", "anchors")])
    symbol = training_symbol(group, cls_pred.shape[1] - 1, VARIANCES, loss)
    values = {"loc_pred": loc_pred, "cls_pred": cls_pred, "anchors": anchors[None], "label": label}
    values = {name: mx.nd.array(value) for name, value in values.items()}
    gradients = {name: mx.nd.zeros(values[name].shape) for name in ("loc_pred", "cls_pred")}
    executor = symbol.bind(
        mx.cpu(), values, args_grad=gradients, grad_req={"loc_pred": "write", "cls_pred": "write"}
    )
    executor.forward(is_train=True)
    executor.backward()
    outputs = [output.asnumpy() for output in executor.outputs]
    return (*outputs, gradients["cls_pred"].asnumpy(), gradients["loc_pred"].asnumpy())


def random_label(rng, batch, objects, classes, columns=6):
    """Return labels with `objects[i]` objects in image i."""
    label = -np.ones((batch, max([*objects, 1]) + 1, columns), np.float32)
    for image, count in enumerate(objects):
        low, side = rng.uniform(0, 0.6, (count, 2)), rng.uniform(0.1, 0.4, (count, 2))
        label[image, :count, 0] = rng.integers(0, classes, count)
        label[image, :count, 1:5] = np.concatenate([low, low + side], axis=1)
        label[image, :count, 5:] = 0
    return label


def random_predictions(rng, batch, classes, count=COUNT):
    loc_pred = rng.normal(0, 1, (batch, 4 * count)).astype(np.float32)
    return loc_pred, rng.normal(0, 2, (batch, classes + 1, count)).astype(np.float32)


def assert_equal(found, expected):
    np.testing.assert_array_equal(found[2], expected[2], "positives")
    np.testing.assert_array_equal(found[3], expected[3], "negatives")
    for index in (0, 1, 4, 5):
        np.testing.assert_allclose(found[index], expected[index], rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("mining", ["image", "batch"])
@pytest.mark.parametrize("columns", [5, 6])
@pytest.mark.parametrize(
    ("objects", "classes"), [((2, 3, 1), 4), ((0, 2), 1), ((0, 0), 3), ((1, 0, 5, 0), 20), ((7,), 2)]
)
def test_values_and_gradients_equal_the_oracle(objects, classes, columns, mining):
    rng = np.random.default_rng(len(objects) * 10 + classes)
    label = random_label(rng, len(objects), objects, classes, columns)
    predictions = random_predictions(rng, len(objects), classes)
    loss = LossConfig(mining=mining, loc_weight=0.7)
    assert_equal(run(*predictions, label, loss), oracle(*predictions, label, loss))


@pytest.mark.parametrize("mining", ["image", "batch"])
@pytest.mark.parametrize(("ratio", "minimum"), [(0, 0), (0, 5), (1.5, 0), (3, 20), (1000, 3), (3, 10**6)])
def test_ratio_and_minimum_count_as_stated(ratio, minimum, mining):
    rng = np.random.default_rng(5)
    label = random_label(rng, 3, (2, 0, 4), 3)
    predictions = random_predictions(rng, 3, 3)
    loss = LossConfig(negative_ratio=ratio, minimum_negatives=minimum, mining=mining)
    assert_equal(run(*predictions, label, loss), oracle(*predictions, label, loss))


def test_image_without_objects_gives_negatives():
    rng = np.random.default_rng(6)
    label = random_label(rng, 2, (0, 2), 3)
    cls_loss, loc_loss, positive, negative, cls_gradient, loc_gradient = run(
        *random_predictions(rng, 2, 3), label, LossConfig(minimum_negatives=4)
    )
    assert (positive[0], negative[0]) == (0, 4)
    assert cls_loss[0] > 0
    assert loc_loss[0] == 0
    assert np.abs(cls_gradient[0]).sum() > 0
    assert np.abs(loc_gradient[0]).sum() == 0
    assert negative[1] == 3 * positive[1]


def test_ratio_counts_for_each_image_on_its_own():
    rng = np.random.default_rng(7)
    label = random_label(rng, 3, (1, 4, 0), 3)
    _, _, positive, negative, _, _ = run(*random_predictions(rng, 3, 3), label, LossConfig())
    np.testing.assert_array_equal(negative, np.maximum(3 * positive, 3))


def test_batch_mining_takes_negatives_where_they_are_hardest():
    rng = np.random.default_rng(8)
    label = random_label(rng, 2, (2, 2), 3)
    loc_pred, cls_pred = random_predictions(rng, 2, 3)
    cls_pred[1, 0] += 50  # the second image's background is learned already
    _, _, positive, negative, _, _ = run(loc_pred, cls_pred, label, LossConfig(mining="batch"))
    np.testing.assert_array_equal(negative, [3 * positive.sum(), 0])


@pytest.mark.parametrize("mining", ["image", "batch"])
def test_count_is_exact_where_all_scores_are_equal(mining):
    label = random_label(np.random.default_rng(9), 2, (2, 1), 3)
    loc_pred, cls_pred = np.zeros((2, 4 * len(ANCHORS))), np.zeros((2, 4, len(ANCHORS)))
    _, _, positive, negative, gradient, _ = run(loc_pred, cls_pred, label, LossConfig(mining=mining))
    assert negative.sum() == 3 * positive.sum()
    assert (np.abs(gradient).sum(axis=1) > 0).sum() == (positive + negative).sum()


def test_positives_are_never_taken_as_negatives():
    rng = np.random.default_rng(10)
    label = random_label(rng, 2, (3, 3), 3)
    loc_pred, cls_pred = random_predictions(rng, 2, 3)
    loss = LossConfig(negative_ratio=10**4)
    _, _, positive, negative, _, _ = run(loc_pred, cls_pred, label, loss)
    np.testing.assert_array_equal(positive + negative, [len(ANCHORS)] * 2)


@pytest.mark.parametrize("scale", [1e3, 1e10, 1e30])
def test_huge_predictions_give_finite_losses_and_gradients(scale):
    rng = np.random.default_rng(11)
    label = random_label(rng, 2, (3, 0), 3)
    loc_pred, cls_pred = random_predictions(rng, 2, 3)
    found = run(loc_pred * scale, cls_pred * scale, label, LossConfig())
    assert all(np.isfinite(values).all() for values in found)
    assert np.abs(found[4]).max() <= 1 + 1e-5
    assert np.abs(found[5]).max() <= 1 + 1e-5


def test_object_of_zero_area_is_ignored():
    rng = np.random.default_rng(12)
    label = random_label(rng, 1, (3,), 3)
    predictions = random_predictions(rng, 1, 3)
    label[0, 1, 3:5] = label[0, 1, 1:3]
    found = run(*predictions, label, LossConfig())
    assert_equal(found, oracle(*predictions, label, LossConfig()))
    assert_equal(found, oracle(*predictions, label[:, [0, 2, 3]], LossConfig()))


def test_image_whose_only_object_has_zero_area_is_background():
    rng = np.random.default_rng(13)
    label = random_label(rng, 1, (1,), 3)
    label[0, 0, 3:5] = label[0, 0, 1:3]
    _, loc_loss, positive, negative, _, _ = run(*random_predictions(rng, 1, 3), label, LossConfig())
    assert (positive[0], negative[0], loc_loss[0]) == (0, 3, 0)


@pytest.mark.parametrize("mining", ["image", "batch"])
def test_one_anchor_alone_works(mining):
    anchors = np.array([[0.2, 0.2, 0.8, 0.8]], np.float32)
    label = np.array([[[1, 0.2, 0.3, 0.8, 0.8]], [[-1] * 5]], np.float32)
    predictions = random_predictions(np.random.default_rng(14), 2, 2, 1)
    loss = LossConfig(mining=mining)
    found = run(*predictions, label, loss, anchors)
    assert_equal(found, oracle(*predictions, label, loss, anchors))
    np.testing.assert_array_equal(found[2], [1, 0])
    np.testing.assert_array_equal(found[3], [0, 1])


def test_anchor_must_overlap_above_the_threshold():
    anchors = np.array([[0, 0, 0.5, 0.5], [0, 0, 0.5, 1], [0.75, 0.75, 1, 1]], np.float32)
    label = np.array([[[0, 0, 0, 0.5, 0.5, 0]]], np.float32)  # IoU 1, 0.5 and 0
    predictions = random_predictions(np.random.default_rng(19), 1, 1, 3)
    assert run(*predictions, label, LossConfig(overlap_threshold=0.5), anchors)[2] == [1]
    assert run(*predictions, label, LossConfig(overlap_threshold=0.499), anchors)[2] == [2]


def test_overlap_threshold_above_one_leaves_each_object_its_best_anchor():
    rng = np.random.default_rng(15)
    label = random_label(rng, 2, (3, 1), 3)
    _, _, positive, _, _, _ = run(*random_predictions(rng, 2, 3), label, LossConfig(overlap_threshold=1.1))
    np.testing.assert_array_equal(positive, [3, 1])


def test_class_that_does_not_exist_makes_the_loss_infinite():
    rng = np.random.default_rng(16)
    label = random_label(rng, 2, (1, 1), 3)
    label[1, 0, 0] = 3
    cls_loss, _, _, _, gradient, _ = run(*random_predictions(rng, 2, 3), label, LossConfig())
    assert np.isfinite(cls_loss[0])
    assert np.isposinf(cls_loss[1])
    assert np.isfinite(gradient[0]).all()


def test_predictions_that_are_not_numbers_give_a_loss_that_is_not_one():
    rng = np.random.default_rng(17)
    label = random_label(rng, 2, (2, 2), 3)
    loc_pred, cls_pred = random_predictions(rng, 2, 3)
    cls_pred[0] = np.nan
    cls_loss = run(loc_pred, cls_pred, label, LossConfig())[0]
    assert np.isnan(cls_loss[0])
    assert np.isfinite(cls_loss[1])


@pytest.mark.parametrize("mining", ["image", "batch"])
@pytest.mark.parametrize(
    "settings",
    [
        {"neutral_iou": 0.2},
        {"neutral_iou": 0.05, "overlap_threshold": 0.35, "minimum_negatives": 40},
        {"matching": "bipartite"},
        {"matching": "bipartite", "neutral_iou": 0.4},
        {"label_smoothing": 0.1},
        {"label_smoothing": 0.9, "matching": "bipartite", "neutral_iou": 0.3, "loc_weight": 2.5},
    ],
    ids=str,
)
def test_bands_matchings_and_smoothing_equal_the_oracle(settings, mining):
    rng = np.random.default_rng(20)
    label = random_label(rng, 4, (3, 0, 6, 1), 4)
    label[2, 1, 3:5] = label[2, 1, 1:3]  # zero area
    predictions = random_predictions(rng, 4, 4)
    loss = LossConfig(mining=mining, **settings)
    plain = oracle(*predictions, label, LossConfig(mining=mining))
    expected = oracle(*predictions, label, loss)
    assert any(not np.allclose(one, other) for one, other in zip(plain, expected)), "the setting does nothing"
    assert_equal(run(*predictions, label, loss), expected)


def test_neutral_anchors_are_neither_positive_nor_negative():
    anchors = np.array([[0, 0, 0.5, 1], [0, 0, 0.5, 0.4], [0, 0, 0.5, 0.2], [0.6, 0.6, 1, 1]], np.float32)
    label = np.array([[[0, 0, 0, 0.5, 1, 0]]], np.float32)  # IoU 1, 0.4, 0.2 and 0
    loss = LossConfig(neutral_iou=0.3, negative_ratio=100)
    found = run(*random_predictions(np.random.default_rng(21), 1, 2, 4), label, loss, anchors)
    assert (found[2], found[3]) == ([1], [2])
    touched = np.abs(found[4][0]).sum(axis=0) > 0
    np.testing.assert_array_equal(touched, [True, False, True, True])


def test_image_whose_anchors_are_all_neutral_or_positive_has_no_negatives():
    anchors = np.array([[0, 0, 1, 1], [0, 0, 1, 0.6], [0, 0, 0.5, 1]], np.float32)
    label = np.array([[[1, 0, 0, 1, 0.9, 0]], [[-1] * 6]], np.float32)
    for mining in ("image", "batch"):
        loss = LossConfig(overlap_threshold=0.8, neutral_iou=0.1, minimum_negatives=2, mining=mining)
        predictions = random_predictions(np.random.default_rng(22), 2, 2, 3)
        found = run(*predictions, label, loss, anchors)
        assert_equal(found, oracle(*predictions, label, loss, anchors))
        assert found[3][0] == 0


def test_overlap_of_exactly_the_lower_threshold_is_neutral():
    anchors = np.array([[0, 0, 0.5, 1], [0, 0, 0.5, 0.25]], np.float32)
    label = np.array([[[0, 0, 0, 0.5, 1, 0]]], np.float32)  # IoU 1 and 0.25
    predictions = random_predictions(np.random.default_rng(23), 1, 1, 2)
    assert run(*predictions, label, LossConfig(neutral_iou=0.25), anchors)[3] == [0]
    assert run(*predictions, label, LossConfig(neutral_iou=0.251), anchors)[3] == [1]


def test_smoothed_labels_are_mined_by_the_plain_loss():
    rng = np.random.default_rng(24)
    label = random_label(rng, 2, (2, 1), 3)
    predictions = random_predictions(rng, 2, 3)
    plain, smooth = (run(*predictions, label, LossConfig(label_smoothing=x)) for x in (0.0, 0.6))
    np.testing.assert_array_equal(np.abs(plain[4]).sum(axis=1) > 0, np.abs(smooth[4]).sum(axis=1) > 0)


def test_smoothing_leaves_the_classes_that_do_not_exist_infinite():
    rng = np.random.default_rng(25)
    label = random_label(rng, 2, (1, 1), 3)
    label[1, 0, 0] = 3
    cls_loss = run(*random_predictions(rng, 2, 3), label, LossConfig(label_smoothing=0.1))[0]
    assert np.isfinite(cls_loss[0])
    assert np.isposinf(cls_loss[1])


def graphs_of(loss):
    """Return the JSON of both training graphs over bare heads."""
    group = mx.sym.Group([mx.sym.Variable(name) for name in ("loc_pred", "cls_pred", "anchors")])
    inside = training_symbol(group, 3, VARIANCES, loss)
    return inside.tojson(), matched_training_symbol(group, 3, loss).tojson()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ("fd9f76cde886", "8d48a6f3b0a8")),
        (
            {
                "mining": "batch",
                "loc_weight": 0.5,
                "overlap_threshold": 0.4,
                "negative_ratio": 2.0,
                "minimum_negatives": 7,
            },
            ("114fa7ee732f", "d0cb8827e00f"),
        ),
        ({"overlap_threshold": 1.1}, ("896462cd0622", "8d48a6f3b0a8")),
    ],
    ids=["default", "changed", "overlap threshold above 1"],
)
def test_graph_without_the_later_options_is_what_it_was_before_them(settings, expected):
    """Checkpoints of earlier versions resume bit for bit: the figures are the graphs' SHA-256 from before."""
    found = [hashlib.sha256(text.encode()).hexdigest()[:12] for text in graphs_of(LossConfig(**settings))]
    assert tuple(found) == expected


def test_band_that_ends_where_it_begins_is_none():
    assert graphs_of(LossConfig(neutral_iou=0.5)) == graphs_of(LossConfig())


def test_settings_at_their_defaults_are_said_as_before_the_later_ones():
    assert set(LossConfig().to_dict()) == {
        "overlap_threshold",
        "negative_ratio",
        "minimum_negatives",
        "mining",
        "loc_weight",
    }


@pytest.mark.parametrize(
    "settings", [{}, {"matching": "bipartite"}, {"neutral_iou": 0.3, "label_smoothing": 0.1}], ids=str
)
def test_settings_survive_the_card(settings):
    loss = LossConfig(**settings)
    assert LossConfig.from_dict(loss.to_dict()) == loss
    assert settings.items() <= loss.to_dict().items()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"matching": "bipartit"}, "matching 'bipartit' is unknown.*bipartite"),
        ({"matching": "x"}, "matching 'x' is unknown"),
        ({"neutral_iou": 0.6}, "neutral_iou is 0.6, expected 0.5 at most"),
        ({"neutral_iou": 1.2, "matching": "bipartite"}, "neutral_iou is 1.2, expected 1 at most"),
        ({"neutral_iou": 1.2, "overlap_threshold": 1.5}, "neutral_iou is 1.2, expected 1 at most"),
        ({"neutral_iou": -0.1}, "neutral_iou is -0.1, expected a number of 0 or more"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0, expected from 0"),
        ({"label_smoothing": float("nan")}, "label_smoothing is nan"),
        ({"loc_weight": -1}, "loc_weight is -1"),
    ],
)
def test_impossible_matching_band_or_smoothing_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        LossConfig(**settings)


def test_outputs_stand_in_the_agreed_order_and_parameters_are_those_of_the_heads():
    network = heads(network_config("ssd7", (64, 64), 3))
    symbol = training_symbol(network, 3, VARIANCES, LossConfig())
    expected = ["cls_loss_output", "loc_loss_output", "num_positive_output", "num_negative_output"]
    assert symbol.list_outputs() == expected
    assert set(symbol.list_arguments()) - set(network.list_arguments()) == {"label"}
    assert symbol.infer_shape(data=(5, 3, 64, 64), label=(5, 2, 6))[1] == [(5,)] * 4


@pytest.mark.parametrize(
    ("network", "mining"), [("ssd7", "image"), ("ssd7", "batch"), ("mobilenet", "image")]
)
def test_gradients_of_a_whole_network_equal_those_of_the_oracle_sent_through_the_heads(network, mining):
    # The graph as a whole once failed in oneDNN's sum, and only behind real convolutions.
    rng = np.random.default_rng(18)
    config = network_config(network, (64, 96), 3)
    loss = LossConfig(mining=mining)
    network_heads = heads(config)
    training = training_symbol(network_heads, 3, VARIANCES, loss)
    label = random_label(rng, 3, (2, 0, 1), 3)
    left = training.simple_bind(mx.cpu(), data=(3, 3, 64, 96), label=label.shape)
    right = network_heads.simple_bind(mx.cpu(), data=(3, 3, 64, 96))
    for name, array in right.arg_dict.items():
        right.arg_dict[name][:] = rng.normal(0, 1 / np.sqrt(max(1, np.prod(array.shape[1:]))), array.shape)
        left.arg_dict[name][:] = right.arg_dict[name]
    left.arg_dict["label"][:] = label
    outputs = left.forward(is_train=True)
    left.backward()
    loc_pred, cls_pred, anchors = (output.asnumpy() for output in right.forward(is_train=True))
    expected = oracle(loc_pred, cls_pred, label, loss, anchors[0])
    np.testing.assert_array_equal(outputs[3].asnumpy(), expected[3])
    right.backward([mx.nd.array(expected[5]), mx.nd.array(expected[4]), mx.nd.zeros(anchors.shape)])
    for name, gradient in right.grad_dict.items():
        wanted, found = gradient.asnumpy(), left.grad_dict[name].asnumpy()
        np.testing.assert_allclose(found, wanted, atol=2e-3 * max(1e-3, np.abs(wanted).max()), err_msg=name)


def test_building_twice_gives_the_same_graph():
    network = heads(network_config("ssd7", (64, 64), 3))
    first = training_symbol(network, 3, VARIANCES, LossConfig()).tojson()
    assert training_symbol(network, 3, VARIANCES, LossConfig()).tojson() == first


def test_graph_runs_after_saving_and_loading(tmp_path):
    network = heads(network_config("ssd7", (64, 64), 3))
    training_symbol(network, 3, VARIANCES, LossConfig(mining="batch")).save(str(tmp_path / "a.json"))
    symbol = mx.sym.load(str(tmp_path / "a.json"))
    executor = symbol.simple_bind(mx.cpu(), data=(2, 3, 64, 64), label=(2, 1, 5))
    executor.arg_dict["label"][:] = -1
    outputs = executor.forward(is_train=True)
    executor.backward()
    assert outputs[3].asnumpy().sum() == 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mining": "images"}, "did you mean image"),
        ({"negative_ratio": -1}, "negative_ratio is -1"),
        ({"minimum_negatives": 2.5}, "whole number"),
        ({"overlap_threshold": 0}, "overlap_threshold is 0"),
        ({"loc_weight": float("nan")}, "loc_weight is nan"),
        ({"loc_weight": "1"}, "loc_weight is '1'"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        LossConfig(**settings)


def test_settings_survive_a_dictionary():
    loss = LossConfig(0.4, 2.0, 5, "batch", 0.5)
    assert LossConfig.from_dict(loss.to_dict()) == loss
    with pytest.raises(ConfigError, match="did you mean negative_ratio"):
        LossConfig.from_dict({"negativ_ratio": 3})

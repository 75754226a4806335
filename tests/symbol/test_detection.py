"""The detection tail against a plain numpy DetectionOutput, in every mode."""

import numpy as np
import pytest

from common import boxes as box_ops
from common.errors import ConfigError
from common.mx import mx
from symbol.anchors import AnchorConfig, generate_anchors
from symbol.detection import DetectionConfig, detection_symbol
from symbol.network import heads
from symbol.presets import network_config

VARIANCES = (0.1, 0.1, 0.2, 0.2)
ANCHORS = generate_anchors(AnchorConfig(((0.2, 0.3), (0.5, 0.7)), ((1, 2, 0.5),)), [(8, 8), (4, 4)])
COUNT = len(ANCHORS)


def decode(loc_pred, anchors, clip):
    """Return boxes (A, 4)."""
    sides, centers = anchors[:, 2:] - anchors[:, :2], (anchors[:, 2:] + anchors[:, :2]) / 2
    d = loc_pred.reshape(-1, 4).astype(np.float64) * VARIANCES
    centers, sides = centers + d[:, :2] * sides, sides * np.exp(np.minimum(d[:, 2:], 700))
    boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=1)
    return np.clip(boxes, 0, 1) if clip else boxes


def softmax(cls_pred):
    exponent = np.exp(cls_pred.astype(np.float64) - cls_pred.max(axis=0))
    return exponent / exponent.sum(axis=0)


SCORES = {
    "softmax": softmax,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x.astype(np.float64))),
    "none": np.asarray,
}


def suppress(rows, threshold):
    """Return the rows (sorted) that no better kept row overlaps by more than the threshold."""
    kept = []
    for row in rows:
        if all(box_ops.iou(row[2:], other[2:])[0, 0] <= threshold for other in kept):
            kept.append(row)
    return kept


def best(rows, count):
    rows = sorted(rows, key=lambda row: -row[1])
    return rows if count < 0 else rows[:count]


def candidates(scores, boxes, class_id, config):
    """Return one class's rows above the threshold, the best first, nms_topk at most."""
    rows = [np.array([class_id, s, *box]) for s, box in zip(scores, boxes) if s > config.score_threshold]
    return best(rows, config.nms_topk)


def best_together(groups, count):
    """Keep those of all classes' candidates that are among the best of them together."""
    kept = best(sum(groups, []), count)
    least = kept[-1][1] if kept else 0
    return [[row for row in rows if row[1] >= least] for rows in groups]


def oracle(loc_pred, cls_pred, anchors, config):
    """Return the rows of one image as Caffe's DetectionOutput finds them (or MultiBoxDetection, or across classes)."""
    scores, boxes = SCORES[config.activation](cls_pred)[1:], decode(loc_pred, anchors, config.clip)
    if config.force:
        # Every class at every one of the best anchors, one NMS over all of them.
        order = np.argsort(-scores.max(axis=0), kind="stable")
        order = order if config.nms_topk < 0 else order[: config.nms_topk]
        rows = [np.array([c, scores[c, a], *boxes[a]]) for a in order for c in range(len(scores))]
        groups = [best([row for row in rows if row[1] > config.score_threshold], -1)]
    elif config.nms_mode == "multibox":
        top = scores.argmax(axis=0)
        rows = [np.array([c, scores[c, a], *boxes[a]]) for a, c in enumerate(top)]
        rows = best([row for row in rows if row[1] > config.score_threshold], config.nms_topk)
        groups = [[r for r in rows if r[0] == c] for c in range(len(scores))]
    else:
        groups = [candidates(row, boxes, class_id, config) for class_id, row in enumerate(scores)]
        groups = best_together(groups, config.image_topk)
    return best(sum((suppress(rows, config.nms_threshold) for rows in groups), []), config.keep_topk)


def run(loc_pred, cls_pred, anchors, config):
    """Return the graph's output (B, K, 6)."""
    names = ("loc_pred", "cls_pred", "anchors")
    symbol = detection_symbol(*map(mx.sym.Variable, names), cls_pred.shape[1] - 1, VARIANCES, config)
    values = dict(zip(names, map(mx.nd.array, (loc_pred, cls_pred, anchors[None]))))
    return symbol.bind(mx.cpu(), values, grad_req="null").forward(is_train=False)[0].asnumpy()


def random_predictions(rng, batch, classes, count=COUNT):
    loc_pred = rng.normal(0, 1, (batch, 4 * count)).astype(np.float32)
    return loc_pred, rng.normal(0, 2, (batch, classes + 1, count)).astype(np.float32)


def assert_equal(output, expected):
    """Check an image's rows: as many, the same ids and boxes in the same order, then void ones."""
    np.testing.assert_array_equal(output[: len(expected), 0], [row[0] for row in expected])
    if expected:
        np.testing.assert_allclose(output[: len(expected)], np.stack(expected), atol=3e-6)
    assert (output[len(expected) :] == -1).all()


@pytest.mark.parametrize("mode", ["per_class", "multibox"])
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("classes", [1, 2, 5, 20])
def test_detections_equal_the_oracle(classes, force, mode):
    rng = np.random.default_rng(classes)
    config = DetectionConfig(nms_mode=mode, force=force, nms_topk=60, keep_topk=50)
    loc_pred, cls_pred = random_predictions(rng, 3, classes)
    output = run(loc_pred, cls_pred, ANCHORS, config)
    assert output.shape == (3, 50, 6)
    for image in range(3):
        assert_equal(output[image], oracle(loc_pred[image], cls_pred[image], ANCHORS, config))


@pytest.mark.parametrize("mode", ["per_class", "multibox"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"score_threshold": 0.5},
        {"score_threshold": 0.999999},
        {"score_threshold": 0},
        {"nms_threshold": 0},
        {"nms_threshold": 0.99},
        {"nms_threshold": 0.99999999, "nms_topk": 5},
        {"nms_topk": 1},
        {"keep_topk": 1},
        {"nms_topk": -1, "keep_topk": -1},
        {"nms_topk": 10**6, "keep_topk": 10**6},
        {"nms_topk": 7, "keep_topk": 10**6, "force": True},
        {"clip": False},
        {"clip": False, "force": True, "nms_threshold": 0.2},
        {"activation": "sigmoid", "score_threshold": 0.3},
        {"activation": "none", "score_threshold": 0.3},
        {"image_topk": 1},
        {"image_topk": 25},
        {"image_topk": 25, "nms_topk": 9},
        {"image_topk": 10**6},
        {"image_topk": 25, "force": True},
    ],
)
def test_every_setting_counts_as_in_the_oracle(settings, mode):
    rng = np.random.default_rng(4)
    anchors = ANCHORS[200:260]
    config = DetectionConfig(nms_mode=mode, **settings)
    loc_pred, cls_pred = random_predictions(rng, 2, 3, len(anchors))
    output = run(loc_pred, cls_pred, anchors, config)
    for image in range(2):
        assert_equal(output[image], oracle(loc_pred[image], cls_pred[image], anchors, config))


def test_number_of_rows_is_what_can_be():
    loc_pred, cls_pred = random_predictions(np.random.default_rng(5), 1, 3, 10)
    anchors = ANCHORS[:10]
    assert run(loc_pred, cls_pred, anchors, DetectionConfig()).shape == (1, 30, 6)
    assert run(loc_pred, cls_pred, anchors, DetectionConfig(nms_topk=4)).shape == (1, 12, 6)
    assert run(loc_pred, cls_pred, anchors, DetectionConfig(keep_topk=4)).shape == (1, 4, 6)
    assert run(loc_pred, cls_pred, anchors, DetectionConfig(nms_mode="multibox")).shape == (1, 10, 6)


def test_one_anchor_can_be_two_classes_only_by_class():
    anchors = np.array([[0.2, 0.2, 0.6, 0.6]], np.float32)
    cls_pred = np.log(np.array([0.2, 0.5, 0.3], np.float32)).reshape(1, 3, 1)
    by_class = run(np.zeros((1, 4)), cls_pred, anchors, DetectionConfig())
    np.testing.assert_allclose(by_class[0, :, :2], [[0, 0.5], [1, 0.3]], atol=1e-6)
    plain = run(np.zeros((1, 4)), cls_pred, anchors, DetectionConfig(nms_mode="multibox"))
    np.testing.assert_allclose(plain[0, :, :2], [[0, 0.5]], atol=1e-6)
    forced = run(np.zeros((1, 4)), cls_pred, anchors, DetectionConfig(force=True))
    np.testing.assert_allclose(forced[0, :, :2], [[0, 0.5]], atol=1e-6)


def test_force_keeps_what_only_a_suppressed_box_overlaps():
    # Three boxes in a row, each overlapping the next: the second is of another class and falls to the first,
    # so the third, of the second's class, stays.
    anchors = np.array([[0, 0, 0.4, 1], [0.15, 0, 0.55, 1], [0.3, 0, 0.7, 1]], np.float32)
    prob = np.array([[0.05, 0.1, 0.2], [0.9, 0.1, 0.0], [0.05, 0.8, 0.8]], np.float32)
    config = DetectionConfig(force=True, nms_threshold=0.3, score_threshold=0.5)
    output = run(np.zeros((1, 12)), np.log(np.maximum(prob, 1e-9))[None], anchors, config)
    np.testing.assert_array_equal(output[0, :3, 0], [0, 1, -1])
    np.testing.assert_allclose(output[0, :2, 2], [0, 0.3], atol=1e-6)


@pytest.mark.parametrize("mode", ["per_class", "multibox"])
def test_score_and_overlap_at_the_threshold_do_not_count(mode):
    anchors = np.array(
        [[0, 0, 0.5, 0.5], [0, 0, 0.5, 1], [0.75, 0.75, 1, 1]], np.float32
    )  # IoU 0.5 of the first two
    cls_pred = np.array([[[0, 0, 0], [3, 2, 0]]], np.float32)  # the third scores 0.5 exactly
    config = DetectionConfig(score_threshold=0.5, nms_threshold=0.5, nms_mode=mode)
    output = run(np.zeros((1, 12)), cls_pred, anchors, config)
    np.testing.assert_array_equal(output[0, :, 0], [0, 0, -1])


@pytest.mark.parametrize("mode", ["per_class", "multibox"])
@pytest.mark.parametrize("scale", [1e2, 1e4, 1e10, 1e30])
def test_huge_box_predictions_give_boxes_within_the_image(scale, mode):
    rng = np.random.default_rng(6)
    loc_pred, cls_pred = random_predictions(rng, 2, 3)
    output = run(loc_pred * scale, cls_pred, ANCHORS, DetectionConfig(nms_mode=mode))
    boxes = output[output[:, :, 0] >= 0][:, 2:]
    assert len(boxes)
    assert np.isfinite(boxes).all()
    assert boxes.min() >= 0
    assert boxes.max() <= 1
    assert (boxes[:, 2:] >= boxes[:, :2]).all()


@pytest.mark.parametrize("mode", ["per_class", "multibox"])
def test_nothing_above_the_threshold_gives_void_rows_only(mode):
    loc_pred, cls_pred = random_predictions(np.random.default_rng(7), 2, 3)
    cls_pred[:, 0] += 100
    assert (run(loc_pred, cls_pred, ANCHORS, DetectionConfig(nms_mode=mode)) == -1).all()


@pytest.mark.parametrize("mode", ["per_class", "multibox"])
@pytest.mark.parametrize("network", ["ssd7", "mobilenet"])
def test_tail_behind_a_network_gives_what_it_gives_alone(network, mode):
    rng = np.random.default_rng(8)
    symbol, detection = heads(network_config(network, (64, 96), 3)), DetectionConfig(nms_mode=mode)
    whole = mx.sym.Group([detection_symbol(*symbol, 3, VARIANCES, detection), *symbol])
    executor = whole.simple_bind(mx.cpu(), data=(2, 3, 64, 96), grad_req="null")
    for array in executor.arg_dict.values():
        array[:] = rng.normal(0, 1 / np.sqrt(max(1, np.prod(array.shape[1:]))), array.shape)
    for name, array in executor.aux_dict.items():
        array[:] = 1 if name.endswith("var") else 0
    found, loc_pred, cls_pred, anchors = (output.asnumpy() for output in executor.forward(is_train=False))
    expected = run(loc_pred, cls_pred, anchors[0], detection)
    assert (found[:, :, 0] >= 0).any()
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["per_class", "multibox"])
@pytest.mark.parametrize("keep_topk", [5, -1])
def test_output_is_called_detection_and_the_graph_is_the_same_each_time(keep_topk, mode):
    config = DetectionConfig(keep_topk=keep_topk, nms_mode=mode)
    build = [
        detection_symbol(*map(mx.sym.Variable, ("loc_pred", "cls_pred", "anchors")), 3, VARIANCES, config)
        for _ in range(2)
    ]
    assert build[0].list_outputs() == ["detection_output"]
    assert build[0].tojson() == build[1].tojson()


def test_batch_size_is_free_after_saving_and_loading(tmp_path):
    symbol = detection_symbol(
        *map(mx.sym.Variable, ("loc_pred", "cls_pred", "anchors")), 3, VARIANCES, DetectionConfig()
    )
    symbol.save(str(tmp_path / "tail.json"))
    loaded = mx.sym.load(str(tmp_path / "tail.json"))
    for batch in (1, 4):
        shapes = {"loc_pred": (batch, 400), "cls_pred": (batch, 4, 100), "anchors": (1, 100, 4)}
        assert loaded.infer_shape(**shapes)[1] == [(batch, 200, 6)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nms_mode": "perclass"}, "did you mean per_class"),
        ({"activation": "sigmoyd"}, "activation 'sigmoyd' is unknown; did you mean sigmoid"),
        ({"clip": 1}, "clip is 1, expected true or false"),
        ({"score_threshold": 1}, "score_threshold is 1"),
        ({"score_threshold": -0.1}, "score_threshold is -0.1"),
        ({"nms_threshold": 1.0}, "nms_threshold is 1.0"),
        ({"nms_threshold": float("nan")}, "nms_threshold is nan"),
        ({"nms_topk": 0}, "nms_topk is 0"),
        ({"keep_topk": 2.5}, "keep_topk is 2.5"),
        ({"keep_topk": -2}, "keep_topk is -2"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        DetectionConfig(**settings)


def test_settings_survive_a_dictionary():
    config = DetectionConfig(0.2, 0.5, 100, 50, "multibox", True, "sigmoid", False)
    assert DetectionConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match="did you mean nms_topk"):
        DetectionConfig.from_dict({"nms_top": 3})


def test_one_class_has_no_more_candidates_than_the_image():
    loc_pred, cls_pred = random_predictions(np.random.default_rng(5), 2, 1)
    config = DetectionConfig(image_topk=12)
    expected = [oracle(loc, cls, ANCHORS, config) for loc, cls in zip(loc_pred, cls_pred)]
    assert 0 < max(map(len, expected)) <= 12
    for image, rows in zip(run(loc_pred, cls_pred, ANCHORS, config), expected):
        assert_equal(image, rows)


def test_card_says_the_limit_of_all_classes_together_only_where_there_is_one():
    assert "image_topk" not in DetectionConfig().to_dict()
    config = DetectionConfig(image_topk=400)
    assert DetectionConfig.from_dict(config.to_dict()) == config

"""Soft-NMS against the paper's pseudo code in plain loops, and the graph that gives it its candidates."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.mx import mx
from detect.soft_nms import soft_nms
from symbol.anchors import AnchorConfig, generate_anchors
from symbol.detection import DetectionConfig, candidates_symbol

VARIANCES = (0.1, 0.1, 0.2, 0.2)


def overlap(one, other):
    """Intersection over union of two boxes, side by side."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def by_the_paper(boxes, scores, sigma):
    """Figure 2 of the paper with equation 3: every box with the score that it had when it was the best."""
    left, scores, done = list(range(len(boxes))), [float(score) for score in scores], []
    while left:
        best = max(left, key=lambda index: scores[index])  # the first of equals
        left.remove(best)
        done.append((best, scores[best]))
        for index in left:
            scores[index] *= math.exp(-(overlap(boxes[best], boxes[index]) ** 2) / sigma)
    return done


def expected(rows, sigma, threshold, keep_topk=-1, force=False):
    """The rows that soft-NMS should give, from the paper's form for each class."""
    rows = [row for row in rows.astype(np.float64) if row[0] >= 0 and row[1] > threshold]
    rows.sort(key=lambda row: -row[1])
    found = []
    for group in [rows] if force else [[r for r in rows if r[0] == c] for c in sorted({r[0] for r in rows})]:
        done = by_the_paper([row[2:] for row in group], [row[1] for row in group], sigma)
        found += [np.array([group[i][0], score, *group[i][2:]]) for i, score in done if score > threshold]
    found.sort(key=lambda row: -row[1])
    return np.array(found[: None if keep_topk < 0 else keep_topk]).reshape(-1, 6)


def random_rows(seed, count=120, classes=4):
    """Rows of an image whose boxes crowd around a few places; one in eight is void."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0.2, 0.8, (6, 2))[rng.integers(0, 6, count)] + rng.normal(0, 0.04, (count, 2))
    sides = rng.uniform(0.05, 0.3, (count, 2))
    class_ids = rng.integers(0, classes, count)
    class_ids[rng.random(count) < 1 / 8] = -1
    scores = rng.uniform(0, 1, count)
    return np.c_[class_ids, scores, centres - sides / 2, centres + sides / 2].astype(np.float32)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    ("sigma", "threshold", "keep_topk", "force"),
    [
        (0.5, 0.01, 200, False),
        (0.5, 0.01, -1, True),
        (0.1, 0.2, 7, False),
        (2.0, 0.0, -1, False),
        (0.5, 0.3, 5, True),
    ],
)
def test_it_gives_what_the_papers_pseudo_code_gives(seed, sigma, threshold, keep_topk, force):
    rows = random_rows(seed)
    before = rows.copy()
    found = soft_nms(rows, sigma=sigma, score_threshold=threshold, keep_topk=keep_topk, force=force)
    wanted = expected(rows, sigma, threshold, keep_topk, force)
    assert len(wanted) >= 5
    assert found.dtype == np.float32
    assert found.shape == wanted.shape
    np.testing.assert_array_equal(found[:, 0], wanted[:, 0])
    np.testing.assert_allclose(found[:, 1], wanted[:, 1], rtol=1e-6)
    np.testing.assert_array_equal(found[:, 2:], wanted[:, 2:].astype(np.float32))
    np.testing.assert_array_equal(rows, before)


def test_an_overlap_of_a_half_costs_what_the_bell_says():
    rows = np.array([[0, 0.9, 0, 0, 2, 1], [0, 0.8, 0, 0, 1, 1], [1, 0.7, 0, 0, 2, 1]], np.float32)
    lowered = 0.8 * math.exp(-(0.5**2) / 0.5)
    found = soft_nms(rows, sigma=0.5, score_threshold=0.01)
    assert found[:, 0].tolist() == [0, 1, 0]
    np.testing.assert_allclose(found[:, 1], [0.9, 0.7, lowered], rtol=1e-6)
    across = soft_nms(rows, sigma=0.5, score_threshold=0.01, force=True)
    np.testing.assert_allclose(
        across[:, 1], [0.9, lowered, 0.7 * math.exp(-1 / 0.5) * math.exp(-(0.5**2) / 0.5)], rtol=1e-6
    )


def test_the_threshold_holds_after_scores_were_lowered():
    rows = np.array([[0, 0.9, 0, 0, 1, 1], [0, 0.8, 0, 0, 1, 1]], np.float32)
    lowered = 0.8 * math.exp(-1 / 0.5)
    assert len(soft_nms(rows, sigma=0.5, score_threshold=lowered * 0.999)) == 2
    assert len(soft_nms(rows, sigma=0.5, score_threshold=lowered * 1.001)) == 1


def test_equal_scores_come_in_the_order_of_classes_and_rows():
    rows = np.array(
        [[1, 0.5, 0, 0, 1, 1], [0, 0.5, 5, 5, 6, 6], [0, 0.5, 3, 3, 4, 4], [1, 0.5, 7, 7, 8, 8]], np.float32
    )
    found = soft_nms(rows, sigma=0.5, score_threshold=0.0)
    assert found[:, 2].tolist() == [5, 3, 0, 7]
    assert soft_nms(rows, sigma=0.5, score_threshold=0.0, keep_topk=3)[:, 2].tolist() == [5, 3, 0]
    assert soft_nms(rows, sigma=0.5, score_threshold=0.0, force=True)[:, 2].tolist() == [0, 5, 3, 7]


@pytest.mark.parametrize("rows", [np.zeros((0, 6), np.float32), np.full((9, 6), -1, np.float32)])
def test_nothing_stays_nothing(rows):
    assert soft_nms(rows, sigma=0.5, score_threshold=0.01).shape == (0, 6)


def test_boxes_without_area_overlap_nothing():
    rows = np.array([[0, 0.9, 1, 1, 1, 1], [0, 0.8, 1, 1, 1, 1], [0, 0.7, 3, 3, 2, 2]], np.float32)
    np.testing.assert_allclose(soft_nms(rows, sigma=0.5, score_threshold=0.01)[:, 1], [0.9, 0.8, 0.7])


side = st.integers(0, 6)
row_of_grid = st.tuples(st.integers(-1, 2), st.integers(0, 10).map(lambda n: n / 10), side, side, side, side)


@settings(deadline=None)
@given(st.lists(row_of_grid, max_size=25), st.sampled_from([0.05, 0.5, 5.0]), st.booleans())
def test_boxes_stay_themselves_and_scores_only_fall(values, sigma, force):
    rows = np.array(values, np.float32).reshape(-1, 6)
    found = soft_nms(rows, sigma=sigma, score_threshold=0.05, force=force)
    assert (np.diff(found[:, 1]) <= 0).all()
    assert (found[:, 1] > 0.05).all()
    left = [tuple(row) for row in rows.tolist()]
    for class_id, score, *box in found.tolist():
        origins = [row for row in left if row[0] == class_id and list(row[2:]) == box and row[1] >= score]
        assert origins
        left.remove(min(origins, key=lambda row: row[1]))
    alone = rows[rows[:, 0] >= 0]
    if len(alone):
        assert (alone[:, 1].max() <= 0.05) or found[0, 1] == alone[:, 1].max()


@settings(deadline=None)
@given(st.lists(row_of_grid, max_size=25))
def test_a_bell_of_no_width_keeps_what_no_better_box_touches(values):
    rows = np.array(values, np.float32).reshape(-1, 6)
    kept = []
    for row in sorted(
        rows[(rows[:, 0] >= 0) & (rows[:, 1] > 0.05)].tolist(), key=lambda row: (row[0], -row[1])
    ):
        if not any(row[0] == other[0] and overlap(row[2:], other[2:]) > 0 for other in kept):
            kept.append(row)
    found = soft_nms(rows, sigma=1e-9, score_threshold=0.05).tolist()
    assert sorted(found) == sorted(kept)


ANCHORS = generate_anchors(AnchorConfig(((0.2, 0.3), (0.5, 0.7)), ((1, 2, 0.5),)), [(8, 8), (4, 4)])


def heads_of(seed, images=2, classes=3):
    """Random outputs of heads; the boxes of the last default boxes are so large that clipped they are equal."""
    rng = np.random.default_rng(seed)
    loc_pred = rng.normal(0, 1, (images, len(ANCHORS), 4)).astype(np.float32)
    loc_pred[:, -20:, 2:] = 20
    cls_pred = rng.normal(0, 2, (images, classes + 1, len(ANCHORS))).astype(np.float32)
    return loc_pred.reshape(images, -1), cls_pred


def decoded(loc_pred, clip):
    """Boxes (A, 4) of one image."""
    sides, centres = ANCHORS[:, 2:] - ANCHORS[:, :2], (ANCHORS[:, 2:] + ANCHORS[:, :2]) / 2
    offsets = loc_pred.reshape(-1, 4).astype(np.float64) * VARIANCES
    centres, sides = centres + offsets[:, :2] * sides, sides * np.exp(offsets[:, 2:])
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
    return np.clip(boxes, 0, 1) if clip else boxes


def candidates(loc_pred, cls_pred, config):
    """The candidates of one image: {(class id, rounded score, rounded box)}."""
    boxes, exponent = decoded(loc_pred, config.clip), np.exp(cls_pred.astype(np.float64))
    scores = (exponent / exponent.sum(axis=0))[1:]
    if config.nms_mode == "multibox" or config.force:
        groups = [[(scores[:, a].max(), scores[:, a].argmax(), a) for a in range(len(boxes))]]
    else:
        groups = [[(score, c, a) for a, score in enumerate(row)] for c, row in enumerate(scores)]
    most = None if config.nms_topk < 0 else config.nms_topk
    found = []
    for group in groups:
        group = sorted((entry for entry in group if entry[0] > config.score_threshold), reverse=True)[:most]
        found += [[c, score, *boxes[a]] for score, c, a in group]
    return np.array(sorted(found, key=lambda row: (-row[1], row[0])))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"nms_topk": 5},
        {"nms_topk": -1},
        {"nms_mode": "multibox"},
        {"force": True, "nms_topk": 9},
        {"clip": False},
    ],
)
@pytest.mark.parametrize("classes", [1, 3])
def test_the_graph_gives_every_candidate_equal_boxes_too(changes, classes):
    config = dataclasses.replace(DetectionConfig(score_threshold=0.2, nms_topk=40), **changes)
    loc_pred, cls_pred = heads_of(1, classes=classes)
    arrays = {"loc_pred": loc_pred, "cls_pred": cls_pred, "anchors": ANCHORS[None]}
    symbol = candidates_symbol(*map(mx.sym.Variable, arrays), classes, VARIANCES, config)
    arrays = {name: mx.nd.array(array) for name, array in arrays.items()}
    output = symbol.bind(mx.cpu(), arrays).forward()[0].asnumpy()
    assert symbol.list_outputs() == ["detection_output"]
    for image, rows in enumerate(output):
        rows = rows[rows[:, 0] >= 0]
        rows = rows[np.lexsort((rows[:, 0], -rows[:, 1]))]
        wanted = candidates(loc_pred[image], cls_pred[image], config)
        assert len(wanted) > 4
        np.testing.assert_allclose(rows, wanted, rtol=1e-4, atol=1e-5)

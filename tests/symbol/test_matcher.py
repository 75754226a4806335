"""Matching in numpy, held to MXNet's MultiBoxTarget in every case that the operator knows."""

from __future__ import annotations

import numpy as np
import pytest

from common.mx import mx
from symbol.anchors import AnchorConfig, generate_anchors
from symbol.matcher import BACKGROUND, NEUTRAL, encode, match, targets

VARIANCES = (0.1, 0.1, 0.2, 0.2)
CONFIG = AnchorConfig(sizes=((0.1, 0.2), (0.3, 0.5)), ratios=((1.0, 2.0, 0.5), (1.0, 2.0, 0.5)))
ANCHORS = generate_anchors(CONFIG, [(8, 10), (3, 4)])


def operator(anchors, label, threshold, variances=VARIANCES):
    """Return what MultiBoxTarget gives, with "ignore" of images without objects as background."""
    found = mx.nd.contrib.MultiBoxTarget(
        mx.nd.array(anchors[None]),
        mx.nd.array(label),
        mx.nd.zeros((len(label), 4, len(anchors))),
        overlap_threshold=threshold,
        negative_mining_ratio=-1,
        variances=variances,
    )
    loc_target, loc_mask, cls_target = (array.asnumpy() for array in found)
    return {"loc_target": loc_target, "loc_mask": loc_mask, "cls_target": np.maximum(cls_target, 0)}


def assert_as_operator(anchors, label, threshold=0.5, variances=VARIANCES):
    found, expected = (
        targets(anchors, label, variances, threshold),
        operator(anchors, label, threshold, variances),
    )
    np.testing.assert_array_equal(found["cls_target"], expected["cls_target"])
    np.testing.assert_array_equal(found["loc_mask"], expected["loc_mask"])
    np.testing.assert_allclose(found["loc_target"], expected["loc_target"], rtol=0, atol=2e-5)


def random_label(rng, objects, rows, low=0.02, high=0.6):
    label = np.full((len(objects), rows, 6), -1, np.float32)
    for image, count in enumerate(objects):
        corner = rng.uniform(0, 0.8, (count, 2))
        side = rng.uniform(low, high, (count, 2))
        label[image, :count, 0] = rng.integers(0, 4, count)
        label[image, :count, 1:5] = np.concatenate([corner, np.minimum(corner + side, 1)], axis=1)
        label[image, :count, 5] = 0
    return label


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 1.1])
def test_random_scenes_are_matched_and_encoded_as_by_multiboxtarget(seed, threshold):
    rng = np.random.default_rng(seed)
    assert_as_operator(ANCHORS, random_label(rng, rng.integers(0, 15, 5), 15), threshold)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("threshold", "neutral_from"), [(0.5, 0.3), (0.7, 0.1), (1.1, 0.4)])
def test_band_is_what_box_iou_finds_between_the_thresholds(seed, threshold, neutral_from):
    rng = np.random.default_rng(seed)
    label = random_label(rng, rng.integers(0, 15, 5), 15)
    overlap = mx.nd.contrib.box_iou(mx.nd.array(label[:, :, 1:5]), mx.nd.array(ANCHORS)).asnumpy().max(axis=1)
    plain = operator(ANCHORS, label, threshold)["cls_target"]
    expected = np.where((plain == 0) & (overlap >= neutral_from), -1, plain)
    found = targets(ANCHORS, label, VARIANCES, threshold, neutral_from)
    assert (expected == -1).any()
    np.testing.assert_array_equal(found["cls_target"], expected)
    np.testing.assert_array_equal(found["loc_mask"], np.repeat(plain > 0, 4, axis=1))


def test_best_default_box_is_given_away_even_inside_the_band():
    anchors = np.array([[0, 0, 0.5, 0.4], [0, 0, 0.5, 0.3], [0.6, 0.6, 1, 1]], np.float32)
    boxes = np.array([[0, 0, 0.5, 1]], np.float32)  # IoU 0.4, 0.3 and 0
    assert match(anchors, boxes, 0.5, 0.25).tolist() == [0, NEUTRAL, BACKGROUND]
    assert match(anchors, boxes, 0.5, 0.3).tolist() == [0, NEUTRAL, BACKGROUND]
    assert match(anchors, boxes, 0.5).tolist() == [0, BACKGROUND, BACKGROUND]


def test_many_tiny_objects_that_fight_for_the_same_default_boxes():
    rng = np.random.default_rng(0)
    assert_as_operator(ANCHORS, random_label(rng, (40, 30), 40, low=0.01, high=0.05))


def test_more_objects_than_default_boxes():
    rng = np.random.default_rng(1)
    assert_as_operator(ANCHORS[:5].copy(), random_label(rng, (20,), 20))


def test_equal_objects_each_get_a_default_box():
    label = random_label(np.random.default_rng(2), (1,), 3)
    label[0, :] = label[0, 0]
    assert_as_operator(ANCHORS, label)
    assert (targets(ANCHORS, label, VARIANCES, 1.1)["cls_target"] > 0).sum() == 3


def test_images_without_objects_are_background():
    found = targets(ANCHORS, np.full((2, 3, 5), -1, np.float32), VARIANCES, 0.5)
    assert not any(array.any() for array in found.values())


def test_object_without_area_is_given_nothing():
    label = random_label(np.random.default_rng(3), (2, 1), 2)
    label[:, 0, 3:5] = label[:, 0, 1:3]
    assert_as_operator(ANCHORS, label)


def test_object_behind_a_void_row_still_counts():
    # MultiBoxTarget stops reading at the first void row; the labels never have one there.
    label = random_label(np.random.default_rng(4), (3,), 3)
    gap = label.copy()
    gap[0, 1] = -1
    expected = targets(ANCHORS, label[:, [0, 2]], VARIANCES, 0.5)
    np.testing.assert_array_equal(targets(ANCHORS, gap, VARIANCES, 0.5)["cls_target"], expected["cls_target"])


def test_overlap_of_exactly_the_threshold_is_not_above_it():
    anchors = np.array([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.25], [0.6, 0.6, 1, 1]], np.float32)
    boxes = np.array([[0, 0, 0.5, 0.5]], np.float32)
    assert match(anchors, boxes, 0.5).tolist() == [0, -1, -1]
    assert match(anchors, boxes, 0.49).tolist() == [0, 0, -1]


def test_other_variances():
    label = random_label(np.random.default_rng(5), (3, 2), 3)
    assert_as_operator(ANCHORS, label, variances=(1.0, 0.5, 0.25, 0.125))


def test_encoding_by_hand():
    anchor = np.array([[0.2, 0.2, 0.4, 0.6]], np.float32)
    box = np.array([[0.3, 0.2, 0.7, 0.4]], np.float32)
    expected = [0.2 / 0.2 / 0.1, -0.1 / 0.4 / 0.1, np.log(2) / 0.2, np.log(0.5) / 0.2]
    np.testing.assert_allclose(encode(anchor, box, VARIANCES)[0], expected, rtol=1e-5)


def test_arguments_are_not_changed():
    label = random_label(np.random.default_rng(6), (4,), 5)
    anchors = ANCHORS.copy()
    before = label.copy()
    targets(anchors, label, VARIANCES, 0.5)
    np.testing.assert_array_equal(label, before)
    np.testing.assert_array_equal(anchors, ANCHORS)

"""The confusion matrix against tables by hand, a plain form of its rule, and supervision's."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.boxes import area, iou
from common.errors import ConfigError
from common.structures import Detections, Sample
from evaluate.confusion import confusion_matrix
from tests.evaluate.worlds import findings_of, image_of

A, B = [0, 0, 10, 10], [20, 20, 40, 40]
HALF_A, MOST_OF_A = [0, 0, 10, 5], [0, 0, 10, 9]
NOWHERE = [80, 80, 90, 90]
NONE = 2  # background, beside the classes 0 and 1


def random_findings(seed, *, classes=3, grid=None, neutral=True):
    """Crowded images; on a grid, many overlaps are equal."""
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for _ in range(6):
        count, rows = rng.integers(0, 9), rng.integers(0, 20)
        low = rng.uniform(0, 60, (count + rows, 2))
        boxes = np.concatenate([low, low + rng.uniform(10, 40, (count + rows, 2))], axis=1)
        boxes, boxes_found = boxes[:count], boxes[count:]
        if count:
            near = boxes[rng.integers(0, count, rows)] + rng.normal(size=(rows, 4)) * 3
            boxes_found = np.where(rng.random((rows, 1)) < 0.8, near, boxes_found)
        if grid:
            boxes, boxes_found = np.round(boxes / grid) * grid, np.round(boxes_found / grid) * grid
        mark = rng.integers(0, 6 if neutral else 1, count)
        ids, ids_found = rng.integers(0, classes, count), rng.integers(0, classes, rows)
        score = np.sort(rng.choice(np.arange(1, 20), rows) / 20)[::-1].astype(np.float32)
        truths.append(Sample(Path("image.jpg"), (100, 100), boxes, ids, mark == 1, crowd=mark == 2))
        found.append(Detections(ids_found, score, boxes_found.astype(np.float32), (100, 100)))
    return findings_of(truths, found, classes)


def plain_matrix(measured, iou_threshold, thresholds):
    """The rule said plainly: the best pair left is taken until none is."""
    classes = len(measured.class_names)
    matrix = np.zeros((classes + 1, classes + 1), int)
    for truth, found in zip(measured.truths, measured.detections):
        left = [i for i in range(len(found)) if found.score[i] > thresholds[found.class_id[i]]]
        free = [j for j in range(len(truth.class_ids)) if not truth.crowd[j]]
        overlap = iou(found.boxes, truth.boxes)
        while True:
            pairs = [(i, j) for i in left for j in free if overlap[i, j] >= iou_threshold]
            if not pairs:
                break
            i, j = min(
                pairs, key=lambda p: (found.class_id[p[0]] != truth.class_ids[p[1]], -overlap[p], p[0], p[1])
            )
            left.remove(i)
            if not truth.difficult[j]:
                free.remove(j)
                matrix[truth.class_ids[j], found.class_id[i]] += 1
        for j in free:
            matrix[truth.class_ids[j], classes] += not truth.difficult[j]
        for i in left:
            box = found.boxes[i].astype(float)
            inside = [
                area(np.concatenate([np.maximum(box[:2], crowd[:2]), np.minimum(box[2:], crowd[2:])]))[0]
                for crowd in truth.boxes[truth.crowd]
            ]
            matrix[classes, found.class_id[i]] += not any(
                part > 0 and part / area(box)[0] >= iou_threshold for part in inside
            )
    return matrix


@pytest.mark.parametrize(
    ("objects", "rows", "expected"),
    [
        ([(0, A)], [(0, 0.9, A)], [(0, 0)]),
        ([(0, A)], [(1, 0.9, A)], [(0, 1)]),
        ([(0, A)], [], [(0, NONE)]),
        ([], [(1, 0.9, A)], [(NONE, 1)]),
        ([(0, A)], [(0, 0.9, B)], [(0, NONE), (NONE, 0)]),
        ([(0, A)], [(0, 0.9, HALF_A)], [(0, 0)]),  # exactly the threshold
        ([(0, A)], [(0, 0.9, A), (0, 0.8, A)], [(0, 0), (NONE, 0)]),
        # Scores are above the threshold or do not count.
        ([(0, A)], [(0, 0.5, A)], [(0, NONE)]),
        # The class goes before overlap and score.
        ([(0, A)], [(1, 0.9, A), (0, 0.8, HALF_A)], [(0, 0), (NONE, 1)]),
        ([(0, A), (1, MOST_OF_A)], [(0, 0.9, HALF_A), (1, 0.8, A)], [(0, 0), (1, 1)]),
        # Difficult objects are never used up and count nowhere.
        ([(0, A, "difficult")], [], []),
        ([(0, A, "difficult")], [(0, 0.9, A), (0, 0.8, A), (1, 0.7, A)], []),
        ([(0, A, "difficult"), (1, HALF_A)], [(0, 0.9, A)], [(1, NONE)]),
        ([(0, A, "difficult"), (0, HALF_A)], [(1, 0.9, HALF_A)], [(0, 1)]),
        # Crowds take what lies in them and is left over.
        ([(0, [0, 0, 50, 50], "crowd")], [], []),
        ([(0, [0, 0, 50, 50], "crowd")], [(0, 0.9, A), (1, 0.8, B), (0, 0.7, NOWHERE)], [(NONE, 0)]),
        ([(0, HALF_A, "crowd")], [(0, 0.9, A), (0, 0.8, [0, 0, 10, 11])], [(NONE, 0)]),
        ([(0, [0, 0, 50, 50], "crowd"), (0, A)], [(1, 0.9, A)], [(0, 1)]),
    ],
)
def test_pairs_by_hand(objects, rows, expected):
    truth, found = image_of(objects, rows)
    matrix = np.zeros((3, 3), int)
    for pair in expected:
        matrix[pair] += 1
    np.testing.assert_array_equal(confusion_matrix(findings_of([truth], [found])), matrix)
    # Images do not see each other, and the order of the rows is of no account where scores differ.
    order = np.arange(len(found))[::-1]
    twice = findings_of([truth, truth], [found, found.select(order)])
    np.testing.assert_array_equal(confusion_matrix(twice), 2 * matrix)


@pytest.mark.parametrize(
    ("rows", "takes"),
    [
        ([(1, 0.9, HALF_A), (2, 0.6, A)], 2),  # the overlap goes before the score
        ([(1, 0.6, A), (2, 0.9, A)], 2),  # the score before the row
        ([(1, 0.6, A), (2, 0.6, A)], 1),
    ],
)
def test_one_of_two_wrong_classes_takes_the_object(rows, takes):
    truth, found = image_of([(0, A)], rows)
    expected = np.zeros((4, 4), int)
    expected[0, takes] = expected[3, 3 - takes] = 1
    np.testing.assert_array_equal(confusion_matrix(findings_of([truth], [found], 3)), expected)


def test_each_class_has_its_threshold():
    truth, found = image_of([(0, A), (1, B)], [(0, 0.5, A), (1, 0.5, B)])
    matrix = confusion_matrix(findings_of([truth], [found]), thresholds=np.array([0.4, 0.6]))
    assert matrix.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("measured", [findings_of([], []), findings_of(*zip(image_of([], [])))])
def test_nothing_gives_zeros(measured):
    matrix = confusion_matrix(measured)
    assert matrix.shape == (3, 3)
    assert matrix.dtype == np.int64
    assert not matrix.any()


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.sampled_from([None, 10]),
    st.sampled_from([0.3, 0.5, 0.75]),
    st.sampled_from([0.0, 0.25, 0.51]),
)
def test_same_as_the_plain_form(seed, classes, grid, iou_threshold, threshold):
    measured = random_findings(seed, classes=classes, grid=grid)
    thresholds = threshold + np.arange(classes) / 16
    before = copy.deepcopy(measured)
    matrix = confusion_matrix(measured, iou_threshold=iou_threshold, thresholds=thresholds)
    np.testing.assert_array_equal(matrix, plain_matrix(measured, iou_threshold, thresholds))
    counted = [truth.class_ids[~(truth.crowd | truth.difficult)] for truth in measured.truths]
    np.testing.assert_array_equal(
        matrix.sum(axis=1)[:-1], np.bincount(np.concatenate(counted), minlength=classes)
    )
    above = [found.above(thresholds).class_id for found in measured.detections]
    assert (matrix.sum(axis=0)[:-1] <= np.bincount(np.concatenate(above), minlength=classes)).all()
    for one, other in zip(before.truths + before.detections, measured.truths + measured.detections):
        for name, value in vars(one).items():
            np.testing.assert_array_equal(value, getattr(other, name))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("iou_threshold", [0.3, 0.5, 0.75])
@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("grid", [None, 10])
def test_same_as_supervision(grid, threshold, iou_threshold):
    """Its score threshold is inclusive and its overlap exclusive, so each is moved by one float32."""
    supervision = pytest.importorskip("supervision")
    right = confused = 0
    for seed in range(8):
        measured = random_findings(seed, grid=grid, neutral=False)
        theirs = supervision.ConfusionMatrix.from_tensors(
            [
                np.column_stack([found.boxes, found.class_id, found.score]).astype(np.float32)
                for found in measured.detections
            ],
            [np.column_stack([truth.boxes, truth.class_ids]).astype(np.float32) for truth in measured.truths],
            list(measured.class_names),
            conf_threshold=float(np.nextafter(np.float32(threshold), np.float32(1))),
            iou_threshold=float(np.nextafter(np.float32(iou_threshold), np.float32(0))),
        )
        ours = confusion_matrix(measured, iou_threshold=iou_threshold, thresholds=threshold)
        np.testing.assert_array_equal(ours, theirs.matrix)
        right += np.trace(ours)
        confused += ours[:-1, :-1].sum() - np.trace(ours)
    assert right > 5
    assert confused > 5


def test_without_neutral_objects_every_detection_above_its_threshold_counts():
    measured = random_findings(5, neutral=False)
    matrix = confusion_matrix(measured, thresholds=0.25)
    above = [found.above(0.25).class_id for found in measured.detections]
    np.testing.assert_array_equal(matrix.sum(axis=0)[:-1], np.bincount(np.concatenate(above), minlength=3))


@pytest.mark.parametrize("value", [0, -0.5, 1.5])
def test_overlap_that_cannot_be_is_refused(value):
    with pytest.raises(ConfigError, match=rf"IoU threshold {value}.*--overlap"):
        confusion_matrix(findings_of([], []), iou_threshold=value)


def test_thresholds_of_other_classes_are_refused():
    with pytest.raises(ValueError, match=r"found \(3,\), expected one or \(2,\)"):
        confusion_matrix(findings_of([], []), thresholds=np.zeros(3))


def test_boxes_that_are_not_in_pixels_are_refused():
    truth, found = image_of([(0, A)], [(0, 0.9, A)])
    with pytest.raises(ValueError, match="normalised"):
        confusion_matrix(findings_of([truth], [dataclasses.replace(found, size=None)]))

"""Boxes: conventions by literal tables, numbers by counting pixels and by hypothesis."""

import hypothesis.extra.numpy as hypothesis_numpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import boxes as box_ops

CORNERS = hypothesis_numpy.arrays(
    np.int64, st.tuples(st.integers(0, 6), st.just(4)), elements=st.integers(0, 12)
)


def rasterise(box):
    """The pixels that an integer box covers, by painting them one by one."""
    return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}


@pytest.mark.parametrize(
    ("voc", "ours"),
    [
        ([1, 1, 1, 1], [0, 0, 1, 1]),  # the first pixel alone
        ([1, 1, 500, 375], [0, 0, 500, 375]),  # a whole image
        ([48, 240, 195, 371], [47, 239, 195, 371]),  # VOC2007's 000001, the dog
        ([8.5, 2.25, 9.75, 3], [7.5, 1.25, 9.75, 3]),  # VOC2011 has fractions
    ],
)
def test_voc_boxes_become_half_open(voc, ours):
    assert box_ops.from_voc([voc]).tolist() == [ours]
    assert box_ops.to_voc([ours]).tolist() == [voc]


def test_voc_width_counts_both_ends():
    inclusive = np.array([[10, 20, 14, 29]])
    ours = box_ops.from_voc(inclusive)
    assert box_ops.area(ours)[0] == 5 * 10


@given(CORNERS)
def test_voc_and_back_is_the_same(boxes):
    assert (box_ops.to_voc(box_ops.from_voc(boxes)) == boxes).all()


@given(CORNERS, st.integers(1, 5000), st.integers(1, 5000))
def test_normalise_and_back_is_the_same(boxes, width, height):
    there = box_ops.normalise(boxes, width, height)
    assert box_ops.to_pixels(there, width, height) == pytest.approx(boxes.astype(float))


def test_normalise_divides_x_by_width_and_y_by_height():
    assert box_ops.normalise([[10, 10, 100, 50]], 100, 50).tolist() == [[0.1, 0.2, 1.0, 1.0]]
    assert box_ops.to_pixels([[0.1, 0.2, 1.0, 1.0]], 100, 50).tolist() == [[10, 10, 100, 50]]


@given(CORNERS)
def test_area_counts_pixels(boxes):
    assert box_ops.area(boxes).tolist() == [len(rasterise(box)) for box in boxes]


@given(CORNERS, CORNERS)
def test_iou_counts_pixels(first, second):
    expected = np.zeros((len(first), len(second)))
    for i, box in enumerate(first):
        for j, other in enumerate(second):
            union = rasterise(box) | rasterise(other)
            expected[i, j] = len(rasterise(box) & rasterise(other)) / len(union) if union else 0
    assert box_ops.iou(first, second) == pytest.approx(expected)


@given(CORNERS, CORNERS)
def test_iou_is_symmetric(first, second):
    assert (box_ops.iou(first, second) == box_ops.iou(second, first).T).all()


def test_single_box_counts_as_one_row():
    assert box_ops.area([0, 0, 2, 3]).tolist() == [6]
    assert box_ops.iou([0, 0, 2, 2], [[1, 0, 3, 2]]).tolist() == [[1 / 3]]


@pytest.mark.parametrize("function", [box_ops.area, box_ops.from_voc, box_ops.to_voc])
def test_no_boxes_give_no_rows(function):
    assert len(function([])) == 0
    assert len(function(np.zeros((0, 4), np.float32))) == 0


def test_no_boxes_give_an_empty_table():
    assert box_ops.iou(np.zeros((0, 4)), np.ones((3, 4))).shape == (0, 3)
    assert box_ops.normalise([], 10, 10).shape == (0, 4)


def test_arguments_are_not_changed():
    boxes = np.array([[1.0, 2.0, 3.0, 4.0]])
    for function in (box_ops.from_voc, box_ops.to_voc, box_ops.area):
        function(boxes)
    box_ops.normalise(boxes, 5, 5)
    box_ops.to_pixels(boxes, 5, 5)
    box_ops.iou(boxes, boxes)
    assert boxes.tolist() == [[1, 2, 3, 4]]


def test_whole_numbers_do_not_overflow():
    huge = np.array([[0, 0, 60_000, 60_000]], np.uint16)
    assert box_ops.area(huge)[0] == 3.6e9
    assert box_ops.from_voc(np.zeros((1, 4), np.uint8)).tolist() == [[-1, -1, 0, 0]]


@given(hypothesis_numpy.arrays(np.float32, (5, 4), elements=st.floats(0, 1e4, width=32)))
def test_coco_boxes_lead_back_exactly(boxes):
    boxes = np.concatenate(
        [np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], 1
    )
    xywh = box_ops.to_xywh(boxes)
    assert (box_ops.from_xywh(xywh).astype(np.float32) == boxes).all()
    assert np.allclose(xywh[:, 2:], boxes[:, 2:].astype(float) - boxes[:, :2])

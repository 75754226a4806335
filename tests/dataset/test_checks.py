import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageOps

from common import boxes as box_ops
from common.structures import Sample
from dataset.annotations import Reason
from dataset.checks import check_sample, turn_boxes, turn_with_image


def sample_of(boxes, class_ids=None, size=None):
    count = len(boxes)
    ids = [0] * count if class_ids is None else class_ids
    return Sample("a.jpg", size, boxes, ids, [False] * count, image_id="a", source="a.xml")


@pytest.mark.parametrize(
    ("box", "reason", "result"),
    [
        ((0, 0, 64, 48), None, (0, 0, 64, 48)),
        ((-1, -1, 65, 49), None, (0, 0, 64, 48)),  # tools that count from 0
        ((-0.25, 3, 64.01, 48), None, (-0.25, 3, 64.01, 48)),  # rounding: the truth stays what was annotated
        ((-1.5, 0, 64, 48), Reason.CLIPPED, (0, 0, 64, 48)),
        ((10, 10, 90, 90), Reason.CLIPPED, (10, 10, 64, 48)),
        ((10, 10, 10.25, 10.25), None, (10, 10, 10.25, 10.25)),  # thin from the beginning
        ((63.5, 10, 80, 20), Reason.OUTSIDE, None),
        ((64, 10, 80, 20), Reason.OUTSIDE, None),
        ((-20, 10, -5, 20), Reason.OUTSIDE, None),
        ((10, 48.5, 20, 60), Reason.OUTSIDE, None),
        ((10, 10, 10, 20), Reason.DEGENERATE, None),
        ((10, 10, 20, 10), Reason.DEGENERATE, None),
        ((20, 10, 10, 20), Reason.INVERTED, None),
        ((10, 20, 20, 10), Reason.INVERTED, None),
        ((float("nan"), 10, 20, 20), Reason.NOT_FINITE, None),
        ((10, 10, float("inf"), 20), Reason.NOT_FINITE, None),
        ((float("-inf"), 10, 20, 20), Reason.NOT_FINITE, None),
    ],
)
def test_box_is_kept_clipped_or_left_out(box, reason, result):
    checked, problems = check_sample(sample_of([box]), np.array([7]), size=(64, 48), num_classes=1)
    assert [(p.reason, p.object_index) for p in problems] == ([] if reason is None else [(reason, 7)])
    assert checked.boxes.tolist() == ([] if result is None else [list(result)])
    assert checked.size == (64, 48)


@pytest.mark.parametrize("class_id", [-1, 2, 1000])
def test_class_id_without_a_class_is_left_out(class_id):
    checked, problems = check_sample(
        sample_of([(1, 1, 9, 9)] * 2, [1, class_id]), np.arange(2), size=(64, 48), num_classes=2
    )
    assert checked.class_ids.tolist() == [1]
    assert [(p.reason, p.value) for p in problems] == [(Reason.BAD_CLASS_ID, str(class_id))]


@pytest.mark.parametrize(
    ("stated", "box", "reason", "expected"),
    [
        ((640, 480), (0, 0, 40, 40), Reason.SCALED, (0, 0, 4, 4)),  # resized after it was annotated
        ((32, 24), (4, 4, 20, 20), Reason.SCALED, (8, 8, 40, 40)),  # enlarged
        (
            (640, 640),
            (100, 100, 300, 600),
            Reason.SCALED,
            (10, 7.5, 30, 45),
        ),  # squashed: it reaches out of the image
        ((640, 640), (0, 0, 40, 40), Reason.SIZE_DIFFERS, (0, 0, 40, 40)),  # a stated size that is wrong
        ((0, 0), (0, 0, 40, 40), Reason.SIZE_DIFFERS, (0, 0, 40, 40)),
        ((30, 30), (0, 0, 40, 40), Reason.SIZE_DIFFERS, (0, 0, 40, 40)),
    ],
)
def test_stated_size_that_differs_is_reported_and_tells_whether_boxes_are_scaled(
    stated, box, reason, expected
):
    checked, problems = check_sample(
        sample_of([box], size=stated), np.arange(1), size=(64, 48), num_classes=1
    )
    assert [p.reason for p in problems] == [reason]
    assert checked.boxes.tolist() == [list(expected)]


def test_area_is_the_annotations_own_where_the_box_is_not_clipped():
    sample = Sample(
        "a.jpg", None, [(10, 10, 20, 20), (-0.5, 0, 4, 4)], [0, 0], [False] * 2, areas=[100.5, 17]
    )
    checked, _ = check_sample(sample, np.arange(2), size=(64, 48), num_classes=1)
    assert checked.areas.tolist() == [100.5, 17]


def test_area_is_at_most_the_clipped_box():
    checked, _ = check_sample(sample_of([(32, 0, 96, 48)]), np.arange(1), size=(64, 48), num_classes=1)
    assert checked.areas.tolist() == [32 * 48]


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(np.float64, (3, 4), elements=st.floats(-1e4, 1e4) | st.sampled_from([np.nan, np.inf, -np.inf]))
)
def test_kept_boxes_lie_inside_but_for_rounding_with_area_and_arguments_stay(boxes):
    before = boxes.copy()
    sample = sample_of(boxes)
    checked, problems = check_sample(sample, np.arange(3), size=(640, 480), num_classes=1)
    np.testing.assert_array_equal(boxes, before)
    np.testing.assert_array_equal(sample.boxes, before)
    assert (checked.boxes > -1).all()
    assert (checked.boxes < np.array([640, 480, 640, 480]) + 1).all()
    assert (checked.boxes[:, 2:] > checked.boxes[:, :2]).all()
    left_out = sum(p.reason.outcome == "object left out" for p in problems)
    assert len(checked.class_ids) + left_out == 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_as_pillow_turns_the_image(orientation):
    width, height, box = 40, 30, (5, 3, 17, 11)
    pixels = np.zeros((height, width), np.uint8)
    pixels[3:11, 5:17] = 255
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(stream, "PNG", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(stream)))
    rows, columns = np.nonzero(upright)
    expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert tuple(turn_boxes(np.array([box]), (width, height), orientation)[0]) == expected
    assert box_ops.area(turn_boxes(np.array([box]), (width, height), orientation))[0] == 12 * 8


def test_boxes_turn_only_where_the_stated_size_tells():
    stored, upright = (40, 30), (30, 40)
    drawn_stored = sample_of([(5, 3, 17, 11)], size=stored)
    turned, problems = turn_with_image(drawn_stored, stored, upright_size=upright, orientation=6)
    assert (turned.boxes.tolist(), turned.size) == ([[19, 5, 27, 17]], upright)
    assert [p.reason for p in problems] == [Reason.TURNED]
    for size, orientation in ((upright, 6), (None, 6), (stored, 3)):
        sample = sample_of([(5, 3, 17, 11)], size=size)
        assert turn_with_image(sample, stored, upright_size=upright, orientation=orientation) == (sample, [])

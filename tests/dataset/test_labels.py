import numpy as np
import pytest

from common.errors import RecordError
from dataset.labels import check_rows, encode_label, label_rows, objects_of


def rows_of(values):
    return label_rows(np.array(values, "<f4").tobytes(), "x.rec: record 3")


def test_label_has_header_and_normalised_objects():
    boxes, difficult = np.array([[0, 12, 32, 48], [16, 0, 64, 24]], float), np.array([False, True])
    before = boxes.copy()
    label = encode_label(np.array([2, 0]), boxes, difficult=difficult, width=64, height=48)
    assert label.tolist() == [2, 6, 2, 0, 0.25, 0.5, 1, 0, 0, 0.25, 0, 1, 0.5, 1]
    assert label.dtype == np.float32
    np.testing.assert_array_equal(boxes, before)


def test_image_without_objects_has_one_row_of_minus_one():
    label = encode_label(np.zeros(0), np.zeros((0, 4)), difficult=np.zeros(0), width=64, height=48)
    assert label.tolist() == [2, 6, -1, -1, -1, -1, -1, -1]
    assert objects_of(label_rows(label.tobytes(), "x")).shape == (0, 6)


def test_rounding_never_leaves_the_unit_square():
    label = encode_label(
        np.zeros(1), np.array([[0, 0, 1e7 + 1e-9, 3]]), difficult=np.zeros(1), width=10**7, height=3
    )
    assert label[2:].max() <= 1


def test_old_label_of_five_columns_gains_difficult_zero():
    assert objects_of(rows_of([2, 5, 1, 0.1, 0.2, 0.3, 0.4])).tolist() == [
        [1, *np.float32([0.1, 0.2, 0.3, 0.4]).tolist(), 0]
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([3], "1 numbers, expected"),
        ([], "0 numbers, expected"),
        ([4, 6, 0, 0, 1, 0, 0, 1, 1, 0], "begins with 4, 6"),
        ([2, 7, 1, 0, 0, 1, 1, 0, 0], "begins with 2, 7"),
        ([np.nan, 6], "begins with nan"),
        ([2, 6, 1, 0, 0, 1, 1], "5 numbers do not make objects of 6"),
    ],
)
def test_what_is_no_detection_label_is_refused(values, message):
    with pytest.raises(RecordError, match=f"record 3.*{message}"):
        rows_of(values)


@pytest.mark.parametrize(
    ("row", "num_classes", "message"),
    [
        ([0, 0, 0, np.nan, 1, 0], 2, "nan"),
        ([np.inf, 0, 0, 1, 1, 0], 2, "inf"),
        ([-1, 0, 0, 1, 1, 0], 2, "class id -1"),
        ([0.5, 0, 0, 1, 1, 0], 2, "class id 0.5"),
        ([2, 0, 0, 1, 1, 0], 2, "class id 2, but there are 2 classes"),
        ([0, 10, 20, 300, 200, 0], 2, "300, expected 0 to 1"),
        ([0, -40, 0, 1, 1, 0], 2, "-40, expected 0 to 1"),
    ],
)
def test_rows_that_would_train_wrongly_are_refused(row, num_classes, message):
    with pytest.raises(RecordError, match=message):
        check_rows(np.array([[0, 0, 0, 1, 1, 0], row], np.float32), num_classes, "x")


def test_void_zero_area_and_slightly_outside_rows_pass():
    rows = [[0, 0.5, 0.5, 0.5, 0.5, 0], [7, -0.1, 0, 1.1, 1, 1], [-1] * 6]
    check_rows(np.array(rows, np.float32), None, "x")
    check_rows(np.zeros((0, 5), np.float32), 1, "x")

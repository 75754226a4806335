"""Sample and Detections: what they hold, in which types, and what they give back."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from common.errors import DependencyError
from common.structures import Detections, Sample

ROWS = np.array(
    [
        [1, 0.5, 0.1, 0.2, 0.3, 0.4],
        [-1, 0.99, 0, 0, 1, 1],
        [0, 0.9, 0.0, 0.0, 0.5, 1.0],
        [2, 0.5, 0.2, 0.2, 0.4, 0.8],
        [-1, -1, -1, -1, -1, -1],
    ],
    np.float32,
)


def make_sample(**changes):
    values = {
        "image_path": Path("a.jpg"),
        "size": (100, 50),
        "boxes": [[0, 0, 10, 5], [1, 2, 3, 5]],
        "class_ids": [1, 0],
        "difficult": [0, 1],
    }
    return Sample(**{**values, **changes})


def test_sample_turns_lists_into_arrays():
    sample = make_sample(crowd=[0, 1], areas=[3, 4])
    assert sample.boxes.dtype == np.float64
    assert sample.class_ids.dtype == np.int64
    assert sample.difficult.dtype == bool
    assert sample.crowd.dtype == bool
    assert sample.areas.dtype == np.float64
    assert (sample.difficult & ~sample.crowd).tolist() == [False, False]


def test_sample_derives_area_and_crowd():
    sample = make_sample()
    assert sample.areas.tolist() == [50, 6]
    assert sample.crowd.tolist() == [False, False]


def test_sample_without_objects():
    sample = make_sample(boxes=[], class_ids=[], difficult=[])
    assert sample.boxes.shape == (0, 4)
    assert sample.areas.shape == sample.crowd.shape == sample.class_ids.shape == (0,)


@pytest.mark.parametrize(
    "changes",
    [
        {"boxes": [[0, 0, 1, 1]]},
        {"class_ids": [1]},
        {"difficult": [0, 0, 0]},
        {"crowd": [0]},
        {"areas": [1.0]},
    ],
)
def test_sample_of_unequal_lengths_is_refused(changes):
    with pytest.raises(ValueError, match="one length"):
        make_sample(source="a.xml", **changes)


def test_sample_is_frozen():
    with pytest.raises(AttributeError):
        make_sample().size = (1, 1)


def test_rows_become_detections_best_first_without_void_rows():
    found = Detections.from_rows(ROWS, ("cat", "dog"))
    assert found.class_id.tolist() == [0, 1, 2]  # equal scores keep their order
    assert found.class_id.dtype == np.int64
    assert found.score.dtype == found.boxes.dtype == np.float32
    assert found.score.tolist() == [pytest.approx(0.9), 0.5, 0.5]
    assert found.boxes[0].tolist() == [0, 0, 0.5, 1]
    assert found.size is None
    assert [found.name(index) for index in range(3)] == ["cat", "dog", "2"]


def test_detections_do_not_share_the_networks_memory():
    rows = ROWS.copy()
    found = Detections.from_rows(rows)
    rows[:] = 7
    assert found.boxes.max() <= 1
    assert found.score.max() < 1


@pytest.mark.parametrize("rows", [np.zeros((0, 6), np.float32), np.full((5, 6), -1, np.float32)])
def test_nothing_found(rows):
    found = Detections.from_rows(rows)
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)
    assert found.in_pixels(10, 20).as_records() == []
    assert len(found.above(0.1)) == 0


def test_above_is_strict():
    found = Detections.from_rows(ROWS)
    assert len(found.above(0.5)) == 1
    assert len(found.above(0.4999)) == 3
    assert len(found.above(1.0)) == 0


def test_pixels_are_of_the_original_image():
    found = Detections.from_rows(ROWS, ("a", "b", "c")).in_pixels(640, 480)
    assert found.size == (640, 480)
    assert found.boxes.dtype == np.float32
    assert found.boxes[0].tolist() == [0, 0, 320, 480]
    assert found.boxes[1] == pytest.approx([64, 96, 192, 192])
    assert found.class_names == ("a", "b", "c")


def test_select_keeps_names_size_and_order():
    found = Detections.from_rows(ROWS, ("a", "b", "c")).in_pixels(10, 10)
    picked = found.select(np.array([2, 0]))
    assert picked.class_id.tolist() == [2, 0]
    assert picked.size == (10, 10)
    assert picked.class_names == found.class_names
    assert len(found) == 3


def test_records_are_plain_json():
    found = Detections.from_rows(ROWS, ("cat", "dog", "猫"))
    assert json.loads(json.dumps(found.as_records()))[0] == {
        "class_id": 0,
        "class_name": "cat",
        "score": 0.9,
        "box": [0.0, 0.0, 0.5, 1.0],
    }
    assert found.in_pixels(3, 7).as_records()[1]["box"] == [0.3, 1.4, 0.9, 2.8]


def test_detections_print_as_a_line():
    found = Detections(
        np.array([1, 0, 0, 1]),
        np.array([0.9, 0.8, 0.7, 0.6], np.float32),
        np.zeros((4, 4)),
        None,
        ("cat", "dog"),
    )
    assert repr(found) == "Detections(4: dog 0.900, cat 0.800, cat 0.700, ...)"
    assert repr(found.above(2)) == "Detections(0)"


def test_above_takes_a_threshold_for_each_class():
    found = Detections.from_rows(ROWS, ("a", "b", "c"))
    assert found.above(np.array([0.95, 0.4, 0.6])).class_id.tolist() == [1]
    assert found.above(0.6).class_id.tolist() == [0]


def test_a_threshold_for_all_and_for_each_class_agree_to_the_last_digit():
    found = Detections.from_rows(np.array([[0, 0.3, 0, 0, 1, 1]], np.float32), ("a",))
    assert len(found.above(0.3)) == len(found.above(np.array([0.3]))) == 0


def test_coco_results_hold_ids_and_every_digit():
    found = Detections.from_rows(ROWS, ("a", "b", "c")).in_pixels(640, 479)
    results = json.loads(json.dumps(found.to_coco(139, (7, 1, 90))))
    assert [entry["category_id"] for entry in results] == [7, 1, 90]
    assert {entry["image_id"] for entry in results} == {139}
    bbox = np.array([entry["bbox"] for entry in results])
    corners = np.concatenate([bbox[:, :2], bbox[:, :2] + bbox[:, 2:]], axis=1)
    assert (corners == found.boxes).all()
    assert (np.array([entry["score"] for entry in results]) == found.score).all()
    assert [entry["category_id"] for entry in found.to_coco(0)] == [1, 2, 3]


def test_coco_results_want_pixels():
    with pytest.raises(ValueError, match="pixels"):
        Detections.from_rows(ROWS).to_coco(1)


def test_supervision_takes_detections():
    supervision = pytest.importorskip("supervision")
    found = Detections.from_rows(ROWS, ("a", "b", "猫")).in_pixels(640, 480)
    theirs = found.to_supervision()
    np.testing.assert_array_equal(theirs.xyxy, found.boxes)
    np.testing.assert_array_equal(theirs.confidence, found.score)
    np.testing.assert_array_equal(theirs.class_id, found.class_id)
    assert theirs.data["class_name"].tolist() == ["a", "b", "猫"]
    picture = np.zeros((480, 640, 3), np.uint8)
    boxed = supervision.BoxAnnotator(thickness=2).annotate(picture.copy(), theirs)
    assert boxed.any()
    assert not boxed[5:475, 330:].any()  # nothing was found in the right half
    labelled = supervision.LabelAnnotator().annotate(picture.copy(), theirs)  # reads the names
    assert labelled.any()
    assert len(theirs[theirs.confidence > 0.6]) == 1


def test_supervision_takes_nothing_found():
    supervision = pytest.importorskip("supervision")
    for found in (
        Detections.from_rows(np.zeros((0, 6))),
        Detections.from_rows(ROWS).in_pixels(9, 9).above(2),
    ):
        theirs = found.to_supervision()
        assert (len(theirs), theirs.xyxy.shape, theirs.data["class_name"].shape) == (0, (0, 4), (0,))
        assert len(supervision.Detections.merge([theirs, theirs])) == 0
        picture = np.zeros((9, 9, 3), np.uint8)
        assert not supervision.BoxAnnotator().annotate(picture, theirs).any()


def test_supervision_wants_pixels_and_names_its_package(monkeypatch):
    with pytest.raises(ValueError, match="pixels"):
        Detections.from_rows(ROWS).to_supervision()
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(DependencyError, match="pip install supervision"):
        Detections.from_rows(ROWS).in_pixels(9, 9).to_supervision()

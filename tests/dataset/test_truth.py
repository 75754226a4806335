import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.boxes import from_xywh, to_xywh
from common.errors import RecordError
from common.structures import Sample
from dataset.truth import TruthWriter, read_truth


def sample(image_id, **more):
    boxes = [[0.1, 0.7, 10.3, 20.9], [5, 6, 7, 8]]
    return Sample("a.jpg", (64, 48), boxes, [1, 0], [False, True], image_id=image_id, **more)


def test_truth_is_read_back_with_crowds_areas_and_own_ids(tmp_path):
    writer = TruthWriter(("ant", "bee"), (18, 90))
    writer.add(0, sample(139, crowd=np.array([True, False]), areas=np.array([33.5, 4])), "images/a.jpg")
    writer.add(1, Sample("b.jpg", (10, 20), np.zeros((0, 4)), [], [], image_id=17), "images/ö.jpg")
    writer.write(tmp_path / "t.gt.json")
    raw = json.loads((tmp_path / "t.gt.json").read_text("utf-8"))
    assert [image["id"] for image in raw["images"]] == [139, 17]
    assert [entry["category_id"] for entry in raw["annotations"]] == [90, 18]
    assert [entry["id"] for entry in raw["annotations"]] == [1, 2]
    read = read_truth(tmp_path / "t.gt.json")
    assert (read.image_ids, read.category_ids) == ({0: 139, 1: 17}, (18, 90))
    truth = read.samples
    np.testing.assert_allclose(truth[0].boxes, sample(0).boxes, rtol=1e-12)
    assert (truth[0].image_id, truth[0].size, str(truth[0].image_path)) == (139, (64, 48), "images/a.jpg")
    assert (truth[0].class_ids.tolist(), truth[0].crowd.tolist()) == ([1, 0], [True, False])
    assert (truth[0].areas.tolist(), truth[0].difficult.tolist()) == ([33.5, 4], [False, True])
    assert (len(truth[1].class_ids), str(truth[1].image_path)) == (0, "images/ö.jpg")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(*[st.decimals(0, 700, places=2).map(float)] * 4), min_size=1, max_size=5))
def test_boxes_of_two_digits_come_back_as_they_were_annotated(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("t") / "t.gt.json"
    count = len(rows)
    boxes = from_xywh(rows)
    writer = TruthWriter(("ant",))
    writer.add(0, Sample("a.jpg", (64, 48), boxes, [0] * count, [False] * count, image_id=1), "a.jpg")
    writer.write(path)
    assert [entry["bbox"] for entry in json.loads(path.read_text())["annotations"]] == [list(r) for r in rows]
    np.testing.assert_array_equal(read_truth(path).samples[0].boxes, boxes)


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(np.float64, (3, 4), elements=st.floats(0, 1e5)))
def test_corners_of_any_boxes_come_back_to_the_last_digit(tmp_path_factory, corners):
    path = tmp_path_factory.mktemp("t") / "t.gt.json"
    low, high = np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])
    boxes = from_xywh(to_xywh(np.concatenate([low, high], axis=1)))
    writer = TruthWriter(("ant",))
    writer.add(0, Sample("a.jpg", (64, 48), boxes, [0] * 3, [False] * 3, image_id=1), "a.jpg")
    writer.write(path)
    np.testing.assert_array_equal(read_truth(path).samples[0].boxes, boxes)


def test_textual_ids_stand_under_name_and_the_key_is_the_number(tmp_path):
    writer = TruthWriter(("ant", "bee"))
    writer.add(3, sample("2007_000027"), "a.jpg")
    writer.write(tmp_path / "t.gt.json")
    image = json.loads((tmp_path / "t.gt.json").read_text())["images"][0]
    assert (image["id"], image["name"]) == (3, "2007_000027")
    truth = read_truth(tmp_path / "t.gt.json")
    assert (truth.samples[3].image_id, truth.image_ids, truth.category_ids) == ("2007_000027", {3: 3}, (1, 2))


def test_where_some_ids_are_texts_these_are_numbered_among_all(tmp_path):
    samples = [sample("b"), sample(7), sample("a")]
    writer = TruthWriter(("ant", "bee"), samples=samples)
    for key, value in enumerate(samples):
        writer.add(key, value, "a.jpg")
    writer.write(tmp_path / "t.gt.json")
    assert read_truth(tmp_path / "t.gt.json").image_ids == {0: 3, 1: 7, 2: 2}


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"images": [{}], "annotations": [], "categories": []}', "<html>"]
)
def test_what_is_no_truth_is_refused(tmp_path, text):
    (tmp_path / "t.gt.json").write_text(text)
    with pytest.raises(RecordError, match="t.gt.json"):
        read_truth(tmp_path / "t.gt.json")

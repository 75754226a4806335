import json

import numpy as np
import pytest

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
    truth = read_truth(tmp_path / "t.gt.json")
    np.testing.assert_allclose(truth[0].boxes, sample(0).boxes, rtol=1e-12)
    assert (truth[0].image_id, truth[0].size, str(truth[0].image_path)) == (139, (64, 48), "images/a.jpg")
    assert (truth[0].class_ids.tolist(), truth[0].crowd.tolist()) == ([1, 0], [True, False])
    assert (truth[0].areas.tolist(), truth[0].difficult.tolist()) == ([33.5, 4], [False, True])
    assert (len(truth[1].class_ids), str(truth[1].image_path)) == (0, "images/ö.jpg")


def test_textual_ids_stand_under_name_and_the_key_is_the_number(tmp_path):
    writer = TruthWriter(("ant", "bee"))
    writer.add(3, sample("2007_000027"), "a.jpg")
    writer.write(tmp_path / "t.gt.json")
    image = json.loads((tmp_path / "t.gt.json").read_text())["images"][0]
    assert (image["id"], image["name"]) == (3, "2007_000027")
    assert read_truth(tmp_path / "t.gt.json")[3].image_id == "2007_000027"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"images": [{}], "annotations": [], "categories": []}', "<html>"]
)
def test_what_is_no_truth_is_refused(tmp_path, text):
    (tmp_path / "t.gt.json").write_text(text)
    with pytest.raises(RecordError, match="t.gt.json"):
        read_truth(tmp_path / "t.gt.json")

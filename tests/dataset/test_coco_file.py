"""Files that are not COCO's, or were once: an AnnotationSet or an AnnotationError, nothing else."""

from __future__ import annotations

import contextlib
import copy
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import AnnotationError
from dataset.annotations import AnnotationSet
from dataset.coco import read_coco
from dataset.coco_file import read_coco_file
from dataset.pack import pack
from dataset.prepare_image import PackOptions
from dataset.records import RecordDataset


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "not JSON, it is empty"),
        ("<html>", "an HTML page"),
        ('{"images": [', "not JSON, it is text beginning"),
        ("[" * 100_000, "not JSON"),
        ("7", "a single int"),
        ([{"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}], "a list of results"),
        ({"shapes": [], "imagePath": "a.jpg"}, "labelme"),
        ({"format": "ssd-records", "class_names": []}, "a manifest or card of this program"),
        ({"a": 1, "b": 2}, r"without a list of images; its keys are \['a', 'b'\]"),
        ({"images": {}, "annotations": []}, "without a list of images"),
        ({"images": [], "annotations": {}}, "annotations is a dict"),
        ({"images": [], "annotations": [{"id": 1, "image_id": 2, "caption": "A dog."}]}, "COCO's captions"),
        ({"images": [], "annotations": [{"image_id": 2, "segments_info": []}]}, "COCO's panoptic segments"),
        ({"images": [], "annotations": [{"bbox": [1, 2, 3, 4]}]}, "annotations, but no categories"),
        ({"images": [], "categories": [{"id": "1", "name": "x"}]}, "category 0 of the list is"),
        ({"images": [], "categories": [{"id": 1, "name": "\ud800"}]}, "category 0 of the list is"),
        (
            {"images": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]},
            "id 1 is both 'a' and 'b'",
        ),
    ],
)
def test_what_is_not_coco_is_told(coco, data, message):
    root = coco.write(data if isinstance(data, str) else json.dumps(data), pictures=None)
    with pytest.raises(AnnotationError, match=message) as caught:
        read_coco(root, ["val2017"])
    assert "instances_val2017.json: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mark_of_windows_editors_is_passed_over(coco):
    root = coco.write("\ufeff" + json.dumps(coco.instances([coco.image(7)], [])), pictures=None)
    assert read_coco_file(root / "annotations" / "instances_val2017.json").images[0].image_id == 7


def test_outlines_and_key_points_are_dropped_while_parsing(coco):
    data = coco.instances([coco.image(7)], [coco.box(1, segmentation=[[1, 2]], keypoints=[1, 2, 3])])
    file = read_coco_file(coco.write(data) / "annotations" / "instances_val2017.json")
    assert file.annotations == [coco.box(1)]


JUNK = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(st.characters(), max_size=5)
    | st.sampled_from(["7.jpg", 10**400, "../7.jpg", "a\0.jpg", "/etc/passwd", "\ud800", -1, 1e308, 2**63])
    | st.builds(list)
    | st.builds(dict)
    | st.lists(st.integers(-5, 70) | st.floats() | st.none(), min_size=4, max_size=4)
)


def places(value, path=()):
    """Yield the path of every value inside parsed JSON."""
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, inner in entries:
        yield (*path, key)
        yield from places(inner, (*path, key))


def read_or_error(root):
    """Return what is read, or the AnnotationError; every other error is the test's."""
    try:
        return read_coco(root, ["val2017"])
    except AnnotationError as error:
        return error


def damage(draw, data):
    """Replace, drop or double some of the values inside parsed JSON."""
    for _ in range(draw(st.integers(1, 4))):
        *front, last = draw(st.sampled_from(list(places(data))))
        inner = data
        for key in front:
            inner = inner[key]
        change = draw(st.sampled_from(["replace", "drop", "double"]))
        if change == "replace":
            inner[last] = draw(JUNK)
        elif change == "drop":
            del inner[last]
        elif isinstance(inner, list):
            inner.append(copy.deepcopy(inner[last]))
        if not data:
            break


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_instances_are_read_or_refused(coco, tmp_path, data):
    images = [coco.image(7), coco.image(8), coco.image(9, coco_url="http://x/val2017/9.jpg")]
    boxes = [
        coco.box(1),
        coco.box(2, 8, iscrowd=1),
        coco.box(3, 8, 90),
        coco.box(4, 9, 1, segmentation=[[1]]),
    ]
    content = coco.instances(images, boxes)
    for entry in content["images"]:
        if not (coco.root / "val2017" / entry["file_name"]).exists():
            coco.picture(f"val2017/{entry['file_name']}")
    damage(data.draw, content)
    root = coco.write(content, pictures=None)
    found = read_or_error(root)
    if isinstance(found, AnnotationError):
        assert "\n" not in str(found)
        return
    assert isinstance(found, AnnotationSet)
    for sample in found.samples:
        assert np.isfinite(sample.boxes).all()
        assert ((sample.class_ids >= 0) & (sample.class_ids < len(found.class_names))).all()
    with contextlib.suppress(AnnotationError):  # no image is left to pack
        pack(found, tmp_path / "t", options=PackOptions(workers=1), overwrite=True)
        RecordDataset(tmp_path / "t.rec").truth(0)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_files_with_other_bytes_are_read_or_refused(coco, data):
    root = coco.write(coco.instances([coco.image(7)], [coco.box(1)]))
    path = root / "annotations" / "instances_val2017.json"
    text = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(text[: data.draw(st.integers(0, len(text)))]))
    found = read_or_error(root)
    assert isinstance(found, AnnotationSet) or "instances_val2017.json" in str(found)

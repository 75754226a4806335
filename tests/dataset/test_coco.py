"""The reader of COCO's form, held to pycocotools on real annotations."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from common.errors import AnnotationError, ConfigError
from dataset.annotations import Reason
from dataset.coco import read_coco
from dataset.pack import pack
from dataset.prepare_command import main
from dataset.prepare_image import PackOptions
from dataset.records import RecordDataset


def reasons(found):
    return [(p.reason, p.object_index) for p in found.problems]


def test_categories_become_classes_in_the_order_of_their_numbers(coco):
    data = coco.instances(
        [coco.image(7), coco.image(139)], [coco.box(5, 139, 90), coco.box(6, 139, 1), coco.box(7, 7, 18)]
    )
    found = read_coco(coco.write(data), ["val2017"])
    assert (found.class_names, found.category_ids) == (("person", "dog", "brush"), (1, 18, 90))
    assert [sample.image_id for sample in found.samples] == [7, 139]
    assert [sample.class_ids.tolist() for sample in found.samples] == [[1], [2, 0]]
    assert found.samples[0].boxes.tolist() == [[4, 5, 24.5, 15.25]]
    assert (found.samples[0].areas.tolist(), found.samples[0].size) == ([150.5], (64, 48))
    assert [found.indices(i).tolist() for i in (0, 1)] == [[7], [5, 6]]
    assert found.problems == []


def test_crowds_stand_in_the_truth_and_not_in_the_labels(coco, tmp_path):
    data = coco.instances([coco.image(7)], [coco.box(1, iscrowd=1, bbox=(0, 0, 60, 40)), coco.box(2)])
    pack(read_coco(coco.write(data), ["val2017"]), tmp_path / "t")
    dataset = RecordDataset(tmp_path / "t.rec")
    assert dataset.truth(0).crowd.tolist() == [True, False]
    assert (
        dataset.read(0).label[:, 1:5].tolist()
        == np.float32([[4 / 64, 5 / 48, 24.5 / 64, 15.25 / 48]]).tolist()
    )
    assert (dataset.manifest["crowds"], dataset.manifest["category_ids"]) == (1, [1, 18, 90])


def test_class_names_choose_and_order_the_classes(coco):
    data = coco.instances(
        [coco.image(7)], [coco.box(1), coco.box(2, category_id=90), coco.box(3, category_id=1)]
    )
    found = read_coco(coco.write(data), ["val2017"], ["brush", "dog"])
    assert (found.class_names, found.category_ids) == (("brush", "dog"), (90, 18))
    assert found.samples[0].class_ids.tolist() == [1, 0]
    assert reasons(found) == [(Reason.CLASS_NOT_ASKED, 3)]
    with pytest.raises(ConfigError, match="--class-names brusch: .*; did you mean brush?"):
        read_coco(coco.write(data), ["val2017"], ["dog", "brusch"])


def test_area_is_the_boxs_where_there_is_none(coco):
    data = coco.instances(
        [coco.image(7)], [coco.box(1, bbox=(1, 1, 4, 5), area=None), coco.box(2, bbox=(1, 1, 4, 5), area=-3)]
    )
    del data["annotations"][0]["area"]
    found = read_coco(coco.write(data), ["val2017"])
    assert found.samples[0].areas.tolist() == [20, 20]
    assert reasons(found) == [(Reason.BAD_AREA, 2)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bbox": None}, Reason.BAD_OBJECT),
        ({"bbox": [1, 2, 3]}, Reason.BAD_OBJECT),
        ({"bbox": [1, 2, 3, "4"]}, Reason.BAD_OBJECT),
        ({"bbox": [1, 2, 3, True]}, Reason.BAD_OBJECT),
        ({"bbox": [1, 2, 3, float("nan")]}, Reason.NOT_FINITE),
        ({"bbox": [float("inf"), 2, 3, 4]}, Reason.NOT_FINITE),
        ({"bbox": [1, 10**400, 3, 4]}, Reason.NOT_FINITE),
        ({"bbox": [1, 2, -3, 4]}, Reason.INVERTED),
        ({"bbox": [1, 2, 3, 0]}, Reason.DEGENERATE),
        ({"category_id": 19}, Reason.BAD_CLASS_ID),
        ({"category_id": "18"}, Reason.BAD_OBJECT),
        ({"category_id": None}, Reason.BAD_OBJECT),
        ({"iscrowd": "0"}, Reason.BAD_OBJECT),
        ({"image_id": 8}, Reason.UNKNOWN_IMAGE),
        ({"image_id": "7"}, Reason.UNKNOWN_IMAGE),
        ({"image_id": [7]}, Reason.BAD_OBJECT),
    ],
)
def test_bad_annotations_are_left_out_and_named(coco, change, reason):
    found = read_coco(
        coco.write(coco.instances([coco.image(7)], [coco.box(11), coco.box(12, **change)])), ["val2017"]
    )
    assert reasons(found) == [(reason, 12)]
    assert found.indices(0).tolist() == [11]
    assert "instances_val2017.json" in found.problems[0].message()
    assert "12" in found.problems[0].message()


def test_annotation_that_is_no_object_is_named_by_its_position(coco):
    found = read_coco(coco.write(coco.instances([coco.image(7)], [coco.box(11), "x", None])), ["val2017"])
    assert reasons(found) == [(Reason.BAD_OBJECT, 1), (Reason.BAD_OBJECT, 2)]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"id": 8}, Reason.BAD_ANNOTATION),
        ({"file_name": "8.jpg"}, Reason.BAD_ANNOTATION),
        ({"id": 8, "file_name": 8}, Reason.BAD_ANNOTATION),
        ({"id": 8, "file_name": "\ud800.jpg"}, Reason.BAD_ANNOTATION),
        ({"id": 8.5, "file_name": "7.jpg"}, Reason.BAD_ANNOTATION),
        ("8.jpg", Reason.BAD_ANNOTATION),
        ({"id": 8, "file_name": "none.jpg"}, Reason.MISSING_IMAGE),
        ({"id": 7, "file_name": "7.jpg"}, Reason.DUPLICATE_ID),
        ({"id": 7.0, "file_name": "7.jpg"}, Reason.DUPLICATE_ID),
    ],
)
def test_bad_images_are_left_out_with_their_objects(coco, entry, reason):
    root = coco.write(coco.instances([coco.image(7)], []))
    data = coco.instances(
        [coco.image(7), entry],
        [coco.box(11), coco.box(12, 8)] if reason is Reason.MISSING_IMAGE else [coco.box(11)],
    )
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(data))
    found = read_coco(root, ["val2017"])
    assert reasons(found) == [(reason, None)]
    assert [sample.image_id for sample in found.samples] == [7]
    assert len(found.samples[0].class_ids) == 1


@pytest.mark.parametrize("size", [("64", 48), (None, None), (float("nan"), 48), (0, 0), (-1, 5), (10**30, 2)])
def test_stated_size_that_is_none_is_passed_over(coco, tmp_path, size):
    data = coco.instances([coco.image(7, width=size[0], height=size[1])], [coco.box(1)])
    manifest = pack(read_coco(coco.write(data), ["val2017"]), tmp_path / "t")
    assert (manifest["image_width"]["max"], manifest["skipped"]["kept"]) == (64, {})


def test_an_image_whose_objects_were_all_bad_is_no_negative(coco, tmp_path):
    data = coco.instances(
        [coco.image(7), coco.image(8), coco.image(9)], [coco.box(1, 7), coco.box(2, 8, bbox=(1, 1, 0, 5))]
    )
    manifest = pack(read_coco(coco.write(data), ["val2017"]), tmp_path / "t")
    assert (manifest["images"], manifest["images_without_objects"]) == (2, 1)
    assert manifest["skipped"]["reasons"] == {"no object left": 1, "degenerate box": 1}
    text = (tmp_path / "t.skipped.csv").read_text()
    assert "8,annotations/instances_val2017.json: image 8,2,degenerate box" in text


def test_sets_are_joined_and_the_first_of_an_id_counts(coco):
    coco.write(
        coco.instances([coco.image(7)], [coco.box(1)]), "annotations/instances_train2014.json", "train2014"
    )
    data = coco.instances([coco.image(9), coco.image(7)], [coco.box(1, 9), coco.box(2, 7), coco.box(3, 7)])
    root = coco.write(data, "annotations/instances_val2014.json", "val2014")
    found = read_coco(root, ["train2014", "val2014"])
    assert [sample.image_id for sample in found.samples] == [7, 9]
    assert [len(sample.class_ids) for sample in found.samples] == [1, 1]
    assert [(p.image, p.reason) for p in found.problems] == [("7", Reason.DUPLICATE_ID)]


def test_sets_that_contradict_each_other_are_refused(coco):
    coco.write(coco.instances([coco.image(7)], []), "annotations/instances_a.json", "a")
    other = [{"id": 18, "name": "cat"}]
    root = coco.write(coco.instances([coco.image(9)], [], other), "annotations/instances_b.json", "b")
    with pytest.raises(AnnotationError, match="category id 18 is 'cat', but 'dog' in .*instances_a.json"):
        read_coco(root, ["a", "b"])


def test_name_at_two_categories_is_taken_where_it_has_objects(coco):
    twice = [{"id": 0, "name": "dog"}, {"id": 18, "name": "dog"}, {"id": 3, "name": "ant"}]
    root = coco.write(coco.instances([coco.image(7)], [coco.box(1)], twice))
    found = read_coco(root, ["val2017"])
    assert (found.class_names, found.category_ids) == (("ant", "dog"), (3, 18))
    coco.write(coco.instances([coco.image(7)], [coco.box(1), coco.box(2, category_id=0)], twice))
    with pytest.raises(AnnotationError, match="categories 0 and 18 are both named 'dog': rename one"):
        read_coco(root, ["val2017"])


def test_images_without_annotations_are_packed_alone(coco, tmp_path):
    data = {
        "images": [coco.image(7), coco.image(8)],
        "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
    }
    root = coco.write(data, "annotations/image_info_test2017.json", "test2017")
    manifest = pack(read_coco(root, ["test2017"]), tmp_path / "t")
    assert (manifest["images"], manifest["objects"], manifest["category_ids"]) == (2, 0, [1, 18])
    del data["categories"]
    coco.write(data, "annotations/image_info_test2017.json", "test2017")
    with pytest.raises(AnnotationError, match="no categories: give the classes by --class-names"):
        read_coco(root, ["test2017"])
    found = read_coco(root, ["test2017"], ["dog", "person"])
    assert (found.class_names, found.category_ids) == (("dog", "person"), ())


def test_ids_of_text_are_kept_as_names(coco, tmp_path):
    data = coco.instances([coco.image(7), coco.image("ä/1", "a.jpg")], [coco.box(1, "ä/1")])
    pack(read_coco(coco.write(data), ["val2017"]), tmp_path / "t", options=PackOptions(shuffle=False))
    dataset = RecordDataset(tmp_path / "t.rec")
    assert dataset.image_ids == (1, 2)  # one text among them: no number may be taken for another's key
    assert [dataset.truth(i).image_id for i in (0, 1)] == ["7", "ä/1"]
    assert len(dataset.truth(1).class_ids) == 1


def test_no_image_there_tells_where_was_looked(coco):
    root = coco.write(coco.instances([coco.image(7), coco.image(8)], []), pictures=None)
    with pytest.raises(
        AnnotationError, match=r"none of its 2 images .* first is 7\.jpg; looked in .*val2017"
    ):
        read_coco(root, ["val2017"])


def by_id(path):
    """Return what pycocotools reads: image id -> (size, its objects, sorted)."""
    coco = COCO(str(path))
    return {
        number: (
            coco.imgs[number]["width"],
            coco.imgs[number]["height"],
            sorted((o["category_id"], *o["bbox"], o["area"], o["iscrowd"]) for o in coco.imgToAnns[number]),
        )
        for number in coco.getImgIds()
    }


@pytest.mark.parametrize("image_set", ["train2017", "val2017"])
@pytest.mark.parametrize("short", [0, 200])
def test_truth_is_the_original_to_the_last_digit(shared_data, tmp_path, image_set, short):
    root = shared_data / "coco_tiny"
    flags = [
        "--dataset",
        "coco",
        "--root",
        str(root),
        "--set",
        image_set,
        "--target",
        str(tmp_path / "t.lst"),
    ]
    assert main([*flags, "--resize-short", str(short), "--strict"]) == 0
    written = by_id(tmp_path / "t.gt.json")
    assert written == by_id(root / "annotations" / f"instances_{image_set}.json")
    dataset = RecordDataset(tmp_path / "t.rec")
    assert (sorted(dataset.image_ids), dataset.set_name) == (sorted(written), image_set)
    assert (len(dataset.category_ids), dataset.category_ids[-1]) == (80, 90)
    assert dataset.manifest["crowds"] > 0
    assert (dataset.manifest["image_height"]["max"] > 400) == (short == 0)


def test_truth_read_as_coco_is_the_same_again(shared_data, tmp_path):
    """The truth file is itself of COCO's form; packed again it is the same."""
    root = shared_data / "coco_tiny"
    options = PackOptions(shuffle=False)
    pack(read_coco(root, ["val2017"]), tmp_path / "a", options=options)
    again = read_coco(root, ["val2017"], annotations=tmp_path / "a.gt.json")
    pack(again, tmp_path / "b", options=options)
    assert (tmp_path / "a.gt.json").read_bytes() == (tmp_path / "b.gt.json").read_bytes()
    assert (tmp_path / "a.rec").read_bytes() == (tmp_path / "b.rec").read_bytes()

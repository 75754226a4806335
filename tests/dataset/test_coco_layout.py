"""Layouts of COCO's form: where annotations and images are looked for."""

from __future__ import annotations

import pytest

from common.errors import AnnotationError, ConfigError
from dataset.annotations import Reason
from dataset.coco import read_coco
from dataset.coco_layout import set_of


def paths(found, coco):
    return [sample.image_path.relative_to(coco.root).as_posix() for sample in found.samples]


@pytest.mark.parametrize(
    "pictures", ["val2017", "images/val2017", "val2017/images", ".", "images", "data", "annotations"]
)
def test_images_are_found_in_common_layouts(coco, pictures):
    coco.write(coco.instances([coco.image(7)], [coco.box(1)]), pictures=pictures)
    found = read_coco(coco.root, ["val2017"])
    assert [sample.image_path.parent for sample in found.samples] == [coco.root / pictures]
    assert found.problems == []


@pytest.mark.parametrize(
    "name",
    [
        "annotations/instances_val2017.json",
        "instances_val2017.json",
        "annotations/image_info_val2017.json",
        "annotations/val2017.json",
        "val2017.json",
        "val2017/_annotations.coco.json",
        "val2017/labels.json",
    ],
)
def test_annotations_are_found_in_common_layouts(coco, name):
    coco.write(coco.instances([coco.image(7)], [coco.box(1)]), name)
    assert len(read_coco(coco.root, ["val2017"]).samples) == 1


def test_instances_go_before_other_annotations_of_the_set(coco):
    coco.write("[]", "val2017.json", None)
    coco.write(coco.instances([coco.image(7)], []), "annotations/instances_val2017.json")
    assert len(read_coco(coco.root, ["val2017"]).samples) == 1


@pytest.mark.parametrize(
    "stated", ["val2017/7.jpg", "7.jpg", "old\\folder\\7.jpg", "/gone/val2017/7.jpg", "x/y/7.jpg"]
)
def test_folders_in_file_names_may_be_stale(coco, stated):
    coco.write(coco.instances([coco.image(7, stated)], []), pictures=None)
    coco.picture("val2017/7.jpg")
    assert paths(read_coco(coco.root, ["val2017"]), coco) == ["val2017/7.jpg"]


def test_folders_in_file_names_are_kept(coco):
    images = [coco.image(1, "a/1.jpg"), coco.image(2, "b/1.jpg")]
    coco.write(coco.instances(images, []), pictures=None)
    coco.picture("val2017/a/1.jpg")
    coco.picture("val2017/b/1.jpg")
    assert paths(read_coco(coco.root, ["val2017"]), coco) == ["val2017/a/1.jpg", "val2017/b/1.jpg"]


def test_no_image_is_taken_for_another_of_the_same_last_name(coco):
    images = [coco.image(1, "a/1.jpg"), coco.image(2, "b/1.jpg")]
    coco.write(coco.instances(images, []), pictures=None)
    coco.picture("val2017/a/1.jpg")
    coco.picture("val2017/1.jpg")
    found = read_coco(coco.root, ["val2017"])
    assert paths(found, coco) == ["val2017/a/1.jpg"]
    assert [(p.reason, p.value) for p in found.problems] == [(Reason.MISSING_IMAGE, "b/1.jpg")]


def test_absolute_file_name_is_taken(coco, tmp_path):
    path = coco.picture("../elsewhere/7.jpg").resolve()
    coco.write(coco.instances([coco.image(7, str(path))], []), pictures=None)
    assert read_coco(coco.root, ["val2017"]).samples[0].image_path == path


@pytest.mark.parametrize("base", ["", "images/"])
def test_mxnet_ssds_sets_of_2014_find_their_images(coco, base):
    names = {split: f"COCO_{split}2014_000000000042.jpg" for split in ("train", "val")}
    for number, (split, image_set) in enumerate([("train", "train2014"), ("val", "valminusminival2014")]):
        data = coco.instances([coco.image(number, names[split])], [coco.box(number, number)])
        coco.write(data, f"annotations/instances_{image_set}.json", pictures=None)
        coco.picture(f"{base}{split}2014/{names[split]}")
    found = read_coco(coco.root, ["train2014", "valminusminival2014"])
    assert paths(found, coco) == [f"{base}{split}2014/{names[split]}" for split in ("train", "val")]


def test_set_without_a_folder_takes_those_of_its_year(coco):
    data = coco.instances([coco.image(7), coco.image(8), coco.image(9)], [])
    coco.write(data, "annotations/instances_minival2017.json", pictures=None)
    for name in ("train2017/7.jpg", "val2017/8.jpg", "train2017/9.jpg", "val2017/9.jpg"):
        coco.picture(name)
    found = read_coco(coco.root, ["minival2017"])
    assert paths(found, coco) == ["train2017/7.jpg", "val2017/8.jpg"]
    assert [(p.image, p.reason, p.value) for p in found.problems] == [
        ("9", Reason.AMBIGUOUS_IMAGE, "train2017/9.jpg and val2017/9.jpg")
    ]


def test_set_with_a_folder_never_takes_anothers_image(coco):
    coco.write(coco.instances([coco.image(7), coco.image(8)], []), "instances_val2020.json", pictures=None)
    coco.picture("val2020/7.jpg")
    coco.picture("train2020/8.jpg")
    found = read_coco(coco.root, ["val2020"])
    assert paths(found, coco) == ["val2020/7.jpg"]
    assert [p.reason for p in found.problems] == [Reason.MISSING_IMAGE]


def test_address_tells_the_folder_and_the_name(coco):
    """LVIS states no file names, and its sets mix images of train2017 and val2017."""
    entries = [coco.image(7, coco_url="http://images.cocodataset.org/train2017/0007.jpg")]
    del entries[0]["file_name"]
    coco.write(coco.instances(entries, []), "annotations/lvis_v1_val.json", pictures=None)
    coco.picture("train2017/0007.jpg")
    assert paths(read_coco(coco.root, ["lvis_v1_val"]), coco) == ["train2017/0007.jpg"]


@pytest.mark.parametrize(("image_sets", "pictures"), [([], "val2017"), (["pictures"], "pictures")])
def test_annotation_file_can_be_given(coco, tmp_path, image_sets, pictures):
    coco.write(coco.instances([coco.image(7)], []), "../elsewhere/instances_val2017.json", pictures)
    file = tmp_path / "elsewhere" / "instances_val2017.json"
    assert paths(read_coco(coco.root, image_sets, annotations=file), coco) == [f"{pictures}/7.jpg"]


def test_annotation_file_can_be_told_relative_to_the_root(coco):
    coco.write(coco.instances([coco.image(7)], []), "labels/x.json", "x")
    assert len(read_coco(coco.root, [], annotations="labels/x.json").samples) == 1


@pytest.mark.parametrize(
    ("image_sets", "more", "message"),
    [
        (
            ["val2018"],
            {},
            r"--set val2018: no annotations of that set; did you mean val2017\?; tried .*instances_val2018",
        ),
        ([], {}, r"--set: name an image set; there are: val2017"),
        (["a\0b"], {}, "no annotations of that set"),
        (
            [],
            {"annotations": "none.json"},
            "--annotations none.json: no such file; tried none.json and .*none.json",
        ),
        (["a", "b"], {"annotations": "x.json"}, "one file is one image set, --set names 2"),
    ],
)
def test_missing_annotations_tell_what_was_tried(coco, image_sets, more, message):
    coco.write(coco.instances([coco.image(7)], []))
    with pytest.raises(ConfigError, match=message):
        read_coco(coco.root, image_sets, **more)


def test_missing_root_is_told(tmp_path):
    with pytest.raises(ConfigError, match="--root .*none: no such folder"):
        read_coco(tmp_path / "none", ["val2017"])


def test_folder_of_another_data_set_is_told(coco):
    coco.write(coco.instances([coco.image(7)], []), pictures=None)
    with pytest.raises(AnnotationError, match="none of its 1 images is there, the first is 7.jpg"):
        read_coco(coco.root, ["val2017"])


@pytest.mark.parametrize(
    ("name", "image_set"),
    [
        ("instances_val2017.json", "val2017"),
        ("image_info_test-dev2017.json", "test-dev2017"),
        ("own.json", "own"),
        ("train/_annotations.coco.json", "train"),
    ],
)
def test_set_is_named_after_the_annotation_file(tmp_path, name, image_set):
    assert set_of(tmp_path / name) == image_set

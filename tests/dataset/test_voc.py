import os
import subprocess
import sys

import numpy as np
import pytest

from common.errors import AnnotationError, ConfigError
from dataset.annotations import Reason
from dataset.voc import find_class_names, read_voc


def reasons(found):
    return [(problem.image, problem.reason, problem.object_index) for problem in found.problems]


def test_boxes_become_half_open(voc):
    sample = voc.add("a", [("dog", 1, 1, 64, 48), ("dog", 0, 0.5, 9.25, 10)]).read().samples[0]
    np.testing.assert_array_equal(sample.boxes, [[0, 0, 64, 48], [-1, -0.5, 9.25, 10]])
    assert (sample.size, sample.image_id, sample.image_path.name) == ((64, 48), "a", "a.jpg")


def test_samples_come_in_the_order_of_the_image_set(voc):
    voc.add("b", [("x", 1, 1, 9, 9)]).add("a").add("c")
    root = voc.write_set("s", ["c", "a", "b"])
    assert [sample.image_id for sample in read_voc(root, ["s"]).samples] == ["c", "a", "b"]


def test_class_names_are_those_of_all_annotations_sorted(voc):
    voc.add("a", [("zebra", 1, 1, 9, 9)]).add("b", [("ant", 1, 1, 9, 9), ("Cow", 1, 1, 9, 9)])
    root = voc.write_set("s", ["a"])
    found = read_voc(root, ["s"])
    assert found.class_names == ("Cow", "ant", "zebra")
    assert found.samples[0].class_ids.tolist() == [2]


def test_class_order_does_not_depend_on_the_hash_seed(voc, project_root):
    voc.add("a", [(name, 1, 1, 9, 9) for name in "qwertyuiopasdfgh"]).write_set()
    code = "import sys; from dataset.voc import read_voc; f = read_voc(sys.argv[1], ['trainval'])\n"
    code += "print(f.class_names, f.samples[0].class_ids.tolist())"
    outputs = set()
    for seed in ("0", "1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(project_root)}
        command = [sys.executable, "-c", code, str(voc.root)]
        outputs.add(
            subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        )
    assert len(outputs) == 1


def test_given_class_names_keep_their_order_and_leave_out_others(voc):
    voc.add("a", [("ant", 1, 1, 9, 9), ("bee", 1, 1, 9, 9), ("cow", 1, 1, 9, 9)])
    found = voc.read(class_names=["cow", "ant"])
    assert found.class_names == ("cow", "ant")
    assert found.samples[0].class_ids.tolist() == [1, 0]
    assert found.object_indices[0].tolist() == [0, 2]
    assert reasons(found) == [("a", Reason.CLASS_NOT_ASKED, 1)]


def test_class_names_that_no_object_has_are_an_error_with_the_closest(voc):
    voc.add("a", [("person", 1, 1, 9, 9)])
    with pytest.raises(ConfigError, match="did you mean person"):
        voc.read(class_names=["persons"])


def test_given_class_without_objects_is_a_warning(voc, caplog):
    voc.add("a", [("ant", 1, 1, 9, 9)])
    assert voc.read(class_names=["ant", "bee"]).class_names == ("ant", "bee")
    assert "class bee: no object" in caplog.text


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((5, 5, 5, 5), Reason.DEGENERATE),
        ((5, 5, 5, 9), Reason.DEGENERATE),
        ((9, 5, 5, 9), Reason.INVERTED),
        (("nan", 5, 9, 9), Reason.NOT_FINITE),
        (("inf", 5, 9, 9), Reason.NOT_FINITE),
        ((1, 5, "-inf", 9), Reason.NOT_FINITE),
        (("", 5, 9, 9), Reason.BAD_OBJECT),
    ],
)
def test_bad_object_is_left_out_and_reported_with_its_place(voc, box, reason):
    found = voc.add("a", [("ant", 1, 1, 9, 9), ("bee", *box)]).read()
    assert found.samples[0].class_ids.tolist() == [0]
    assert reasons(found) == [("a", reason, 1)]
    assert "a.xml, object 1" in found.problems[0].message()


def test_bad_images_are_left_out_and_reported(voc):
    voc.add("a", [("ant", 1, 1, 9, 9)]).add("nopicture").add("broken", xml="<annotation>").add("a b")
    (voc.root / "JPEGImages" / "nopicture.jpg").unlink()
    root = voc.write_set("s", ["a", "nopicture", "broken", "noxml", "a", "a b"])
    found = read_voc(root, ["s"])
    assert [sample.image_id for sample in found.samples] == ["a", "a b"]
    assert reasons(found) == [
        ("nopicture", Reason.MISSING_IMAGE, None),
        ("broken", Reason.BAD_ANNOTATION, None),
        ("noxml", Reason.MISSING_ANNOTATION, None),
        ("a", Reason.DUPLICATE_ID, None),
    ]
    assert "line 1" in found.problems[1].value


def test_overlapping_sets_give_each_image_once(voc):
    voc.add("a", [("ant", 1, 1, 9, 9)]).add("b")
    voc.write_set("train", ["a"])
    found = read_voc(voc.write_set("trainval"), ["train", "trainval"])
    assert [sample.image_id for sample in found.samples] == ["a", "b"]
    assert reasons(found) == [("a", Reason.DUPLICATE_ID, None)]


def test_years_share_class_names_and_may_share_ids(tmp_path, tools):
    for year, name in (("2007", "zebra"), ("2012", "ant")):
        tools.VOCFolder(tmp_path / f"VOC{year}").add("1", [(name, 1, 1, 9, 9)]).write_set()
    found = read_voc(tmp_path, ["trainval"], ["2007", "2012"])
    assert found.class_names == ("ant", "zebra")
    assert [sample.class_ids.tolist() for sample in found.samples] == [[1], [0]]
    assert not found.problems


def test_annotations_without_any_class_are_an_error(voc):
    with pytest.raises(AnnotationError, match="names a class: .*--class-names"):
        voc.add("a").read()


def test_hidden_and_broken_files_do_not_stop_the_search_for_classes(voc, caplog):
    voc.add("a", [("ant", 1, 1, 9, 9)]).add("b", xml="no xml")
    (voc.root / "Annotations" / "._a.xml").write_bytes(b"\0\5\x16\7")
    assert find_class_names([voc.root]) == ("ant",)
    assert "1 annotation files cannot be read" in caplog.text


def test_folder_without_images_is_an_error(voc):
    voc.add("a", [("ant", 1, 1, 9, 9)]).write_set()
    (voc.root / "JPEGImages").rename(voc.root / "images")
    with pytest.raises(ConfigError, match="JPEGImages"):
        read_voc(voc.root, ["trainval"])

"""Results files: what is loaded scores as what was saved; other programs' files load; a wrong entry is named."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.boxes import from_voc
from common.errors import ConfigError
from common.structures import Detections, Sample
from evaluate.coco import evaluate_coco
from evaluate.findings import Findings
from evaluate.results import check_results_place, coco_results, load_results, save_results
from evaluate.run import score

NAMES = ("cat", "dining table", "a/b\\<script>%2F é")
IDS = ("2007_000027", "two words", "100%ff", "a%20b", "a b")  # the last two must not be taken for each other
SIZE = (200, 160)


def detections(rows, dtype=np.float32) -> Detections:
    """Detections of (class id, score, box) rows, best first."""
    rows = sorted(rows, key=lambda row: -row[1])
    return Detections(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], dtype),
        np.array([row[2] for row in rows], dtype).reshape(-1, 4),
        SIZE,
        NAMES,
    )


def findings(found, truths=((0, (0, 0, 40, 40)), (1, (50, 50, 90, 90)), (2, (10, 60, 60, 100)))) -> Findings:
    """Findings of five images with the same objects each."""
    boxes, classes = [box for _, box in truths], [class_id for class_id, _ in truths]
    samples = [
        Sample(Path(f"images/{number}.jpg"), SIZE, boxes, classes, [False] * len(boxes), image_id=name)
        for number, name in enumerate(IDS)
    ]
    return Findings(samples, found, NAMES, (44, 1, 18), (7, 3, 9, 1, 12), "val")


def nothing() -> Findings:
    return findings([detections([])] * len(IDS))


def some(seed: int = 0, count: int = 12) -> Findings:
    """Findings that are partly right, in float32 as a detector's, with equal scores."""
    rng = np.random.default_rng(seed)
    boxes = np.array([(0, 0, 40, 40), (50, 50, 90, 90), (10, 60, 60, 100)])
    found = []
    for _ in IDS:
        classes = rng.integers(0, 3, count)
        shifted = boxes[classes] + rng.choice([0.3, 3, 12], (count, 1)) * rng.normal(size=(count, 4))
        shifted[:, 2:] = np.maximum(shifted[:, 2:], shifted[:, :2])
        scores = rng.choice([0.25, 0.5, 0.7, 0.9], count)
        found.append(detections(list(zip(classes, scores, shifted))))
    return findings(found)


def assert_same_numbers(one: Findings, other: Findings) -> None:
    """Every measure gives the same, to the last digit."""
    for metric in ("voc", "voc07"):
        for iou in (0.5, 0.75):
            first, second = (score(each, metric=metric, iou_threshold=iou) for each in (one, other))
            assert first.as_dict() == second.as_dict()
            for a, b in zip(first.classes, second.classes):
                np.testing.assert_array_equal(a.scores, b.scores)
                np.testing.assert_array_equal(a.precision, b.precision)
    first, second = evaluate_coco(one), evaluate_coco(other)
    np.testing.assert_array_equal(first.precision, second.precision)
    np.testing.assert_array_equal(first.recall, second.recall)


def assert_same_detections(one: Findings, other: Findings) -> None:
    """The same boxes and scores to the last digit, in the same order within each class."""
    for a, b in zip(one.detections, other.detections):
        assert b.score.dtype == b.boxes.dtype == np.float64
        assert b.size == SIZE
        for class_id in range(len(NAMES)):
            rows = [found.select(found.class_id == class_id) for found in (a, b)]
            np.testing.assert_array_equal(rows[0].score.astype(np.float64), rows[1].score)
            np.testing.assert_array_equal(rows[0].boxes.astype(np.float64), rows[1].boxes)


_side = st.one_of(
    st.floats(0, 300, width=32),
    st.sampled_from([0.0, 1e-30, 1e-45, 2.0**-40, 1 / 3, 39.99999, 40.0, 199.99998]).map(
        lambda value: float(np.float32(value))
    ),
)
_box = st.tuples(_side, _side, _side, _side).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)
_near = st.sampled_from([(0, 0, 40, 40), (50, 50, 90, 90), (0, 0, 40, 20), (51, 50, 91, 90)])
_score = st.one_of(st.sampled_from([0.5, 0.9, 1.0, 0.009999999776482582]), st.floats(2.0**-10, 1, width=32))
_rows = st.lists(st.tuples(st.integers(0, 2), _score, st.one_of(_box, _near)), max_size=6)


@pytest.mark.parametrize("name", ["found.json", "folder"])
@settings(max_examples=60, deadline=None)
@given(rows=st.lists(_rows, min_size=5, max_size=5))
def test_saved_file_gives_the_live_numbers_to_the_last_digit(name, rows):
    live = findings([detections(of_image) for of_image in rows])
    with tempfile.TemporaryDirectory() as folder:
        save_results(Path(folder) / name, live)
        loaded = load_results(Path(folder) / name, nothing())
        assert_same_detections(live, loaded)
        assert_same_numbers(live, loaded)
        save_results(Path(folder) / name, loaded)  # once more, from float64
        assert_same_detections(loaded, load_results(Path(folder) / name, nothing()))


def test_coco_form_is_the_known_one(tmp_path):
    live = findings(
        [detections([(1, 0.75, (10, 20, 30.5, 60)), (0, 0.5, (0, 0, 1, 1))])] + [detections([])] * 4
    )
    image = {"image_id": 7, "image_name": "2007_000027"}  # a text names it, so the number is the pack's own
    assert coco_results(live) == [
        {**image, "category_id": 1, "bbox": [10.0, 20.0, 20.5, 40.0], "score": 0.75},
        {**image, "category_id": 44, "bbox": [0.0, 0.0, 1.0, 1.0], "score": 0.5},
    ]
    save_results(tmp_path / "a.json", live)
    assert json.loads((tmp_path / "a.json").read_text()) == coco_results(live)
    save_results(tmp_path / "a.json", nothing())
    assert json.loads((tmp_path / "a.json").read_text()) == []


def test_coco_form_keeps_the_order_of_an_image(tmp_path):
    """Over all classes, that is, as whoever draws the boxes sees it."""
    live = some()
    save_results(tmp_path / "a.json", live)
    for one, other in zip(live.detections, load_results(tmp_path / "a.json", nothing()).detections):
        np.testing.assert_array_equal(one.class_id, other.class_id)
        np.testing.assert_array_equal(one.boxes.astype(np.float64), other.boxes)


def test_voc_form_is_the_known_one(tmp_path):
    """Lines as the development kit reads them: 1-based, inclusive pixels."""
    live = findings(
        [detections([(0, 0.75, (10, 20, 30.5, 60))]), detections([(0, 0.5, (0, 0, 1, 1))])]
        + [detections([])] * 3
    )
    save_results(tmp_path / "new" / "folder", live)
    folder = tmp_path / "new" / "folder"
    assert sorted(path.name for path in folder.iterdir()) == [
        "comp4_det_val_a%2Fb%5C%3Cscript%3E%252F é.txt",
        "comp4_det_val_cat.txt",
        "comp4_det_val_dining table.txt",
    ]
    lines = (folder / "comp4_det_val_cat.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["2007_000027", "two%20words"]
    rows = np.array([line.split()[1:] for line in lines], float)
    np.testing.assert_array_equal(rows, [[0.75, 11, 21, 30.5, 60], [0.5, 1, 1, 1, 1]])
    np.testing.assert_array_equal(from_voc(rows[:, 1:]), [[10, 20, 30.5, 60], [0, 0, 1, 1]])
    assert (folder / "comp4_det_val_dining table.txt").read_text() == ""


def test_texts_of_other_programs_name_images_too(tmp_path):
    """By the data set's id, the file's path, its name or its stem."""
    entry = {"category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}
    texts = ["2007_000027", "images/1.jpg", "2.jpg", "3", 12, 12.0]
    (tmp_path / "a.json").write_text(json.dumps([{**entry, "image_id": text} for text in texts]))
    loaded = load_results(tmp_path / "a.json", nothing())
    assert [len(found) for found in loaded.detections] == [1, 1, 1, 1, 2]
    np.testing.assert_array_equal(loaded.detections[0].boxes, [[1, 2, 4, 6]])


def test_name_of_several_images_names_none(tmp_path):
    entry = {"category_id": 1, "bbox": [1, 2, 3, 4], "score": 1, "image_id": "same.jpg"}
    (tmp_path / "a.json").write_text(json.dumps([entry]))
    samples = [Sample(Path(f"{n}/same.jpg"), SIZE, [], [], [], image_id=n) for n in range(2)]
    twins = Findings(samples, [detections([])] * 2, NAMES, (44, 1, 18), (0, 1), "val")
    with pytest.raises(ConfigError, match=r'entry 1: image_id "same.jpg" is not of the data set'):
        load_results(tmp_path / "a.json", twins)


def test_voc_files_of_other_programs_load(tmp_path):
    """Spaces and per cent signs as they are, Windows' line ends, a BOM, an exponent, no line end at the end."""
    folder = tmp_path / "results"
    save_results(folder, nothing())
    text = "two words 9e-1 1 1 40 40\r\n\r\n100%ff 0.5 1.5 1 40 40.25\r\na b 0.4 1 1 2 2\r\na%20b 0.3 1 1 3 3"
    (folder / "comp4_det_val_cat.txt").write_bytes(text.encode("utf-8-sig"))
    found = load_results(folder, nothing()).detections
    assert [len(each) for each in found] == [0, 1, 1, 0, 2]  # "a%20b" is "a b" as we write it
    np.testing.assert_array_equal(found[1].boxes, [[0, 0, 40, 40]])
    np.testing.assert_array_equal(found[2].boxes, [[0.5, 0, 40, 40.25]])


GOOD = {"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (5, "entry 2: expected an object with image_id, category_id, bbox, score, found 5"),
        ({"image_id": 7, "score": 1}, "entry 2: has no category_id"),
        ({**GOOD, "image_id": 8}, "image_id 8 is not of the data set, whose ids are 7, 3, 9, 1, 12"),
        ({**GOOD, "image_id": True}, "image_id true is not"),
        ({**GOOD, "image_id": [7]}, "image_id [7] is not"),
        ({**GOOD, "image_id": "none.jpg"}, 'image_id "none.jpg" is not'),
        ({**GOOD, "category_id": 2}, "category_id 2 is not of the data set; there are: 44, 1, 18"),
        ({**GOOD, "category_id": True}, "category_id true is not"),
        ({**GOOD, "category_id": {}}, "category_id {} is not"),
        ({**GOOD, "score": "0.5"}, 'score "0.5": expected a finite number'),
        ({**GOOD, "score": True}, "score true"),
        ({**GOOD, "score": None}, "score null"),
        ({**GOOD, "score": float("nan")}, "score NaN"),
        ({**GOOD, "score": float("inf")}, "score Infinity"),
        ({**GOOD, "score": 10**400}, "score 1000"),
        ({**GOOD, "bbox": [1, 2, 3]}, "bbox [1, 2, 3]: expected four finite numbers"),
        ({**GOOD, "bbox": [1, 2, 3, float("nan")]}, "bbox [1, 2, 3, NaN]"),
        ({**GOOD, "bbox": [1, 2, 3, False]}, "bbox [1, 2, 3, false]"),
        ({**GOOD, "bbox": "1 2 3 4"}, 'bbox "1 2 3 4"'),
        ({**GOOD, "bbox": {"x": 1}}, "expected four finite numbers"),
        ({**GOOD, "bbox": [1, 2, -3, 4]}, "found a width or height below 0"),
        ({**GOOD, "bbox": [1.7e308, 2, 1.7e308, 4]}, "expected four finite numbers"),
    ],
)
def test_wrong_entry_is_told_by_file_and_number(tmp_path, entry, words):
    path = tmp_path / "found.json"
    path.write_text(json.dumps([GOOD, entry]))
    with pytest.raises(ConfigError) as error:
        load_results(path, nothing())
    assert str(error.value).startswith(f"{path}: entry 2: ")
    assert words in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty (0 bytes)"),
        (b"<html>", "an HTML page"),
        (b"[1, 2", "text beginning '[1, 2'"),
        (b'{"images": [], "annotations": []}', 'found an object with ["images", "annotations"]'),
        (b"3", "expected a list of {image_id, category_id, bbox, score}, found 3"),
        (b"[[" * 100000, "not a results file"),
        ("[]".encode("utf-16"), "not a results file"),
    ],
)
def test_file_of_another_kind_is_told_as_what_it_is(tmp_path, content, words):
    (tmp_path / "found.json").write_bytes(content)
    with pytest.raises(ConfigError, match="found.json: not a results file in COCO's form") as error:
        load_results(tmp_path / "found.json", nothing())
    assert words in str(error.value)


def test_missing_file_is_told(tmp_path):
    with pytest.raises(
        ConfigError, match=r"none.json: results file in COCO's form cannot be read \(No such file"
    ):
        load_results(tmp_path / "none.json", nothing())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("2007_000027 0.5 1 1 2", "expected image_id score xmin ymin xmax ymax"),
        ("2007_000027 high 1 1 2 2", "with finite numbers"),
        ("2007_000027 nan 1 1 2 2", "with finite numbers"),
        ("2007_000027 0.5 1 1 2 1e999", "with finite numbers"),
        ("2007_000027 0.5 inf 1 2 2", "with finite numbers"),
        ("2007_000027 0.5 1 1 2 -1", "expected xmin up to xmax"),
        (
            "2007_000028 0.5 1 1 2 2",
            "image '2007_000028' is not of the data set, whose ids are 2007_000027, two words",
        ),
    ],
)
def test_wrong_line_is_told_by_file_and_number(tmp_path, line, words):
    save_results(tmp_path, nothing())
    path = tmp_path / "comp4_det_val_cat.txt"
    path.write_text(f"2007_000027 0.5 1 1 2 2\n{line}\n")
    with pytest.raises(ConfigError) as error:
        load_results(tmp_path, nothing())
    assert str(error.value).startswith(f"{path}: line 2: ")
    assert words in str(error.value)


def test_folder_must_have_a_file_for_each_class_and_no_others(tmp_path):
    with pytest.raises(ConfigError, match="there is no comp4_det_val_cat.txt"):
        load_results(tmp_path, nothing())
    save_results(tmp_path, some())
    (tmp_path / "comp4_det_val_cat.txt").rename(tmp_path / "comp4_det_val_dog.txt")
    with pytest.raises(
        ConfigError, match="there is no comp4_det_val_cat.txt: expected a file for each class"
    ):
        load_results(tmp_path, nothing())
    (tmp_path / "comp4_det_val_cat.txt").touch()
    with pytest.raises(
        ConfigError, match=r"comp4_det_val_dog.txt: of a class that the data set does not have"
    ):
        load_results(tmp_path, nothing())
    (tmp_path / "comp4_det_val_cat.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "comp4_det_val_dog.txt").unlink()
    with pytest.raises(ConfigError, match="comp4_det_val_cat.txt: cannot be read as text in UTF-8"):
        load_results(tmp_path, nothing())


def test_set_is_that_of_the_files_and_the_data_sets_own_among_several(tmp_path):
    for path in (tmp_path / "one", tmp_path / "two"):
        save_results(path, some())
    for folder in ("one", "two"):
        for path in list((tmp_path / folder).iterdir()):
            new = path.with_name(path.name.replace("_val_", "_test_"))
            (path.rename if folder == "one" else new.write_text)(*([new] if folder == "one" else [""]))
    assert_same_detections(some(), load_results(tmp_path / "one", nothing()))
    assert_same_detections(some(), load_results(tmp_path / "two", nothing()))
    for path in list((tmp_path / "two").iterdir()):
        path.rename(path.with_name(path.name.replace("_val_", "_train_")))
    with pytest.raises(ConfigError, match="holds results of the sets test, train, none of them 'val'"):
        load_results(tmp_path / "two", nothing())


def test_class_name_that_ends_like_another_is_not_taken_for_it(tmp_path):
    names = ("b", "a_b")
    truth = Sample(Path("1.jpg"), SIZE, [], [], [], image_id="1")
    live = Findings([truth], [detections([(0, 0.5, (0, 0, 9, 9))])], names, (1, 2), (1,), "val")
    save_results(tmp_path, live)
    loaded = load_results(tmp_path, live.with_detections([detections([])]))
    assert loaded.detections[0].class_id.tolist() == [0]


def test_nothing_but_results_is_replaced(tmp_path):
    live = some()
    for name, content in (
        ("a.json", '{"images": [], "annotations": []}'),
        ("b.json", "[1, 2]"),
        ("c.json", "\x89PNG"),
        ("d.json", '[{"image_id": 1}]'),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(ConfigError, match=f"{name}: is there already and holds no results"):
            save_results(tmp_path / name, live)
        assert (tmp_path / name).read_text() == content
    for name in ("notes.txt", "comp4_det_val_dog.txt", "comp4_det_val_cat.txt"):
        folder = tmp_path / f"with {name}"
        folder.mkdir()
        (folder / name).write_text("my notes\n" if name != "comp4_det_val_dog.txt" else "")
        with pytest.raises(ConfigError, match=f"holds {name}, .*choose an empty or new folder"):
            check_results_place(folder, live)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file: is a file: give a folder"):
        check_results_place(tmp_path / "file", live)
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(ConfigError, match="is a folder: give the name of a file"):
        check_results_place(tmp_path / "folder.json", live)


def test_earlier_results_are_replaced(tmp_path):
    for name in ("a.json", "folder"):
        for live in (some(1), some(2)):
            save_results(tmp_path / name, live)
            assert_same_detections(live, load_results(tmp_path / name, nothing()))
    (tmp_path / "empty.json").touch()
    save_results(tmp_path / "empty.json", some())
    assert {path.name for path in tmp_path.iterdir()} == {
        "a.json",
        "folder",
        "empty.json",
    }  # nothing half-written


@pytest.mark.parametrize("name", ["a.json", "folder"])
def test_damaged_detections_are_refused_and_nothing_is_written(tmp_path, name):
    live = some()
    live.detections[2].boxes[0, 0] = np.inf
    with pytest.raises(ConfigError, match="image 2: a detection holds values that are not finite"):
        save_results(tmp_path / name, live)
    assert not (tmp_path / name).is_file()


def test_images_of_one_id_cannot_be_told_apart_in_vocs_form(tmp_path):
    truth = nothing().truths[0]
    twins = Findings([truth, truth], [detections([])] * 2, NAMES, (44, 1, 18), (1, 2), "val")
    with pytest.raises(ConfigError, match="2 images have the id '2007_000027': save a .json file instead"):
        save_results(tmp_path / "folder", twins)
    save_results(tmp_path / "a.json", twins)


@pytest.mark.parametrize("name", ["found.json", "folder"])
def test_any_json_or_text_is_loaded_or_refused_in_words(name, tmp_path_factory):
    """No other error than ours, whatever stands in the file."""
    path = tmp_path_factory.mktemp("any") / name
    save_results(path, nothing())
    values = st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=5), st.dictionaries(st.sampled_from(list(GOOD)), inner)
        ),
        max_leaves=12,
    )
    lines = st.lists(
        st.one_of(st.sampled_from([*IDS, "1", "nan", "-5", "1e400", "1E-999999999999"]), st.text(max_size=4))
    )

    @settings(max_examples=150, deadline=None)
    @given(st.lists(values, max_size=3), lines)
    def check(entries, words):
        if name == "folder":
            (path / "comp4_det_val_cat.txt").write_text(" ".join(words), encoding="utf-8", errors="replace")
        else:
            path.write_text(json.dumps([GOOD, *entries]))
        with contextlib.suppress(ConfigError):
            load_results(path, nothing())

    check()


def test_results_of_images_with_names_survive_another_numbering(tmp_path):
    """Another pack of the same data numbers its images otherwise: the names decide."""
    truths = [
        Sample(Path(f"{name}.jpg"), (100, 50), [[0, 0, 9, 9]], [0], [False], image_id=name) for name in "ab"
    ]
    found = [
        Detections(
            np.array([0]),
            np.array([score], np.float32),
            np.array([[0, 0, 9, 9]], np.float32),
            (100, 50),
            ("x",),
        )
        for score in (0.5, 0.25)
    ]
    save_results(tmp_path / "r.json", Findings(truths, found, ("x",), (1,), (1, 2)))
    again = Findings(truths[::-1], found, ("x",), (1,), (1, 2))
    loaded = load_results(tmp_path / "r.json", again)
    assert [float(one.score[0]) for one in loaded.detections] == [0.25, 0.5]

"""What the demo writes beside its pictures: results, labels, crops; read back by others' readers."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from common.command import CommandParser
from common.errors import ConfigError
from common.structures import Detections
from detect.output_ids import image_id_of
from detect.output_names import TakenNames, folder_names
from detect.outputs import Outputs, add_output_flags, choose, class_ids_of, crops_of, yolo_lines
from detect.results_file import holds_results

NAMES = ("cat", "dog", "traffic light")
PIXELS = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)  # 80 wide, 60 high


def flags(*argv: str) -> argparse.Namespace:
    parser = CommandParser(prog="demo.py")
    add_output_flags(parser)
    return parser.parse_args(argv)


def outputs(folder, *argv: str, sources=(), class_names=NAMES) -> Outputs:
    return Outputs.open(flags(*argv), SimpleNamespace(class_names=class_names), folder, sources)


def found_in(entries, size=(80, 60), class_names=NAMES) -> Detections:
    """Detections of (class id, score, xmin, ymin, xmax, ymax) in pixels."""
    rows = np.array(entries, np.float32).reshape(-1, 6)
    return Detections(rows[:, 0].astype(np.int64), rows[:, 1], rows[:, 2:], size, class_names)


TWO = found_in([(2, 0.9, 10.5, 20.25, 30.75, 40), (0, 0.6, 0, 0, 80, 60)])
NONE = found_in([])


def tree(folder) -> list[str]:
    """Every file below a folder, the markers left out."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder)) for path in files if path.name != ".written-by-demo")


# ---- which detections count


def test_thresholds_classes_and_number_choose_in_that_order():
    found = found_in(
        [
            (0, 0.9, 0, 0, 1, 1),
            (1, 0.8, 0, 0, 1, 1),
            (0, 0.7, 0, 0, 1, 1),
            (2, 0.6, 0, 0, 1, 1),
            (0, 0.5, 0, 0, 1, 1),
        ]
    )
    assert choose(found, 0.55).score.tolist() == found.score[:4].tolist()
    assert choose(found, 0.5, (0, 2)).class_id.tolist() == [0, 0, 2]
    assert choose(found, 0.5, (0, 2), 2).class_id.tolist() == [0, 0]
    assert choose(found, np.array([0.75, 0.0, 0.65]), None, 10).class_id.tolist() == [0, 1]
    assert len(choose(found, 0.0, ())) == 0
    assert choose(NONE, 0.5, (1,), 3).size == (80, 60)


def test_classes_are_named():
    assert class_ids_of(None, NAMES) is None
    assert class_ids_of("dog", NAMES) == (1,)
    assert class_ids_of(" traffic light, cat,cat", NAMES) == (0, 2)
    assert class_ids_of("a,b", ("a", "a,b", "b")) == (1,)
    with pytest.raises(ConfigError, match="--classes dgo: not a class of the detector; did you mean dog"):
        class_ids_of("cat,dgo", NAMES)
    with pytest.raises(ConfigError, match="empty"):
        class_ids_of(" , ", NAMES)


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "x", "²"])
def test_a_number_of_detections_that_cannot_be_is_refused(number, capsys):
    with pytest.raises(SystemExit):
        flags(f"--max-det={number}")
    assert "--max-det" in capsys.readouterr().err


# ---- COCO's results


def test_results_are_what_pycocotools_scores(tmp_path):
    """Detections that are the truth have an average precision of 1, by COCO's own tools."""
    coco, coco_eval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    categories = [{"id": 18, "name": "dog"}, {"id": 10, "name": "traffic light"}, {"id": 17, "name": "cat"}]
    images = [
        {"id": number, "file_name": f"{number:012d}.jpg", "width": 80, "height": 60} for number in (139, 7, 8)
    ]
    truth = {"images": images, "annotations": [], "categories": categories}
    with outputs(
        tmp_path, "--save-results", str(tmp_path / "r.json"), *truth_file(tmp_path, truth)
    ) as written:
        for image, found in zip(images, (TWO, NONE, found_in([(1, 0.3, 5, 5, 25, 30)]))):
            written.add(image["file_name"], PIXELS, found)
            for entry in found.to_coco(image["id"], (17, 18, 10)):
                del entry["score"]
                area = entry["bbox"][2] * entry["bbox"][3]
                number = len(truth["annotations"]) + 1
                truth["annotations"].append({**entry, "id": number, "area": area, "iscrowd": 0})
    assert written.written() == [f"{tmp_path / 'r.json'}: 3 results in COCO's form"]
    with contextlib.redirect_stdout(io.StringIO()):
        ground = coco.COCO()
        ground.dataset = truth
        ground.createIndex()
        results = ground.loadRes(str(tmp_path / "r.json"))
        scored = coco_eval.COCOeval(ground, results, "bbox")
        scored.evaluate(), scored.accumulate(), scored.summarize()
    assert scored.stats[0] == pytest.approx(1, abs=1e-12)
    assert sorted(entry["category_id"] for entry in results.anns.values()) == [10, 17, 18]
    assert {entry["image_id"] for entry in results.anns.values()} == {139, 8}


def truth_file(folder, truth) -> list[str]:
    (folder / "truth.json").write_text(json.dumps(truth), encoding="utf-8")
    return ["--truth", str(folder / "truth.json")]


def written_results(path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))


def test_without_a_truth_file_names_tell_the_images_and_order_the_classes(tmp_path):
    file = tmp_path / "deep" / "r.json"
    with outputs(tmp_path, "--save-results", str(file)) as written:
        for name in ("000000000139.jpg", "COCO_val2014_000000000042.jpg", "2007_000027.jpg", "猫 <b>.png"):
            written.add(name, PIXELS, TWO)
        written.add("clip_000003", PIXELS, TWO, image_id=3)
    entries = written_results(file)
    assert [entry["image_id"] for entry in entries[::2]] == [139, 42, "2007_000027", "猫 <b>", 3]
    assert [entry["category_id"] for entry in entries[:2]] == [3, 1]
    assert entries[0]["bbox"] == [10.5, 20.25, 20.25, 19.75]
    assert entries[0]["score"] == float(np.float32(0.9))


def test_nothing_found_is_an_empty_list(tmp_path):
    with outputs(tmp_path, "--save-results", str(tmp_path / "r.json")) as written:
        written.add("a.jpg", PIXELS, NONE)
    assert written_results(tmp_path / "r.json") == []


def test_two_pictures_with_one_number_are_told_apart(tmp_path):
    with outputs(tmp_path, "--save-results", str(tmp_path / "r.json")) as written:
        written.add("7.jpg", PIXELS, TWO, source=tmp_path / "a" / "7.jpg")
        written.add("7-2.jpg", PIXELS, TWO, source=tmp_path / "b" / "7.jpg")
    assert [entry["image_id"] for entry in written_results(tmp_path / "r.json")] == [7, 7, "7-2", "7-2"]
    assert "1 images had the id of another" in written.written()[0]


def test_results_are_not_written_where_the_work_ends_with_an_error(tmp_path):
    written = outputs(tmp_path, "--save-results", str(tmp_path / "r.json"))
    with contextlib.suppress(RuntimeError), written:
        written.add("a.jpg", PIXELS, TWO)
        raise RuntimeError
    assert tree(tmp_path) == []


def test_results_replace_results_and_nothing_else(tmp_path):
    file, picture = tmp_path / "r.json", tmp_path / "a.jpg"
    for _ in range(2):
        with outputs(tmp_path, "--save-results", str(file)) as written:
            written.add("a.jpg", PIXELS, TWO)
    assert len(written_results(file)) == 2
    file.write_text('{"images": []}')
    with pytest.raises(ConfigError, match="r.json: is there already and no results file"):
        outputs(tmp_path, "--save-results", str(file))
    picture.write_bytes(b"")
    with pytest.raises(ConfigError, match="a file to be read"):
        outputs(tmp_path, "--save-results", str(picture), sources=[picture])
    with pytest.raises(ConfigError, match="is a folder"):
        outputs(tmp_path, "--save-results", str(tmp_path))


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (
            {"images": [], "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "Dog"}]},
            "no category 'dog'.*Dog",
        ),
        ([], "not the truth of a data set"),
        ({"images": [{"id": 1}], "categories": []}, "not the truth of a data set"),
        (
            {"images": [], "categories": [{"id": n, "name": name} for n, name in enumerate(NAMES)]},
            "no such image: .*x.jpg",
        ),
    ],
)
def test_a_truth_file_that_does_not_fit_is_told_before_the_work(tmp_path, truth, message):
    argv = ["--save-results", str(tmp_path / "r.json"), *truth_file(tmp_path, truth)]
    with pytest.raises(ConfigError, match=message):
        outputs(tmp_path, *argv, sources=["x.jpg"])
    with pytest.raises(ConfigError, match="give that too"):
        outputs(tmp_path, *argv[2:])


def test_two_pictures_that_are_one_image_of_the_truth_do_not_share_its_number(tmp_path):
    truth = {"images": [{"id": 5, "file_name": "1.jpg"}], "categories": [{"id": 1, "name": n} for n in NAMES]}
    argv = ["--save-results", str(tmp_path / "r.json"), *truth_file(tmp_path, truth)]
    with outputs(tmp_path, *argv) as written:
        for folder in ("x", "y"):
            written.add("1.jpg", PIXELS, TWO, source=tmp_path / folder / "1.jpg")
    assert [entry["image_id"] for entry in written_results(tmp_path / "r.json")[::2]] == [5, "1-2"]
    assert "1 images had the id of another" in written.written()[0]


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("", True),
        (" [ ]\n", True),
        ('[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}]', True),
        ('[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}]', False),
        ("[1, 2]", False),
        ("[section]\nkey = 1", False),
        ("{}", False),
    ],
)
def test_a_file_is_results_by_its_first_element(tmp_path, text, ours):
    (tmp_path / "r.json").write_text(text)
    assert holds_results(tmp_path / "r.json") == ours


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes in folders are of Unix")
def test_results_do_not_replace_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "r.json")
    with pytest.raises(ConfigError, match="no results file"):
        outputs(tmp_path, "--save-results", str(tmp_path / "r.json"))


def test_a_truth_file_tells_images_of_one_name_by_their_folders(tmp_path):
    images = [
        {"id": 5, "file_name": "a/1.jpg"},
        {"id": 6, "file_name": "b/1.jpg"},
        {"id": 9, "file_name": "c/2.jpg"},
    ]
    truth = {"images": images, "categories": [{"id": n, "name": name} for n, name in enumerate(NAMES)]}
    with outputs(
        tmp_path, "--save-results", str(tmp_path / "r.json"), *truth_file(tmp_path, truth)
    ) as written:
        for number, path in enumerate(("x/b/1.jpg", "x/a/1.jpg", "elsewhere/2.jpg")):
            written.add(f"{number}.jpg", PIXELS, TWO, source=tmp_path / path)
        with pytest.raises(ConfigError, match="0 images|2 images|no such image"):
            written.add("3.jpg", PIXELS, TWO, source=tmp_path / "z" / "1.jpg")
    entries = written_results(tmp_path / "r.json")
    assert [(entry["image_id"], entry["category_id"]) for entry in entries[::2]] == [(6, 2), (5, 2), (9, 2)]


@pytest.mark.parametrize(
    ("name", "image_id"),
    [
        ("12.jpg", 12),
        ("0.png", 0),
        ("1_2.jpg", "1_2"),
        ("-3.jpg", "-3"),
        ("٣.jpg", "٣"),
        ("9" * 40 + ".jpg", "9" * 40),
    ],
)
def test_only_a_plain_number_is_a_number(name, image_id):
    assert image_id_of(name) == image_id


# ---- YOLO's labels


def read_labels(text: str, width: int, height: int):
    """Read labels as YOLO's tools do: classes, boxes in pixels, scores."""
    rows = np.array([[float(word) for word in line.split()] for line in text.splitlines()]).reshape(-1, 6)
    centres, sides = rows[:, 1:3] * (width, height), rows[:, 3:5] * (width, height)
    return (
        rows[:, 0].astype(int),
        np.concatenate([centres - sides / 2, centres + sides / 2], axis=1),
        rows[:, 5],
    )


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 9000), st.integers(1, 9000)),
    st.lists(st.tuples(st.integers(0, 2), *[st.floats(0, 1, width=32)] * 5), max_size=8),
)
def test_labels_read_back_give_the_boxes(size, entries):
    rows = np.array(entries, np.float32).reshape(-1, 6)
    rows[:, 2:] = np.concatenate(
        [np.minimum(rows[:, 2:4], rows[:, 4:]), np.maximum(rows[:, 2:4], rows[:, 4:])], 1
    )
    found = Detections.from_rows(rows, NAMES).in_pixels(*size)
    classes, boxes, scores = read_labels(yolo_lines(found), *size)
    assert classes.tolist() == found.class_id.tolist()
    scale = np.array([*size, *size])
    np.testing.assert_allclose(boxes / scale, found.boxes / scale, atol=1e-6)
    np.testing.assert_allclose(scores, found.score, atol=1e-6)


def test_labels_end_at_the_border():
    _, boxes, _ = read_labels(yolo_lines(found_in([(0, 0.5, -8, 6, 100, 30)])), 80, 60)
    np.testing.assert_allclose(boxes, [[0, 6, 80, 30]], atol=1e-5)


def test_every_picture_has_its_labels(tmp_path):
    with outputs(tmp_path, "--save-txt") as written:
        written.add("a.jpg", PIXELS, TWO)
        written.add("a.png", PIXELS, NONE)
        written.add("A.jpg", PIXELS, TWO)
        written.add("clip.v2_000001", PIXELS, TWO)
    assert tree(tmp_path) == [f"labels/{name}.txt" for name in ("A-3", "a-2", "a", "clip.v2_000001")]
    lines = (tmp_path / "labels" / "a.txt").read_text().splitlines()
    assert lines[0] == "2 0.25781250 0.50208333 0.25312500 0.32916667 0.89999998"
    assert (tmp_path / "labels" / "a-2.txt").read_text() == ""
    assert written.written() == [f"{tmp_path / 'labels'}: 4 files of labels in YOLO's form"]


@pytest.mark.parametrize(("flag", "folder"), [("--save-txt", "labels"), ("--save-crop", "crops")])
def test_a_folder_that_the_demo_did_not_make_is_left_alone(tmp_path, flag, folder):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "a.txt").write_text("0 0.5 0.5 1 1\n")
    with pytest.raises(ConfigError, match=f"{flag}: .*{folder} holds files that the demo did not write"):
        outputs(tmp_path, flag)
    assert tree(tmp_path) == [f"{folder}/a.txt"]


@pytest.mark.parametrize("flag", ["--save-txt", "--save-crop"])
def test_the_demos_own_folder_is_written_again(tmp_path, flag):
    for _ in range(2):
        with outputs(tmp_path, flag) as written:
            written.add("a.jpg", PIXELS, TWO)
        assert len(tree(tmp_path)) == (1 if flag == "--save-txt" else 2)


def test_pictures_to_look_at_are_not_replaced_by_crops(tmp_path):
    with outputs(tmp_path, "--save-crop") as written:
        written.add("a.jpg", PIXELS, TWO)
    source = tmp_path / "crops" / "cat" / "a_2.jpg"
    with pytest.raises(ConfigError, match=r"a_2.jpg, to look at, lies in .*crops: choose another --out"):
        outputs(tmp_path, "--save-crop", sources=[source])


# ---- crops


edge = st.floats(-20, 120, width=32)


@settings(deadline=None)
@given(st.integers(1, 90), st.integers(1, 70), st.lists(st.tuples(edge, edge, edge, edge), max_size=6))
def test_a_crop_is_every_pixel_that_the_box_touches(width, height, corners):
    pixels = np.arange(width * height * 3).reshape(height, width, 3)
    boxes = np.array(corners, np.float32).reshape(-1, 4)
    boxes = np.concatenate(
        [np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1
    )
    found = found_in([(rank % 3, 0.5, *box) for rank, box in enumerate(boxes)], (width, height))
    crops = {rank: (class_id, crop) for rank, class_id, crop in crops_of(pixels, found)}
    for rank, (xmin, ymin, xmax, ymax) in enumerate(boxes, start=1):
        columns = [x for x in range(width) if x < xmax and x + 1 > xmin]
        rows = [y for y in range(height) if y < ymax and y + 1 > ymin]
        if xmin == xmax or ymin == ymax:  # no area: a line on a pixel's border or inside of one
            continue
        if not (columns and rows):
            assert rank not in crops
            continue
        class_id, crop = crops[rank]
        assert class_id == (rank - 1) % 3
        np.testing.assert_array_equal(crop, pixels[rows][:, columns])


def test_crops_are_files_by_class(tmp_path):
    grey = np.full((60, 80, 3), 90, np.uint8)
    grey[20:40, 10:31] = (200, 30, 60)
    with outputs(tmp_path, "--save-crop") as written:
        written.add("a.png", grey, TWO)
        written.add("b.png", grey, NONE)
    assert tree(tmp_path) == ["crops/cat/a_2.jpg", "crops/traffic light/a_1.jpg"]
    crop = np.asarray(Image.open(tmp_path / "crops" / "traffic light" / "a_1.jpg"))
    assert crop.shape == (20, 21, 3)
    assert np.abs(crop.astype(int) - (200, 30, 60)).max() < 6
    assert written.written() == [f"{tmp_path / 'crops'}: 2 crops"]


STRANGE = (
    "a/b",
    "a_b",
    "..",
    ".hidden",
    "",
    "con",
    "NUL.txt",
    "Cat",
    "cat",
    "<script>",
    "x" * 300,
    "猫",
    "end. ",
    "\ud800",
)


def test_every_class_name_gives_a_folder_of_its_own(tmp_path):
    names = folder_names(STRANGE)
    assert len({name.casefold() for name in names}) == len(STRANGE)
    assert names[0] == "a_b"
    assert names[11] == "猫"
    for name in names:
        assert not set(name) & set('<>:"/\\|?*')
        assert not name.startswith(".")
        assert not name.endswith((".", " "))
        assert name.split(".")[0].lower() not in ("con", "nul")
        (tmp_path / name).mkdir()
    assert len(list(tmp_path.iterdir())) == len(STRANGE)
    assert len(list((tmp_path).parent.rglob(names[2]))) == 1


@settings(deadline=None)
@given(st.lists(st.text(max_size=12), max_size=12, unique=True))
def test_folders_are_never_shared(class_names):
    names = folder_names(class_names)
    assert len({name.casefold() for name in names}) == len(class_names)
    assert all(name.strip(". ") and "/" not in name and "\x00" not in name for name in names)


def test_crops_of_classes_with_strange_names_stay_in_their_folder(tmp_path):
    found = found_in([(n, 0.5, 0, 0, 5, 5) for n in range(len(STRANGE))], class_names=STRANGE)
    with outputs(tmp_path / "out", "--save-crop", class_names=STRANGE) as written:
        written.add("../../x.jpg", PIXELS, found)
        written.add("y" * 240 + ".jpg", PIXELS, found)
    files = tree(tmp_path)
    assert len(files) == 2 * len(STRANGE)
    assert all(name.startswith("out/crops/") and len(name.split("/")) == 4 for name in files)


def test_a_name_is_given_once():
    names = TakenNames()
    assert [names.new(name) for name in ("a", "A", "a-2", "a", "b")] == ["a", "A-2", "a-2-2", "a-3", "b"]


def test_numbers_of_names_are_counted_over_all_endings():
    names = TakenNames()
    given = [names.new(*name) for name in (("a", ".jpg"), ("A", ".JPG"), ("a", ".png"), ("a", ".png"))]
    assert given == ["a.jpg", "A-2.JPG", "a.png", "a-3.png"]


def test_without_flags_nothing_is_written(tmp_path):
    with outputs(tmp_path) as written:
        written.add("a.jpg", PIXELS, TWO)
    assert written.written() == []
    assert list(tmp_path.iterdir()) == []

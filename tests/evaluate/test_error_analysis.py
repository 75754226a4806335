"""The six kinds of error against tables by hand, and every number and every single error against tidecv's."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.boxes import from_xywh, iou, to_xywh
from common.errors import ConfigError, RecordError
from common.structures import Detections, Sample
from evaluate.error_analysis import analyse_errors
from evaluate.error_kinds import KINDS, judge
from tests.evaluate.worlds import findings_of, image_of

A, B, C = [0, 0, 10, 10], [20, 20, 40, 40], [50, 0, 60, 10]
B_OFF = [20, 32, 40, 52]  # IoU with B: 160 of 640
HALF_A = [0, 0, 10, 5]
NOWHERE = [80, 80, 90, 90]
ALL = 101  # the recalls at which precision is looked at
TIDES = {
    "Cls": "class",
    "Loc": "box",
    "Both": "both",
    "Dupe": "duplicate",
    "Bkg": "background",
    "Miss": "missed",
    "FalsePos": "false positives",
    "FalseNeg": "false negatives",
}


def findings(*images, classes=3):
    """Findings of images, each a list of (class, box[, "difficult" | "crowd"]) and one of (class, score, box)."""
    pairs = [image_of(objects, rows) for objects, rows in images]
    return findings_of([truth for truth, _ in pairs], [found for _, found in pairs], classes)


def random_findings(rng, *, images=20, classes=4, objects=12, detections=40, grid=None):
    """Images in which every kind of error occurs, with crowds, difficult objects, ties, and nothing at all."""
    truths, found = [], []
    for _ in range(images):
        count, rows = (int(rng.random() < 0.9) * rng.integers(0, most + 1) for most in (objects, detections))
        boxes, boxes_found = (_random_boxes(rng, number) for number in (count, rows))
        ids, ids_found = rng.integers(0, max(1, classes - 1), count), rng.integers(0, classes, rows)
        if count:  # most detections lie near an object, most of these have its class
            source = rng.integers(0, count, rows)
            near = boxes[source] + rng.normal(size=(rows, 4)) * rng.choice([0, 1, 4, 10], (rows, 1))
            boxes_found = np.where(rng.random((rows, 1)) < 0.75, near, boxes_found)
            ids_found = np.where(rng.random(rows) < 0.7, ids[source], ids_found)
        if grid:
            boxes, boxes_found = np.round(boxes / grid) * grid, np.round(boxes_found / grid) * grid
        score = rng.random(rows) if rng.random() < 0.5 else rng.integers(1, 6, rows) / 5
        mark = rng.integers(0, 12, count)
        truths.append(Sample(Path("image.jpg"), (120, 120), boxes, ids, mark == 0, crowd=mark == 1))
        found.append(
            Detections(ids_found, score.astype(np.float32), boxes_found.astype(np.float32), (120, 120))
        )
    return findings_of(truths, found, classes)


def _random_boxes(rng, count):
    low = rng.uniform(0, 80, (count, 2))
    return np.concatenate([low, low + rng.uniform(5, 40, (count, 2))], axis=1)


@pytest.fixture(scope="module")
def tidecv():
    """The library. Its class TIDE sets the style of all plots and makes a folder at home; TIDERun does neither."""
    return pytest.importorskip("tidecv")


def run_tide(tidecv, measured, foreground=0.5, background=0.1):
    """Run tidecv over findings; difficult objects go in as its ignored regions."""
    truth, found = tidecv.Data("truth", max_dets=100), tidecv.Data("found")
    for image, sample in enumerate(measured.truths):
        truth.add_image(image, str(image))
        neutral = sample.crowd | sample.difficult
        for class_id, box, ignored in zip(sample.class_ids.tolist(), to_xywh(sample.boxes).tolist(), neutral):
            (truth.add_ignore_region if ignored else truth.add_ground_truth)(image, class_id, box)
        for entry in measured.detections[image].to_coco(image, measured.category_ids):
            found.add_detection(image, entry["category_id"], entry["score"], entry["bbox"])
    return tidecv.TIDERun(truth, found, foreground, background, "bbox", 100)


def assert_same_numbers(ours, run):
    gain, special = run.fix_main_errors(), run.fix_special_errors()
    assert ours.ap == pytest.approx(run.ap / 100, abs=1e-12)
    for mine, theirs in ((ours.gain, gain), (ours.special, special)):
        expected = {TIDES[kind.short_name]: value / 100 for kind, value in theirs.items()}
        assert mine == pytest.approx(expected, abs=1e-12)
    assert ours.counts == {TIDES[kind.short_name]: count for kind, count in run.count_errors().items()}


def assert_same_errors(ours, run, measured):
    """Compare error by error: kind, image, detection and object."""
    first_of = {
        name: np.cumsum([0, *map(len, values)])
        for name, values in (
            ("pred", measured.detections),
            ("gt", [sample.class_ids for sample in measured.truths]),
        )
    }
    expected = []
    for error in run.errors:
        entries = {name: getattr(error, name, None) for name in ("pred", "gt")}
        image = next(entry["image"] for entry in entries.values() if entry)
        index = {name: entry and entry["_id"] - first_of[name][image] for name, entry in entries.items()}
        expected.append((TIDES[error.short_name], image, index["pred"], index["gt"]))
    theirs_names_none = ("both", "duplicate")
    assert [
        (m.kind, m.image, m.detection, None if m.kind in theirs_names_none else m.truth)
        for m in ours.mistakes
    ] == expected


@pytest.mark.parametrize(
    ("objects", "rows", "expected"),
    [
        ([(0, A)], [(0, 0.9, A)], []),
        ([(0, A)], [(0, 0.9, HALF_A)], []),
        ([(0, A), (1, B)], [(2, 0.9, B)], [("class", 0, 1, 1.0), ("missed", None, 0, 0.0)]),
        ([(0, B)], [(0, 0.9, B_OFF)], [("box", 0, 0, 0.25)]),
        ([(0, B)], [(1, 0.9, B_OFF)], [("both", 0, 0, 0.25), ("missed", None, 0, 0.25)]),
        ([(0, A)], [(0, 0.9, A), (0, 0.8, [0, 0, 10, 8])], [("duplicate", 1, 0, 0.8)]),
        ([(0, A)], [(0, 0.9, A), (0, 0.8, NOWHERE)], [("background", 1, None, 0.0)]),
        ([(0, A)], [], [("missed", None, 0, 0.0)]),
        ([], [(0, 0.9, A)], [("background", 0, None, 0.0)]),
        # At the thresholds: t_b is near enough for a box of its class and too far for all else.
        ([(0, A)], [(0, 0.9, [0, 0, 10, 1])], [("box", 0, 0, 0.1)]),
        ([(0, A)], [(1, 0.9, [0, 0, 10, 1])], [("background", 0, None, 0.1), ("missed", None, 0, 0.1)]),
        ([(0, A)], [(0, 0.9, A), (0, 0.8, HALF_A)], [("box", 1, 0, 0.5)]),
        # The box is looked at before the class; a better scored detection is no duplicate of a worse one.
        (
            [(0, A), (1, HALF_A)],
            [(0, 0.9, A), (0, 0.8, HALF_A)],
            [("box", 1, 0, 0.5), ("missed", None, 1, 1.0)],
        ),
        ([(0, A)], [(0, 0.8, A), (0, 0.9, [0, 0, 10, 8])], [("duplicate", 0, 0, 1.0)]),
        # An object already found can be confused and be off too.
        ([(0, A)], [(0, 0.9, A), (1, 0.8, A)], [("class", 1, 0, 1.0)]),
        # The next best object is taken where the best is gone.
        ([(0, A), (0, [0, 0, 10, 14])], [(0, 0.9, A), (0, 0.8, A)], []),
    ],
)
def test_kinds_by_hand(objects, rows, expected):
    ours = analyse_errors(findings((objects, rows)))
    found = [(m.kind, m.detection, m.truth, m.iou) for m in ours.mistakes]
    assert [row[:3] for row in found] == [row[:3] for row in expected]
    assert [row[3] for row in found] == pytest.approx([row[3] for row in expected])
    assert all(m.image == 0 and not m.neutral for m in ours.mistakes)
    assert ours.counts == {kind: [row[0] for row in expected].count(kind) for kind in KINDS}


# Two objects of class 0. One found: precision 1 at the recalls 0 to 0.5, which are 51 of 101.
@pytest.mark.parametrize(
    ("rows", "ap", "gain"),
    [
        ([(0, 0.9, A), (0, 0.8, B)], 1, {}),
        ([(0, 0.9, A)], 51 / ALL, {"missed": 50 / ALL}),
        ([(0, 0.9, A), (0, 0.8, B_OFF)], 51 / ALL, {"box": 50 / ALL}),
        ([(0, 0.9, A), (0, 0.8, A), (0, 0.7, B)], (51 + 50 * 2 / 3) / ALL, {"duplicate": 50 / 3 / ALL}),
        (
            [(0, 0.9, A), (0, 0.8, NOWHERE), (0, 0.7, B)],
            (51 + 50 * 2 / 3) / ALL,
            {"background": 50 / 3 / ALL},
        ),
        # Class 1 is detected and never there: it counts with AP 0 until its last detection is mended.
        ([(0, 0.9, A), (1, 0.8, B)], 51 / ALL / 2, {"class": 1 - 51 / ALL / 2}),
        ([(0, 0.9, A), (1, 0.8, B_OFF)], 51 / ALL / 2, {"both": 51 / ALL / 2, "missed": (1 - 51 / ALL) / 2}),
        # Both would find B; the better scored is class 1's, and mending the box removes the other and finds nothing.
        ([(0, 0.9, A), (1, 0.8, B), (0, 0.7, B_OFF)], 51 / ALL / 2, {"class": 1 - 51 / ALL / 2}),
    ],
)
def test_gains_by_hand(rows, ap, gain):
    ours = analyse_errors(findings(([(0, A), (0, B)], rows)))
    assert ours.ap == pytest.approx(ap, abs=1e-12)
    assert ours.gain == pytest.approx({**dict.fromkeys(KINDS, 0.0), **gain}, abs=1e-12)


def test_special_gains_by_hand():
    rows = [(0, 0.9, NOWHERE), (0, 0.8, A), (0, 0.7, NOWHERE)]
    ours = analyse_errors(findings(([(0, A), (0, B)], rows)))
    assert ours.ap == pytest.approx(51 / 2 / ALL)
    assert ours.special["false positives"] == pytest.approx(51 / 2 / ALL)
    assert ours.special["false negatives"] == pytest.approx(1 / 2 - 51 / 2 / ALL)


def test_equal_scores_go_wrong_first_once_something_is_mended():
    # As they come, the right one is first.
    ours = analyse_errors(findings(([(0, A)], [(0, 0.5, A)]), ([], [(0, 0.5, A)])))
    assert ours.ap == 1.0
    assert ours.special == {"false positives": 0.0, "false negatives": -0.5}
    assert set(ours.gain.values()) == {0.0}


@pytest.mark.parametrize("mark", ["crowd", "difficult"])
def test_detections_in_neutral_regions_are_named_but_cost_nothing(mark):
    region = [0, 0, 30, 30]
    rows = [(0, 0.9, A), (0, 0.8, B), (1, 0.7, A)]
    ours = analyse_errors(findings(([(0, region, mark), (0, [50, 50, 70, 70])], rows)))
    # B lies in it by a quarter, class 1 has none there
    assert [(m.kind, m.detection, m.neutral) for m in ours.mistakes] == [
        ("background", 0, True),
        ("background", 1, False),
        ("background", 2, False),
        ("missed", None, False),
    ]
    assert ours.mistakes[-1].truth == 1
    assert ours.ap == 0.0


def test_detection_lies_in_a_crowd_by_more_than_the_threshold():
    for share, neutral in ((5, False), (5.01, True)):
        ours = analyse_errors(findings(([(0, [0, 0, 100, share], "crowd")], [(0, 0.9, A)])))
        assert [m.neutral for m in ours.mistakes] == [neutral]


def test_neutral_detection_saves_an_object_from_being_missed():
    crowd = [20, 30, 40, 60]
    ours = analyse_errors(findings(([(0, A), (0, B), (0, crowd, "crowd")], [(0, 0.9, A), (0, 0.8, B_OFF)])))
    assert ours.ap == pytest.approx(51 / ALL)
    assert [(m.kind, m.neutral) for m in ours.mistakes] == [("box", True)]
    assert ours.gain["box"] == pytest.approx(50 / ALL)


def test_hundred_best_detections_of_an_image_count():
    rows = [(0, 0.5 + i / 1000, NOWHERE) for i in range(100)]
    ours = analyse_errors(findings(([(0, A)], [(0, 0.4, A), *rows])))
    assert ours.counts == {**dict.fromkeys(KINDS, 0), "background": 100, "missed": 1}
    assert [m.detection for m in ours.mistakes] == [*range(100, 0, -1), None]
    assert analyse_errors(findings(([(0, A)], [(0, 0.4, A), *rows[1:]]))).counts["missed"] == 0


@pytest.mark.parametrize(
    "measured",
    [findings(), findings(([], []), ([], [])), findings(([(0, A, "crowd")], [(0, 0.9, A)]))],
    ids=["no images", "empty images", "all neutral"],
)
def test_nothing_to_measure_gives_zeros(measured):
    ours = analyse_errors(measured)
    assert ours.ap == 0.0
    assert set(ours.gain.values()) | set(ours.special.values()) == {0.0}


@pytest.mark.parametrize(
    ("measured", "kind"),
    [(findings(([(0, A)], [])), "missed"), (findings(([], [(0, 0.9, A)])), "background")],
    ids=["no detections", "no truth"],
)
def test_mending_the_only_errors_gives_all(measured, kind):
    ours = analyse_errors(measured)
    assert ours.ap == 0.0
    assert ours.gain == {**dict.fromkeys(KINDS, 0.0), kind: 1.0}


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("classes", [1, 2, 5])
def test_same_as_tidecv(tidecv, seed, classes):
    rng = np.random.default_rng(seed)
    # On a grid, thresholds and ties of the IoU are met exactly; of 0.3 and 0.1 with rounding.
    grid = (None, None, 10, 5, 0.3, 0.1)[seed % 6]
    thresholds = ((0.5, 0.1), (0.5, 0.1), (0.75, 0.3), (0.3, 0.05))[seed % 4]
    detections = int(rng.choice([3, 30, 150]))
    measured = random_findings(rng, images=12, classes=classes, detections=detections, grid=grid)
    ours = analyse_errors(measured, foreground=thresholds[0], background=thresholds[1])
    run = run_tide(tidecv, measured, *thresholds)
    assert_same_numbers(ours, run)
    assert_same_errors(ours, run, measured)


def test_comparison_with_tidecv_meets_everything(tidecv):
    """Data as in the test above hold many errors of each kind, neutral ones, and neutral ones that save an object."""
    measured = random_findings(np.random.default_rng(1), images=150, classes=3, detections=60)
    ours = analyse_errors(measured)
    assert min(ours.counts.values()) > 100
    assert {m.kind for m in ours.mistakes if m.neutral} == set(KINDS) - {"missed"}
    assert all(value > 0 for value in [*ours.gain.values(), *ours.special.values()])
    verdicts, _ = judge(measured.truths, measured.detections, 0.5, 0.1)
    assert np.count_nonzero(verdicts.saves & verdicts.neutral) > 3
    assert_same_numbers(ours, run_tide(tidecv, measured))


def coco_results(truth, seed, steps):
    """Return COCO results: the truth disturbed in place and class, doubled, dropped, and boxes from nowhere."""
    rng = np.random.default_rng(seed)
    numbers = [category["id"] for category in truth["categories"]]
    results = []
    for entry in truth["annotations"]:
        for _ in range(rng.choice([0, 1, 1, 2, 4])):
            left, top, width, height = entry["bbox"]
            shift = rng.normal(size=4) * rng.choice([0, 0.03, 0.15, 0.4])
            box = [left + shift[0] * width, top + shift[1] * height]
            box += [width * np.exp(shift[2]), height * np.exp(shift[3])]
            results.append((entry["image_id"], entry["category_id"], box))
    for _ in range(200):
        image = truth["images"][rng.integers(len(truth["images"]))]
        results.append((image["id"], numbers[0], [*rng.uniform(0, 200, 2), *rng.uniform(10, 200, 2)]))
    return [
        {
            "image_id": image,
            "category_id": category if rng.random() < 0.75 else int(rng.choice(numbers)),
            "bbox": np.asarray(box, float).tolist(),
            "score": float(rng.random() if not steps else rng.integers(1, steps + 1) / steps),
        }
        for image, category, box in results
    ]


def findings_of_coco(truth, results):
    numbers = [category["id"] for category in truth["categories"]]
    truths, detections = [], []
    for image in truth["images"]:
        size = (image["width"], image["height"])
        objects, rows = (
            [entry for entry in entries if entry["image_id"] == image["id"]]
            for entries in (truth["annotations"], results)
        )
        boxes, boxes_found = (from_xywh([entry["bbox"] for entry in part]) for part in (objects, rows))
        ids, ids_found = (
            np.array([numbers.index(entry["category_id"]) for entry in part], np.int64)
            for part in (objects, rows)
        )
        crowd = np.array([entry["iscrowd"] for entry in objects], bool)
        truths.append(Sample(Path("image.jpg"), size, boxes, ids, np.zeros(len(ids), bool), crowd=crowd))
        detections.append(Detections(ids_found, np.array([row["score"] for row in rows]), boxes_found, size))
    return findings_of(truths, detections, len(numbers))


@pytest.mark.parametrize("steps", [0, 5], ids=["all scores differ", "ties"])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("part", ["train2017", "val2017"])
def test_same_as_tidecv_on_real_truth_from_files(tidecv, shared_data, tmp_path, part, seed, steps):
    path = shared_data / "coco_tiny" / "annotations" / f"instances_{part}.json"
    truth = json.loads(path.read_text())
    results = coco_results(truth, seed, steps)
    (tmp_path / "results.json").write_text(json.dumps(results))
    files = tidecv.datasets.COCO(str(path)), tidecv.datasets.COCOResult(str(tmp_path / "results.json"))
    ours = analyse_errors(findings_of_coco(truth, results))
    assert min(ours.counts.values()) > 0
    assert any(mistake.neutral for mistake in ours.mistakes)
    assert_same_numbers(ours, tidecv.TIDERun(*files, 0.5, 0.1, "bbox", 100))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([None, 10]))
def test_every_detection_and_object_is_accounted_for(seed, classes, grid):
    measured = random_findings(
        np.random.default_rng(seed), images=4, classes=classes, detections=130, grid=grid
    )
    ours = analyse_errors(measured)
    assert 0 <= ours.ap <= 1
    assert all(0 <= gain <= 1 - ours.ap + 1e-12 for gain in ours.gain.values())
    assert ours.counts == {kind: [m.kind for m in ours.mistakes].count(kind) for kind in KINDS}
    for index, (truth, found) in enumerate(zip(measured.truths, measured.detections)):
        here = [m for m in ours.mistakes if m.image == index]
        wrong = [m.detection for m in here if m.kind != "missed"]
        missed = [m.truth for m in here if m.kind == "missed"]
        assert len(set(wrong)) == len(wrong) <= min(len(found), 100)
        assert len(set(missed)) == len(missed)
        right = min(len(found), 100) - len(wrong)
        assert right + len(missed) <= np.count_nonzero(~(truth.crowd | truth.difficult))
        overlap = iou(found.boxes, truth.boxes)
        for mistake in here:
            if mistake.truth is not None:
                assert not (truth.crowd | truth.difficult)[mistake.truth]
            if None not in (mistake.detection, mistake.truth):
                assert mistake.iou == pytest.approx(overlap[mistake.detection, mistake.truth])
                same = found.class_id[mistake.detection] == truth.class_ids[mistake.truth]
                assert same == {"class": False, "box": True, "duplicate": True}.get(mistake.kind, same)


@pytest.mark.parametrize("seed", range(5))
def test_names_of_classes_do_not_matter(seed):
    measured = random_findings(np.random.default_rng(seed), classes=4)
    other = np.array([2, 0, 3, 1])
    renamed = copy.deepcopy(measured)
    for value in renamed.truths:
        value.class_ids[:] = other[value.class_ids]
    for value in renamed.detections:
        value.class_id[:] = other[value.class_id]
    ours, theirs = analyse_errors(measured), analyse_errors(renamed)
    assert ours.mistakes == theirs.mistakes
    assert ours.gain == pytest.approx(theirs.gain, abs=1e-12)


def test_findings_are_left_as_they_were():
    measured = random_findings(np.random.default_rng(3))
    before = copy.deepcopy(measured)
    analyse_errors(measured)
    values = [[*part.truths, *part.detections] for part in (before, measured)]
    for one, other in zip(*values):
        for name, value in vars(one).items():
            np.testing.assert_array_equal(value, getattr(other, name))


@pytest.mark.parametrize(("foreground", "background"), [(0.5, 0.5), (0.1, 0.2), (0.5, 0), (1.1, 0.1)])
def test_thresholds_that_cannot_be_are_refused(foreground, background):
    with pytest.raises(
        ConfigError, match=f"{background:g}.*{foreground:g}.*--overlap.*expected 0 < background"
    ):
        analyse_errors(findings(), foreground=foreground, background=background)


def test_classes_without_a_name_are_refused():
    with pytest.raises(RecordError, match="class id 3"):
        analyse_errors(findings(([(3, A)], [])))
    with pytest.raises(ConfigError, match="class id 3"):
        analyse_errors(findings(([], [(3, 0.9, A)])))

"""COCO's numbers against pycocotools: real truth with disturbed boxes, ties, crowds, sizes at the limits."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from common.boxes import from_xywh
from common.errors import ConfigError
from common.structures import Detections, Sample
from evaluate.coco import evaluate_coco
from evaluate.findings import Findings

NAMES = (
    *("AP", "AP50", "AP75", "APsmall", "APmedium", "APlarge"),
    *("AR1", "AR10", "AR100", "ARsmall", "ARmedium", "ARlarge"),
)


def oracle(truth: dict, results: list[dict]) -> COCOeval:
    """Score results with pycocotools."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        if results:
            found = coco.loadRes(copy.deepcopy(results))
        else:  # which loadRes cannot take
            found = COCO()
            found.dataset = {**copy.deepcopy(truth), "annotations": []}
            found.createIndex()
        measure = COCOeval(coco, found, "bbox")
        measure.evaluate()
        measure.accumulate()
        measure.summarize()
    return measure


def findings_of(truth: dict, results: list[dict]) -> Findings:
    """Turn COCO's two files into Findings, without the code that is tested elsewhere."""
    numbers = [category["id"] for category in truth["categories"]]
    class_of = {number: index for index, number in enumerate(numbers)}
    truths, detections = [], []
    for image in truth["images"]:
        objects = [entry for entry in truth["annotations"] if entry["image_id"] == image["id"]]
        size = (image["width"], image["height"])
        truths.append(
            Sample(
                Path("a.jpg"),
                size,
                from_xywh(np.reshape([entry["bbox"] for entry in objects], (-1, 4))),
                [class_of[entry["category_id"]] for entry in objects],
                [entry.get("difficult", False) for entry in objects],
                crowd=np.array([entry["iscrowd"] for entry in objects], bool),
                areas=[entry["area"] for entry in objects],
                image_id=image["id"],
            )
        )
        found = [entry for entry in results if entry["image_id"] == image["id"]]
        found.sort(key=lambda entry: -entry["score"])
        detections.append(
            Detections(
                np.array([class_of[entry["category_id"]] for entry in found], np.int64),
                np.array([entry["score"] for entry in found], np.float64),
                from_xywh(np.reshape([entry["bbox"] for entry in found], (-1, 4))),
                size,
            )
        )
    names = tuple(category["name"] for category in truth["categories"])
    return Findings(
        truths, detections, names, tuple(numbers), tuple(image["id"] for image in truth["images"])
    )


def disturbed(truth: dict, seed: int, *, steps: int = 0) -> list[dict]:
    """Return results that a mediocre detector might give: boxes off, doubled, dropped, confused, invented.

    Args:
        truth: as of COCO.
        seed: of the generator.
        steps: how many different scores there are; 0 for no ties.
    """
    rng = np.random.default_rng(seed)
    results = []
    numbers = [category["id"] for category in truth["categories"]]
    images = [image["id"] for image in truth["images"]]
    for entry in truth["annotations"]:
        for _ in range(rng.choice([0, 1, 1, 2, 3])):
            width, height = entry["bbox"][2:]
            box = np.array(entry["bbox"]) + rng.choice([0, 0.02, 0.1, 0.3]) * rng.normal(size=4) * [
                width,
                height,
                width,
                height,
            ]
            box[2:] = np.maximum(box[2:], 0)
            category = entry["category_id"] if rng.random() < 0.8 else int(rng.choice(numbers))
            image = entry["image_id"] if rng.random() < 0.95 else int(rng.choice(images))
            score = rng.random() if not steps else float(rng.integers(1, steps + 1)) / steps
            results.append(
                {"image_id": image, "category_id": category, "bbox": box.tolist(), "score": float(score)}
            )
    return [results[i] for i in rng.permutation(len(results))]


def assert_equal(result, measure: COCOeval, category_ids) -> None:
    """Hold every number to pycocotools: the twelve, those of each class, and both arrays."""
    expected = [None if value == -1 else value for value in measure.stats]
    assert tuple(result.stats) == NAMES
    for (name, value), wanted in zip(result.stats.items(), expected):
        assert (value is None) == (wanted is None), name
        assert value is None or abs(value - wanted) <= 1e-12, name
    order = [list(measure.params.catIds).index(number) for number in category_ids]
    np.testing.assert_allclose(result.precision, measure.eval["precision"][:, :, order], rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.recall, measure.eval["recall"][:, order], rtol=0, atol=1e-12)
    for index, entry in enumerate(result.by_class):
        precision = measure.eval["precision"][:, :, order[index], :, -1]
        for value, part in (
            (entry.ap, precision[:, :, 0]),
            (entry.ap50, precision[0, :, 0]),
            (entry.ap75, precision[5, :, 0]),
            (entry.ap_small, precision[:, :, 1]),
            (entry.ap_medium, precision[:, :, 2]),
            (entry.ap_large, precision[:, :, 3]),
        ):
            assert (value is None) == (part.max() == -1)
            assert value is None or abs(value - part[part > -1].mean()) <= 1e-12


@pytest.fixture(scope="module")
def tiny(shared_data) -> dict:
    """The truth of coco_tiny's 80 validation images."""
    (path,) = (shared_data / "coco_tiny" / "annotations").glob("*val2017.json")
    return json.loads(path.read_text())


@pytest.mark.parametrize("steps", [0, 20, 3, 1])
@pytest.mark.parametrize("seed", range(3))
def test_real_truth_and_disturbed_boxes_give_pycocotools_numbers(tiny, seed, steps):
    results = disturbed(tiny, seed, steps=steps)
    assert len(results) > 500
    findings = findings_of(tiny, results)
    measure = oracle(tiny, results)
    assert 0.05 < measure.stats[0] < 0.8  # neither nothing nor everything is right
    assert_equal(evaluate_coco(findings), measure, findings.category_ids)


def world(objects, results, *, images=3, classes=3) -> tuple[dict, list[dict]]:
    """Make COCO's files of rows: (image, class, box, area or None, crowd) and (image, class, box, score)."""
    ids, numbers = [90, 7, 300, 11][:images], [18, 3, 44][:classes]  # in no order
    truth = {
        "images": [{"id": number, "width": 200, "height": 200} for number in ids],
        "categories": [{"id": number, "name": f"class {number}"} for number in numbers],
        "annotations": [
            {
                "id": index,
                "image_id": ids[image],
                "category_id": numbers[category],
                "bbox": [float(value) for value in box],
                "area": float(box[2] * box[3] if area is None else area),
                "iscrowd": int(crowd),
            }
            for index, (image, category, box, area, crowd) in enumerate(objects, 1)
        ],
    }
    found = [
        {
            "image_id": ids[image],
            "category_id": numbers[category],
            "bbox": [float(v) for v in box],
            "score": score,
        }
        for image, category, box, score in results
    ]
    return truth, found


_side = st.integers(0, 12).map(lambda value: value * 8)  # 32 and 96, COCO's limits, among them
_boxes = st.tuples(_side, _side, _side, _side)
_places = (st.integers(0, 2), st.integers(0, 2), _boxes)
_areas = st.sampled_from([None, None, None, 1024, 1024.0001, 9216, 0, 1e10])
_objects = st.lists(st.tuples(*_places, _areas, st.sampled_from([False, False, False, True])), max_size=12)
_results = st.lists(st.tuples(*_places, st.sampled_from([0.1, 0.5, 0.5, 0.9, 1.0])), max_size=25)


@settings(max_examples=150, deadline=None)
@given(_objects, _results)
def test_any_truth_and_results_give_pycocotools_numbers(objects, results):
    """Ties of scores and of overlaps, crowds, empty boxes, areas at the limits, images and classes without any."""
    truth, found = world(objects, results + [(*row[:3], 0.5) for row in objects[::2]])
    findings = findings_of(truth, found)
    assert_equal(evaluate_coco(findings), oracle(truth, found), findings.category_ids)


def test_only_the_best_hundred_of_an_image_and_class_count():
    box = (0, 0, 40, 40)
    for late, expected in ((99, 1.0), (100, 0.0)):  # places before the right one
        rows = [(0, 0, (100, 100, 40, 40), 0.9)] * late + [(0, 0, box, 0.9)]
        truth, found = world([(0, 0, box, None, False)], rows)
        findings = findings_of(truth, found)
        result = evaluate_coco(findings)
        assert_equal(result, oracle(truth, found), findings.category_ids)
        assert result.stats["AR100"] == expected


def test_order_of_the_records_is_nothing_to_equal_scores():
    """COCO takes images by their ids; the mean of the other order would differ."""
    box = (0, 0, 40, 40)
    truth, found = world([(0, 0, box, None, False)], [(0, 0, box, 0.5), (1, 0, box, 0.5)])
    result = evaluate_coco(findings_of(truth, found))
    assert oracle(truth, found).stats[0] == pytest.approx(0.5)  # image 7 comes before image 90
    assert result.stats["AP"] == pytest.approx(0.5)


def test_difficult_objects_are_neutral_unless_told():
    box, other = (0, 0, 40, 40), (100, 100, 40, 40)
    truth, found = world(
        [(0, 0, box, None, False), (0, 0, other, None, False)], [(0, 0, other, 0.9), (0, 0, box, 0.8)]
    )
    truth["annotations"][1]["difficult"] = 1
    findings = findings_of(truth, found[1:])
    assert evaluate_coco(findings).stats["AP"] == 1.0
    assert evaluate_coco(findings).by_class[0].objects == 1
    assert evaluate_coco(findings_of(truth, found)).stats["AP"] == 1.0
    assert evaluate_coco(findings, use_difficult=True).stats["AR100"] == 0.5
    # A second detection of a difficult object is wrong, as of objects out of COCO's range of sizes.
    twice = evaluate_coco(findings_of(truth, [found[0], *found])).stats["AP"]
    assert twice == pytest.approx(0.5)


@pytest.mark.parametrize("use_difficult", [True, False])
def test_truth_with_difficult_objects_gives_pycocotools_numbers(tiny, use_difficult):
    """Counted like all others they are what pycocotools makes of NAME.gt.json; neutral ones are out of its range."""
    truth, rng = copy.deepcopy(tiny), np.random.default_rng(5)
    marked = [
        entry for entry in truth["annotations"] if rng.random() < 0.2
    ]  # crowds among them, which stay crowds
    for entry in marked:
        entry["difficult"] = 1
    results = disturbed(truth, 5)
    expected = copy.deepcopy(truth)
    for entry in expected["annotations"]:
        if entry.get("difficult") and not use_difficult:
            entry["area"] = -1.0
    result = evaluate_coco(findings_of(truth, results), use_difficult=use_difficult)
    assert_equal(result, oracle(expected, results), [entry["id"] for entry in truth["categories"]])


def test_crowd_takes_any_number_of_detections():
    box = (0, 0, 100, 100)
    rows = [(0, 0, (10 * i, 0, 10, 10), 0.9) for i in range(5)] + [(0, 1, (0, 0, 10, 10), 0.9)]
    truth, found = world(
        [(0, 0, box, None, True), (0, 0, (120, 120, 40, 40), None, False)],
        [*rows, (0, 0, (120, 120, 40, 40), 0.5)],
    )
    result = evaluate_coco(findings_of(truth, found))
    assert result.by_class[0].ap == 1.0
    assert [entry.objects for entry in result.by_class] == [1, 0, 0]


def test_nothing_found_is_zero_and_nothing_to_find_is_none():
    truth, _ = world([(0, 0, (0, 0, 40, 40), None, False)], [])
    result = evaluate_coco(findings_of(truth, []))
    assert (result.stats["AP"], result.stats["ARmedium"]) == (0.0, 0.0)
    assert (result.stats["APsmall"], result.stats["ARlarge"]) == (None, None)
    assert [entry.ap for entry in result.by_class] == [0.0, None, None]
    empty = evaluate_coco(findings_of({**truth, "annotations": []}, []))
    assert set(empty.stats.values()) == {None}
    json.dumps(result.as_dict(), allow_nan=False)
    assert "nan" not in (result.table() + empty.table()).lower()


def test_one_number_may_be_asked_for(tiny):
    results = disturbed(tiny, 1)
    result, measure = evaluate_coco(findings_of(tiny, results)), oracle(tiny, results)
    precision = measure.eval["precision"]
    person = result.class_names.index("person")
    part = precision[7, :, list(measure.params.catIds).index(1), 3, 2]
    assert result.average_precision(iou=0.85, class_id=person, area="large") == pytest.approx(
        part.mean(), abs=1e-12
    )
    part = precision[2, :, :, 1, 2]
    assert result.average_precision(iou=0.6, area="small") == pytest.approx(part[part > -1].mean(), abs=1e-12)
    for wrong in ({"iou": 0.51}, {"area": "huge"}):
        with pytest.raises(ConfigError, match="0.50, 0.55|small, medium"):
            result.average_precision(**wrong)


def test_numbers_of_detections_may_be_others(tiny):
    results = disturbed(tiny, 2)
    result = evaluate_coco(findings_of(tiny, results), max_detections=(1, 2, 300))
    assert list(result.stats)[6:9] == ["AR1", "AR2", "AR300"]
    assert result.stats["AR1"] < result.stats["AR2"] < result.stats["AR300"]
    for wrong in ((), (0, 1), (10, 1), (5, 5)):
        with pytest.raises(ConfigError, match="ascending"):
            evaluate_coco(findings_of(tiny, results), max_detections=wrong)


def test_nothing_is_printed_and_findings_stay_as_they_were(tiny, capfd, caplog):
    findings = findings_of(tiny, disturbed(tiny, 3))
    before = copy.deepcopy(findings)
    with caplog.at_level("INFO", logger="evaluate"):
        evaluate_coco(findings)
    assert capfd.readouterr() == ("", "")
    for one, other in zip(findings.detections, before.detections):
        np.testing.assert_array_equal(one.boxes, other.boxes)
    assert findings.image_ids == before.image_ids


def test_values_that_are_not_finite_are_refused():
    truth, found = world([(0, 0, (0, 0, 40, 40), None, False)], [(0, 0, (0, 0, 40, 40), 0.5)])
    findings = findings_of(truth, found)
    findings.detections[0].boxes[0, 2] = np.nan
    with pytest.raises(ConfigError, match="not finite"):
        evaluate_coco(findings)


def test_summary_reads_like_pycocotools_own(tiny):
    results = disturbed(tiny, 4)
    printed = io.StringIO()
    measure = oracle(tiny, results)
    with contextlib.redirect_stdout(printed):
        measure.summarize()
    ours = evaluate_coco(findings_of(tiny, results)).summary()
    for line, expected in zip(ours.splitlines(), printed.getvalue().strip().splitlines()):
        head, value = line.split(" = ")
        wanted, number = expected.strip().split(" = ")
        assert head.split() == wanted.split()
        assert float(value) == pytest.approx(float(number), abs=6e-4)

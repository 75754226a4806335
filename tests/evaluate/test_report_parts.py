"""The report's parts: thinned curves, heat map, gallery, tables."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from common.structures import Detections, Sample
from evaluate.coco import evaluate_coco
from evaluate.error_analysis import analyse_errors
from evaluate.findings import Findings
from evaluate.operating_points import operating_curve
from evaluate.report import curves, gallery, heat, sections
from evaluate.voc import ClassResult, VOCResult, average_precision, evaluate

NAMES = ("cat", "dog")


def points(path):
    """Return the points of SVG path data, back in the unit square."""
    numbers = np.array(re.findall(r"-?\d+", path), np.float64).reshape(-1, 2)
    return numbers[:, 0] / curves.WIDTH, 1 - numbers[:, 1] / curves.HEIGHT


def noisy_result(count, objects, seed=0):
    """Make a class whose detections are right with a probability that falls with their score."""
    rng = np.random.default_rng(seed)
    scores = -np.sort(-rng.random(count)).astype(np.float32)
    right = np.cumsum((rng.random(count) < scores**2) & (np.arange(count) < 3 * objects))
    right = np.minimum(right, objects)
    precision, recall = right / np.arange(1, count + 1), right / objects
    ap = average_precision(recall, precision)
    return ClassResult("cat", ap, objects, 0, 0, count, scores, precision, recall)


def charts(*results):
    voc = VOCResult(results, "voc", 0.5, 10)
    return {c.key: c for c in curves.draw_charts(voc, [operating_curve(result) for result in results])}


@pytest.mark.parametrize("count", [1, 2, 50, 200_000])
def test_drawn_envelope_has_the_area_of_the_average_precision(count):
    result = noisy_result(count, max(1, count // 3))
    x, y = points(charts(result)["pr"].lines[0].path)
    area = np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2)
    assert area == pytest.approx(result.ap, abs=0.004)
    assert len(x) <= 4 * 100


@pytest.mark.parametrize("measure", ["f1", "precision", "recall"])
def test_thinned_curve_stays_within_a_column_of_the_whole_one(measure):
    result = noisy_result(100_000, 40_000)
    curve = operating_curve(result)
    x, y = points(charts(result)[measure].lines[0].path)
    score, value = curve.score[::-1], getattr(curve, measure)[::-1]
    for at in np.linspace(0.05, 0.95, 181):
        near = value[(score > at - 0.011) & (score < at + 0.011)]
        drawn = np.interp(at, x, y)
        assert near.min() - 0.003 <= drawn <= near.max() + 0.003


def test_lowest_and_highest_point_survive_thinning():
    x = np.linspace(0, 1, 10_001)
    y = np.full(10_001, 0.5)
    y[1234], y[1236] = 1.0, 0.0
    kept = curves.thin(x, y, 50)
    assert {0, 1234, 1236, 10_000} <= set(kept.tolist())
    assert len(kept) <= 4 * 50


def test_best_point_lies_at_the_suggested_threshold_on_its_curve():
    result = noisy_result(3000, 900)
    curve = operating_curve(result)
    (line,) = charts(result)["f1"].lines
    assert line.mark[0] == round(curve.threshold * curves.WIDTH)
    assert 1 - line.mark[1] / curves.HEIGHT == pytest.approx(curve.f1.max(), abs=0.001)


def test_mean_of_precision_over_recall_has_the_area_of_the_mean_average_precision():
    results = [noisy_result(4000, 1500, seed) for seed in range(3)]
    x, y = points(charts(*results)["pr"].mean)
    area = np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2)
    assert area == pytest.approx(np.mean([result.ap for result in results]), abs=0.01)


def test_class_without_objects_has_no_line():
    empty = np.zeros(0)
    ghost = ClassResult("ghost", None, 0, 0, 0, 1, np.ones(1), np.zeros(1), np.full(1, np.nan))
    mute = ClassResult("mute", 0.0, 4, 0, 0, 0, empty, empty, empty)
    drawn = charts(ghost, mute, noisy_result(20, 10))
    assert {line.class_id for chart in drawn.values() for line in chart.lines} == {2}
    assert drawn["recall"].mean  # the class that is never found counts in it


@pytest.mark.parametrize("classes", [1, 3, 80])
def test_heat_map_colours_exactly_the_cells_that_hold_something(classes):
    rng = np.random.default_rng(classes)
    matrix = rng.integers(0, 4, (classes + 1, classes + 1)) * rng.integers(0, 2, (classes + 1, classes + 1))
    drawn = heat.draw_heat_map(matrix, tuple(f"name {i}" for i in range(classes)))
    cells = [
        (kind, int(y), int(x)) for kind, _, d in drawn.levels for x, y in re.findall(r"M(\d+) (\d+)h", d)
    ]
    assert sorted((y, x) for _, y, x in cells) == [tuple(c) for c in np.argwhere(matrix > 0).tolist()]
    assert all((kind == "hit") == (x == y) for kind, y, x in cells)
    assert len(drawn.counts) == (np.count_nonzero(matrix) if classes < 20 else 0)


def test_opacity_grows_with_the_share_of_the_row():
    drawn = heat.draw_heat_map(np.array([[90, 9, 1], [0, 5, 5], [0, 0, 0]]), NAMES)
    opacity = {
        (int(y), int(x)): value for _, value, d in drawn.levels for x, y in re.findall(r"M(\d+) (\d+)h", d)
    }
    assert opacity[0, 0] > opacity[1, 1] == opacity[1, 2] > opacity[0, 1] > opacity[0, 2] > 0


def test_confused_pairs_leave_out_hits_and_background():
    matrix = np.array([[50, 3, 40], [7, 20, 0], [30, 0, 0]])
    assert [(p["truth"], p["found"], p["count"], p["share"]) for p in heat.confused_pairs(matrix, NAMES)] == [
        ("dog", "cat", 7, 7 / 27),
        ("cat", "dog", 3, 3 / 93),
    ]


def sample(objects, size=(400, 200), **marks):
    return Sample(
        "a.jpg", size, [b for _, b in objects], [c for c, _ in objects], [False] * len(objects), **marks
    )


def seen(rows, size=(400, 200)):
    columns = np.array([(c, s, *b) for c, s, b in rows], np.float32).reshape(-1, 6)
    return Detections(columns[:, 0].astype(np.int64), columns[:, 1], columns[:, 2:], size, NAMES)


def pictures(truths, detections, pixels=None, thresholds=(0.5, 0.5), judged=True):
    findings = Findings(truths, detections, NAMES, (1, 2), tuple(range(len(truths))), "val")
    shown = gallery.show_above(findings, np.array(thresholds))
    return gallery.make_gallery(
        findings, shown, analyse_errors(shown.findings).mistakes, pixels, judged=judged
    )


A, B, FAR = (10, 10, 110, 110), (200, 10, 300, 110), (310, 120, 390, 190)


def test_worst_picture_comes_first_and_good_ones_stay_out():
    truths = [sample([(0, A)]), sample([(0, A), (1, B)]), sample([(0, A)])]
    detections = [seen([(0, 0.9, A)]), seen([(0, 0.9, A)]), seen([(0, 0.9, A), (1, 0.7, FAR)])]
    first, second = pictures(truths, detections)
    assert first.mistakes == (("missed", "dog missed"),)
    assert first.weight == 1
    assert second.mistakes == (("background", "dog 0.70 found where nothing is"),)
    assert second.weight == pytest.approx(0.7)


def test_score_that_float32_makes_its_threshold_is_not_above_it():
    """As for drawing and in the confusion matrix; in float64 it would be above 0.3 by a hundred millionth."""
    assert pictures([sample([(0, A)])], [seen([(1, 0.3, FAR)])], thresholds=(0.3, 0.3))[0].mistakes == (
        ("missed", "cat missed"),
    )


def test_detection_below_its_threshold_is_no_mistake_but_can_be_shown():
    shown = pictures(
        [sample([(1, B)])], [seen([(0, 0.6, FAR), (1, 0.55, B), (0, 0.01, A)])], None, (0.65, 0.6)
    )
    (picture,) = shown
    assert picture.mistakes == (("missed", "dog missed"),)
    assert [(box.kind, box.label) for box in picture.boxes] == [
        ("missed", "dog"),
        ("low", "cat 0.60"),
        ("low", "dog 0.55"),
    ]


@pytest.mark.parametrize(
    ("found", "kind", "words"),
    [
        ((1, 0.9, A), "class", "dog 0.90 found where a cat is"),
        ((0, 0.9, (10, 10, 110, 42)), "box", "cat 0.90: box is off (IoU 0.32)"),
        (
            (1, 0.9, (10, 10, 110, 42)),
            "both",
            "dog 0.90 found near a cat: class wrong and box off (IoU 0.32)",
        ),
        ((0, 0.9, FAR), "background", "cat 0.90 found where nothing is"),
    ],
)
def test_each_kind_of_mistake_has_its_words(found, kind, words):
    (picture,) = pictures([sample([(0, A)])], [seen([found])])
    assert (kind, words) in picture.mistakes
    assert [box.kind for box in picture.boxes if not box.is_truth] == ["wrong"]


def test_second_detection_of_an_object_is_wrong_and_the_first_right():
    (picture,) = pictures([sample([(0, A)])], [seen([(0, 0.9, A), (0, 0.8, A)])])
    assert picture.mistakes == (("duplicate", "cat 0.80 found once more"),)
    assert [box.kind for box in picture.boxes] == ["truth", "right", "wrong"]


def test_several_mistakes_of_one_kind_are_told_once():
    (picture,) = pictures([sample([(0, A), (0, B), (1, FAR)])], [seen([])])
    assert picture.mistakes == (("missed", "2 × cat missed"), ("missed", "dog missed"))


def test_crowds_are_neutral_and_marked_so():
    truths = [sample([(0, A), (1, B)], crowd=[True, False])]
    (picture,) = pictures(truths, [seen([(0, 0.9, (20, 20, 60, 60))])])
    assert picture.mistakes == (("missed", "dog missed"),)
    assert [(box.kind, box.label) for box in picture.boxes] == [
        ("neutral", "cat (crowd)"),
        ("missed", "dog"),
        ("right", "cat 0.90"),
    ]


def test_boxes_are_in_per_cent_of_the_original_whatever_the_picture_measures():
    (picture,) = pictures(
        [sample([(0, (100, 50, 300, 150))])],
        [seen([(1, 0.9, (-50, -50, 100, 500))])],
        lambda i: np.zeros((3000, 6000, 3), np.uint8),
    )
    truth, found = picture.boxes
    assert (truth.left, truth.top, truth.width, truth.height) == (25, 25, 50, 50)
    assert (found.left, found.top, found.width, found.height) == (0, 0, 25, 100)
    assert picture.size == (1000, 500)
    jpeg = Image.open(io.BytesIO(base64.b64decode(picture.uri.split(",")[1])))
    assert (jpeg.format, jpeg.size) == ("JPEG", (1000, 500))


def test_small_pictures_are_not_blown_up_and_keep_their_colours():
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[..., 0] = 200
    (picture,) = pictures([sample([(0, A)])], [seen([])], lambda i: pixels)
    jpeg = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.uri.split(",")[1]))))
    assert np.abs(jpeg.astype(int) - pixels).max() <= 4


def test_pictures_share_a_budget_of_bytes():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (1000, 1000, 3), dtype=np.uint8)
    shown = pictures([sample([(0, A)])] * 30, [seen([])] * 30, lambda i: noise)
    assert len(shown) == gallery.MOST_PICTURES
    assert sum(len(picture.uri) for picture in shown) < 4_600_000


def test_set_without_truth_shows_what_was_found_without_judging():
    shown = pictures([sample([])] * 2, [seen([(0, 0.6, A)]), seen([(0, 0.9, A), (1, 0.3, B)])], judged=False)
    assert [picture.weight for picture in shown] == pytest.approx([0.9, 0.6])
    assert all(picture.mistakes == () for picture in shown)
    assert [box.kind for box in shown[0].boxes] == ["found", "low"]


def test_errors_name_the_classes_that_suffer_most():
    truths = [sample([(1, A), (1, B), (0, FAR)])] * 3
    findings = Findings(truths, [seen([(1, 0.9, A)])] * 3, NAMES, (1, 2), (0, 1, 2), "val")
    rows = {row["kind"]: row for row in sections.error_rows(analyse_errors(findings), findings)}
    assert rows["missed"]["count"] == 6
    assert sorted(rows["missed"]["classes"]) == [("cat", 3), ("dog", 3)]
    analysis = analyse_errors(findings)
    assert rows["missed"]["mended"] == analysis.ap + analysis.gain["missed"]


def test_table_by_class_states_precision_and_recall_above_the_threshold():
    truths = [sample([(0, A), (0, B)])]
    detections = [seen([(0, 0.9, A), (0, 0.7, B), (0, 0.3, FAR)])]
    voc = evaluate(truths, detections, NAMES)
    rows = sections.class_rows(voc, [operating_curve(result) for result in voc.classes], None)
    kept = detections[0].above(rows[0].threshold)
    assert len(kept) == 2
    assert (rows[0].precision, rows[0].recall, rows[0].f1) == (1.0, 1.0, 1.0)
    assert rows[1].precision is None


def test_sizes_state_how_many_objects_and_classes_they_are_of():
    small, large = (0, 0, 10, 10), (0, 0, 150, 150)
    truths = [sample([(0, small), (1, large)]), sample([(0, large), (0, small)])]
    findings = Findings(truths, [seen([])] * 2, NAMES, (1, 2), (0, 1), "val")
    rows = sections.size_rows(findings, evaluate_coco(findings))
    assert [(row["objects"], row["classes"]) for row in rows] == [(2, 1), (0, 0), (2, 2)]

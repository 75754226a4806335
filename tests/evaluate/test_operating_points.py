"""The curve over the threshold against scoring the detections anew at every threshold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.structures import Detections, Sample
from evaluate.operating_points import operating_curve
from evaluate.voc import evaluate

NAMES = ("cat", "dog")
BOXES = [(0, 0, 10, 10), (20, 20, 40, 40), (50, 0, 60, 10), (70, 70, 90, 90)]


def truth(kinds) -> Sample:
    """An image with an object at each of the first places."""
    count = len(kinds)
    return Sample(
        Path("a.jpg"), (100, 100), BOXES[:count], [0] * count, [kind == "difficult" for kind in kinds]
    )


def found(rows, threshold=None) -> Detections:
    """Detections of (place, score), those above a threshold."""
    rows = sorted(rows, key=lambda row: -row[1])
    detections = Detections(
        np.zeros(len(rows), np.int64),
        np.array([score for _, score in rows], np.float32),
        np.array([BOXES[place] for place, _ in rows], np.float32).reshape(-1, 4),
        (100, 100),
    )
    return detections if threshold is None else detections.above(np.full(2, threshold))


def curve_of(images, threshold=None):
    """The curve of class 0 of (kinds, rows) pairs, and the class's result."""
    truths = [truth(kinds) for kinds, _ in images]
    result = evaluate(truths, [found(rows, threshold) for _, rows in images], NAMES).classes[0]
    return operating_curve(result), result


_scores = st.one_of(
    st.sampled_from([0.1, 0.2, 0.5, 0.5, 0.9]), st.floats(2.0**-20, 1, width=32, exclude_max=True)
)
_rows = st.lists(st.tuples(st.integers(0, 3), _scores), max_size=6)
_images = st.lists(
    st.tuples(st.lists(st.sampled_from(["", "", "difficult"]), max_size=3), _rows), min_size=1, max_size=3
)


@settings(max_examples=150, deadline=None)
@given(_images)
def test_every_point_is_what_scoring_above_that_score_gives(images):
    curve, whole = curve_of(images)
    for index, score in enumerate(curve.score):
        below = np.nextafter(np.float32(score), np.float32(0))  # scores are float32
        _, result = curve_of(images, below)
        assert curve.precision[index] == result.precision[-1]
        if whole.objects:
            assert curve.recall[index] == result.recall[-1]
    assert list(curve.score) == sorted(set(whole.scores.astype(np.float64)), reverse=True)


@settings(max_examples=150, deadline=None)
@given(_images)
def test_suggested_threshold_gives_the_best_f1(images):
    curve, whole = curve_of(images)
    if curve.best is None:
        assert not whole.objects or not (whole.scores > 0).any() or curve.f1.max() == 0
        assert curve.threshold == 0.5
        assert curve.at_best() is None
        return
    precision, recall, f1 = curve.at_best()
    assert f1 == curve.f1.max() == pytest.approx(2 * precision * recall / (precision + recall))
    _, at_threshold = curve_of(images, curve.threshold)
    assert (at_threshold.precision[-1], at_threshold.recall[-1]) == (precision, recall)


def test_highest_of_equally_good_thresholds_is_taken_and_told_in_few_digits():
    images = [(("", ""), [(0, 0.9), (3, 0.6), (2, 0.5), (1, 0.4)])]  # F1 2/3 at 0.9, and at 0.4
    curve, _ = curve_of(images)
    np.testing.assert_allclose(curve.f1, [2 / 3, 1 / 2, 2 / 5, 2 / 3])
    assert curve.best == 0
    assert curve.threshold == 0.75
    close = [(("",), [(0, 0.123456), (3, 0.123455)])]
    assert curve_of(close)[0].threshold == 0.1234555


def test_class_without_detections_or_objects_has_no_best():
    for images in ([((""), [])], [((), [(0, 0.5)])], [(("",), [(3, 0.5)])]):
        curve, _ = curve_of(images)
        assert (curve.best, curve.threshold, curve.at_best()) == (None, 0.5, None)


@pytest.mark.parametrize("score", [0.5003, 0.5, 0.505, 0.0123, 0.999, 1e-6])
def test_threshold_below_the_lowest_score_stays_near_it(score):
    """Detections under the evaluation's own threshold were not counted: a lower one would promise what nobody saw."""
    curve, _ = curve_of([([""], [(0, score)])])
    assert 0.98 * np.float32(score) <= curve.threshold < np.float32(score)


def test_threshold_of_a_cut_evaluation_is_not_far_below_the_cut():
    curve, _ = curve_of([(["", ""], [(0, 0.6003), (1, 0.6103)])])
    assert curve.threshold == 0.6


@pytest.mark.parametrize("lowest", [0.0, -3.0])
def test_scores_of_nothing_or_less_are_not_promised(lowest):
    """A threshold is 0 or more, and draws what lies above it."""
    curve, _ = curve_of([(["", ""], [(0, 0.5), (1, lowest)])])
    assert (curve.threshold, curve.at_best()[1]) == (0.25, 0.5)
    assert curve_of([([""], [(0, lowest)])])[0].best is None

"""Statistics of rounds, held to figures worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tools.benchmarks.figures import Spread, ratios, relative_difference, seconds_per_image


def test_ratio_is_taken_round_by_round():
    # The machine slowed down to half in the second round, for both alike.
    found = Spread.of(ratios([1.0, 2.0, 1.0], [1.5, 3.0, 1.6]))
    assert found == Spread(1.5, 1.5, 1.6)


def test_spread_is_noisy_beyond_the_limit_and_not_at_it():
    assert not Spread(1.1, 1.0, 1.2).is_noisy(1.2)
    assert Spread(1.1, 1.0, 1.21).is_noisy(1.2)


def test_seconds_of_an_image_are_the_median_run_shared_by_the_batch():
    assert seconds_per_image([8.0, 4.0, 100.0], 4) == 2.0


@pytest.mark.parametrize(
    ("found", "expected", "difference"),
    [
        ([1.0, -2.0], [1.0, -2.0], 0.0),
        ([1.0, -4.2], [1.0, -4.0], 0.05),
        ([0.1], [0.0], 0.1),  # nothing to be relative to
        ([math.nan], [1.0], math.inf),
        ([1.0, 2.0], [1.0], math.inf),
    ],
)
def test_difference_is_relative_to_the_largest_value(found, expected, difference):
    assert relative_difference(np.array(found), np.array(expected)) == pytest.approx(difference)

"""Scales: the paper's rule with its own numbers, and the second square between two maps."""

import pytest

from common.errors import ConfigError
from symbol.scales import paper_scales, square_sizes


def test_rule_of_the_paper_gives_the_paper_s_scales():
    # Section 2.2 with m = 6, from 0.2 to 0.9.
    assert paper_scales(0.2, 0.9, 6) == pytest.approx((0.2, 0.34, 0.48, 0.62, 0.76, 0.9, 1.04))


def test_one_map_gets_the_least_scale_and_ends_at_the_most():
    assert paper_scales(0.3, 0.8, 1) == pytest.approx((0.3, 0.8))


@pytest.mark.parametrize(
    ("least", "most"), [(0, 0.9), (-0.1, 0.9), (0.9, 0.2), (0.2, 0.2), (0.2, float("inf"))]
)
def test_scales_that_do_not_rise_are_refused(least, most):
    with pytest.raises(ConfigError, match="0 < least < most"):
        paper_scales(least, most, 6)


def test_second_square_is_the_geometric_mean_with_the_next_map():
    first, second = square_sizes((0.1, 0.4, 0.9))
    assert first == pytest.approx((0.1, 0.2))
    assert second == pytest.approx((0.4, 0.6))

"""From measured seconds to figures: medians, spread, ratios round by round, and whether they can be believed.

All engines are measured in each round, one after the other. A ratio is taken within a round, where the machine was the
same for both, and the median of the rounds' ratios is told; their spread tells how much the machine changed inside
a round.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

NOISE_LIMIT = 1.2  # largest ratio over the smallest, above which the machine was too noisy to tell


@dataclass(frozen=True)
class Spread:
    """Several rounds' values of one thing.

    Attributes:
        median: of the rounds.
        low: the least.
        high: the greatest.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of values, at least one."""
        return cls(statistics.median(values), min(values), max(values))

    def is_noisy(self, limit: float) -> bool:
        """Tell whether the rounds differ by more than a factor."""
        return self.high > limit * self.low


def seconds_per_image(times: Sequence[float], batch: int) -> float:
    """Return the median of a round's runs, for one image."""
    return statistics.median(times) / batch


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return how many times as fast as a peer ours is, round by round: above 1 ours is faster.

    Args:
        ours: seconds of each round.
        theirs: of the same rounds.
    """
    return [other / own for own, other in zip(ours, theirs)]


def noise_over_signal(found, expected) -> float:
    """Return the root mean square of two arrays' difference, relative to that of what is expected about its mean."""
    if found.shape != expected.shape:
        return float("inf")
    spread = float(expected.std()) or 1.0
    noise = float(((found - expected) ** 2).mean() ** 0.5) / spread
    return noise if noise == noise else float("inf")


def relative_difference(found, expected) -> float:
    """Return the largest difference of two arrays, relative to the largest value expected; inf where shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    largest = float(abs(expected).max(initial=0.0)) or 1.0
    difference = float(abs(found - expected).max(initial=0.0)) / largest
    return difference if difference == difference else float("inf")  # NaN equals nothing

"""The learning rate as a function of the step: nothing to save, so a resumed run cannot lose its place.

The plateau schedule alone needs more: how often the rate was cut so far, which train/progress.py keeps in the card.

Deviation from mxnet-ssd: none in the multi-step schedule; cosine, plateau, warm-up and the scaling by the batch are
additions (Loshchilov and Hutter 2017, without restarts; Keras; Goyal et al. 2017, linear warm-up and linear scaling).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from common.errors import ConfigError, did_you_mean

SCHEDULES = ("multi-step", "cosine", "constant", "plateau")
REFERENCE_BATCH = 32  # images: the batch that --lr is meant for where it is scaled by the batch


@dataclass(frozen=True)
class Schedule:
    """How the learning rate runs.

    Attributes:
        kind: "multi-step", "cosine" (to zero at the end), "constant", or "plateau" (cut when training gets stuck).
        base: the learning rate after warm-up.
        total_steps: updates of the whole run.
        milestones: updates at which a multi-step schedule multiplies by `factor`.
        factor: of the multi-step and the plateau schedule.
        warmup_steps: updates over which the rate rises linearly to the schedule's.
        least: rate below which the plateau schedule does not cut.
    """

    kind: str
    base: float
    total_steps: int
    milestones: tuple[int, ...] = ()
    factor: float = 0.1
    warmup_steps: int = 0
    least: float = 0.0

    def __post_init__(self):
        """Refuse what would train silently at a wrong rate."""
        if self.kind not in SCHEDULES:
            raise ConfigError(
                f"--lr-schedule {self.kind}: no such schedule{did_you_mean(self.kind, SCHEDULES)}"
            )
        if not (self.base > 0 and math.isfinite(self.base)):
            raise ConfigError(f"--lr {self.base}: expected a number above 0")
        if not 0 < self.factor <= 1:
            raise ConfigError(f"--lr-factor {self.factor}: expected above 0, at most 1")
        if (
            any(b <= a for a, b in zip(self.milestones, self.milestones[1:]))
            or min(self.milestones, default=1) < 0
        ):
            raise ConfigError("--lr-steps: expected ascending epochs, for example 80,160")
        if not 0 <= self.least < math.inf:
            raise ConfigError(f"--min-lr {self.least}: expected 0 or more")
        if self.kind == "plateau" and self.least > self.base:
            raise ConfigError(f"--min-lr {self.least}: expected {self.base:g} at most, the learning rate")
        if self.kind == "plateau" and self.factor == 1:
            raise ConfigError("--lr-factor 1: expected below 1, else a plateau cuts nothing")

    def rate(self, step: int, cuts: int = 0) -> float:
        """Return the learning rate of an update.

        Args:
            step: 0-based number of the update.
            cuts: of the plateau schedule so far.
        """
        rate = self.base
        if self.kind == "multi-step":
            rate *= self.factor ** sum(step >= milestone for milestone in self.milestones)
        elif self.kind == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * min(step, self.total_steps) / max(1, self.total_steps)))
        elif self.kind == "plateau":
            rate = max(rate * self.factor**cuts, self.least)
        if step < self.warmup_steps:
            rate *= (step + 1) / (self.warmup_steps + 1)
        return rate

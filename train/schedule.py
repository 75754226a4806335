"""The learning rate as a function of the step: nothing to save, so a resumed run cannot lose its place.

Deviation from mxnet-ssd: none in the multi-step schedule; cosine and warm-up are additions
(Loshchilov and Hutter 2017, without restarts; Goyal et al. 2017, linear warm-up).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from common.errors import ConfigError

SCHEDULES = ("multi-step", "cosine", "constant")


@dataclass(frozen=True)
class Schedule:
    """How the learning rate runs.

    Attributes:
        kind: "multi-step", "cosine" (to zero at the end) or "constant".
        base: the learning rate after warm-up.
        total_steps: updates of the whole run.
        milestones: updates at which a multi-step schedule multiplies by `factor`.
        factor: of the multi-step schedule.
        warmup_steps: updates over which the rate rises linearly to the schedule's.
    """

    kind: str
    base: float
    total_steps: int
    milestones: tuple[int, ...] = ()
    factor: float = 0.1
    warmup_steps: int = 0

    def __post_init__(self):
        """Refuse what would train silently at a wrong rate."""
        if self.kind not in SCHEDULES:
            raise ConfigError(f"--lr-schedule {self.kind}: expected one of {', '.join(SCHEDULES)}")
        if not (self.base > 0 and math.isfinite(self.base)):
            raise ConfigError(f"--lr {self.base}: expected a number above 0")
        if not 0 < self.factor <= 1:
            raise ConfigError(f"--lr-factor {self.factor}: expected above 0, at most 1")
        if (
            any(b <= a for a, b in zip(self.milestones, self.milestones[1:]))
            or min(self.milestones, default=1) < 0
        ):
            raise ConfigError("--lr-steps: expected ascending epochs, for example 80,160")

    def rate(self, step: int) -> float:
        """Return the learning rate of an update.

        Args:
            step: 0-based number of the update.
        """
        rate = self.base
        if self.kind == "multi-step":
            rate *= self.factor ** sum(step >= milestone for milestone in self.milestones)
        elif self.kind == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * min(step, self.total_steps) / max(1, self.total_steps)))
        if step < self.warmup_steps:
            rate *= (step + 1) / (self.warmup_steps + 1)
        return rate

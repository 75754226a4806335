"""Rounds of measurements: every contestant in turn, several times, with a look at what else the machine was doing.

The order turns by one from round to round, so that nobody always follows the same other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tools.benchmarks.figures import seconds_per_image
from tools.benchmarks.machine import busy_seconds
from tools.benchmarks.worker import Worker, idle_share

SETTLE = 0.3  # seconds after which the last contestant's threads sleep; Intel's OpenMP lets them spin for 0.2
_TAIL_SECONDS = 0.3
_LEAST = 3  # runs in a round, however slow


@dataclass(frozen=True)
class Contestant:
    """Who takes part.

    Attributes:
        name: of its row.
        worker: its process.
        batch: images that it computes at once.
        run: more values of its request to run.
        tail: folder of its raw outputs, on which the judge runs the detection tail; "" for one that has had it.
    """

    name: str
    worker: Worker
    batch: int
    run: dict = field(default_factory=dict)
    tail: str = ""


@dataclass
class Measured:
    """What the rounds gave for one contestant, an entry for each round.

    Attributes:
        run: seconds for an image, of the run.
        tail: seconds for an image, of the detection tail alone.
        idle: share of a processor that the other contestants took meanwhile; they should sleep.
        others: processors that processes which have no part here took meanwhile; below 0 stands for unknown.
    """

    run: list[float] = field(default_factory=list)
    tail: list[float] = field(default_factory=list)
    idle: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)


def measure(
    contestants: Sequence[Contestant],
    judge: Worker | None,
    *,
    rounds: int,
    seconds: float,
    wait: Callable[[float], None] = time.sleep,
) -> dict[str, Measured]:
    """Measure all contestants, round by round, after one round that does not count.

    Args:
        contestants: with their networks loaded.
        judge: who runs the detection tail on raw outputs; None where nobody has any.
        rounds: that count.
        seconds: of each run.
        wait: lets time pass.

    Raises:
        SSDError: a worker fails.
    """
    workers = list({id(one.worker): one.worker for one in contestants}.values())
    found = {one.name: Measured() for one in contestants}
    for number in range(-1, rounds):
        turn = max(number, 0) % len(contestants)
        for one in [*contestants[turn:], *contestants[:turn]]:
            wait(SETTLE)
            into = found[one.name] if number >= 0 else Measured()
            _run(one, workers, seconds if number >= 0 else min(seconds, 0.5), into)
            if one.tail and judge is not None:
                wait(SETTLE)
                answer = judge.ask("tail", folder=one.tail, seconds=min(seconds, _TAIL_SECONDS), least=_LEAST)
                into.tail.append(seconds_per_image(answer["times"], one.batch))
    return found


def _run(one: Contestant, workers: list[Worker], seconds: float, into: Measured) -> None:
    """Run one contestant once and note what it and the rest of the machine took."""
    idle = [worker for worker in workers if worker is not one.worker]
    before = [worker.cpu_seconds() for worker in idle]
    busy, own, started = busy_seconds(), one.worker.cpu_seconds(), time.perf_counter()
    answer = one.worker.ask("run", seconds=seconds, least=_LEAST, **one.run)
    passed = time.perf_counter() - started
    into.run.append(seconds_per_image(answer["times"], one.batch))
    into.idle.append(idle_share(before, [worker.cpu_seconds() for worker in idle], passed))
    if busy is None or own is None:
        into.others.append(-1.0)
        return
    used = (busy_seconds() - busy - (one.worker.cpu_seconds() - own)) / max(passed, 1e-9)
    into.others.append(max(0.0, used - into.idle[-1]))

"""Rounds with workers that only pretend: order, figures and what disturbs them."""

from __future__ import annotations

import sys
from contextlib import ExitStack

import pytest

from tools.benchmarks.rounds import Contestant, measure
from tools.benchmarks.worker import Worker


@pytest.fixture
def workers(fake):
    with ExitStack() as stack:
        yield {name: stack.enter_context(Worker(name, sys.executable, 1, fake)) for name in ("fast", "slow")}


def test_each_contestant_has_an_entry_for_each_round_and_the_first_does_not_count(workers):
    slow = Contestant("slow", workers["slow"], 2, tail="somewhere")
    fast = Contestant("fast", workers["fast"], 1)
    found = measure([fast, slow], workers["fast"], rounds=3, seconds=0.01, wait=lambda seconds: None)
    assert found["fast"].run == pytest.approx([0.010] * 3)
    assert found["slow"].run == pytest.approx([0.010] * 3)  # 20 ms for two images
    assert found["slow"].tail == pytest.approx([0.0005] * 3)
    assert found["fast"].tail == []
    assert len(found["slow"].idle) == len(found["slow"].others) == 3


def test_order_turns_from_round_to_round(workers, monkeypatch):
    asked = []
    real = Worker.ask

    def ask(self, do, **values):
        asked.append(self.engine)
        return real(self, do, **values)

    monkeypatch.setattr(Worker, "ask", ask)
    contestants = [Contestant(name, worker, 1) for name, worker in workers.items()]
    measure(contestants, None, rounds=3, seconds=0.01, wait=lambda seconds: None)
    assert asked == ["fast", "slow"] * 2 + ["slow", "fast"] + ["fast", "slow"]

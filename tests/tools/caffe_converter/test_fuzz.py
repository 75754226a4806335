"""Mutated models through the converter, by fuzz.py: none may crash, hang, eat memory or end in a foreign error."""

from __future__ import annotations

import os
import time

import fuzz
import pytest
from fuzz_cases import make_case, read_models, write_models


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_models(folder)
    return read_models(folder)


def failures(results):
    return [(result["number"], result["outcome"]) for result in results if fuzz.is_failure(result)]


def test_two_hundred_mutated_models_convert_or_are_refused():
    results = fuzz.run(200, seed=3)
    assert sorted(result["number"] for result in results) == list(range(200))
    assert failures(results) == []
    assert {result["outcome"] for result in results} == {"converted", "ConversionError"}
    assert fuzz.share_loaded(results) > 0.3


@pytest.mark.slow
def test_ten_thousand_mutated_models_convert_or_are_refused():
    results = fuzz.run(10_000, seed=1)
    print(fuzz.report(results))
    assert failures(results) == []
    for half in fuzz.HALVES:
        assert fuzz.share_loaded(results, half) > 0.3


def test_seed_and_number_decide_an_input(models, tmp_path):
    first, again = ([make_case(models, 5, number, tmp_path) for number in range(20)] for _ in range(2))
    assert first == again
    originals = {(model.prototxt, model.caffemodel) for model in models}
    changed = [case for case in first if (case.prototxt, case.caffemodel) not in originals]
    assert len(changed) > 15
    assert {case.half for case in first} == set(fuzz.HALVES)
    assert first != [make_case(models, 6, number, tmp_path) for number in range(20)]


def test_crashes_and_hangs_are_counted_and_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "work", crash)
    monkeypatch.setattr(fuzz, "SECONDS", 1)
    results = fuzz.run(3, seed=1, workers=1, keep=tmp_path / "kept")
    assert [result["outcome"] for result in sorted(results, key=lambda result: result["number"])] == [
        "crash while converting (exit 3)",
        "over 1 s while converting",
        "converted",
    ]
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["0", "1"]
    assert (tmp_path / "kept" / "0" / "input.prototxt").read_text() == "net of 0"
    assert "     1 crash while converting (exit 3) [0]" in fuzz.report(results)


def crash(pipe, models, folder, seed):
    """Stand in for a worker: input 0 crashes it, input 1 hangs, others are fine."""
    (folder / "log").write_text("log")
    pipe.send("ready")
    while (number := pipe.recv()) is not None:
        for name in fuzz.FILES[:3]:
            (folder / name).write_text(f"net of {number}")
        pipe.send("converting")
        if number == 0:
            os._exit(3)
        if number == 1:
            time.sleep(60)
        pipe.send({"half": "bytes", "outcome": "converted", "detail": ""})

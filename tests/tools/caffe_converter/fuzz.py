"""Fuzzing of the Caffe converter: `python tests/tools/caffe_converter/fuzz.py --count 10000 --seed 1`.

Every input is a mutated model (fuzz_cases.py); it must become a detector, which must run, or one ConversionError of one
line, within 5 seconds and 2 GB. Processes of their own do the work (fuzz_worker.py), so that a crash ends one input.
What fails is kept under output/fuzz/ and counted by the place of the error. Ends with 1 where anything failed.
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import wait
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[3]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from fuzz_cases import HALVES, write_models  # noqa: E402, the project's folder must be on the path first
from fuzz_worker import FILES, MEMORY, work  # noqa: E402

SECONDS = 5  # of a conversion, and of a forward pass
_BORED = 120  # seconds that starting, or making an input, may take
_FINE = ("converted", "ConversionError")
_FRESH_AFTER = 1000  # inputs of one process


class _Worker:
    """A process and its pipe.

    Attributes:
        folder: of its files.
        pipe: to it.
        number: of the input that it is at; None where it has none.
        stage: what it said last.
        done: inputs so far.
        deadline: when it is taken for hung.
    """

    def __init__(self, models: Path, folder: Path, seed: int):
        folder.mkdir(exist_ok=True)
        self.folder, self.number, self.stage, self.done = folder, None, "starting", 0
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, models, folder, seed), daemon=True)
        self.process.start()
        other.close()
        self.deadline = time.monotonic() + _BORED

    def give(self, number: int) -> None:
        """Give it the next input."""
        self.number, self.stage, self.deadline = number, "making", time.monotonic() + _BORED
        self.pipe.send(number)

    def hear(self) -> dict | None:
        """Take a message; return the result where it is one, or where the process died."""
        try:
            message = self.pipe.recv()
        except EOFError:
            self.process.join(_BORED)
            return self._failed(f"crash while {self.stage} (exit {self.process.exitcode})")
        if isinstance(message, dict):
            self.done += 1
            return {"number": self.number, **message}
        self.stage, self.deadline = message, time.monotonic() + SECONDS
        return None

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()

    def hung(self) -> dict:
        """Return the result of an input that takes too long."""
        return self._failed(f"over {SECONDS} s while {self.stage}")

    def _failed(self, outcome: str) -> dict:
        if self.number is None:
            raise RuntimeError(
                f"a worker ended while {self.stage}: {(self.folder / 'log').read_text()[-3000:]}"
            )
        detail = (self.folder / "log").read_text(errors="replace")[-3000:]
        half = HALVES[self.number % 2]
        return {"number": self.number, "half": half, "outcome": outcome, "detail": detail, "dead": True}


def run(count: int, seed: int, *, workers: int = 2, start: int = 0, keep: Path | None = None) -> list[dict]:
    """Convert mutated models.

    Args:
        count: of inputs.
        seed: of all inputs.
        workers: processes at a time.
        start: number of the first input.
        keep: where inputs that failed are kept; None keeps none.

    Returns:
        For each input: number, half, outcome, detail, and where its process lived loaded, ran, seconds, memory, grown.
    """
    one_thread = mock.patch.dict(
        os.environ, OMP_NUM_THREADS="1"
    )  # for each worker, since they share the cores
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder, one_thread:
        models = Path(folder) / "models"
        models.mkdir()
        write_models(models)
        numbers, results = iter(range(start, start + count)), []
        for result, place in _results(numbers, [models, Path(folder), seed], min(workers, count)):
            if keep and is_failure(result):
                _keep(result, place, keep)
            results.append(result)
            if len(results) % 500 == 0:
                print(f"{len(results)} of {count}", flush=True)
    return results


def _results(numbers: Iterator[int], at: list, count: int) -> Iterator[tuple[dict, Path]]:
    """Give each input's result and the folder where the input lies until the next is asked for."""
    models, folder, seed = at
    team = [_Worker(models, folder / str(index), seed) for index in range(count)]
    try:
        while team:
            heard = wait([worker.pipe for worker in team], timeout=0.2)
            for index, worker in reversed(list(enumerate(team))):
                result = worker.hear() if worker.pipe in heard else None
                if result is None and worker.stage != "ready" and time.monotonic() > worker.deadline:
                    result = worker.hung()
                if result is not None:
                    yield result, worker.folder
                if result is not None and (result.get("dead") or worker.done >= _FRESH_AFTER):
                    worker.end()
                    team[index] = _Worker(models, worker.folder, seed)
                elif result is not None or worker.stage == "ready":
                    number = next(numbers, None)
                    if number is None:
                        team.pop(index).end()
                    else:
                        worker.give(number)
    finally:
        for worker in team:
            worker.end()


def is_failure(result: dict) -> bool:
    """Tell whether an input did what none may."""
    return result["outcome"] not in _FINE or result.get("memory", 0) > MEMORY


def _keep(result: dict, folder: Path, keep: Path) -> None:
    """Copy an input that failed, with what is known of it."""
    place = keep / str(result["number"])
    place.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(folder / name, place / name)
    (place / "result.json").write_text(json.dumps(result, indent=1))


def share_loaded(results: list[dict], half: str | None = None) -> float:
    """Return the share of inputs that got as far as their weights being loaded, of a half or of all."""
    chosen = [result for result in results if half in (None, result["half"])]
    return sum(result.get("loaded", False) for result in chosen) / max(1, len(chosen))


def report(results: list[dict]) -> str:
    """Return the figures of a run as text."""
    lines = [f"{len(results)} inputs"]
    for half in HALVES:
        mine = [result for result in results if result["half"] == half]
        share = share_loaded(results, half)
        ran = sum(result.get("ran", False) for result in mine)
        lines.append(f"{half}: {len(mine)}, {share:.1%} reached weight loading, {ran} ran a forward pass")
    for outcome, number in collections.Counter(result["outcome"] for result in results).most_common():
        numbers = [result["number"] for result in results if result["outcome"] == outcome][:8]
        lines.append(f"{number:6d} {outcome}" + (f" {numbers}" if outcome not in _FINE else ""))
    lived = [result for result in results if "memory" in result]
    if lived:
        slow = max(lived, key=lambda result: result["seconds"])
        large = max(lived, key=lambda result: result["memory"])
        grown = max(lived, key=lambda result: result["grown"])
        lines += [
            f"slowest conversion: {slow['seconds']:.2f} s, input {slow['number']} ({slow['made']})",
            f"greatest memory: {large['memory'] >> 20} MB, input {large['number']} ({large['made']})",
            f"of one input alone: {grown['grown'] >> 20} MB, input {grown['number']} ({grown['made']})",
        ]
    return "\n".join(lines)


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(description="Fuzz the Caffe converter.")
    parser.add_argument("--count", type=int, default=10000, help="inputs (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the inputs (default %(default)s)")
    parser.add_argument("--start", type=int, default=0, help="number of the first input, to see one again")
    parser.add_argument("--workers", type=int, default=2, help="processes (default %(default)s)")
    args = parser.parse_args()
    keep = ROOT / "output" / "fuzz"
    results = run(args.count, args.seed, workers=args.workers, start=args.start, keep=keep)
    print(report(results))
    failures = [result for result in results if is_failure(result)]
    if failures:
        print(f"{len(failures)} failures, kept under {keep}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

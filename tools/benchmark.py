"""Measure speed: see `python tools/benchmark.py --help` and tools/benchmarks/."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.command import run

if __name__ == "__main__":
    run("tools.benchmarks.command")

"""A peer that only pretends, and the environment of the real ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools.benchmarks.settings import BENCH_PYTHON

# Speaks the protocol and does what its engine's name says.
FAKE = """
import json, os, sys, time
name = sys.argv[1]
def say(value):
    sys.stdout.write(json.dumps(value) + "\\n"); sys.stdout.flush()
if name == "absent":
    say({"error": "ModuleNotFoundError: No module named 'absent'", "kind": "missing"}); sys.exit(1)
if name == "dies_at_once":
    sys.stderr.write("noise\\nit fell over\\n"); sys.exit(3)
say({"versions": {name: "1.0", "threads": sys.argv[2], "omp": os.environ["OMP_NUM_THREADS"]}})
seconds = {"fast": 0.010, "slow": 0.020}.get(name, 0.0)
for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "run":
        say({"times": [seconds] * request["least"]})
    elif request["do"] == "tail":
        say({"times": [0.001] * request["least"]})
    elif request["do"] == "die":
        sys.stderr.write("out of everything\\n"); os._exit(9)
    elif request["do"] == "hang":
        time.sleep(60)
    elif request["do"] == "burn":
        end = time.process_time() + 0.3
        while time.process_time() < end: pass
        say({})
    elif request["do"] == "refuse":
        say({"error": "network 'x' is unknown", "kind": "refused"})
    else:
        say({"error": "ValueError: " + request["do"], "kind": "failed"})
"""


@pytest.fixture
def fake(tmp_path) -> Path:
    """The script of a peer that only pretends."""
    path = tmp_path / "fake.py"
    path.write_text(FAKE)
    return path


@pytest.fixture
def bench_python() -> str:
    """The interpreter of the peers' environment; skips where it was not made."""
    if not BENCH_PYTHON.exists():
        pytest.skip(f"the other engines are not installed ({BENCH_PYTHON}): make bench-setup")
    return str(BENCH_PYTHON)


@pytest.fixture
def needs():
    """A function that skips where a module is not in the peers' environment."""

    def check(python: str, module: str) -> None:
        found = subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False)
        if found.returncode:
            pytest.skip(f"{module} is not in {python}'s environment: make bench-setup")

    return check


@pytest.fixture
def own_python() -> str:
    """This interpreter: onnxruntime is in the project's own environment too."""
    return sys.executable

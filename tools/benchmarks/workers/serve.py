"""A worker process: reads requests as lines of JSON, answers each with a line.

Run as `python serve.py ENGINE THREADS`. The first line out tells the versions; then each request {"do": NAME, ...}
calls the engine's method do_NAME. Engines print what they like: their standard output goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Of the engines that run the project itself; the others stand beside this file.
OWN = {
    "ours": "tools.benchmarks.ours",
    "ours_training": "tools.benchmarks.ours_training",
    "prepare": "tools.benchmarks.prepare",
}


def load_engine(name: str, threads: int):
    """Import an engine's module and make the engine."""
    sys.path.insert(0, str(HERE))
    if name in OWN:
        sys.path.insert(0, str(HERE.parent.parent.parent))
    return importlib.import_module(OWN.get(name, f"engine_{name}")).make(threads)


def answer(engine, line: str) -> dict:
    """Return what an engine answers to a request, an error too."""
    try:
        request = json.loads(line)
        return getattr(engine, f"do_{request.pop('do')}")(**request)
    except Exception as error:  # whatever an engine throws is the parent's to tell
        traceback.print_exc()
        return explained(error)


def explained(error: Exception) -> dict:
    """Return an exception as an answer: what kind of trouble it is, and one line."""
    of_ours = any(base.__name__ == "SSDError" for base in type(error).__mro__)
    kind = "missing" if isinstance(error, ImportError) else "refused" if of_ours else "failed"
    text = " ".join(str(error).split()) or type(error).__name__
    return {"error": text[:2000] if of_ours else f"{type(error).__name__}: {text}"[:400], "kind": kind}


def main() -> int:
    """Answer requests until the input ends."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(value: dict) -> None:
        out.write(json.dumps(value) + "\n")
        out.flush()

    try:
        engine = load_engine(sys.argv[1], int(sys.argv[2]))
        say({"versions": engine.versions()})
    except Exception as error:  # as above
        traceback.print_exc()
        say(explained(error))
        return 1
    for line in sys.stdin:
        say(answer(engine, line))
    return 0


if __name__ == "__main__":
    sys.exit(main())

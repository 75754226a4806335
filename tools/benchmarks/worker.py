"""The parent's side of a worker process: start it, ask it, end it; and what it costs while it waits.

Requests and answers are lines of JSON (workers/serve.py); arrays go by files.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from pathlib import Path

from common.errors import ConfigError, DependencyError, SSDError

SERVE = Path(__file__).resolve().parent / "workers" / "serve.py"
LONGEST = 1800  # seconds that an answer may take; int8 of a large network is the longest
PACKAGES = {
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "opencv": "opencv-python-headless",
    "torch": "torch and onnx2torch",
    "torch_training": "torch and onnx2torch",
}


class Worker:
    """One engine's process.

    Args:
        engine: name of an engine of workers/.
        python: the interpreter of its environment.
        threads: to compute with.
        script: that is run, workers/serve.py but in tests.

    Raises:
        DependencyError: the engine is not installed in that environment.
        SSDError: the process does not start.
    """

    def __init__(self, engine: str, python: str | os.PathLike, threads: int, script: Path = SERVE):
        self.engine, self.python = engine, str(python)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        environment["OMP_NUM_THREADS"] = str(threads)
        environment.pop("MXNET_ENGINE_TYPE", None)
        try:
            self._process = subprocess.Popen(
                [self.python, str(script), engine, str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment,
                encoding="utf-8",
            )
        except OSError as error:
            self._errors.close()
            raise DependencyError(f"{python}: {error.strerror}: run `make bench-setup`") from error
        try:
            self.versions: dict[str, str] = self._read(LONGEST)["versions"]
        except SSDError:
            self.close()
            raise

    def ask(self, do: str, *, limit: float = LONGEST, **values) -> dict:
        """Send a request and wait for the answer.

        Args:
            do: its name.
            limit: seconds after which the process is ended.
            **values: JSON values.

        Raises:
            ConfigError: the project itself refuses what was asked; its message.
            SSDError: the engine fails, the process dies, or it takes too long.
        """
        try:
            self._process.stdin.write(json.dumps({"do": do, **values}) + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise SSDError(self._died()) from error
        return self._read(limit)

    def close(self) -> None:
        """End the process."""
        if self._process.stdin and not self._process.stdin.closed:
            try:
                self._process.stdin.close()
            except OSError:
                pass
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def cpu_seconds(self) -> float | None:
        """Return the processor time that the process has used so far; None where the system does not tell."""
        try:
            text = Path(f"/proc/{self._process.pid}/stat").read_text()
        except OSError:
            return None
        user, system = text.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def _read(self, limit: float) -> dict:
        """Wait for a line and return it; an error in it is raised."""
        timer = threading.Timer(limit, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line.endswith("\n"):
            raise SSDError(self._died())
        answer = json.loads(line)
        if "error" not in answer:
            return answer
        if answer["kind"] == "missing" and self.engine in PACKAGES:
            raise DependencyError(
                f"{self.engine}: {PACKAGES[self.engine]} cannot be imported by {self.python}"
                f" ({answer['error']}): run `make bench-setup`, or leave it out of --peers"
            )
        if answer["kind"] == "refused":
            raise ConfigError(answer["error"])
        raise SSDError(f"{self.engine}: {answer['error']}")

    def _died(self) -> str:
        """Return the line for a process that has ended."""
        code = self._process.wait()
        self._errors.seek(0)
        last = self._errors.read().decode("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"]
        how = f"signal {-code}" if code < 0 else f"code {code}"
        return f"{self.engine}: its process ended with {how} ({last[0][:300]}): less memory is needed with --batch 1"


def idle_share(before: list[float | None], after: list[float | None], seconds: float) -> float:
    """Return the share of one processor that processes took which should have waited.

    Args:
        before: processor seconds of each, before.
        after: the same, after.
        seconds: that passed between.
    """
    used = sum(late - early for early, late in zip(before, after) if early is not None and late is not None)
    return used / max(seconds, 1e-9)

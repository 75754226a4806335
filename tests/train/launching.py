"""Runs of several processes for tests: started by tools/launch.py, bounded in time, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

LIMIT = 120  # seconds; the machine may be busy with other things


def children_of(pid: int) -> list[int]:
    """Return the numbers of a process's children."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as stream:
        return [int(number) for number in stream.read().split()]


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that only waits to be read does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stream:
            return stream.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Launch:
    """tools/launch.py, running.

    Attributes:
        pid: of the launcher.
        children: of the processes that it started, as far as `see_children` saw them.
    """

    def __init__(self, root, arguments: Sequence[str]):
        # One thread each: how many there are is part of the result's last bits.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        for name in [name for name in environment if name.startswith("DMLC_")]:
            del environment[name]
        self._process = subprocess.Popen(
            [sys.executable, "tools/launch.py", *arguments],
            cwd=root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.children: list[int] = []

    def see_children(self) -> list[int]:
        """Note the processes that the launcher has started."""
        self.children = children_of(self.pid)
        return self.children

    def wait_for(self, text: str) -> str:
        """Read stdout until a line that holds a text."""
        for line in self._process.stdout:
            if text in line:
                return line
        raise AssertionError(f"ended without {text!r}: {self._process.stderr.read()}")

    def send(self, number: int) -> None:
        """Send the launcher a signal."""
        self._process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Wait for the end; returns exit code, stdout and stderr."""
        output, error = self._process.communicate(timeout=LIMIT)
        return self._process.returncode, output, error

    def close(self) -> None:
        """End everything, whatever state it is in."""
        left = [*self.children]
        with contextlib.suppress(OSError):
            left += children_of(self.pid)
        self._process.kill()
        self._process.communicate()
        for pid in left:
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)


@contextlib.contextmanager
def launched(root, *arguments: str) -> Iterator[Launch]:
    """Start tools/launch.py with these arguments; what still runs when the block ends is killed."""
    launch = Launch(root, arguments)
    try:
        yield launch
    finally:
        launch.close()

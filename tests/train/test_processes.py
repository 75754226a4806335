"""train.py as a process of its own: Ctrl-C from a terminal, a second run on the same prefix, kill -9."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from model.saved import load
from train.command import main

LONG = ("--end-epoch", "1000")


class Process:
    """train.py, started; killed at the end."""

    def __init__(self, root, *flags):
        self._process = subprocess.Popen(
            [sys.executable, "-u", "train.py", *flags],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()

    def wait_for(self, text):
        """Read stdout until a line that begins so."""
        for line in self._process.stdout:
            if line.startswith(text):
                return line
        pytest.fail(f"ended without {text!r}: {self._process.stderr.read()}")

    def send(self, number):
        self._process.send_signal(number)

    def end(self):
        """Wait for the end; returns exit code, stdout and stderr."""
        output, error = self._process.communicate(timeout=60)
        return self._process.returncode, output, error


def test_ctrl_c_from_outside_saves_and_exits_with_130(trainer, project_root):
    prefix = trainer.prefix("run")
    with Process(project_root, *trainer.data(), "--prefix", prefix, *LONG) as process:
        process.wait_for("epoch 1/")
        process.send(signal.SIGINT)
        code, output, error = process.end()
    assert code == 130
    assert "go on with: python train.py" in output
    assert error == ""
    card = trainer.card("run")
    done = card.interrupted["epoch"] if card.interrupted else card.last
    assert main(["--prefix", prefix, "--cpu", "--resume", "--end-epoch", str(done + 1)]) == 0


def test_second_process_on_a_prefix_is_refused(trainer, project_root, capsys):
    flags = [*trainer.data(), "--prefix", trainer.prefix("run"), *LONG]
    with Process(project_root, *flags) as process:
        process.wait_for("epoch 1/")
        for more in ((), ("--overwrite",), ("--resume",)):
            assert main([*flags, *more]) == 2
            error = capsys.readouterr().err
            assert f"is in use by another process (number {process.pid}" in error
            assert error.count("\n") == 1
        process.send(signal.SIGKILL)
        process.end()


def test_error_of_the_process_is_one_line_without_a_traceback(project_root, tmp_path):
    page = tmp_path / "train.rec"
    page.write_text("<!DOCTYPE html><html><body>404</body></html>")
    with Process(
        project_root, "--train-path", str(page), "--prefix", str(tmp_path / "run" / "ssd")
    ) as process:
        code, _, error = process.end()
    assert code == 2
    assert "train.rec: expected a RecordIO file (.rec), found an HTML page" in error
    assert error.count("\n") == 1


def half_written_files(folder):
    """Return the files under temporary names."""
    return {name for name in os.listdir(folder) if name.endswith(".tmp")}


def wait_for_half_written(folder):
    """Wait until a file is being written, another than what an earlier run may have left."""
    there, deadline = half_written_files(folder), time.monotonic() + 10
    while not half_written_files(folder) - there:
        assert time.monotonic() < deadline


@pytest.mark.slow
def test_run_killed_20_times_while_saving_always_loads_and_resumes(trainer, project_root):
    """With one update an epoch most of the time goes into saving; every other kill waits for a half-written file."""
    prefix, draw = trainer.prefix("run"), random.Random(1)
    common = ("--batch-size", "12", "--val-path", "", "--checkpoint-period", "3")
    last, half_written = 0, 0
    for turn in range(20):
        flags = (*trainer.data(), *common, *LONG) if turn == 0 else ("--resume", "--cpu", *LONG)
        with Process(project_root, *flags, "--prefix", prefix) as process:
            process.wait_for("epoch ")
            if turn % 2:
                wait_for_half_written(trainer.folder / "run")
                time.sleep(draw.uniform(0, 0.002))
            else:
                time.sleep(draw.uniform(0, 0.5))
            process.send(signal.SIGKILL)
            assert process.end()[0] == -signal.SIGKILL
        half_written += bool(half_written_files(trainer.folder / "run"))
        saved = load(prefix, "last")
        assert saved.epoch > last
        assert trainer.arrays("run")
        for epoch in trainer.card("run").epochs:
            load(prefix, epoch)
        last = saved.epoch
    assert half_written  # else no kill came while a file was being written, and this test shows nothing
    end = str(last + 1)
    assert trainer.resume("run", "--end-epoch", end) == 0
    assert [int(row["epoch"]) for row in trainer.rows("run")] == list(range(1, last + 2))
    whole = (*common, "--end-epoch", end)
    assert trainer.new("whole", *whole) == 0
    assert trainer.bytes("run") == trainer.bytes("whole")
    assert not [name for name in trainer.files("run") if name.endswith(".tmp")]

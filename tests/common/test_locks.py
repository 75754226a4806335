"""Locks of files: held against other processes, freed by the end of their holder, however it comes."""

import contextlib
import os
import subprocess
import sys

import pytest

from common import files
from common.errors import ConfigError


@contextlib.contextmanager
def python_process(code, cwd):
    """Another Python that has printed its first line; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def holder_code(path, project_root):
    return (
        f"import sys, time; sys.path.insert(0, {str(project_root)!r})\n"
        "from common.files import exclusive_lock\n"
        f"with exclusive_lock({str(path)!r}, 'x'):\n"
        "    print('ready'); time.sleep(60)\n"
    )


def test_second_process_is_refused_with_the_number_of_the_first(tmp_path, project_root):
    path = tmp_path / "sub" / "run.lock"
    with (
        python_process(holder_code(path, project_root), tmp_path) as process,
        pytest.raises(ConfigError, match=f"the run is in use by another process .number {process.pid}, lock"),
        files.exclusive_lock(path, "the run"),
    ):
        pass


def test_killed_process_frees_its_lock(tmp_path, project_root):
    path = tmp_path / "run.lock"
    with python_process(holder_code(path, project_root), tmp_path) as process:
        process.kill()
        process.wait()
        with files.exclusive_lock(path, "the run"):
            assert path.read_text() == f"{os.getpid()}\n"


def test_lock_is_free_after_the_block_and_after_an_error(tmp_path):
    path = tmp_path / "run.lock"
    with pytest.raises(RuntimeError), files.exclusive_lock(path, "x"):
        raise RuntimeError
    with files.exclusive_lock(path, "x"):
        pass
    with files.exclusive_lock(path, "x"), files.exclusive_lock(tmp_path / "other.lock", "y"):
        pass


def test_lock_is_not_taken_twice_by_one_process(tmp_path):
    path = tmp_path / "run.lock"
    with (
        files.exclusive_lock(path, "x"),
        pytest.raises(ConfigError, match="in use"),
        files.exclusive_lock(path, "x"),
    ):
        pass


def test_started_programs_do_not_keep_the_lock(tmp_path):
    """A program started within the block and still running after it (TensorBoard, a data loader) holds nothing."""
    path = tmp_path / "run.lock"
    with files.exclusive_lock(path, "x"):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    try:
        with files.exclusive_lock(path, "x"):
            pass
    finally:
        child.kill()
        child.wait()


def test_file_system_without_locks_is_not_called_a_rival(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(stream, how):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(ConfigError, match="cannot be locked .No locks available"),
        files.exclusive_lock(tmp_path / "l", "x"),
    ):
        pass


def test_lock_in_a_place_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ConfigError, match="cannot be written"),
        files.exclusive_lock(tmp_path / "file" / "l", "x"),
    ):
        pass

"""The single import of MXNet and OpenCV: restored names, devices, and messages for what is missing."""

import os
import subprocess
import sys

import numpy as np
import pytest

from common import mx as mx_module
from common.errors import DependencyError
from common.mx import contexts, explain_import_error, mx


def test_numpy_names_are_back():
    for name in ("bool", "int", "float", "object", "complex", "str"):
        assert getattr(np, name) in (bool, int, float, object, complex, str)


def test_existing_numpy_names_are_kept(monkeypatch):
    marker = object()
    monkeypatch.setitem(np.__dict__, "int", marker)
    mx_module.restore_numpy_aliases()
    assert np.__dict__["int"] is marker


def test_mxnet_computes():
    assert mx.__version__.startswith("1.9")
    assert (mx.nd.ones((2, 2)) * 3).asnumpy().tolist() == [[3, 3], [3, 3]]


@pytest.mark.parametrize(
    ("library", "error", "words"),
    [
        (
            "mxnet",
            OSError("libgomp.so.1: cannot open shared object file: No such file or directory"),
            "apt-get install libgomp1`",
        ),
        (
            "cv2",
            ImportError("libGL.so.1: cannot open shared object file: No such file or directory"),
            "apt-get install libgl1`",
        ),
        (
            "cv2",
            ImportError("libgthread-2.0.so.0: cannot open shared object file: No such file or directory"),
            "libglib2.0-0`",
        ),
        (
            "mxnet",
            OSError("/usr/lib/libquadmath.so.0: cannot open shared object file: No such file"),
            "needs libquadmath.so.0",
        ),
        ("mxnet", ModuleNotFoundError("No module named 'mxnet'", name="mxnet"), "pip install mxnet==1.9.1"),
        ("mxnet", ModuleNotFoundError("No module named 'distutils'", name="distutils"), "setuptools<81"),
        (
            "mxnet",
            ModuleNotFoundError("No module named 'requests'", name="requests"),
            "No module named 'requests'",
        ),
        (
            "mxnet",
            OSError("/lib/libgomp.so.1: version `GOMP_9' not found (required by /x/libmxnet.so)"),
            "GOMP_9",
        ),
        (
            "mxnet",
            OSError("libcudart.so.11.0: cannot open shared object file: No such file or directory"),
            "NVIDIA",
        ),
        ("mxnet", AttributeError("module 'numpy' has no attribute 'PZERO'"), "PZERO"),
    ],
)
def test_missing_library_is_explained(library, error, words):
    explained = explain_import_error(library, "mxnet==1.9.1", error)
    assert isinstance(explained, DependencyError)
    assert words in str(explained)
    assert library in str(explained)


def test_library_that_is_there_in_a_wrong_version_is_not_called_missing():
    error = ImportError("libGL.so.1: undefined symbol: glFoo")
    assert "not here" not in str(explain_import_error("cv2", "opencv-python-headless", error))


def run_with_broken(tmp_path, project_root, module, text):
    """Import common.mx where another module of that name stands before the real one."""
    (tmp_path / f"{module}.py").write_text(text)
    code = "import sys; sys.path[:0] = sys.argv[1:3]; from common.command import run; run('common.mx')"
    return subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(project_root)],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("module", "text", "words"),
    [
        ("mxnet", "raise OSError('libgomp.so.1: cannot open shared object file: No such file')", "libgomp1"),
        ("cv2", "raise ImportError('libGL.so.1: cannot open shared object file: No such file')", "libgl1"),
        ("mxnet", "raise ModuleNotFoundError(\"No module named 'mxnet'\", name='mxnet')", "make setup"),
    ],
)
def test_command_on_a_machine_without_it_prints_one_line(tmp_path, project_root, module, text, words):
    done = run_with_broken(tmp_path, project_root, module, text)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("gpus", "count"), [("", 1), ("cpu", 1), (" CPU ", 1), ("cpu:1", 1), ("cpu:3", 3)])
def test_cpu_contexts(gpus, count):
    assert contexts(gpus) == [mx.cpu(i) for i in range(count)]


def test_cpu_wins_over_gpus():
    assert contexts("0,1", cpu=True) == [mx.cpu()]
    assert contexts(None, cpu=True) == [mx.cpu()]


def pretend_gpus(monkeypatch, count):
    class Features:
        def is_enabled(self, name):
            return name == "CUDA" and count > 0

    monkeypatch.setattr(mx.runtime, "Features", Features)
    monkeypatch.setattr(mx.context, "num_gpus", lambda: count)


@pytest.mark.parametrize(
    ("there", "gpus", "expected"), [(2, None, [0, 1]), (2, "1", [1]), (3, "0, 2", [0, 2]), (1, "cpu", None)]
)
def test_gpus_that_are_there(monkeypatch, there, gpus, expected):
    pretend_gpus(monkeypatch, there)
    assert contexts(gpus) == ([mx.cpu()] if expected is None else [mx.gpu(i) for i in expected])


@pytest.mark.parametrize(("there", "gpus"), [(0, "0"), (1, "0,1"), (1, "-1"), (1, "x"), (1, "0,"), (2, "²")])
def test_gpu_that_is_not_there_is_an_error(monkeypatch, there, gpus):
    pretend_gpus(monkeypatch, there)
    with pytest.raises(DependencyError, match=rf"MXNet sees {there or 'no'} GPUs"):
        contexts(gpus)


def test_without_gpus_the_cpu_is_taken(monkeypatch):
    pretend_gpus(monkeypatch, 0)
    assert contexts(None) == [mx.cpu()]

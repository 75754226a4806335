"""The project's single point of import of MXNet and OpenCV.

Everything else writes `from common.mx import mx` (or `cv2`). Before the import it restores the numpy names that
MXNet 1.9.1 still uses and chooses the number of threads; where a library is missing it says which command brings it.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import logging
import os
from collections.abc import Iterator
from types import ModuleType

import numpy as np

from common import threads
from common.errors import DependencyError

log = logging.getLogger("runtime")  # common.command.RUNTIME_LOG

THREADED = "ThreadedEnginePerDevice"  # MXNet's engine where nobody chooses another

# numpy 1.24 removed these; MXNet 1.9.1, gluoncv and mxboard still use them.
_NUMPY_ALIASES = {"bool": bool, "int": int, "float": float, "object": object, "complex": complex, "str": str}

# Shared library (as the loader names it) -> package of Debian and Ubuntu that holds it.
_SYSTEM_PACKAGES = {
    "libgomp.so.1": "libgomp1",
    "libquadmath.so.0": "libquadmath0",
    "libGL.so.1": "libgl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libglib-2.0.so.0": "libglib2.0-0",
}

# What a wheel needs of the system beyond a minimal Debian 12. The loader names one at a time; we name all at once.
_NEEDED = {"mxnet": ("libgomp.so.1", "libquadmath.so.0")}

# NVIDIA's libraries that the mxnet-cu112 wheel needs; no package of Debian brings them all.
_CUDA = ("libcuda", "libcudart", "libcudnn", "libnccl", "libcublas", "libcufft", "libcurand", "libcusolver")
_CUDA += ("libnvrtc", "libnvToolsExt")


def restore_numpy_aliases() -> None:
    """Put back numpy.bool, .int, .float, .object, .complex and .str where this numpy lacks them."""
    for name, builtin in _NUMPY_ALIASES.items():
        if name not in np.__dict__:
            setattr(np, name, builtin)


def _can_load(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _explain_missing(library: str, named: str) -> DependencyError:
    """Return the error for a missing library of the system, with the packages that bring it and others that miss."""
    if named.split(".")[0] in _CUDA:
        return DependencyError(
            f"{library} is a wheel for NVIDIA GPUs and its library {named} is not here: it needs the NVIDIA driver,"
            " CUDA 11.2 and cuDNN 8 (docker/Dockerfile.cuda112 has them); for the CPU run `make setup MXNET=mxnet`"
        )
    missing = sorted({named, *(name for name in _NEEDED.get(library, ()) if not _can_load(name))})
    packages = sorted({_SYSTEM_PACKAGES[name] for name in missing if name in _SYSTEM_PACKAGES})
    command = f"run `apt-get install {' '.join(packages)}` (Debian, Ubuntu) or " if packages else ""
    return DependencyError(
        f"{library} needs {' and '.join(missing)}, which this system does not have:"
        f" {command}install the same by your system's packages"
    )


def explain_import_error(library: str, wheel: str, error: Exception) -> DependencyError:
    """Return the error to raise where a library cannot be imported, with the command that mends it.

    Args:
        library: what was imported, for example "mxnet".
        wheel: what pip installs it from.
        error: what the import raised.
    """
    text = str(error)
    # The loader says "libfoo.so.1: cannot open shared object file".
    if "cannot open shared object" in text:
        return _explain_missing(library, text.split(":")[0].rsplit("/", 1)[-1])
    if isinstance(error, ModuleNotFoundError) and error.name == library:
        return DependencyError(
            f"the Python package {library} is not installed: run `make setup` and use .venv/bin/python,"
            f" or `pip install {wheel}`"
        )
    if isinstance(error, ModuleNotFoundError) and error.name == "distutils":
        return DependencyError(
            f"{library} needs distutils, gone from this Python: run `pip install 'setuptools<81'`"
        )
    return DependencyError(
        f"{library} cannot be imported ({text}): run `make setup` and use .venv/bin/python"
    )


def _import(library: str, wheel: str) -> ModuleType:
    try:
        return importlib.import_module(library)
    except (ImportError, OSError, AttributeError) as error:
        raise explain_import_error(library, wheel, error) from error


# MXNet tells at each bind that it uses oneDNN; nobody asked.
os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")
restore_numpy_aliases()
num_threads = threads.choose_threads()
threads.choose_spinning()
cv2 = _import("cv2", "'opencv-python-headless<4.12'")
mx = _import("mxnet", "mxnet==1.9.1")


def contexts(gpus: str | None, *, cpu: bool = False) -> list:
    """Return the devices to compute on.

    Args:
        gpus: comma list of GPU numbers; "" means the CPU; "cpu" or "cpu:2" the CPU or several CPU contexts;
            None takes every GPU there is, else the CPU.
        cpu: True takes the CPU whatever `gpus` says.

    Raises:
        DependencyError: a GPU is asked for and this MXNet, or this machine, has none of that number.
    """
    text = "" if cpu else gpus
    there = mx.context.num_gpus() if mx.runtime.Features().is_enabled("CUDA") else 0
    if text is None:
        return [mx.gpu(i) for i in range(there)] or [mx.cpu()]
    text = text.strip().lower()
    if text in ("", "cpu"):
        return [mx.cpu()]
    if text.startswith("cpu:") and text[4:].isdecimal() and int(text[4:]) > 0:
        return [mx.cpu(i) for i in range(int(text[4:]))]
    numbers = [part.strip() for part in text.split(",")]
    for number in numbers:
        if not number.isdecimal() or int(number) >= there:
            raise DependencyError(
                f"--gpus {gpus}: GPU {number!r} is not here (MXNet sees {there or 'no'} GPUs);"
                " leave the flag out to use what there is, or give --cpu; NVIDIA GPUs need the mxnet-cu112 wheel"
            )
    return [mx.gpu(int(number)) for number in numbers]


def tell_runtime(devices: list, engine: str) -> None:
    """Log what computes, for `--verbose`.

    Args:
        devices: contexts.
        engine: MXNet's name of its engine, where MXNET_ENGINE_TYPE does not say another.
    """
    log.info(
        "MXNet %s on %s, %d threads (OMP_NUM_THREADS), engine %s, a waiting thread spins %s times (GOMP_SPINCOUNT)",
        mx.__version__,
        ", ".join(map(str, devices)),
        num_threads,
        os.environ.get("MXNET_ENGINE_TYPE", engine),
        os.environ.get("GOMP_SPINCOUNT", f"as OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY')} says,"),
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what Python prints while the block runs: MXNet prints a graph's arguments before it raises."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield

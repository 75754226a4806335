"""A network's Python file from outside the project: run, its function found, what it states read and checked.

Used by symbol/outside.py, which makes a backbone of it. Nothing is written beside the file.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from common.errors import ConfigError, did_you_mean

_NETWORK = re.compile(r"(?P<path>.+\.py)(?::(?P<function>\w*))?")
# Names in a file that say what would be derived: how many numbers each has, None for any number of them.
_STATED = {"DATA_SHAPE": 2, "MEAN": 3, "STD": 3, "SCALES": None, "STEPS": None}


class _Loader(importlib.machinery.SourceFileLoader):
    def set_data(self, path, data, *, _mode=0o666):
        """Write no byte code beside a user's file."""


def split_name(network: str) -> tuple[Path, str | None] | None:
    """Return (path, function or None) of `PATH.py` or `PATH.py:FUNCTION`; None for another name."""
    parts = _NETWORK.fullmatch(network)
    return (Path(parts["path"]), parts["function"]) if parts else None


def run_file(path: Path) -> ModuleType:
    """Return a file's names, after it was run; modules beside it can be imported at its top.

    Raises:
        ConfigError: it is no Python, or fails.
    """
    name = f"network_file_{path.stem}"
    loader = _Loader(name, str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    folder = str(path.resolve().parent)
    sys.path.append(folder)
    sys.modules[name] = module  # dataclasses look for their module
    try:
        loader.exec_module(module)
    except SyntaxError as error:
        raise ConfigError(f"{path}, line {error.lineno}: not Python ({error.msg})") from error
    except (Exception, SystemExit) as error:  # whatever an author's code may raise
        raise ConfigError(failure(str(path), error)) from error
    finally:
        sys.modules.pop(name, None)
        sys.path.remove(folder)
    return module


def failure(where: str, error: BaseException) -> str:
    """Return the sentence for an error inside a file, with its line."""
    path, _ = split_name(where)
    step, line = error.__traceback__, None
    while step is not None:
        line = step.tb_lineno if step.tb_frame.f_code.co_filename.endswith(str(path)) else line
        step = step.tb_next
    # MXNet gives the reason first, then a trace, then sometimes the operator.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no reason given"]
    told = [
        line for line in lines if not line.startswith(("Traceback", "File ", "Stack trace", "[bt]", "---"))
    ]
    first, last = (told or lines)[0].removesuffix(", Possible Arguments:"), lines[-1]
    reason = first if first == last or not last.startswith(",") else first + last
    place = f", line {line}" if line else ""
    return f"{where}{place}: it fails: {type(error).__name__}: {reason} (--debug shows more)"


def find_function(module: ModuleType, path: Path, name: str | None) -> Callable:
    """Return the function that builds the network.

    Args:
        module: of the file.
        path: of the file, for messages.
        name: of the function; None takes the only public one of one argument.

    Raises:
        ConfigError: there is none of that name, or not one alone.
    """
    known = {
        key: value
        for key, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    }
    if name:
        if not callable(getattr(module, name, None)):
            raise ConfigError(
                f"--network {path}:{name}: it has no function {name!r}{did_you_mean(name, known)}"
            )
        return getattr(module, name)
    public = {key: value for key, value in known.items() if not key.startswith("_") and _takes_data(value)}
    if len(public) != 1:
        found = "no public function of one argument" if not public else f"the functions {', '.join(public)}"
        first = next(iter(public), "FUNCTION")
        raise ConfigError(f"--network {path}: it has {found}: say which builds the network: {path}:{first}")
    return next(iter(public.values()))


def _takes_data(function: Callable) -> bool:
    """Tell whether a function can be called with one argument, the input."""
    parameters = inspect.signature(function).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [
        p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    return bool(positional) and all(parameter is positional[0] for parameter in needed)


def stated(module: ModuleType, path: Path) -> dict:
    """Return the settings that a file states: name -> value.

    Raises:
        ConfigError: a value cannot be.
    """
    found = {}
    for name, count in _STATED.items():
        if hasattr(module, name):
            found[name] = _numbers(getattr(module, name), f"{path}: {name}", count)
    if "DATA_SHAPE" in found:
        if any(side != int(side) for side in found["DATA_SHAPE"]):
            raise ConfigError(
                f"{path}: DATA_SHAPE is {module.DATA_SHAPE!r}, expected whole numbers of pixels"
            )
        found["DATA_SHAPE"] = tuple(map(int, found["DATA_SHAPE"]))
    if hasattr(module, "RATIOS"):
        rows = _entries(module.RATIOS, f"{path}: RATIOS")
        found["RATIOS"] = tuple(_numbers(row, f"{path}: RATIOS", None) for row in rows)
    if hasattr(module, "RATE"):
        (found["RATE"],) = _numbers([module.RATE], f"{path}: RATE", 1)
    if hasattr(module, "EXTRAS"):
        found["EXTRAS"] = module.EXTRAS
        if type(module.EXTRAS) is not int or module.EXTRAS < 0:
            raise ConfigError(
                f"{path}: EXTRAS is {module.EXTRAS!r}, expected a number of extra blocks, 0 or more"
            )
    return found


def _entries(values, what: str) -> tuple:
    if not isinstance(values, (list, tuple)):
        raise ConfigError(f"{what} is {values!r}, expected a list with an entry for each feature map")
    return tuple(values)


def _numbers(values, what: str, count: int | None) -> tuple[float, ...]:
    """Return numbers above 0 (a mean may be 0) as a tuple."""
    found = values if isinstance(values, (list, tuple)) else ()
    good = [value for value in found if isinstance(value, (int, float)) and not isinstance(value, bool)]
    least = 0 if what.endswith("MEAN") else sys.float_info.min
    fits = len(good) == len(found) > 0 and count in (None, len(good)) and all(least <= v < 1e6 for v in good)
    if not fits:
        least = "of 0 or more" if least == 0 else "above 0"
        raise ConfigError(f"{what} is {values!r}, expected {count or 'a list of'} numbers {least}")
    return tuple(good)

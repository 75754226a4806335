"""What every command shares: flags that read old scripts, one-line errors, exit codes.

Exit codes: 0 done, 1 a check found something, 2 bad input or set-up, 130 stopped by the user (143, 129: by SIGTERM,
SIGHUP, where a command finishes what is begun).
"""

from __future__ import annotations

import argparse
import functools
import importlib
import logging
import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence

from common.errors import ConfigError, SSDError, did_you_mean

_LARGEST_SIDE = 8192  # pixels of a network's input
RUNTIME_LOG = "runtime"  # where it is told what computes (common/mx.py)
_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off"}


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds the default to a flag's help where there is one and the help does not tell it."""

    def _get_help_string(self, action):
        if action.default in (None, "", [], argparse.SUPPRESS) or "(default" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


class CommandParser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, with the closest flag where one is unknown."""

    def __init__(self, *args, **kwargs):
        kwargs.setdefault("formatter_class", _HelpFormatter)
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self.add_argument("--debug", action="store_true", help="on an error show where in the code it arose")
        self.add_argument("--verbose", action="store_true", help="say which engine and threads compute")

    def parse_args(self, args=None, namespace=None):
        """Parse a command line; an unknown flag is an error that names the closest one."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            shown = [action for action in self._actions if action.help != argparse.SUPPRESS]
            flags = [flag for action in shown for flag in action.option_strings]
            hint = did_you_mean(unknown[0].split("=")[0], flags) if unknown[0].startswith("-") else ""
            self.error(f"unknown argument {unknown[0]}{hint if 'did you' in hint else ''}")
        return parsed

    def error(self, message: str):
        """Print one line and leave with 2."""
        self.exit(2, f"{self.prog}: error: {message} (--help lists the flags)\n")


def parse_bool(text: str) -> bool:
    """Read True or False as old scripts write them.

    Raises:
        argparse.ArgumentTypeError: the text is neither.
    """
    lowered = str(text).strip().lower()
    if lowered in _TRUE | _FALSE:
        return lowered in _TRUE
    raise argparse.ArgumentTypeError(f"expected True or False, found {text!r}")


class _SwitchAction(argparse.Action):
    """`--flag`, `--no-flag`, `--flag True`, `--flag False`."""

    def __call__(self, parser, namespace, values, option_string=None):
        negated = option_string.startswith("--no-")
        value = True if values is None else values
        setattr(namespace, self.dest, value != negated)


def add_switch(group, flag: str, *, default: bool | None, help: str) -> None:
    """Add a boolean flag that also takes an optional True or False, as mxnet-ssd's scripts pass it.

    Args:
        group: a parser or an argument group.
        flag: for example "--shuffle"; "--no-shuffle" comes with it.
        default: the value without the flag; None where the program must know that it was not given.
        help: the text of --help.
    """
    group.add_argument(
        flag,
        flag.replace("--", "--no-", 1),
        dest=flag.strip("-").replace("-", "_"),
        action=_SwitchAction,
        nargs="?",
        type=parse_bool,
        default=default,
        metavar="True|False",
        help=help,
    )


def parse_shape(text: str) -> tuple[int, int]:
    """Read an input shape: "300" is 300x300, "300,400" and "300x400" are height 300 and width 400.

    Returns:
        (height, width) in pixels.

    Raises:
        argparse.ArgumentTypeError: the text is not one or two whole numbers from 32 to 8192.
    """
    parts = re.split(r"[,x]", str(text).strip("()[] ").replace(" ", ""))
    if len(parts) in (1, 2) and all(part.isdigit() for part in parts):
        height, width = int(parts[0]), int(parts[-1])
        if min(height, width) >= 32 and max(height, width) <= _LARGEST_SIDE:
            return height, width
    raise argparse.ArgumentTypeError(
        f"expected HEIGHT or HEIGHT,WIDTH in pixels, 32 to {_LARGEST_SIDE} each (300 or 300,400), found {text!r}"
    )


def parse_whole(text: str) -> int:
    """Read a whole number of 1 or more.

    Raises:
        argparse.ArgumentTypeError: it is something else.
    """
    if text.isascii() and text.isdigit() and int(text) >= 1:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, found {text!r}")


def parse_numbers(text: str) -> tuple[float, ...]:
    """Read a comma list of numbers; an empty text is an empty tuple.

    Raises:
        argparse.ArgumentTypeError: an entry is not a number.
    """
    problem = argparse.ArgumentTypeError(f"expected numbers with commas between them, found {text!r}")
    try:
        numbers = tuple(float(part) for part in str(text).replace(" ", "").split(",") if part)
    except ValueError as error:
        raise problem from error
    if not all(math.isfinite(number) for number in numbers):
        raise problem
    return numbers


def parse_number_lists(text: str) -> tuple[tuple[float, ...], ...]:
    """Read lists of numbers, one for each feature map: "0.1,0.14;0.2,0.27" is ((0.1, 0.14), (0.2, 0.27)).

    Raises:
        argparse.ArgumentTypeError: an entry is not a number.
    """
    return tuple(parse_numbers(part) for part in str(text).strip("; ").split(";"))


def read_class_names(text: str) -> tuple[str, ...]:
    """Read class names from a comma list, or from a text file with one name on each line.

    Raises:
        ConfigError: a name is empty or stands twice, or a text file is missing or is not UTF-8.
    """
    from pathlib import Path

    path = Path(text)
    is_file = "," not in text and path.is_file()
    if not is_file and "," not in text and (path.suffix in (".txt", ".names") or path.parent.name):
        raise ConfigError(f"--class-names {text}: there is no such file")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines() if is_file else text.split(",")
    except UnicodeDecodeError as error:
        raise ConfigError(f"--class-names {text}: not a text file in UTF-8 ({error})") from error
    names = tuple(line.strip() for line in lines if line.strip() or not is_file)
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or "" in names or twice:
        found = f"{twice[0]!r} twice" if twice else "an empty name"
        raise ConfigError(
            f"--class-names {text}: {found}: give each class once, with commas between, or a text file"
        )
    return names


def command(function: Callable[..., int]) -> Callable[..., int]:
    """Wrap a command's `main(argv=None) -> int`: an SSDError becomes one line on stderr and exit code 2."""

    @functools.wraps(function)
    def main(argv: Sequence[str] | None = None) -> int:
        argv = list(sys.argv[1:] if argv is None else argv)
        logging.getLogger(RUNTIME_LOG).setLevel(logging.INFO if "--verbose" in argv else logging.WARNING)
        try:
            return function(argv) or 0
        except SSDError as error:
            return report_error(error, debug="--debug" in argv)
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            return 130
        except BrokenPipeError:  # the reader of the output (head, true) has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except (MemoryError, RuntimeError) as error:
            if type(error).__name__ not in ("MXNetError", "MemoryError"):
                raise
            return report_error(_explain_library_error(error), debug="--debug" in argv)

    return main


def _explain_library_error(error: Exception) -> SSDError:
    """Return the line of an error of MXNet's, or of memory that ran out, that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = next((line for line in reversed(lines) if "Error" in line or "Check failed" in line), "")
    return SSDError(
        f"MXNet could not compute this: {telling or (lines or ['out of memory'])[-1]}; where memory ran out, a smaller"
        " --batch-size or --data-shape helps (--debug shows where)"
    )


def report_error(error: SSDError, *, debug: bool) -> int:
    """Print an error as one line (with `debug` its traceback first) and return the exit code, 2."""
    if debug:
        traceback.print_exception(type(error), error, error.__traceback__)
    print("error: " + " ".join(str(error).split()), file=sys.stderr)
    return 2


def run(module: str) -> None:
    """Run a command's module and leave with its exit code; missing libraries become one line too.

    Args:
        module: of the command, for example "train.command"; it has a `main(argv=None) -> int`.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # class names that the terminal cannot show
    try:
        main = importlib.import_module(module).main
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except SSDError as error:
        sys.exit(report_error(error, debug="--debug" in sys.argv))
    except ModuleNotFoundError as error:
        print(
            f"error: the Python package {error.name} is not installed: run `make setup`"
            " and use .venv/bin/python in place of python",
            file=sys.stderr,
        )
        sys.exit(2)
    sys.exit(main())

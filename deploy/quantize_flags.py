"""deploy.py's flags of quantisation, and which of them cannot stand together."""

from __future__ import annotations

import argparse

from common.command import CommandParser, parse_whole
from common.errors import ConfigError
from common.settings import naming_flags
from model.bfloat16 import BFLOAT16
from model.quantize import QuantizeSettings
from model.quantize_calibration import MODES

INT8 = "int8"
KINDS = (INT8, BFLOAT16)
AUTO = "auto"
CALIBRATION_IMAGES = 64
SCORED_IMAGES = 500
_FLAGS = (
    "calib_path",
    "calib_mode",
    "calib_images",
    "val_path",
    "val_images",
    "max_drop",
    "quantize_exclude",
)


def add_quantize_flags(parser: CommandParser) -> None:
    """Add the flags; None stands for what is not given."""
    group = parser.add_argument_group("int8 and bfloat16")
    group.add_argument(
        "--quantize",
        choices=KINDS,
        help="compute in int8, or in bfloat16 on processors that have it: writes PREFIX-deploy-int8 or"
        " PREFIX-deploy-bfloat16, for the CPU, and measures what that loses and gains",
    )
    group.add_argument(
        "--calib-path",
        metavar="FILE.rec",
        help="int8: packed records, of training best, whose images tell the range of each layer's values",
    )
    group.add_argument(
        "--calib-images",
        type=parse_whole,
        metavar="N",
        help=f"how many of them, spread evenly over the file (default {CALIBRATION_IMAGES})",
    )
    group.add_argument(
        "--calib-mode",
        choices=(*MODES, AUTO),
        help="naive: int8 holds all values that were seen; entropy: rare large ones are cut off; auto: both are"
        " tried (default)",
    )
    group.add_argument(
        "--val-path",
        metavar="FILE.rec",
        help="packed records that mAP is measured on (default: all of --calib-path)",
    )
    group.add_argument(
        "--val-images",
        type=parse_whole,
        metavar="N",
        help=f"how many of them at most, spread evenly over the file (default {SCORED_IMAGES})",
    )
    group.add_argument(
        "--max-drop",
        type=float,
        metavar="X",
        help="mAP that may be lost, 0 to 1: layers are left in float until it is not more (default 0.005)",
    )
    group.add_argument(
        "--quantize-exclude",
        metavar="REGEX",
        help="leave the layers in float whose names hold this, such as 'conv1$|_loc_pred'",
    )


def quantize_settings(args: argparse.Namespace) -> QuantizeSettings | None:
    """Return what the flags say, None without --quantize.

    Raises:
        ConfigError: flags are missing, contradict each other, or cannot be.
    """
    given = [name for name in _FLAGS if getattr(args, name) is not None]
    if not args.quantize:
        if given:
            flag = "--" + given[0].replace("_", "-")
            raise ConfigError(
                f"{flag} is for a quantised detector: give --quantize {INT8} (or {BFLOAT16}) too"
            )
        return None
    if args.onnx:
        raise ConfigError(f"--onnx cannot express --quantize {args.quantize}: leave one of them out")
    if args.quantize == BFLOAT16:
        _check_bfloat16(args)
    elif not args.calib_path:
        raise ConfigError(
            f"--quantize {args.quantize} needs images to find the ranges of values on: give packed records by"
            " --calib-path, those of training best"
        )
    stated = {
        "modes": MODES if args.calib_mode in (None, AUTO) else (args.calib_mode,),
        "max_drop": args.max_drop,
        "exclude": args.quantize_exclude,
    }
    with naming_flags({"modes": "--calib-mode", "max_drop": "--max-drop", "exclude": "--quantize-exclude"}):
        return QuantizeSettings(**{name: value for name, value in stated.items() if value is not None})


def _check_bfloat16(args: argparse.Namespace) -> None:
    """Refuse flags of int8, and bfloat16 without records to measure on.

    Raises:
        ConfigError: it is so.
    """
    for name in ("calib_path", "calib_mode", "calib_images", "quantize_exclude"):
        if getattr(args, name) is not None:
            flag = "--" + name.replace("_", "-")
            raise ConfigError(f"{flag} is for int8, bfloat16 is not calibrated: leave it out")
    if not args.val_path:
        raise ConfigError(
            f"--quantize {BFLOAT16} is measured before it is written: give records by --val-path"
        )

"""The command make_scenes: write drawn scenes as a Pascal VOC folder."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from common.command import CommandParser, command
from common.errors import ConfigError


def _parse_count(text: str) -> int:
    if text.isdecimal():
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number, 0 or more, found {text!r}")


def _parse_size(text: str) -> tuple[int, int]:
    """Read "256" or "320,240": WIDTH or WIDTH,HEIGHT in pixels -> (width, height)."""
    parts = re.split(r"[,x]", text.replace(" ", ""))
    if len(parts) in (1, 2) and all(part.isdecimal() for part in parts):
        return int(parts[0]), int(parts[-1])
    raise argparse.ArgumentTypeError(f"expected WIDTH or WIDTH,HEIGHT in pixels, found {text!r}")


def build_parser() -> CommandParser:
    """Return the parser of the command's flags."""
    parser = CommandParser(
        prog="make_scenes.py",
        description="Draw scenes of five kinds of object with their ground truth, as a Pascal VOC folder.",
    )
    parser.add_argument("--root", default="data/scenes", help="folder to write; new, or made by this command")
    parser.add_argument("--train", type=_parse_count, default=2000, help="number of scenes in the set train")
    parser.add_argument("--test", type=_parse_count, default=200, help="number of scenes in the set test")
    parser.add_argument("--seed", type=_parse_count, default=0, help="same seed, same scenes")
    parser.add_argument(
        "--size", type=_parse_size, default="256,256", metavar="WIDTH,HEIGHT", help="of the images, in pixels"
    )
    parser.add_argument(
        "--empty", type=float, default=0.03, help="share of scenes without objects, between 0 and 1"
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Write the sets and print where they are."""
    args = build_parser().parse_args(argv)
    from dataset.scenes import (
        CLASS_NAMES,
        write_scenes,
    )  # after the flags, because OpenCV and MXNet load slowly

    if not args.train and not args.test:
        raise ConfigError("--train 0 --test 0: nothing to draw: give one of them a number above 0")
    for set_name, count in (("train", args.train), ("test", args.test)):
        if count:
            write_scenes(
                args.root, count, seed=args.seed, size=args.size, set_name=set_name, empty_share=args.empty
            )
            print(f"{set_name}: {count} scenes in {args.root} ({', '.join(CLASS_NAMES)})")
    return 0

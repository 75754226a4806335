"""import_gluoncv.py: a detector of gluoncv's model zoo becomes a detector that every command takes."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from common.command import CommandParser, command, parse_shape, read_class_names
from common.errors import ConfigError, SSDError
from model import MODEL_FOLDER
from model.deployed import refuse_foreign, write_detector
from model.onnx_file import is_onnx
from symbol.gluon_ssd import gluon_ssd, ssd_names
from tools.gluoncv_importer.detector import Imported, import_detector

_SHOWN = 6  # names in a line


def build_parser() -> CommandParser:
    """Return the parser of import_gluoncv.py."""
    parser = CommandParser(
        prog="import_gluoncv.py",
        description="Import a detector of gluoncv: symbol, parameters and card. Nothing is downloaded.",
    )
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="in gluoncv's model zoo, such as ssd_512_resnet50_v1_voc"
    )
    parser.add_argument("--list", action="store_true", help="print the names there are")
    group = parser.add_argument_group("weights")
    group.add_argument(
        "--params",
        metavar="FILE",
        help="gluoncv's file (default: the one that `python model/download.py NAME` puts into model/)",
    )
    group.add_argument(
        "--random", type=int, metavar="SEED", help="random weights in place of a file's, for tests"
    )
    group = parser.add_argument_group("result")
    group.add_argument("--out", metavar="PREFIX", help="where to write (default model/NAME)")
    group.add_argument(
        "--epoch", type=int, default=0, metavar="N", help="number in the name of the parameters' file"
    )
    group.add_argument(
        "--class-names",
        metavar="A,B|FILE",
        help="in the order of their ids (default: those of VOC or COCO; the _custom ones need it)",
    )
    group.add_argument(
        "--data-shape",
        type=parse_shape,
        metavar="H[,W]",
        help="input height and width in pixels, for which the default boxes are laid out (default: as in NAME)",
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Import, write, and say what was made."""
    args = build_parser().parse_args(argv)
    if args.list:
        print("\n".join(ssd_names()))
        return 0
    if args.name is None:
        raise ConfigError("NAME: which detector of gluoncv? --list prints the names")
    if args.params and args.random is not None:
        raise ConfigError("--params and --random: give one of the two")
    if args.epoch < 0 or (args.random or 0) < 0:
        raise ConfigError("--epoch and --random: expected whole numbers of 0 or more")
    detector = gluon_ssd(args.name)
    path = None if args.random is not None else _params(args)
    out = args.out or str(MODEL_FOLDER / args.name)
    if is_onnx(out):
        raise ConfigError(f"--out {out}: is the name of an ONNX file: give it without .onnx")
    refuse_foreign(out, str(path or ""), made_from="gluoncv")
    imported = import_detector(
        detector,
        path,
        class_names=read_class_names(args.class_names) if args.class_names else (),
        data_shape=args.data_shape,
        seed=args.random or 0,
    )
    _write(out, args.epoch, imported)
    print(_summary(out, imported))
    return 0


def _params(args: argparse.Namespace) -> Path:
    """Return the file of weights.

    Raises:
        ConfigError: it is not there; the message tells how to get it.
    """
    if args.params:
        if not os.path.isfile(args.params):
            raise ConfigError(f"--params {args.params}: there is no such file")
        return Path(args.params)
    path = _downloaded(args.name)
    if path is None:
        raise ConfigError(
            f"{args.name}: gluoncv publishes no weights for it: give a file of your own by --params"
        )
    if not path.is_file():
        raise ConfigError(
            f"{path}: is not there: run `python model/download.py {args.name}`, or give a file by --params"
        )
    return path


def _downloaded(name: str) -> Path | None:
    """Return where the zoo's command puts a detector's weights; None where the zoo does not know it."""
    from model import zoo

    try:
        return zoo.local_path(zoo.find(name), MODEL_FOLDER)
    except SSDError:
        return None


def _write(out: str, epoch: int, imported: Imported) -> None:
    """Write symbol, parameters and card."""
    card = dataclasses.replace(imported.card, source={**imported.card.source, "epoch": epoch})
    write_detector(out, epoch, imported.symbol, imported.params, card)


def _summary(out: str, imported: Imported) -> str:
    """Return the lines that say what was written."""
    card = imported.card
    height, width = card.data_shape
    names = ", ".join(card.class_names[:_SHOWN]) + (", ..." if len(card.class_names) > _SHOWN else "")
    lines = [
        f"{out}: {card.source['gluoncv']}, {height}x{width}, {len(card.class_names)} classes ({names})",
        f"mean {_listed(card.mean)}, std {_listed(card.std)} (R,G,B, 0 to 255)",
    ]
    if imported.unknown:
        shown = ", ".join(imported.unknown[:_SHOWN]) + (", ..." if len(imported.unknown) > _SHOWN else "")
        lines.append(f"note: left out, for the detector has no such parameters: {shown}")
    if "random_seed" in card.source:
        lines.append(
            f"note: the weights are random (seed {card.source['random_seed']}): it finds nothing of use"
        )
    return "\n".join(lines)


def _listed(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)

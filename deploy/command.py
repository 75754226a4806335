"""deploy.py: takes the loss layers off a checkpoint, puts the detection tail on, writes PREFIX-deploy with its card.

Works on the graph alone, without the Python code that built the network. Nothing that changes results is folded in.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
from pathlib import Path

from common.command import CommandParser, add_switch, command, parse_shape, read_class_names
from common.errors import CheckpointError, ConfigError
from common.settings import with_flags
from detect.flags import DETECTION_FLAGS, add_mean_flags, find_prefix, stated_mean
from model.card import DEPLOYED, Card, card_path, read_card, write_card
from model.graph import inference_symbol, keep_used, num_classes_of
from model.parameters import check_fit
from model.saved import SavedDetector, epochs_on_disk, load, params_path, require_card, save, symbol_path
from symbol.presets import network_names


def build_parser() -> CommandParser:
    """Return the parser of deploy.py."""
    parser = CommandParser(
        prog="deploy.py", description="Write a detector for inference: image in, boxes out."
    )
    source = parser.add_argument_group("source")
    source.add_argument(
        "--prefix",
        required=True,
        metavar="PREFIX",
        help="of the trained detector; one that ends in _ gets NETWORK_SHAPE appended",
    )
    source.add_argument("--epoch", metavar="best|last|N", help="which epoch (default best, else last)")
    source.add_argument("--out", metavar="PREFIX", help="where to write (default PREFIX-deploy)")
    bare = parser.add_argument_group("for files without a card (mxnet-ssd's own)")
    bare.add_argument("--network", metavar="NAME", help=", ".join(network_names()))
    bare.add_argument(
        "--data-shape", type=parse_shape, metavar="H[,W]", help="input height and width in pixels"
    )
    bare.add_argument("--class-names", metavar="A,B|FILE", help="in the order of their ids")
    bare.add_argument("--num-class", type=int, metavar="N", help="check that the graph has that many classes")
    add_mean_flags(bare)
    tail = parser.add_argument_group("detection tail (default: as the card says)")
    tail.add_argument("--nms", type=float, metavar="X", help="IoU of non-maximum suppression")
    tail.add_argument(
        "--nms-mode", metavar="MODE", help="per_class, or multibox: one class for each default box"
    )
    tail.add_argument(
        "--topk", "--nms-topk", type=int, metavar="N", help="candidates of a class before suppression"
    )
    tail.add_argument("--keep-topk", type=int, metavar="N", help="detections of an image after it")
    tail.add_argument("--score-threshold", type=float, metavar="X", help="least score")
    add_switch(tail, "--force", default=None, help="suppress across classes")
    return parser


@command
def main(argv: list[str] | None = None) -> int:
    """Run deploy.py.

    Args:
        argv: flags, those of the process where None.
    """
    args = build_parser().parse_args(argv)
    prefix = find_prefix(args)
    saved = load(prefix, args.epoch)
    card = _card(args, saved)
    out = args.out or f"{prefix}-deploy"
    refuse_foreign(out, prefix)
    symbol, params = deploy(saved, card)
    card = dataclasses.replace(
        card,
        graph=DEPLOYED,
        interrupted=None,
        source={"prefix": Path(prefix).name, "epoch": saved.epoch},
        epochs={saved.epoch: _kept_entry(card, saved.epoch)},
    )
    _write(out, saved.epoch, symbol, params, card)
    tail = card.detection
    across = ", across classes" if tail.force else ""
    print(
        f"{out}: epoch {saved.epoch} of {prefix}, {card.data_shape[0]}x{card.data_shape[1]},"
        f" {card.num_classes} classes; score > {tail.score_threshold:g}, NMS {tail.nms_mode} at {tail.nms_threshold:g}"
        f"{across}, at most {tail.keep_topk} detections"
    )
    return 0


def deploy(saved: SavedDetector, card: Card) -> tuple:
    """Return a detector's inference graph and the parameters that it uses.

    Args:
        saved: a training checkpoint, or a deployed detector whose tail is to change.
        card: what it is, with the detection settings for the new tail.

    Returns:
        (symbol, (arg_params, aux_params)).

    Raises:
        CheckpointError: the graph is not an SSD's, or the parameters do not fit it.
    """
    name = str(symbol_path(saved.prefix))
    found = num_classes_of(saved.symbol, card.data_shape, name)
    if found != card.num_classes:
        raise CheckpointError(
            f"{name}: its heads are made for {found} classes, there are {card.num_classes} names: mend --class-names"
        )
    symbol = inference_symbol(saved.symbol, card.num_classes, card.anchors.variances, card.detection, name)
    params = keep_used(symbol, saved.arg_params, saved.aux_params)
    check_fit(symbol, *params, card.data_shape, str(params_path(saved.prefix, saved.epoch)))
    return symbol, params


def refuse_foreign(out: str, source: str) -> None:
    """Refuse to write over the source, or over anything that deploy.py did not write.

    Args:
        out: prefix to write.
        source: prefix that is read.

    Raises:
        ConfigError: it is one of these.
    """
    if out.endswith(("/", os.sep)):
        raise ConfigError(f"--out {out}: is a folder: give the beginning of the files' names too")
    if Path(out).resolve() == Path(source).resolve():
        raise ConfigError(f"--out {out}: is the source itself, which would be lost: give another prefix")
    card = read_card(out)
    there = [params_path(out, number) for number in epochs_on_disk(out)]
    if card is None:
        foreign = [path for path in (symbol_path(out), *there) if path.exists()]
    elif card.graph != DEPLOYED:
        foreign = [card_path(out)]
    else:
        foreign = [path for path in there if path not in _own_params(out, card)]
    if foreign:
        raise ConfigError(
            f"{foreign[0]}: is there and was not written by deploy.py: give another prefix by --out"
        )


def _own_params(out: str, card: Card) -> list[Path]:
    """Return the parameter files that an earlier deploy.py wrote, or was about to write."""
    numbers = {*card.epochs, card.source.get("epoch")}
    return [params_path(out, number) for number in sorted(n for n in numbers if isinstance(n, int))]


def _write(out: str, epoch: int, symbol, params: tuple[dict, dict], card: Card) -> None:
    """Write the detector whole beside its place, then let it take the place of what an earlier deploy.py wrote.

    Raises:
        ConfigError: there is no room, or no right to write; what was there is there still.
    """
    place = Path(out)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as folder:
            whole = Path(folder) / place.name
            save(whole, epoch, symbol, params, card)
            _claim(out, card)
            os.replace(symbol_path(whole), symbol_path(out))
            os.replace(params_path(whole, epoch), params_path(out, epoch))
            os.replace(card_path(whole), card_path(out))
    except OSError as error:
        raise ConfigError(
            f"{out}: cannot be written ({error.strerror or error}): choose another --out"
        ) from error


def _claim(out: str, card: Card) -> None:
    """Remove what an earlier deploy.py wrote at this prefix, and say in a card without epochs whose it is from now on.

    Killed at any moment, deploy.py finds its own files here when it is run again.
    """
    old = read_card(out)
    for path in _own_params(out, old) if old else ():
        path.unlink(missing_ok=True)
    write_card(out, dataclasses.replace(card, epochs={}, best=None, last=None))


def _card(args: argparse.Namespace, saved: SavedDetector) -> Card:
    """Return the card, with the flags put over it."""
    stated = {"data_shape": args.data_shape, "mean": stated_mean(args, saved)}
    if args.class_names:
        stated["class_names"] = read_class_names(args.class_names)
    if saved.card is None:
        stated["network"] = args.network
    elif args.network and saved.card.network and args.network != saved.card.network:
        raise ConfigError(
            f"{saved.prefix}: its card says {saved.card.network}, not --network {args.network}: check --prefix"
        )
    card = require_card(saved, stated)
    if args.num_class is not None and args.num_class != card.num_classes:
        raise ConfigError(
            f"--num-class {args.num_class}: the detector has {card.num_classes}: leave the flag out"
        )
    flags = {**DETECTION_FLAGS, "nms_topk": "--topk", "score_threshold": "--score-threshold"}
    return dataclasses.replace(card, detection=with_flags(card.detection, args, flags))


def _kept_entry(card: Card, epoch: int) -> dict:
    """Return what the card says of an epoch, without the hashes of files that are not carried over."""
    entry = card.epochs.get(epoch, {})
    return {name: value for name, value in entry.items() if not name.endswith("sha256")}

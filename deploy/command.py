"""deploy.py: takes the loss layers off a checkpoint, puts the detection tail on, writes PREFIX-deploy with its card.

With --onnx the same becomes one ONNX file, PREFIX.onnx; with --quantize int8 a detector that computes in int8,
PREFIX-deploy-int8. Works on the graph alone, without the Python code that built the network. The graph is made faster
(model/optimize.py) unless --no-optimize says otherwise; what comes out is held to the plain graph first.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path

import numpy as np

from common.command import CommandParser, add_switch, command, parse_shape, read_class_names
from common.errors import CheckpointError, ConfigError
from common.settings import with_flags
from deploy.quantize import prepare_process, quantize_detector
from deploy.quantize_flags import add_quantize_flags, quantize_settings
from detect.flags import DETECTION_FLAGS, add_mean_flags, find_prefix, stated_mean
from model.card import DEPLOYED, Card
from model.deployed import refuse_foreign, write_detector
from model.graph import inference_symbol, keep_used, num_classes_of
from model.old_files import completed
from model.onnx_export import refuse_foreign_file, refuse_quantised, write_onnx
from model.onnx_file import FLOAT, INSIDE, OUTSIDE, SUFFIX, UINT8, ExportSettings, is_onnx
from model.optimize import largest_difference, optimize
from model.parameters import check_fit
from model.quantize_graph import is_quantised
from model.saved import SavedDetector, load, params_path, require_card, symbol_path
from symbol.presets import network_names

log = logging.getLogger(__name__)

_MOST_DIFFERENCE = 1e-4  # of the heads, relative, between the plain graph and the faster one


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
    source.add_argument(
        "--out",
        metavar="PREFIX",
        help="where to write (default PREFIX-deploy, with --quantize PREFIX-deploy-int8); with --onnx a file (default"
        " PREFIX.onnx)",
    )
    add_switch(
        source,
        "--optimize",
        default=True,
        help="make the graph faster, with equal results: BatchNorm folded, heads merged, default boxes a constant"
        " (default True; an ONNX file is made from the plain graph)",
    )
    _add_onnx_flags(parser)
    add_quantize_flags(parser)
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


def _add_onnx_flags(parser: CommandParser) -> None:
    """Add the flags of the ONNX export; None stands for what is not given."""
    group = parser.add_argument_group("ONNX")
    group.add_argument("--onnx", action="store_true", help="write an ONNX file in place of MXNet's files")
    group.add_argument(
        "--onnx-nms",
        choices=(INSIDE, OUTSIDE),
        help="inside: outputs boxes, scores, classes, num (default); outside: scores and boxes of all default boxes",
    )
    add_switch(
        group, "--dynamic-batch", default=None, help="take any number of images at once (default: one)"
    )
    group.add_argument(
        "--onnx-input",
        choices=(FLOAT, UINT8),
        help="float: (N, 3, H, W), 0 to 255 (default); uint8: (N, H, W, 3); RGB both",
    )


@command
def main(argv: list[str] | None = None) -> int:
    """Run deploy.py.

    Args:
        argv: flags, those of the process where None.

    Returns:
        1 where --quantize finds nothing that keeps the mAP, else 0.
    """
    args = build_parser().parse_args(argv)
    settings, quantising = _onnx_settings(args), quantize_settings(args)
    if quantising:
        prepare_process(args.quantize)
    prefix = find_prefix(args)
    if is_onnx(prefix):
        raise ConfigError(f"--prefix {prefix}: is an ONNX file: give the prefix that it was made from")
    saved = completed(load(prefix, args.epoch, need_graph=False), _stated(args))
    card = _card(args, saved)
    out = args.out or _default_out(prefix, args)
    if is_onnx(out) and not settings:
        raise ConfigError(f"--out {out}: is the name of an ONNX file: give --onnx too, or another prefix")
    if settings:
        refuse_quantised(saved, card)
        refuse_foreign_file(out)
    else:
        refuse_foreign(out, prefix, made_from="prefix")
    symbol, params = deploy(saved, card)
    if settings:
        write_onnx(SavedDetector(prefix, saved.epoch, symbol, *params, saved.card), card, out, settings)
    else:
        if args.optimize:
            symbol, params = optimized(symbol, params, card, prefix)
        if quantising:
            plain = SavedDetector(prefix, saved.epoch, symbol, *params, card)
            made = quantize_detector(args, plain, quantising)
            if made is None:
                return 1
            symbol, params, card = made.symbol, made.params, made.card
        _write(out, prefix, saved.epoch, symbol, params, card)
    print(_summary(out, prefix, saved.epoch, card, settings))
    return 0


def _default_out(prefix: str, args: argparse.Namespace) -> str:
    """Return where to write without --out."""
    if args.onnx:
        return f"{prefix}{SUFFIX}"
    return f"{prefix}-deploy-{args.quantize}" if args.quantize else f"{prefix}-deploy"


def _write(out: str, prefix: str, epoch: int, symbol, params: tuple[dict, dict], card: Card) -> None:
    """Write MXNet's files, with a card that says where they came from."""
    card = dataclasses.replace(
        card,
        graph=DEPLOYED,
        interrupted=None,
        source={"prefix": Path(prefix).name, "epoch": epoch},
        epochs={epoch: _kept_entry(card, epoch)},
    )
    write_detector(out, epoch, symbol, params, card)


def _onnx_settings(args: argparse.Namespace) -> ExportSettings | None:
    """Return what the flags of the ONNX export say, None without --onnx.

    Raises:
        ConfigError: there are some and --onnx is missing.
    """
    given = {"nms": args.onnx_nms, "dynamic_batch": args.dynamic_batch, "layout": args.onnx_input}
    given = {name: value for name, value in given.items() if value is not None}
    if args.onnx:
        return ExportSettings(**given)
    if given:
        raise ConfigError("--onnx-nms, --dynamic-batch and --onnx-input are for ONNX files: give --onnx too")
    return None


def _summary(out: str, prefix: str, epoch: int, card: Card, settings: ExportSettings | None) -> str:
    """Return the line that says what was written."""
    tail = card.detection
    across = ", across classes" if tail.force else ""
    found = (
        f"score > {tail.score_threshold:g}, NMS {tail.nms_mode} at {tail.nms_threshold:g}"
        f"{across}, at most {tail.keep_topk} detections"
    )
    if settings:
        found = "scores and boxes without NMS" if settings.nms == OUTSIDE else found
        found += f"; {settings.layout} input, {'any batch' if settings.dynamic_batch else 'one image'}"
        found += "; onnxruntime finds what MXNet finds"
    height, width = card.data_shape
    return f"{out}: epoch {epoch} of {prefix}, {height}x{width}, {card.num_classes} classes; {found}"


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


def optimized(symbol, params: tuple[dict, dict], card: Card, prefix: str) -> tuple:
    """Return a detector's graph made faster, and its parameters; the plain ones where the results would differ.

    Args:
        symbol: the inference graph.
        params: (arg_params, aux_params).
        card: what it is.
        prefix: of the detector, for messages.
    """
    name = str(symbol_path(prefix))
    if card.quantization or is_quantised(symbol):  # fused already
        return symbol, params
    faster = optimize(symbol, params, card.data_shape, name)
    noise = np.random.default_rng(0).normal(0, 1, (2, 3, *card.data_shape))
    batch = (64 * noise / np.array(card.std)[:, None, None]).astype(np.float32)
    difference = largest_difference((symbol, params), (faster.symbol, faster.params), batch)
    if difference <= _MOST_DIFFERENCE:
        return faster.symbol, faster.params
    log.warning(
        f"{prefix}: the optimised graph differs from the plain one by {difference:g} of the largest prediction, more"
        f" than {_MOST_DIFFERENCE:g}: the plain one is written, as with --no-optimize"
    )
    return symbol, params


def _stated(args: argparse.Namespace) -> dict:
    """Return what the flags say of a detector, None for what they do not."""
    return {
        "network": args.network,
        "data_shape": args.data_shape,
        "class_names": read_class_names(args.class_names) if args.class_names else None,
    }


def _card(args: argparse.Namespace, saved: SavedDetector) -> Card:
    """Return the card, with the flags put over it."""
    stated = {**_stated(args), "mean": stated_mean(args, saved)}
    if saved.card is not None:
        del stated["network"]
    if saved.card is not None and args.network and saved.card.network and args.network != saved.card.network:
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

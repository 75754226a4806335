"""convert_model.py: a Caffe SSD becomes a detector that every command takes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from common.command import CommandParser, add_switch, command, parse_numbers, parse_shape, read_class_names
from common.errors import CheckpointError, ConfigError
from common.files import write_text
from model.card import DEPLOYED, card_path, read_card
from model.deployed import refuse_foreign, write_detector
from model.onnx_file import is_onnx
from model.parameters import join_params, save_arrays
from model.saved import params_path, symbol_path
from tools.caffe_converter.convert import EPOCH, Model, convert_model, make_card, source_of
from tools.caffe_converter.labelmap import read_label_map
from tools.caffe_converter.preprocessing import Preprocessing, preprocessing
from tools.caffe_converter.prototxt import shown


def build_parser() -> CommandParser:
    """Return the parser of convert_model.py."""
    parser = CommandParser(
        prog="convert_model.py",
        description="Convert a Caffe model to a detector: symbol, parameters and card. Caffe is not needed.",
        epilog="A net without DetectionOutput keeps its outputs as they are and gets no card.",
    )
    parser.add_argument("prototxt", help="the net, best its deploy.prototxt")
    parser.add_argument("caffemodel", help="its weights")
    parser.add_argument("prefix", help="where to write: PREFIX-symbol.json, PREFIX-0000.params, PREFIX.json")
    add_net_flags(parser)
    group = parser.add_argument_group("images")
    group.add_argument(
        "--mean",
        type=parse_numbers,
        metavar="R,G,B",
        help="taken away from pixels, 0 to 255; beware: Caffe's own files say B,G,R"
        " (default: --train-prototxt's, else 123,117,104)",
    )
    group.add_argument(
        "--scale", type=float, metavar="X", help="that Caffe multiplies by then (default: prototxt's, else 1)"
    )
    group.add_argument(
        "--train-prototxt",
        metavar="FILE",
        help="a net whose data layer says mean and scale (transform_param)",
    )
    group = parser.add_argument_group("classes")
    group.add_argument(
        "--class-names",
        metavar="A,B|FILE",
        help="without the background: comma list, text file, or labelmap.prototxt (default: the labels' numbers)",
    )
    add_switch(
        parser, "--overwrite", default=False, help="replace what lies at PREFIX and is no detector of ours"
    )
    return parser


def add_net_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that decide the graph."""
    group = parser.add_argument_group("net")
    group.add_argument(
        "--data-shape",
        type=parse_shape,
        metavar="H[,W]",
        help="input height and width in pixels (default: the prototxt's)",
    )
    add_switch(
        group,
        "--truncate-sizes",
        default=True,
        help="PriorBox cuts min_size and max_size to whole pixels, as Caffe does; OpenCV does not",
    )


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Convert, write, and say what was made."""
    args = build_parser().parse_args(argv)
    _check_target(args)
    done = preprocessing(args.mean, args.scale, args.train_prototxt, args.prototxt)
    model = convert_model(
        args.prototxt,
        args.caffemodel,
        data_shape=args.data_shape,
        truncate_sizes=args.truncate_sizes,
        input_scale=done.scale,
    )
    for note in model.notes:
        print(f"note: {note}")
    if model.converted.heads is None:
        _write_bare(args, model, done)
    else:
        _write_detector(args, model, done)
    return 0


def check_outputs(inputs: Sequence[str | None], outputs: Sequence[Path]) -> None:
    """Refuse to write over what is read, whatever the flags.

    Raises:
        ConfigError: names the file.
    """
    read = {Path(path).resolve() for path in inputs if path}
    for path in outputs:
        if path.resolve() in read:
            raise ConfigError(f"{path}: would be written over, and is read: give another name")


def _check_target(args: argparse.Namespace) -> None:
    """Refuse to write over what this command did not write; --overwrite replaces all but runs and sources.

    Raises:
        ConfigError: something else lies at the prefix.
    """
    prefix = args.prefix
    if not Path(prefix).name or prefix.endswith(("/", os.sep)):
        raise ConfigError(f"PREFIX {prefix!r}: expected a path that ends in a name, like model/face")
    if is_onnx(prefix):
        raise ConfigError(f"PREFIX {prefix}: is the name of an ONNX file: give it without .onnx")
    written = [symbol_path(prefix), params_path(prefix, EPOCH), card_path(prefix)]
    names = args.class_names if args.class_names and Path(args.class_names).exists() else None
    check_outputs((args.prototxt, args.caffemodel, args.train_prototxt, names), written)
    if args.overwrite:
        try:
            card = read_card(prefix)
        except CheckpointError:
            return  # no card of ours
        if card is not None and card.graph != DEPLOYED:
            raise ConfigError(
                f"{card_path(prefix)}: is a training run's, which would be lost: give another PREFIX"
            )
        return
    refuse_foreign(prefix, args.caffemodel, made_from="caffemodel", flag="PREFIX")
    if card_path(prefix).exists():
        return
    for path in written:
        if path.exists():
            raise ConfigError(f"{path}: is there: give another PREFIX, or --overwrite")


def _write_detector(args: argparse.Namespace, model: Model, done: Preprocessing) -> None:
    """Write symbol, parameters and card."""
    heads = model.converted.heads
    card = make_card(
        model.converted,
        done,
        _class_names(args.class_names, model),
        source_of(args.prototxt, args.caffemodel),
    )
    write_detector(args.prefix, EPOCH, model.converted.symbol, model.params, card)
    height, width = card.data_shape
    tail = heads.detection
    print(
        f"{args.prefix}: {height}x{width}, {card.num_classes} classes, {heads.count} default boxes; score >"
        f" {tail.score_threshold:g}, NMS at {tail.nms_threshold:g}, at most {tail.keep_topk} detections"
    )
    means = ",".join(f"{value:g}" for value in done.mean)
    print(f"mean {means} (R,G,B), scale {done.scale:g}: {done.source}")
    if args.class_names is None:
        print("note: the classes are called by their labels; --class-names gives them names")


def _class_names(text: str | None, model: Model) -> tuple[str, ...] | None:
    """Return the class names that --class-names means."""
    if text is None:
        return None
    path = Path(text)
    if path.is_dir():
        raise ConfigError(
            f"--class-names {text}: is a folder: give names, a text file or a labelmap.prototxt"
        )
    if path.suffix in (".prototxt", ".pbtxt") or (
        path.is_file() and path.read_bytes()[:64].split()[:1] == [b"item"]
    ):
        return read_label_map(text, background_label_id=_background(model))
    return read_class_names(text)


def _background(model: Model) -> int:
    """Return Caffe's label of the background, -1 where there is none."""
    labels = model.converted.heads.labels
    return next((label for label in range(len(labels) + 1) if label not in labels), -1)


def _write_bare(args: argparse.Namespace, model: Model, done: Preprocessing) -> None:
    """Write a net without DetectionOutput: symbol and parameters.

    Raises:
        ConfigError: a detector lies at the prefix, whose card would not fit any more.
    """
    prefix = args.prefix
    if card_path(prefix).exists():
        raise ConfigError(
            f"{card_path(prefix)}: is there, and this net has no DetectionOutput, so no card: give another PREFIX"
        )
    if args.class_names:
        raise ConfigError("--class-names: the net has no DetectionOutput, so no classes: leave the flag out")
    write_text(symbol_path(prefix), model.converted.symbol.tojson())
    save_arrays(params_path(prefix, EPOCH), join_params(*model.params))
    print(
        f"{prefix}: no DetectionOutput, so no detector and no card; outputs:"
        f" {', '.join(map(shown, model.converted.outputs))}"
    )
    means = ",".join(f"{value:g}" for value in done.mean)
    rest = f", then multiply by {model.converted.input_scale:g}" if model.converted.input_scale != 1 else ""
    print(f"input data: RGB, take away mean {means}{rest} ({done.source})")

"""tools/visualize_net.py: the table of a network's layers, and its picture by graphviz where that is installed.

The network is one by name with the options of train.py, or that of a saved detector. Deviations from mxnet-ssd: the
input's size stands in the names of training graphs too, and training draws nothing.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from common.command import CommandParser, add_switch, command, parse_whole
from common.errors import ConfigError, DependencyError
from common.files import atomic_path, write_text
from model.card import Card, read_card
from model.graph import (
    anchors_in_graph,
    has_heads,
    inference_symbol,
    is_training,
    load_symbol,
    num_classes_of,
)
from model.onnx_file import is_onnx
from model.saved import symbol_path
from symbol.config import NetworkConfig
from symbol.counts import layers
from symbol.detection import DetectionConfig, detection_symbol
from symbol.layer_table import layer_table
from symbol.loss import LossConfig, training_symbol
from symbol.network import heads
from symbol.picture import dot_text
from symbol.presets import network_config
from symbol.presets.options import NetworkOptions
from train.network_flags import add_network_flags, chosen_name, chosen_network

FORMATS = ("png", "svg", "pdf")
_OBJECTS = 8  # rows of the label of a training graph; any number does
_PATIENCE = 120  # seconds for graphviz


@dataclass(frozen=True)
class Drawn:
    """A graph to be shown.

    Attributes:
        symbol: the graph.
        data_shape: (height, width) of its input.
        name: of its files, without ending.
        title: of its picture.
        extras: what the names of its extra blocks' layers begin with.
    """

    symbol: object
    data_shape: tuple[int, int]
    name: str
    title: str
    extras: tuple[str, ...]


def build_parser() -> CommandParser:
    """Return the command's parser."""
    parser = CommandParser(
        prog="visualize_net.py", description="Print a network's layers and draw its graph, by graphviz."
    )
    add_network_flags(parser.add_argument_group("network, as train.py takes it"))
    parser.add_argument(
        "--num-classes", "--num-class", type=parse_whole, default=20, metavar="N", help="foreground classes"
    )
    parser.add_argument("--prefix", metavar="PREFIX", help="of a saved detector, in place of --network")
    add_switch(parser, "--train", default=False, help="the training graph, with its losses")
    parser.add_argument("--output-dir", default="output", metavar="FOLDER", help="for the picture")
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="of the picture")
    add_switch(parser, "--print-net", default=False, help="print the graph as JSON too")
    return parser


@command
def main(argv: list[str] | None = None) -> int:
    """Print the table, write the picture, or say what is missing for it."""
    args = build_parser().parse_args(argv)
    drawn = _saved(args) if args.prefix else _by_name(args)
    inputs = {"data": (1, 3, *drawn.data_shape)}
    if is_training(drawn.symbol):
        inputs["label"] = (1, _OBJECTS, 6)
    counted = layers(drawn.symbol, **inputs)
    if args.print_net:
        print(drawn.symbol.tojson())
    print(drawn.title)
    print(layer_table(counted))
    text = Path(args.output_dir) / f"{drawn.name}.dot"
    write_text(text, dot_text(counted, drawn.title, extras=drawn.extras))
    print(_draw(text, args.format))
    return 0


def _by_name(args: argparse.Namespace) -> Drawn:
    """Return the graph of a network by its name, with the options of the flags."""
    config = chosen_network(args, args.num_classes)
    symbol, variances = heads(config), config.anchors.variances
    if args.train:
        symbol = training_symbol(symbol, config.num_classes, variances, LossConfig())
    else:
        symbol = detection_symbol(*symbol, config.num_classes, variances, DetectionConfig())
    network, shape = chosen_name(args), _shape_text(config.data_shape)
    kind = "train" if args.train else "test"
    name = f"ssd_{re.sub(r'[^0-9A-Za-z._-]+', '_', network).strip('_')}_{shape}_{kind}"
    title = f"{network}, {shape}, {config.num_classes} classes ({kind})"
    return Drawn(symbol, config.data_shape, name, title, _extras(config))


def _saved(args: argparse.Namespace) -> Drawn:
    """Return the graph of a saved detector, with its losses or, by default, as it detects."""
    prefix = args.prefix
    if is_onnx(prefix):
        raise ConfigError(f"--prefix {prefix}: is an ONNX file: give the prefix that it was made from")
    card, path = read_card(prefix), symbol_path(prefix)
    symbol = load_symbol(path)
    shape = args.data_shape or (card.data_shape if card else None)
    if shape is None:
        raise ConfigError(f"{prefix}: has no card that says its input: give --data-shape")
    if args.train and not is_training(symbol):
        raise ConfigError(f"{path}: has no losses in it, it is not a training graph: leave --train out")
    classes = num_classes_of(symbol, shape, str(path)) if has_heads(symbol) else 0
    if is_training(symbol) and not args.train:
        symbol = _detecting(symbol, classes, card, str(path))
    kind, text = "train" if args.train else "test", _shape_text(shape)
    title = f"{Path(prefix).name}{f' ({card.network})' if card and card.network else ''}, {text}"
    title += f", {classes} classes ({kind})" if classes else f" ({kind})"
    return Drawn(symbol, shape, f"{Path(prefix).name}_{text}_{kind}", title, _extras_of_card(card))


def _detecting(symbol, classes: int, card: Card | None, name: str):
    """Return the inference graph of a training graph."""
    anchors = card.anchors if card else anchors_in_graph(symbol)
    variances = anchors.variances if anchors else (0.1, 0.1, 0.2, 0.2)
    return inference_symbol(symbol, classes, variances, card.detection if card else DetectionConfig(), name)


def _extras(config: NetworkConfig) -> tuple[str, ...]:
    return tuple(feature.layer for feature in config.features if feature.extra is not None)


def _extras_of_card(card: Card | None) -> tuple[str, ...]:
    """Return what the extra blocks' names begin with; nothing where the network is not known here."""
    try:
        options = NetworkOptions.from_dict(card.network_options) if card else None
        return _extras(network_config(card.network, card.data_shape, 1, options=options)) if card else ()
    except ConfigError:
        return ()


def _shape_text(shape: tuple[int, int]) -> str:
    height, width = shape
    return str(height) if height == width else f"{height}x{width}"


def _draw(text: Path, kind: str) -> str:
    """Draw DOT text by graphviz and return the line that says what was written, or what is missing.

    Raises:
        DependencyError: graphviz fails, or takes too long.
    """
    program, picture = shutil.which("dot"), text.with_suffix(f".{kind}")
    if program is None:
        return (
            f"written: {text}; no picture: graphviz is not installed (apt-get install graphviz), then:"
            f" dot -T{kind} {text} -o {picture}"
        )
    with atomic_path(picture) as temporary:
        try:
            done = subprocess.run(
                [program, f"-T{kind}", str(text), "-o", str(temporary)],
                check=False,
                capture_output=True,
                text=True,
                timeout=_PATIENCE,
            )
        except (subprocess.TimeoutExpired, OSError) as error:
            raise DependencyError(f"{program}: {error}; the graph itself is kept in {text}") from error
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[0]
            raise DependencyError(f"{program}: {reason}; the graph itself is kept in {text}")
    return f"written: {picture}, {text}"

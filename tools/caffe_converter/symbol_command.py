"""convert_symbol.py: the graph of a prototxt, without weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.command import CommandParser, add_switch, command
from common.errors import ConfigError
from common.files import write_text
from model.card import card_path
from tools.caffe_converter.convert import convert_graph
from tools.caffe_converter.model_command import add_net_flags, check_outputs
from tools.caffe_converter.prototxt import shown


def build_parser() -> CommandParser:
    """Return the parser of convert_symbol.py."""
    parser = CommandParser(
        prog="convert_symbol.py",
        description="Convert the net of a prototxt to a symbol. The weights' part is done by convert_model.py.",
    )
    parser.add_argument("prototxt", help="the net, best its deploy.prototxt")
    parser.add_argument("symbol", help="the JSON file to write, like PREFIX-symbol.json")
    add_net_flags(parser)
    add_switch(parser, "--overwrite", default=False, help="replace the file where it is there")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Convert, write, and say what the graph takes and gives."""
    args = build_parser().parse_args(argv)
    check_outputs([args.prototxt], [Path(args.symbol)])
    prefix = args.symbol[: -len("-symbol.json")] if args.symbol.endswith("-symbol.json") else ""
    if prefix and card_path(prefix).exists():
        raise ConfigError(
            f"{args.symbol}: is the graph of a detector (its card lies beside it): give another name"
        )
    if Path(args.symbol).exists() and not args.overwrite:
        raise ConfigError(f"{args.symbol}: is there: give another name, or --overwrite")
    converted = convert_graph(args.prototxt, data_shape=args.data_shape, truncate_sizes=args.truncate_sizes)
    for note in converted.graph.notes:
        print(f"note: {note}")
    write_text(args.symbol, converted.symbol.tojson())
    height, width = converted.data_shape
    print(f"{args.symbol}: data (N, 3, {height}, {width}) to {', '.join(map(shown, converted.outputs))}")
    for name, shape in converted.constant_shapes().items():
        print(f"  {name} {shape}: a constant that convert_model.py fills in")
    return 0

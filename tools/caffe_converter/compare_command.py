"""compare_layers.py: every blob of a converted net against OpenCV's DNN module, as a table of differences."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence

import numpy as np

from common import images
from common.command import CommandParser, command
from common.errors import ConfigError
from common.mx import cv2, mx
from model.graph import keep_used
from tools.caffe_converter.convert import Model, convert_model
from tools.caffe_converter.model_command import add_net_flags
from tools.caffe_converter.opencv import OpenCVNet, detections_of
from tools.caffe_converter.values import Priors

_RELATIVE = 1e-3  # of a blob's greatest value


def build_parser() -> CommandParser:
    """Return the parser of compare_layers.py."""
    parser = CommandParser(
        prog="compare_layers.py",
        description="Run a converted net and OpenCV's DNN module on one image and print how far apart each blob is.",
        epilog="Exit code 1: a blob differs by more than --tolerance of its greatest value. OpenCV does not cut"
        " PriorBox's sizes to whole pixels (--no-truncate-sizes compares its way), clips boxes where `clip` is not"
        " given, and computes depthwise convolutions on 1x1 maps wrongly. Without keep_top_k detections are not"
        " compared.",
    )
    parser.add_argument("prototxt", help="the net")
    parser.add_argument("caffemodel", help="its weights")
    add_net_flags(parser)
    group = parser.add_argument_group("image")
    group.add_argument("--image", metavar="FILE", help="a picture (default: random numbers)")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of the random numbers")
    parser.add_argument(
        "--tolerance", type=float, default=_RELATIVE, metavar="X", help="relative to a blob's greatest value"
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; return 1 where a blob differs too much."""
    args = build_parser().parse_args(argv)
    if args.seed < 0:
        raise ConfigError(f"--seed {args.seed}: expected 0 or more")
    if not 0 < args.tolerance < np.inf:
        raise ConfigError(f"--tolerance {args.tolerance}: expected a number above 0")
    model = convert_model(
        args.prototxt,
        args.caffemodel,
        every_layer=True,
        data_shape=args.data_shape,
        truncate_sizes=args.truncate_sizes,
    )
    image = _image(args, model.converted.data_shape)
    rows = compare(model, OpenCVNet(args.prototxt, args.caffemodel), image)
    wrong = [row for row in rows if not row["difference"] <= args.tolerance * max(row["greatest"], 1e-3)]
    print(_table(rows, wrong))
    print(f"{len(rows)} blobs, {len(wrong)} differ by more than {args.tolerance:g} of their greatest value")
    return 1 if wrong else 0


def _image(args: argparse.Namespace, data_shape: tuple[int, int]) -> np.ndarray:
    """Return the input, (1, 3, H, W) float32 RGB, without a mean."""
    height, width = data_shape
    if args.image is None:
        return np.random.default_rng(args.seed).uniform(-128, 128, (1, 3, height, width)).astype(np.float32)
    pixels = cv2.resize(images.read(args.image), (width, height))
    return pixels.astype(np.float32).transpose(2, 0, 1)[None] - 110


def compare(model: Model, other: OpenCVNet, image: np.ndarray) -> list[dict]:
    """Compare each layer's first blob, and what is detected.

    Args:
        model: converted.
        other: the same net.
        image: (1, 3, H, W) float32 RGB.

    Returns:
        For each layer name, type, shape, greatest (absolute value of OpenCV's blob) and difference (the greatest one;
        infinite where shapes differ).
    """
    before: Counter[str] = Counter()
    tops = []
    for layer, values in model.converted.graph.tops:
        name = other.name_of(layer, before[layer.name])
        before[layer.name] += 1
        if name:
            tops.append((name, layer, values[0]))
    theirs = other.forward(image[:, ::-1], [name for name, _, _ in tops])
    ours = _run(model, [value for _, _, value in tops], image)
    rows = [_row(layer, mine, blob) for (_, layer, _), mine, blob in zip(tops, ours, theirs)]
    return rows + _detection_rows(model, other, image)


def _run(model: Model, values: list, image: np.ndarray) -> list[np.ndarray]:
    """Return our blobs, channels in Caffe's order."""
    symbols = [value.symbol for value in values if not isinstance(value, Priors)]
    computed = iter(forward(mx.sym.Group(symbols), model.params, image) if symbols else [])
    blobs = []
    for value in values:
        blob = value.array() if isinstance(value, Priors) else next(computed)
        blobs.append(blob[:, ::-1] if getattr(value, "reversed_channels", False) else blob)
    return blobs


def forward(symbol, params: tuple[dict, dict], image: np.ndarray) -> list[np.ndarray]:
    """Run a graph on the CPU.

    Args:
        symbol: with the input `data`.
        params: (arg_params, aux_params), more than it needs or not.
        image: (N, 3, H, W).
    """
    arguments = set(symbol.list_arguments())
    args, aux = keep_used(symbol, *params)
    # As for training: an executor for inference fuses layers, and gives wrong values where both ends are outputs.
    requests = {name: "write" if name == "data" else "null" for name in symbol.list_arguments()}
    if "data" in arguments:
        args["data"] = mx.nd.array(image)
    gradients = {"data": mx.nd.zeros(image.shape)} if "data" in arguments else None
    executor = symbol.bind(mx.cpu(), args, args_grad=gradients, aux_states=aux, grad_req=requests)
    return [output.asnumpy() for output in executor.forward(is_train=False)]


def _row(layer, mine: np.ndarray, theirs: np.ndarray) -> dict:
    same = mine.size == theirs.size
    return {
        "name": layer.name,
        "type": layer.type,
        "shape": "x".join(map(str, mine.shape)),
        "greatest": float(np.abs(theirs).max(initial=0)),
        "difference": float(np.abs(mine.ravel() - theirs.ravel()).max(initial=0)) if same else float("inf"),
    }


def _detection_rows(model: Model, other: OpenCVNet, image: np.ndarray) -> list[dict]:
    """Return the row of the DetectionOutput; none where the net has none."""
    heads = model.converted.heads
    if heads is None or heads.detection.keep_topk < 0:  # OpenCV writes beyond its memory without keep_top_k
        return []
    mine = forward(model.converted.symbol, model.params, image)[0][0]
    mine = mine[mine[:, 0] >= 0]
    mine[:, 0] = np.array(heads.labels)[mine[:, 0].astype(int)]
    theirs = detections_of(other.forward(image[:, ::-1], [other.name_of(heads.layer)])[0])
    difference = (
        np.abs(_sorted(mine) - _sorted(theirs)).max(initial=0) if len(mine) == len(theirs) else np.inf
    )
    return [
        {
            "name": heads.layer.name,
            "type": "DetectionOutput",
            "shape": f"{len(mine)} of {len(theirs)}",
            "greatest": 1.0,
            "difference": float(difference),
        }
    ]


def _sorted(rows: np.ndarray) -> np.ndarray:
    """Return detections in an order that does not hang on ties of scores."""
    return rows[np.lexsort((rows[:, 2], rows[:, 3], -np.round(rows[:, 1], 5), rows[:, 0]))]


def _table(rows: list[dict], wrong: list[dict]) -> str:
    """Return the rows as text, the wrong ones marked."""
    width = max([len(row["name"]) for row in rows] + [5])
    lines = [f"{'layer':{width}}  {'type':16} {'shape':>18} {'greatest':>10} {'difference':>11}"]
    for row in rows:
        mark = "  <- differs" if row in wrong else ""
        lines.append(
            f"{row['name']:{width}}  {row['type']:16} {row['shape']:>18} {row['greatest']:10.4g}"
            f" {row['difference']:11.2e}{mark}"
        )
    return "\n".join(lines)

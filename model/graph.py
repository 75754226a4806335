"""Surgery on graphs: from a training graph, or an old deployed one, to image in, detections out.

It needs nothing but the graph: the heads are found by the names that mxnet-ssd gave them, so a checkpoint is deployed
without the Python code that built its network.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np

from common.errors import CheckpointError
from common.files import describe
from common.mx import mx, quiet
from symbol.anchors import AnchorConfig
from symbol.detection import DetectionConfig, detection_symbol

_DETECTING = {"_contrib_MultiBoxDetection", "_contrib_box_nms"}
# Before they came into MXNet, mxnet-ssd had its operators built in under these names.
_OLD_OPERATORS = ("MultiBoxPrior", "MultiBoxTarget", "MultiBoxDetection")
_PART = re.compile(r"(.+)_anchors_part(\d+)")
HEADS = ("multibox_loc_pred_output", "multibox_cls_pred_output", "multibox_anchors_output")


def load_symbol(path: str | os.PathLike):
    """Read a graph from `PREFIX-symbol.json`.

    Raises:
        CheckpointError: the file is missing, or is no graph of MXNet's.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: symbol cannot be read ({error.strerror or error})") from error
    try:
        graph = json.loads(data.decode("utf-8"))
        if not isinstance(graph["nodes"], list):
            raise TypeError("nodes is not a list")
        symbol = mx.sym.load_json(_with_known_operators(graph) or data.decode("utf-8"))
    except (UnicodeDecodeError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a symbol of MXNet's: it is {describe(data)}") from error
    except mx.base.MXNetError as error:
        raise CheckpointError(f"{path}: damaged symbol: {reason_of(error)}") from error
    _check_entries(symbol, path)
    return symbol


def _with_known_operators(graph: dict) -> str | None:
    """Return a graph's JSON with today's names of mxnet-ssd's operators; None where it has them already."""
    old = [node for node in graph["nodes"] if isinstance(node, dict) and node.get("op") in _OLD_OPERATORS]
    for node in old:
        node["op"] = f"_contrib_{node['op']}"
    return json.dumps(graph) if old else None


def _check_entries(symbol, path: Path) -> None:
    """Refuse a graph in which a node takes an output that another does not have; MXNet would read beyond its memory."""
    there = {tuple(entry[:2]) for entry in json.loads(symbol.get_internals().tojson())["heads"]}
    graph = json.loads(symbol.tojson())
    taken = graph["heads"] + [entry for node in graph["nodes"] for entry in node["inputs"]]
    wrong = [entry for entry in taken if tuple(entry[:2]) not in there]
    if wrong or not graph["heads"]:
        found = f"output {wrong[0][1]} of node {wrong[0][0]}, which it has not" if wrong else "no output"
        raise CheckpointError(f"{path}: damaged symbol: it asks for {found}")


def reason_of(error: Exception) -> str:
    """Return the line of an MXNet error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "Error in operator" in line or "Check failed" in line]
    return (told or lines[-1:] or ["no reason given"])[0]


def infer_shapes(symbol, data_shape: tuple[int, int], name: str) -> tuple[list, list, list]:
    """Return the shapes of a graph's arguments, outputs and auxiliary states, for one image.

    Args:
        symbol: a graph with the input `data`.
        data_shape: (height, width) of the input.
        name: of the file, for the message.

    Raises:
        CheckpointError: it does not take such an input, or needs another one too.
    """
    try:
        with quiet():
            arguments, outputs, states = symbol.infer_shape(data=(1, 3, *data_shape))
    except mx.base.MXNetError as error:
        raise CheckpointError(
            f"{name}: the graph does not take an input of {data_shape}: {reason_of(error)}"
        ) from error
    if outputs is None:
        raise CheckpointError(f"{name}: the graph needs more inputs than an image of {data_shape}")
    return arguments, outputs, states


def has_heads(symbol) -> bool:
    """Tell whether a graph holds the heads that a detection tail can be put on."""
    return set(HEADS) <= set(symbol.get_internals().list_outputs())


def check_detects(symbol, name: str) -> None:
    """Refuse a graph that neither detects nor has the heads to detect from.

    Args:
        symbol: any graph.
        name: of the detector, for the message.

    Raises:
        CheckpointError: a classifier, a backbone, or a converted net without its last layer.
    """
    if not has_heads(symbol) and not is_training(symbol) and not detects(symbol):
        outputs = ", ".join(symbol.list_outputs()[:4])
        raise CheckpointError(
            f"{name}: not the graph of an SSD detector: it has no {HEADS[0][:-7]}, and gives {outputs}"
        )


def detects(symbol) -> bool:
    """Tell whether a graph holds an operator that does non-maximum suppression."""
    return bool(_DETECTING & {node["op"] for node in json.loads(symbol.tojson())["nodes"]})


def is_training(symbol) -> bool:
    """Tell whether a graph holds loss layers (it takes a label)."""
    return "label" in symbol.list_arguments()


def heads(symbol, name: str) -> tuple:
    """Return the graph's heads: (loc_pred (B, 4A), cls_pred (B, C+1, A), anchors (1, A, 4)).

    Args:
        symbol: a training graph, or a deployed one.
        name: of the file, for the message.

    Raises:
        CheckpointError: it is not the graph of an SSD.
    """
    internals = symbol.get_internals()
    missing = [head for head in HEADS if head not in internals.list_outputs()]
    if missing:
        raise CheckpointError(f"{name}: not the graph of an SSD detector: it has no {missing[0][:-7]}")
    return tuple(internals[head] for head in HEADS)


def num_classes_of(symbol, data_shape: tuple[int, int], name: str) -> int:
    """Return the number of foreground classes that a graph's class head is made for.

    Args:
        symbol: a graph with heads.
        data_shape: (height, width) of its input.
        name: of the file, for messages.

    Raises:
        CheckpointError: it has no heads, or does not take such an input.
    """
    _, cls_pred, _ = heads(symbol, name)
    _, (shape,), _ = infer_shapes(cls_pred, data_shape, name)
    if len(shape) != 3:
        raise CheckpointError(
            f"{name}: its class head gives {shape}, expected (1, classes + 1, default boxes)"
        )
    return shape[1] - 1


def anchors_of(symbol, arg_params: dict, data_shape: tuple[int, int], name: str) -> np.ndarray:
    """Return a graph's default boxes, (A, 4) float32 corner form, normalised, by running that part of it.

    Args:
        symbol: a graph with heads.
        arg_params: its parameters; the boxes of a converted model may be one of them.
        data_shape: (height, width) of its input.
        name: of the file, for messages.

    Raises:
        CheckpointError: it has no heads, or does not take such an input.
    """
    _, _, anchors = heads(symbol, name)
    shapes = {"data": (1, 3, *data_shape)} if "data" in anchors.list_arguments() else {}
    if shapes:
        infer_shapes(anchors, data_shape, name)
    # Boxes that are a parameter have no shape but its own.
    shapes.update({key: arg_params[key].shape for key in anchors.list_arguments() if key in arg_params})
    try:
        executor = anchors.simple_bind(mx.cpu(), grad_req="null", **shapes)
        executor.copy_params_from(arg_params, allow_extra_params=True)
        return executor.forward(is_train=False)[0].asnumpy()[0]
    except mx.base.MXNetError as error:
        raise CheckpointError(f"{name}: the graph does not take an input of {data_shape}") from error


def inference_symbol(
    symbol, num_classes: int, variances: tuple, detection: DetectionConfig, name: str = "graph"
):
    """Return the detection graph of a training or deployed graph: loss layers off, detection tail on.

    Args:
        symbol: a graph that holds the heads.
        num_classes: foreground classes.
        variances: four, of the box encoding.
        detection: settings of the tail.
        name: of the file, for messages.

    Returns:
        A graph with the input `data` (B, 3, H, W) and the output `detection` (B, K, 6).

    Raises:
        CheckpointError: the graph has no heads.
    """
    loc_pred, cls_pred, anchors = heads(symbol, name)
    return detection_symbol(loc_pred, cls_pred, anchors, num_classes, variances, detection)


def keep_used(symbol, arg_params: dict, aux_params: dict) -> tuple[dict, dict]:
    """Return the parameters that a graph uses, without the others."""
    arguments, states = set(symbol.list_arguments()), set(symbol.list_auxiliary_states())
    return (
        {name: array for name, array in arg_params.items() if name in arguments},
        {name: array for name, array in aux_params.items() if name in states},
    )


def anchors_in_graph(symbol, variances: tuple[float, ...] = (0.1, 0.1, 0.2, 0.2)) -> AnchorConfig | None:
    """Read the default boxes from a graph's MultiBoxPrior nodes and what follows them; None where it has none.

    An exact aspect (see `AnchorConfig`) is part of such a node's sizes and ratios: they make the same boxes at the
    input that the graph was built for.

    Args:
        symbol: any graph of an SSD.
        variances: of the box encoding where the graph ends in its heads, and says nothing of it.
    """
    nodes = json.loads(symbol.tojson())["nodes"]
    priors = [node.get("attrs", {}) for node in nodes if node["op"] == "_contrib_MultiBoxPrior"]
    tails = [node.get("attrs", {}) for node in nodes if node["op"].startswith("_contrib_MultiBox")]
    if not priors:
        return None

    def tuples(name: str, default: str) -> tuple:
        return tuple(_numbers(node.get(name, default)) for node in priors)

    stated = [_numbers(node["variances"]) for node in tails if "variances" in node]
    return AnchorConfig(
        sizes=tuples("sizes", "(1.0,)"),
        ratios=tuples("ratios", "(1.0,)"),
        steps=tuples("steps", "(-1.0, -1.0)"),
        offsets=tuples("offsets", "(0.5, 0.5)")[0],
        clip=priors[0].get("clip", "False") in ("True", "1"),
        clamp=any(node["name"].endswith("_anchors_clamped") for node in nodes),
        order=_order_in(nodes),
        variances=stated[0] if stated else variances,
    )


def _order_in(nodes: list[dict]) -> tuple[int, ...]:
    """Return the places that symbol/prior.py takes a cell's first default boxes from; () where it leaves them."""
    parts: dict[str, dict[int, int]] = {}  # feature map -> number -> place
    for node in nodes:
        found = _PART.fullmatch(node["name"])
        if found and node["op"] == "slice_axis":
            parts.setdefault(found.group(1), {})[int(found.group(2))] = int(node["attrs"]["begin"])
    first = next(iter(parts.values()), {})
    return tuple(first[number] for number in sorted(first))


def _numbers(text: str) -> tuple[float, ...]:
    """Read an operator's attribute: "(0.1, 0.2)", "[0.1,0.2]" or "0.1"."""
    return tuple(float(number) for number in re.findall(r"[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?", text))

"""A float graph turned into an int8 one: MXNet's quantiser for oneDNN, told which layers to leave in float.

Stands between calibration (model/quantize_calibration.py), which says what range each layer's output has, and the
choice among the graphs that come out (model/quantize.py). A layer is a convolution or a fully connected layer, called
by its own name; what lies between two such layers (pooling, sums, concatenation) is quantised with them.

Deviations from `mxnet.contrib.quantization.quantize_model_mkldnn`: everything behind the last layers, that is the heads
and the detection tail, stays in float under its own name, because a Detector finds the heads by name; ranges come from
outside, so that many graphs are made from one calibration; sums are quantised, products are not (see `_NEVER`).
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from types import SimpleNamespace

from common.errors import CheckpointError
from common.mx import mx
from model.graph import heads, keep_used

_BACKEND = "MKLDNN_QUANTIZE"
# A quantised product in front of a convolution (h-swish) gives that a wrong order of inputs in MXNet 1.9.1.
_NEVER = ("elemwise_mul",)
_FUSED = ("_sg_mkldnn_conv", "_sg_mkldnn_fully_connected")
_LAYERS = (*_FUSED, "Convolution", "FullyConnected")
_INSIDE = ("Convolution", "FullyConnected")
_QUANTISED = ("_contrib_quantize", "_contrib_dequantize", "_contrib_requantize", "_contrib_quantized")


@dataclass(frozen=True)
class FloatGraph:
    """A detector's graph up to its heads, fused for oneDNN, ready to be quantised.

    Attributes:
        symbol: data -> loc_pred, cls_pred, anchors.
        params: (arg_params, aux_params) that it uses.
        layers: layer's name -> name of the node that it was fused into, in the order of the graph.
        ranged: the outputs whose ranges a quantised graph may ask for: what layers take and give.
        tail: names of the nodes behind the last layers, which stay as they are.
        name: of the detector, for messages.
    """

    symbol: object
    params: tuple[dict, dict]
    layers: dict[str, str]
    ranged: tuple[str, ...]
    tail: tuple[str, ...]
    name: str


def is_quantised(symbol) -> bool:
    """Tell whether a graph holds quantised operators."""
    return any(
        node["op"].startswith(_QUANTISED) or node.get("attrs", {}).get("quantized") in ("True", "true", "1")
        for node in json.loads(symbol.tojson())["nodes"]
    )


def refuse_quantised_graph(symbol, name: str) -> None:
    """Refuse to quantise a graph twice.

    Raises:
        CheckpointError: it holds quantised operators.
    """
    if is_quantised(symbol):
        raise CheckpointError(f"{name}: is quantised already: give the float detector that it was made from")


def float_graph(symbol, params: tuple[dict, dict], name: str) -> FloatGraph:
    """Cut a detector's graph at its heads and fuse it for oneDNN.

    Args:
        symbol: a graph with the heads, in float.
        params: (arg_params, aux_params).
        name: of the detector, for messages.

    Raises:
        CheckpointError: it has no heads, or is quantised already.
    """
    refuse_quantised_graph(symbol, name)
    fused = mx.sym.Group(list(heads(symbol, name))).get_backend_symbol(_BACKEND)
    nodes = json.loads(fused.tojson())["nodes"]
    layers = {_own_name(node): node["name"] for node in nodes if node["op"] in _LAYERS}
    tail = behind_layers(fused)
    names = {node["name"] for node in nodes if node["op"] != "null"} - set(tail)
    variables = {*fused.list_arguments(), *fused.list_auxiliary_states()}
    outputs = [output for output in fused.get_internals().list_outputs() if output not in variables]
    return FloatGraph(
        fused,
        keep_used(fused, *params),
        layers,
        # An output is called conv1_output, or split_output0.
        ("data", *(output for output in outputs if output.rpartition("_")[0] in names)),
        tail,
        name,
    )


def _own_name(node: dict) -> str:
    """Return the name of the layer in a node, which a fused node hides in its subgraph."""
    inner = [part for graph in node.get("subgraphs", ()) for part in graph["nodes"] if part["op"] in _INSIDE]
    return inner[0]["name"] if inner else node["name"]


def behind_layers(symbol) -> tuple[str, ...]:
    """Return the names of the nodes that no layer needs and that are none: heads and what they are joined of."""
    nodes = json.loads(symbol.tojson())["nodes"]
    kept: set[int] = set()
    for index in reversed(range(len(nodes))):
        if index in kept or nodes[index]["op"] in _LAYERS:
            kept.update((index, *(entry[0] for entry in nodes[index]["inputs"])))
    return tuple(
        node["name"] for index, node in enumerate(nodes) if index not in kept and node["op"] != "null"
    )


def quantised_graph(
    graph: FloatGraph, ranges: dict[str, tuple[float, float]], in_float: Collection[str]
) -> tuple:
    """Return the int8 graph up to the heads.

    Args:
        graph: the float graph.
        ranges: output -> (lowest, highest) value that int8 is to hold, of every output in `graph.ranged`.
        in_float: layers that stay in float.

    Returns:
        (symbol, (arg_params, aux_params)): data -> loc_pred, cls_pred, anchors, the heads' nodes under their own
        names. Weights stay float32: oneDNN quantises them, channel by channel, before the first image.
    """
    from mxnet.contrib.quantization import calib_graph, quantize_graph

    arguments, states = graph.params
    symbol, _, _, _ = quantize_graph(
        graph.symbol,
        arguments,
        states,
        ctx=mx.cpu(),
        excluded_sym_names=[*graph.tail, *(graph.layers[layer] for layer in in_float)],
        excluded_op_names=list(_NEVER),
        calib_mode="none",
        quantized_dtype="auto",
        quantize_mode="smart",
    )
    # The table is in the form of a collector of one's own: "customize" takes it as it is.
    table = SimpleNamespace(min_max_dict=ranges)
    symbol, arguments, states = calib_graph(
        symbol,
        arguments,
        states,
        table,
        calib_mode="customize",
        quantized_dtype="auto",
        logger=None,
    )
    symbol = symbol.get_backend_symbol(_BACKEND)
    return symbol, keep_used(symbol, arguments, states)

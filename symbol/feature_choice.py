"""Which layers of a classification network the heads of a detector read, found in its graph.

A classification network halves its maps stage by stage. The layer to read is the last one of a stage, and "last" has
one meaning for all families: the last activation, sum or concatenation of that stride that every way from the image to
the classes goes through. That gives the activation behind the last sum of a residual stage, the expanded map before
the stride in MobileNetV2 and V3 (SSDLite's choice), the concatenation of Inception, the ReLU before DenseNet's
transition; never a branch, and never a raw convolution. Where parallel branches leave no such layer (HRNet, NASNet),
the last join of that stride is taken, else the last activation.

A stride counts where a convolution works at it: the pooling in front of a classifier (VGG's last, AlexNet's) is none.
Source: SSD paper, section 2.1; MobileNetV2 paper, section 6.2.
"""

from __future__ import annotations

import json
import math

from common.mx import mx, quiet

_ACTIVATIONS = {"Activation", "LeakyReLU", "relu", "clip", "sigmoid", "elemwise_mul", "broadcast_mul"}
_JOINS = {"elemwise_add", "broadcast_add", "add_n", "Concat"}
_NORMALISING = {"BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "L2Normalization", "LRN"}
_LEAST_STRIDE = 8  # a map of a smaller stride has more cells than an SSD can use
_GLOBAL = 1  # cells on a side of a map that was pooled as a whole


def stage_layers(symbol, side: int, count: int) -> tuple[str, ...]:
    """Return the last layers of the last stages of a network, the finest first.

    Args:
        symbol: the network, with the input `data`; it may end in a classifier.
        side: of a square input that it takes, in pixels.
        count: of stages; a network with fewer gives what it has.

    Returns:
        Names of layers; none for a network without a map.
    """
    symbol = trunk(symbol, side)
    nodes = json.loads(symbol.tojson())["nodes"]
    strides = _strides(symbol, nodes, side)
    whole = _unavoidable(nodes)
    with_convolutions = sorted(
        {stride for place, stride in strides.items() if nodes[place]["op"] == "Convolution"}
    )
    chosen = [stride for stride in with_convolutions if stride >= _LEAST_STRIDE] or with_convolutions[-1:]
    found = (_last_of(nodes, strides, whole, stride) for stride in chosen[-count:])
    return tuple(name for name in found if name is not None)


def trunk(symbol, side: int):
    """Return a network up to its last layer that gives a map, without what classifies behind it.

    DLA's classifier reads every stage: with it, every stage could be bypassed.

    Args:
        symbol: the network, with the input `data`.
        side: of a square input that it takes, in pixels.
    """
    maps = [name for name, (_, *cells) in (map_shapes(symbol, side) or {}).items() if cells[0] > _GLOBAL]
    return symbol.get_internals()[f"{maps[-1]}_output"] if maps else symbol


def map_shapes(symbol, side: int) -> dict[str, tuple[int, ...]] | None:
    """Return {layer: (channels, height, width)} of the layers that give a map; None where the input does not fit.

    Args:
        symbol: the network, with the input `data`.
        side: of the square input in pixels.
    """
    internals = symbol.get_internals()
    try:
        with quiet():
            _, shapes, _ = internals.infer_shape(data=(1, 3, side, side))
    except mx.base.MXNetError:
        return None
    named = zip(internals.list_outputs(), shapes or ())
    ending = "_output"
    return {
        name[: -len(ending)]: shape[1:] for name, shape in named if name.endswith(ending) and len(shape) == 4
    }


def has_normalisation(symbol) -> bool:
    """Tell whether any layer of a graph keeps its maps in one range (BatchNorm and the like)."""
    return any(node["op"] in _NORMALISING for node in json.loads(symbol.tojson())["nodes"])


def _strides(symbol, nodes: list[dict], side: int) -> dict[int, int]:
    """Return {place of a node that gives a map: its stride}; convolutions without padding are rounded away."""
    shapes = map_shapes(symbol, side) or {}
    maps = {place: shapes[node["name"]][1] for place, node in enumerate(nodes) if node["name"] in shapes}
    return {place: 2 ** round(math.log2(side / cells)) for place, cells in maps.items() if cells > _GLOBAL}


def _unavoidable(nodes: list[dict]) -> set[int]:
    """Return the places of the nodes that every way from the input to the output goes through.

    Nodes stand in the order of computation and all lead to the output, so a node is one of these exactly where nothing
    computed before it is read behind it.
    """
    reached = {place for place, node in enumerate(nodes) if node["op"] == "null" and node["name"] == "data"}
    last_reader = dict.fromkeys(reached, 0)
    for place, node in enumerate(nodes):
        inputs = {source for source, *_ in node["inputs"]} & reached
        if inputs:
            reached.add(place)
            last_reader.update(dict.fromkeys(inputs, place))
    found, furthest = set(), 0
    for place in sorted(reached):
        if furthest <= place:
            found.add(place)
        furthest = max(furthest, last_reader.get(place, 0))
    return found


def _last_of(nodes: list[dict], strides: dict[int, int], whole: set[int], stride: int) -> str | None:
    """Return the name of the layer to read at a stride; None where there is none."""
    there = [place for place in sorted(strides) if strides[place] == stride]
    joins = [place for place in there if nodes[place]["op"] in _JOINS]
    active = [place for place in there if nodes[place]["op"] in _ACTIVATIONS]
    for places in (sorted(whole.intersection(joins + active)), joins, active):
        if places:
            return nodes[places[-1]]["name"]
    return None

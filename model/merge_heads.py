"""Sibling convolutions whose channels go last (the heads of a feature map) made one, with channels that fill a vector.

oneDNN has fast kernels for convolutions whose output channels fill its vectors; the heads of an SSD seldom do (16, 84,
126). Filters of zeros fill them up, and are cut away where the channels have been moved last, which costs one copy that
was made anyway.
"""

from __future__ import annotations

import re

import numpy as np

from model.node_graph import Entry, Node, NodeGraph

CHANNEL_MULTIPLE = 32  # two vectors of AVX-512, which its kernels take at once where they can
_GEOMETRY = ("kernel", "stride", "dilate", "pad", "num_group", "layout")
_CHANNELS_LAST = [0, 2, 3, 1]


def merge_heads(graph: NodeGraph, params: dict, multiple: int = CHANNEL_MULTIPLE) -> int:
    """Merge the convolutions of one input that only a transposition to channels-last takes, and fill them up.

    Args:
        graph: changed in place.
        params: name -> float32 array; changed in place.
        multiple: of the output channels.

    Returns:
        How many convolutions there are less, or fuller.
    """
    count = 0
    for siblings in _siblings(graph):
        filters = sum(_filters(convolution) for convolution, _ in siblings)
        if len(siblings) > 1 or filters % multiple:
            _merge(graph, params, siblings, -filters % multiple)
            count += 1
    return count


def _siblings(graph: NodeGraph) -> list[list[tuple[Node, Node]]]:
    """Return (convolution, transposition) pairs, those of one input and one geometry together."""
    consumers, groups = graph.consumers(), {}
    for node in graph.nodes():
        takers = consumers[Entry(node)]
        if node.op != "Convolution" or len(takers) != 1 or takers[0] is None or _groups(node) != 1:
            continue
        if takers[0].op == "transpose" and _numbers(takers[0].attrs.get("axes", "")) == _CHANNELS_LAST:
            geometry = tuple(tuple(_numbers(node.attrs.get(name, ""))) for name in _GEOMETRY[:5])
            key = node.inputs[0], geometry, node.attrs.get("layout", "None")
            groups.setdefault(key, []).append((node, takers[0]))
    return list(groups.values())


def _numbers(text: str) -> list[int]:
    """Read the whole numbers of an attribute."""
    return [int(number) for number in re.findall(r"-?\d+", text)]


def _groups(convolution: Node) -> int:
    return int(convolution.attrs.get("num_group", "1"))


def _filters(convolution: Node) -> int:
    return int(convolution.attrs["num_filter"])


def _merge(graph: NodeGraph, params: dict, siblings: list[tuple[Node, Node]], filling: int) -> None:
    """Put one convolution in the place of several, with `filling` filters of zeros behind theirs."""
    first, transposed = siblings[0]
    name = f"{first.name}_merged" if len(siblings) > 1 else f"{first.name}_filled"
    weights = [params[convolution.inputs[1].node.name] for convolution, _ in siblings]
    biases = [_bias(convolution, params) for convolution, _ in siblings]
    params[f"{name}_weight"] = np.concatenate(
        [*weights, np.zeros((filling, *weights[0].shape[1:]), np.float32)]
    )
    params[f"{name}_bias"] = np.concatenate([*biases, np.zeros(filling, np.float32)])
    total = sum(map(len, weights)) + filling
    merged = Node(
        "Convolution",
        name,
        {**first.attrs, "num_filter": str(total), "no_bias": "False"},
        [first.inputs[0], Entry(Node("null", f"{name}_weight")), Entry(Node("null", f"{name}_bias"))],
    )
    last = Entry(Node("transpose", f"{name}_nhwc", dict(transposed.attrs), [Entry(merged)]))
    begin = 0
    for convolution, old in siblings:
        end = begin + _filters(convolution)
        attrs = {"axis": "3", "begin": str(begin), "end": str(end)}
        graph.replace(Entry(old), Entry(Node("slice_axis", f"{convolution.name}_of_merged", attrs, [last])))
        begin = end


def _bias(convolution: Node, params: dict) -> np.ndarray:
    """Return a convolution's bias, zeros where it has none."""
    if convolution.flag("no_bias"):
        return np.zeros(_filters(convolution), np.float32)
    return params[convolution.inputs[2].node.name]

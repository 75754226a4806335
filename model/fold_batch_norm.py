"""BatchNorm folded into the convolution before it: at inference both are one affine map for each channel."""

from __future__ import annotations

import numpy as np

from model.node_graph import Entry, Node, NodeGraph

_DEFAULT_EPS = 1e-3


def fold_batch_norm(graph: NodeGraph, params: dict) -> int:
    """Fold every BatchNorm over channels whose input is a convolution that nothing else takes.

    Args:
        graph: changed in place.
        params: name -> float32 array, of arguments and states; changed in place.

    Returns:
        How many were folded.
    """
    consumers, count = graph.consumers(), 0
    for norm in graph.nodes():
        convolution = norm.inputs[0].node if norm.op == "BatchNorm" else None
        if convolution is None or convolution.op != "Convolution" or norm.attrs.get("axis", "1") != "1":
            continue
        if len(consumers[norm.inputs[0]]) > 1 or any(consumers[Entry(norm, output)] for output in (1, 2)):
            continue
        _fold(convolution, norm, params, consumers)
        graph.replace(Entry(norm), Entry(convolution))
        count += 1
    return count


def _fold(convolution: Node, norm: Node, params: dict, consumers: dict) -> None:
    """Give a convolution the weights that do what it and its BatchNorm did."""
    gamma, beta, mean, variance = (params[entry.node.name].astype(np.float64) for entry in norm.inputs[1:5])
    scale = 1 / np.sqrt(variance + float(norm.attrs.get("eps", _DEFAULT_EPS)))
    if not norm.flag("fix_gamma", True):
        scale = scale * gamma
    weight = params[convolution.inputs[1].node.name].astype(np.float64)
    folded = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    bias = 0.0 if convolution.flag("no_bias") else params[convolution.inputs[2].node.name].astype(np.float64)
    shift = beta + (bias - mean) * scale
    values = (("weight", folded), ("bias", shift))
    convolution.attrs = {**convolution.attrs, "no_bias": "False"}
    convolution.inputs = [convolution.inputs[0]] + [
        _parameter(convolution, index + 1, kind, array, params, consumers)
        for index, (kind, array) in enumerate(values)
    ]


def _parameter(
    convolution: Node, place: int, kind: str, values: np.ndarray, params: dict, consumers: dict
) -> Entry:
    """Return a convolution's parameter with other values; under a name of its own where others share it."""
    there = convolution.inputs[place] if place < len(convolution.inputs) else None
    if there and len(consumers[there]) == 1:
        params[there.node.name] = values.astype(np.float32)
        return there
    name = f"{convolution.name}_{kind}"
    while name in params:
        name += "_folded"
    params[name] = values.astype(np.float32)
    return Entry(Node("null", name))

"""What a graph's default boxes and layers are and what a network's would be, in words, for where they differ."""

from __future__ import annotations

import re

from common.mx import mx
from model.graph import has_heads, heads
from symbol.anchors import AUTO_STEP, AnchorConfig
from symbol.config import NetworkConfig
from symbol.network import heads as network_heads


def boxes_differ(found: AnchorConfig, asked: NetworkConfig) -> str:
    """Return both sides and the flags that help.

    Args:
        found: default boxes of a graph.
        asked: the network that flags name.
    """
    height, width = asked.data_shape
    start = f"its default boxes are not those of {asked.network} at {height}x{width}: "
    if found.per_cell() != asked.anchors.per_cell():
        return f"{start}it has {_maps(found)}, not {_maps(asked.anchors)}: check --network and --data-shape"
    fitting = _input_of(found, asked)
    laid_out = f"an input of {fitting[0]}x{fitting[1]}" if fitting else "another network or input"
    return f"{start}they are laid out for {laid_out}: check --data-shape and --network"


def _maps(anchors: AnchorConfig) -> str:
    counts = anchors.per_cell()
    return f"{len(counts)} feature maps with {', '.join(map(str, counts))} default boxes a cell"


def _input_of(found: AnchorConfig, asked: NetworkConfig) -> tuple[int, int] | None:
    """Return the input whose steps the graph has, if the network's strides are its own; None where it is none."""
    shapes = set()
    for index in range(len(found.sizes)):
        mine, theirs = asked.anchors.step(index), found.step(index)
        if AUTO_STEP not in (mine, theirs):
            sides = zip(asked.data_shape, mine, theirs)
            shapes.add(tuple(round(side * own / there) for side, own, there in sides))
    return shapes.pop() if len(shapes) == 1 else None


def layers_differ(symbol, asked: NetworkConfig) -> str:
    """Return in what a graph's parameters are named otherwise than a network's; "" where they are not.

    Args:
        symbol: any graph; one without heads is not compared.
        asked: the network that flags name.
    """
    if not has_heads(symbol):
        return ""
    mine, theirs = _parameters(network_heads(asked)), _parameters(mx.sym.Group(heads(symbol, asked.network)))
    parts = [
        f"{text} {len(names)} parameters ({min(names)}{', ...' if len(names) > 1 else ''})"
        for text, names in (("lacks", mine - theirs), ("has besides", theirs - mine))
        if names
    ]
    return f"its graph is not that of --network {asked.network}: it {' and '.join(parts)}" if parts else ""


def _parameters(symbol) -> set[str]:
    """Return the names of a graph's parameters, those that MXNet's counter made (`_plus12_...`) without the number."""
    names = {*symbol.list_arguments(), *symbol.list_auxiliary_states()} - {"data"}
    return {re.sub(r"^(_[a-z]+)\d+_", r"\1_", name) for name in names}

"""What a graph's default boxes are and what a network's would be, in words, for the message where they differ."""

from __future__ import annotations

from symbol.anchors import AUTO_STEP, AnchorConfig
from symbol.config import NetworkConfig


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

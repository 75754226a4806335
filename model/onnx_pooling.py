"""The rule for pooling, of the rules by which a graph is rewritten for MXNet's ONNX exporter.

MXNet's "full" convention, which is Caffe's, lets a last window reach beyond the padding; runtimes disagree on how many
cells its average is of, and on whether a window that lies outside counts. So what lies beyond is padded in the graph,
and averages are corrected by a constant.

Source: src/operator/nn/pool.h of MXNet 1.9.1 for what an average is of.
"""

from __future__ import annotations

import numpy as np

from model.onnx_rewrite import NewGraph, Node, Ref

_LOWEST = -3.4028234663852886e38  # float32; MXNet's maximum of nothing


def pooling(graph: NewGraph, node: Node) -> list[Ref]:
    """Pad by hand what a last window reaches beyond the padding, and count what an average is of."""
    kind, kernel = node.attrs.get("pool_type", "max"), node.numbers("kernel")
    full = node.attrs.get("pooling_convention", "valid") == "full"
    if node.flag("global_pool") or kind not in ("max", "avg", "sum") or len(kernel) != 2:
        attrs = {**node.attrs, "global_pool": str(node.flag("global_pool"))}
        return [graph.add("Pooling", node.name, node.inputs, **attrs)]
    include = node.flag("count_include_pad", True)
    attrs = {
        "kernel": kernel,
        "stride": node.numbers("stride", (1, 1)),
        "pool_type": "max" if kind == "max" else "avg",
    }
    pad, data = node.numbers("pad", (0, 0)), node.inputs[0]
    if not full and (kind == "max" or (kind == "avg" and include)):
        return [graph.add("Pooling", node.name, [data], pad=pad, count_include_pad="True", **attrs)]
    sides = list(zip(node.in_shapes[0][2:], node.out_shapes[0][2:], kernel, attrs["stride"], pad))
    pooled = _padded_pooling(graph, node, sides, attrs)
    if kind == "max":
        return [pooled]
    sizes = [_window_sizes(*side, include) for side in sides]
    scale = np.prod(kernel) / (np.outer(*sizes) if kind == "avg" else np.ones((1, 1)))
    if (scale == 1).all():
        return [pooled]
    factors = graph.constant(f"{node.name}_scale", scale[None, None].astype(np.float32))  # (1, 1, h, w)
    return [graph.add("broadcast_mul", f"{node.name}_scaled", [pooled, factors])]


def _padded_pooling(graph: NewGraph, node: Node, sides: list[tuple], attrs: dict) -> Ref:
    """Append pooling of the padded input, and what windows give that lie outside the image altogether.

    Args:
        graph: where to append.
        node: the pooling.
        sides: for each axis (size, windows, kernel, step, padding).
        attrs: of a pooling without padding.
    """
    value = _LOWEST if attrs["pool_type"] == "max" else 0.0
    inside = [min(count, -(-(size + pad) // step)) for size, count, _, step, pad in sides]
    beyond = [
        max(0, (windows - 1) * step + kernel - size - pad)
        for windows, (size, _, kernel, step, pad) in zip(inside, sides)
    ]
    data = node.inputs[0]
    if any((*beyond, *(side[-1] for side in sides))):
        width = (0, 0, 0, 0, sides[0][-1], beyond[0], sides[1][-1], beyond[1])
        data = graph.add(
            "Pad", f"{node.name}_padded", [data], mode="constant", pad_width=width, constant_value=value
        )
    pooled = graph.add("Pooling", node.name, [data], **attrs)
    rest = [count - windows for windows, (_, count, *_) in zip(inside, sides)]
    if not any(rest):
        return pooled
    width = (0, 0, 0, 0, 0, rest[0], 0, rest[1])
    return graph.add(
        "Pad", f"{node.name}_outside", [pooled], mode="constant", pad_width=width, constant_value=value
    )


def _window_sizes(size: int, count: int, side: int, step: int, pad: int, include_pad: bool) -> np.ndarray:
    """Return how many cells of an axis each window's average is taken over, padding included or not: (count,)."""
    begin = np.arange(count) * step - pad
    last = np.minimum(begin + side, size + pad) if include_pad else np.minimum(begin + side, size)
    return np.maximum(last - (begin if include_pad else np.maximum(begin, 0)), 1)

"""The default boxes inside a graph: MultiBoxPrior, and what some systems do to its boxes.

The same geometry in numpy stands in symbol/anchors.py; the tests hold both to each other.
"""

from __future__ import annotations

import math

from common.mx import mx
from symbol.anchors import AnchorConfig


def map_anchors(layer, config: AnchorConfig, index: int, name: str, aspect: float):
    """Return the default boxes of one feature map.

    Args:
        layer: (B, C, h, w).
        config: the settings.
        index: which map.
        name: of the feature layer.
        aspect: (image height / width) / (h / w); counts where the settings ask for the image's exact aspect.

    Returns:
        (1, 4 * h * w * K), corner form.
    """
    sizes, ratios = config.sizes[index], config.ratios[index]
    if config.exact_aspect:
        # The operator multiplies widths by h / w. Sides times sqrt(aspect) at ratios times aspect keep the heights.
        sizes = tuple(size * math.sqrt(aspect) for size in sizes)
        ratios = tuple(ratio * aspect for ratio in ratios)
    boxes = mx.sym.contrib.MultiBoxPrior(
        layer,
        sizes=sizes,
        ratios=ratios,
        clip=config.clip,
        steps=config.step(index),
        offsets=config.offsets,
        name=f"{name}_anchors",
    )
    if config.order:
        boxes = _ordered(boxes, config.order, config.per_cell()[index], name)
    if config.clamp:
        boxes = _clamped(boxes, name)
    return mx.sym.Flatten(boxes, name=f"{name}_anchors_flat")


def _ordered(boxes, order: tuple[int, ...], count: int, name: str):
    """Return the boxes with the first ones of each cell, which has `count`, in another order."""
    cells = mx.sym.reshape(boxes, shape=(-1, count, 4), name=f"{name}_anchors_cells")
    parts = [
        mx.sym.slice_axis(cells, axis=1, begin=place, end=place + 1, name=f"{name}_anchors_part{number}")
        for number, place in enumerate(order)
    ]
    if len(order) < count:
        rest = mx.sym.slice_axis(cells, axis=1, begin=len(order), end=None, name=f"{name}_anchors_rest")
        parts.append(rest)
    cells = mx.sym.concat(*parts, dim=1, name=f"{name}_anchors_ordered")
    return mx.sym.reshape(cells, shape=(1, -1, 4), name=f"{name}_anchors_ordered_rows")


def _clamped(boxes, name: str):
    """Return the boxes with centre, width and height cut at [0, 1]."""
    start = mx.sym.slice_axis(boxes, axis=2, begin=0, end=2, name=f"{name}_anchors_start")
    end = mx.sym.slice_axis(boxes, axis=2, begin=2, end=4, name=f"{name}_anchors_end")
    total = mx.sym.elemwise_add(start, end, name=f"{name}_anchors_total")
    span = mx.sym.elemwise_sub(end, start, name=f"{name}_anchors_span")
    total = mx.sym.clip(total, a_min=0, a_max=2, name=f"{name}_anchors_total_in")  # twice the centre
    span = mx.sym.clip(span, a_min=0, a_max=1, name=f"{name}_anchors_span_in")
    low = mx.sym.elemwise_sub(total, span, name=f"{name}_anchors_low")
    high = mx.sym.elemwise_add(total, span, name=f"{name}_anchors_high")
    doubled = mx.sym.concat(low, high, dim=2, name=f"{name}_anchors_doubled")
    return mx.sym._internal._mul_scalar(doubled, scalar=0.5, name=f"{name}_anchors_clamped")

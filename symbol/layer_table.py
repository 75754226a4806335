"""The table of a graph's layers: name, operator, output shape, parameters, multiply-adds, and the totals."""

from __future__ import annotations

import re
from collections.abc import Sequence

from symbol.counts import Layer, total_multiply_adds, total_parameters

_COLUMNS = ("layer", "operator", "output", "parameters", "multiply-adds")
_FIRST_NUMBER = 3  # the column from which cells stand to the right


def layer_table(counted: Sequence[Layer]) -> str:
    """Return a table with a line for each layer, in the order in which they compute, and the totals.

    Args:
        counted: of a graph, see `symbol.counts.layers`.
    """
    rows = [
        (
            layer.name,
            describe(layer),
            "x".join(map(str, layer.shape)),
            f"{layer.parameters:,}" if layer.parameters else "",
            f"{layer.multiply_adds:,}" if layer.multiply_adds else "",
        )
        for layer in counted
    ]
    total = ("total", "", "", f"{total_parameters(counted):,}", f"{total_multiply_adds(counted):,}")
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, total)]
    line = "  ".join("-" * width for width in widths)
    text = ["  ".join(_aligned(row, widths)).rstrip() for row in (_COLUMNS, *rows, total)]
    return "\n".join([text[0], line, *text[1:-1], line, text[-1]])


def describe(layer: Layer) -> str:
    """Return a layer's operator with what tells it from its like: "Convolution 3x3/2, 512 groups"."""
    attributes, name = layer.attributes, layer.operator.split("_contrib_")[-1]
    if layer.operator == "Activation":
        return attributes.get("act_type", name)
    if layer.operator == "LeakyReLU":
        return attributes.get("act_type", "leaky")
    if layer.operator == "Pooling" and attributes.get("global_pool") in ("True", "1"):
        return f"global {attributes.get('pool_type', 'max')} pooling"
    kernel, stride, dilate = (_sides(attributes.get(key, "")) for key in ("kernel", "stride", "dilate"))
    if not kernel:
        return name
    text = f"{attributes['pool_type']} pooling" if "pool_type" in attributes else name
    text += f" {'x'.join(map(str, kernel))}"
    text += f"/{stride[0]}" if stride and max(stride) > 1 else ""
    text += f" dilated {dilate[0]}" if dilate and max(dilate) > 1 else ""
    groups = attributes.get("num_group", "1")
    return text if groups == "1" else f"{text}, {groups} groups"


def _sides(text: str) -> tuple[int, ...]:
    """Read an operator's attribute: "(3, 3)" is (3, 3)."""
    return tuple(int(number) for number in re.findall(r"\d+", text))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.ljust(width) if column < _FIRST_NUMBER else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths))
    ]

"""A network in figures, as text: feature maps, default boxes of each, parameters.

Commands print it before they train, and tools/visualize_net beside the picture.
"""

from __future__ import annotations

import math

from symbol.anchors import AUTO_STEP
from symbol.config import NetworkConfig
from symbol.features import feature_names
from symbol.network import feature_shapes, heads

_COLUMNS = (
    "feature map",
    "height",
    "width",
    "step y",
    "step x",
    "boxes per cell",
    "boxes",
    "sizes (of the height)",
)


def count_anchors(config: NetworkConfig) -> tuple[int, ...]:
    """Return the number of default boxes of each feature map.

    Raises:
        ConfigError: the input is too small for the network.
    """
    shapes = feature_shapes(config)
    return tuple(height * width * boxes for (height, width), boxes in zip(shapes, config.anchors.per_cell()))


def count_parameters(config: NetworkConfig) -> int:
    """Return the number of learned values: weights, biases, gammas, betas; not the running statistics.

    Raises:
        ConfigError: the input is too small for the network.
    """
    symbol = heads(config)
    shapes, _, _ = symbol.infer_shape(data=(1, 3, *config.data_shape))
    return sum(math.prod(shape) for name, shape in zip(symbol.list_arguments(), shapes) if name != "data")


def summary(config: NetworkConfig) -> str:
    """Return a table with a line for each feature map, and the totals.

    Args:
        config: the network.

    Raises:
        ConfigError: the input is too small for the network.
    """
    height, width = config.data_shape
    counts = count_anchors(config)
    names = feature_names(config)
    rows = [_COLUMNS] + [
        _row(config, index, shape, counts, names[index]) for index, shape in enumerate(feature_shapes(config))
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ["  ".join(_aligned(row, widths)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    title = f"{config.network}, input {height}x{width} (height x width), {config.num_classes} classes"
    total = f"{sum(counts)} default boxes, {count_parameters(config):,} parameters"
    return "\n".join([title, "", *lines, "", total])


def _row(
    config: NetworkConfig, index: int, shape: tuple[int, int], counts: tuple[int, ...], name: str
) -> tuple[str, ...]:
    """Return the cells of one feature map's line; steps are in pixels of the input."""
    step_y, step_x = config.anchors.step(index)
    if (step_y, step_x) == AUTO_STEP:
        step_y, step_x = 1 / shape[0], 1 / shape[1]
    return (
        name,
        str(shape[0]),
        str(shape[1]),
        f"{step_y * config.data_shape[0]:.4g}",
        f"{step_x * config.data_shape[1]:.4g}",
        str(config.anchors.per_cell()[index]),
        str(counts[index]),
        ", ".join(f"{size:.3g}" for size in config.anchors.sizes[index]),
    )


def _aligned(row: tuple[str, ...], widths: list[int]) -> list[str]:
    """Return the cells padded to their columns: names to the left, numbers to the right."""
    first, *numbers, last = row
    middle = [cell.rjust(width) for cell, width in zip(numbers, widths[1:-1])]
    return [first.ljust(widths[0]), *middle, last]

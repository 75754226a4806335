"""A network in figures: feature maps, default boxes of each, parameters, multiply-adds; as text, or to make a table of.

`train.py --list-networks NAME` prints it, and tools/visualize_net beside the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

from symbol.anchors import AUTO_STEP
from symbol.config import NetworkConfig
from symbol.counts import Layer, layers, total_multiply_adds, total_parameters
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


@dataclass(frozen=True)
class Figures:
    """What a network is in numbers.

    Attributes:
        maps: (height, width) of each feature map, in cells, the finest first.
        anchors: default boxes of each feature map.
        parameters: learned values: weights, biases, gammas, betas; not the running statistics.
        multiply_adds: of one image, see symbol/counts.py.
    """

    maps: tuple[tuple[int, int], ...]
    anchors: tuple[int, ...]
    parameters: int
    multiply_adds: int


def figures(config: NetworkConfig) -> Figures:
    """Return the numbers of a network up to its predictions.

    Raises:
        ConfigError: the input is too small for the network.
    """
    counted, maps = _layers(config), feature_shapes(config)
    return Figures(
        maps=tuple(maps),
        anchors=_count_anchors(config, maps),
        parameters=total_parameters(counted),
        multiply_adds=total_multiply_adds(counted),
    )


def _layers(config: NetworkConfig) -> list[Layer]:
    return layers(heads(config), data=(1, 3, *config.data_shape))


def _count_anchors(config: NetworkConfig, maps: list[tuple[int, int]]) -> tuple[int, ...]:
    return tuple(height * width * boxes for (height, width), boxes in zip(maps, config.anchors.per_cell()))


def count_anchors(config: NetworkConfig) -> tuple[int, ...]:
    """Return the number of default boxes of each feature map.

    Raises:
        ConfigError: the input is too small for the network.
    """
    return _count_anchors(config, feature_shapes(config))


def count_parameters(config: NetworkConfig) -> int:
    """Return the number of learned values: weights, biases, gammas, betas; not the running statistics.

    Raises:
        ConfigError: the input is too small for the network.
    """
    return total_parameters(_layers(config))


def summary(config: NetworkConfig) -> str:
    """Return a table with a line for each feature map, and the totals.

    Args:
        config: the network.

    Raises:
        ConfigError: the input is too small for the network.
    """
    height, width = config.data_shape
    found = figures(config)
    names = feature_names(config)
    rows = [_COLUMNS] + [
        _row(config, index, shape, found.anchors, names[index]) for index, shape in enumerate(found.maps)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ["  ".join(_aligned(row, widths)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    title = f"{config.network}, input {height}x{width} (height x width), {config.num_classes} classes"
    total = f"{sum(found.anchors)} default boxes, {found.parameters:,} parameters, "
    total += f"{found.multiply_adds / 1e9:.3g} billion multiply-adds for an image"
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

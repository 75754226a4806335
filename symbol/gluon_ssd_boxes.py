"""The default boxes of gluoncv's detectors: its tables in pixels, and the settings that make the same boxes here.

gluoncv lays boxes out in pixels of the input, whatever its size, and keeps them in tables among the parameters.

Source: gluoncv/model_zoo/ssd/anchor.py (GluonCV 0.10).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.errors import ConfigError
from symbol.anchors import AnchorConfig, generate_anchors
from symbol.config import NetworkConfig
from symbol.network import feature_shapes

_SAME = 1e-6  # largest difference of boxes that are taken for equal, relative to the image
_GRID = 1e-2  # the same of a table's boxes, in pixels


@dataclass(frozen=True)
class MapBoxes:
    """The default boxes of one feature map, in pixels.

    Attributes:
        sides: (width, height) of each box of a cell, in order.
        step: (y, x) distance of two cells.
        offset: (y, x) of the first cell's centre, in cells.
        sizes: sides of the squares, from which `sides` follow with `ratios`; () where that is not known.
        ratios: width / height.
    """

    sides: tuple[tuple[float, float], ...]
    step: tuple[float, float]
    offset: tuple[float, float]
    sizes: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()

    def table(self, cells: tuple[int, int], data_shape: tuple[int, int]) -> np.ndarray:
        """Return the boxes for a map of (rows, columns): (rows * columns * K, 4) corner form, relative to the image."""
        center_y, center_x = (
            (np.arange(count) + offset) * step for count, offset, step in zip(cells, self.offset, self.step)
        )
        centers = np.stack(np.broadcast_arrays(center_x[None, :], center_y[:, None]), axis=-1)[:, :, None]
        half = np.array(self.sides, np.float64) / 2
        boxes = np.concatenate([centers - half, centers + half], axis=-1).reshape(-1, 4)
        return boxes / np.array((data_shape[1], data_shape[0]) * 2)


def boxes_of(generator) -> MapBoxes:
    """Return the default boxes of a map from the block of gluoncv's that generates them."""
    boxes = read_boxes(generator.anchors.value.asnumpy())
    sizes, ratios = (
        tuple(float(value) for value in values) for values in (generator._sizes, generator._ratios)
    )
    return MapBoxes(boxes.sides, boxes.step, boxes.offset, sizes, ratios)


def read_boxes(values: np.ndarray) -> MapBoxes:
    """Read the default boxes of a feature map from gluoncv's table.

    Args:
        values: (1, 1, rows, columns, 4K): centre x, centre y, width, height in pixels.

    Raises:
        ConfigError: it is no such table, or its boxes do not lie in a grid.
    """
    if values.ndim != 5 or values.shape[-1] % 4 or min(values.shape[2:4]) < 2:
        raise ConfigError(
            f"default boxes of gluoncv: expected (1, 1, rows, columns, 4K), found {values.shape}"
        )
    cells = values.reshape(*values.shape[2:4], -1, 4).astype(np.float64)
    first, below, right = cells[0, 0, 0], cells[1, 0, 0], cells[0, 1, 0]
    step = float(below[1] - first[1]), float(right[0] - first[0])
    if min(step) <= 0:
        raise ConfigError(f"default boxes of gluoncv: expected cells at a distance above 0, found {step}")
    offset = float(first[1]) / step[0], float(first[0]) / step[1]
    sides = tuple((float(width), float(height)) for width, height in cells[0, 0, :, 2:])
    boxes = MapBoxes(sides, step, offset)
    corners = np.concatenate(
        [cells[..., :2] - cells[..., 2:] / 2, cells[..., :2] + cells[..., 2:] / 2], axis=-1
    )
    apart = np.abs(boxes.table(values.shape[2:4], (1, 1)) - corners.reshape(-1, 4)).max()
    if apart > _GRID or not (min(offset) >= 0 and max(offset) <= 1):
        raise ConfigError(
            "default boxes of gluoncv: expected a grid of equal cells, each with its centre inside"
        )
    return boxes


def closest_settings(boxes: Sequence[MapBoxes], data_shape: tuple[int, int]) -> AnchorConfig:
    """Return settings for as many boxes; where gluoncv made them by the usual rule, for these boxes (see `are_exact`).

    Args:
        boxes: gluoncv's, one entry for each feature map.
        data_shape: (height, width) of the input in pixels.
    """
    height, width = data_shape
    shapes = [_sizes_and_ratios(one) for one in boxes]
    return AnchorConfig(
        sizes=tuple(tuple(size / height for size in sizes) for sizes, _ in shapes),
        ratios=tuple(ratios for _, ratios in shapes),
        steps=tuple((one.step[0] / height, one.step[1] / width) for one in boxes),
        offsets=boxes[0].offset,
        exact_aspect=height != width,
    )


def _sizes_and_ratios(boxes: MapBoxes) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return as many sizes and ratios as a cell has boxes."""
    squares = len(boxes.sides) - len(boxes.ratios) + 1
    if boxes.ratios and 0 < squares <= len(boxes.sizes):
        return boxes.sizes[:squares], boxes.ratios
    return tuple(high for _, high in boxes.sides), (1.0,)


def are_exact(config: NetworkConfig, boxes: Sequence[MapBoxes]) -> bool:
    """Tell whether a configuration's default boxes are those of gluoncv.

    Args:
        config: of the detector.
        boxes: gluoncv's, one entry for each feature map.
    """
    if config.anchors.per_cell() != tuple(len(one.sides) for one in boxes):
        return False
    cells = feature_shapes(config)
    expected = np.concatenate([one.table(shape, config.data_shape) for one, shape in zip(boxes, cells)])
    found = generate_anchors(config.anchors, cells, config.data_shape)
    return bool(np.abs(found - expected).max() <= _SAME)

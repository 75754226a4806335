"""SSD-pytorch's order of default boxes, for its weights and predictions.

Here, as in Caffe, boxes stand map by map, and within a map cell by cell: first all K boxes of the first cell.
SSD-pytorch keeps the maps and turns their inside round: first the first box of every cell, row by row, then every
second. In its heads the channels are turned round in the same way: channel v * K + k for value v of box k, here
k * V + v (V is 4 for boxes, classes with background for scores). In a graph its order would cost transposes.

Source: SSD-pytorch src/utils.py and src/model.py (bbox_view).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.errors import ConfigError


def size_major(feature_shapes: Sequence[tuple[int, int]], per_cell: Sequence[int]) -> np.ndarray:
    """Return where each box of SSD-pytorch's order stands in ours: `theirs = ours[size_major(...)]`.

    Args:
        feature_shapes: (height, width) of each feature map, in cells.
        per_cell: default boxes of a cell, for each feature map.

    Returns:
        (A,) int64, a permutation.

    Raises:
        ConfigError: the two have different lengths.
    """
    if len(feature_shapes) != len(per_cell):
        raise ConfigError(
            f"default boxes: {len(per_cell)} numbers of boxes in a cell, expected {len(feature_shapes)}, one for each"
            " feature map"
        )
    parts, begin = [], 0
    for (height, width), boxes in zip(feature_shapes, per_cell):
        count = height * width * boxes
        places = np.arange(begin, begin + count).reshape(height * width, boxes)
        parts.append(places.T.reshape(-1))  # (cells, K) -> (K * cells,)
        begin += count
    return np.concatenate(parts)


def position_major(feature_shapes: Sequence[tuple[int, int]], per_cell: Sequence[int]) -> np.ndarray:
    """Return where each box of our order stands in SSD-pytorch's: `ours = theirs[position_major(...)]`.

    Args:
        feature_shapes: (height, width) of each feature map, in cells.
        per_cell: default boxes of a cell, for each feature map.

    Returns:
        (A,) int64, the inverse of `size_major`.

    Raises:
        ConfigError: the two have different lengths.
    """
    return np.argsort(size_major(feature_shapes, per_cell))


def head_rows(per_cell: int, values: int) -> np.ndarray:
    """Return the rows of one of SSD-pytorch's heads in our order: `our_weight = their_weight[head_rows(...)]`.

    Args:
        per_cell: default boxes of a cell, K.
        values: 4 for the boxes' head, classes with background for the scores', V.

    Returns:
        (K * V,) int64: row k * V + v is theirs v * K + k.
    """
    return np.arange(per_cell * values).reshape(values, per_cell).T.reshape(-1)

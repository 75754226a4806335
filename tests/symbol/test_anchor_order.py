"""SSD-pytorch's order of boxes and of heads' rows, against the shapes that its own code gives its tensors."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import ConfigError
from symbol.anchor_order import head_rows, position_major, size_major

SHAPES, PER_CELL = [(3, 4), (2, 2), (1, 1)], (4, 6, 2)


def test_size_major_lists_a_box_of_all_cells_before_the_next_box():
    assert size_major([(1, 3)], [2]).tolist() == [0, 2, 4, 1, 3, 5]


def test_two_orders_are_each_other_s_inverse():
    there, back = size_major(SHAPES, PER_CELL), position_major(SHAPES, PER_CELL)
    count = sum(height * width * boxes for (height, width), boxes in zip(SHAPES, PER_CELL))
    np.testing.assert_array_equal(there[back], np.arange(count))
    np.testing.assert_array_equal(np.sort(there), np.arange(count))


def test_maps_keep_their_order():
    ends = np.cumsum([height * width * boxes for (height, width), boxes in zip(SHAPES, PER_CELL)])
    owners = np.searchsorted(ends, size_major(SHAPES, PER_CELL), side="right")
    np.testing.assert_array_equal(owners, np.sort(owners))


@pytest.mark.parametrize("values", [4, 21])
def test_heads_with_turned_rows_predict_the_same_boxes(values):
    rng = np.random.default_rng(0)
    (height, width), boxes, channels = (3, 5), 6, 8
    weight = rng.normal(size=(boxes * values, channels))
    layer = rng.normal(size=(channels, height, width))
    # Theirs: the head's output (K * V, h, w) is seen as (V, K * h * w).
    theirs = np.einsum("oc,chw->ohw", weight, layer).reshape(values, -1).T
    # Ours: (h, w, K * V) is seen as (h * w * K, V).
    turned = weight[head_rows(boxes, values)]
    ours = np.einsum("oc,chw->hwo", turned, layer).reshape(-1, values)
    np.testing.assert_allclose(ours, theirs[position_major([(height, width)], [boxes])])


def test_lists_of_different_length_say_found_and_expected():
    with pytest.raises(ConfigError, match="2 numbers of boxes in a cell, expected 3"):
        size_major(SHAPES, (4, 6))

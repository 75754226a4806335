"""The default boxes of an imported detector: settings where they make gluoncv's boxes, else one operator for each box.

No preset's settings make the boxes of `ssd_300_mobilenet1.0_lite_coco`, whose first square is half as large as the
size that the others of its cell come from; nor those of a file with tables of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from common.errors import ConversionError
from common.mx import mx
from model.graph import heads as graph_heads
from symbol.anchors import AnchorConfig, FixedAnchors
from symbol.config import NetworkConfig
from symbol.gluon_ssd import GluonSSD
from symbol.gluon_ssd_boxes import MapBoxes, are_exact, read_boxes
from symbol.network import feature_shapes, heads

_SAME = 1e-3  # pixels by which the boxes of a file may differ from those that gluoncv would make


def boxes_in_file(detector: GluonSSD, constants: dict[str, np.ndarray]) -> tuple[MapBoxes, ...]:
    """Return the default boxes that a file holds, map by map; those of gluoncv where it holds none.

    Args:
        detector: of gluoncv.
        constants: names -> arrays of the file.
    """
    boxes = []
    for number, known in enumerate(detector.boxes):
        key = f"anchor_generators.{number}.anchors"
        table = constants.get(key)
        same = table is None or (
            table.shape == detector.constants[key].shape
            and np.abs(table - detector.constants[key]).max() <= _SAME
        )
        boxes.append(known if same else read_boxes(table))
    return tuple(boxes)


def heads_with_boxes(
    config: NetworkConfig, boxes: Sequence[MapBoxes]
) -> tuple[mx.sym.Symbol, AnchorConfig | FixedAnchors]:
    """Build a network up to its predictions, with gluoncv's default boxes.

    Args:
        config: of the network.
        boxes: one entry for each feature map.

    Returns:
        The group that `symbol.network.heads` gives, and the settings for the card.

    Raises:
        ConversionError: a cell has another number of boxes than the heads predict.
    """
    parts = heads(config)
    if are_exact(config, boxes):
        return parts, config.anchors
    loc_pred, cls_pred, _ = graph_heads(parts, config.network)
    cells = feature_shapes(config)
    internals, maps = parts.get_internals(), []
    for layer, one, shape in zip(_layers(parts), boxes, cells):
        maps.append(_map_boxes(internals[f"{layer}_output"], one, layer, shape, config.data_shape))
    joined = mx.sym.concat(*maps, dim=1, name="multibox_anchors_flat")
    anchors = mx.sym.reshape(joined, shape=(0, -1, 4), name="multibox_anchors")
    count = sum(height * width * len(one.sides) for one, (height, width) in zip(boxes, cells))
    _, (_, (_, _, predicted)), _ = mx.sym.Group([loc_pred, cls_pred]).infer_shape(
        data=(1, 3, *config.data_shape)
    )
    if count != predicted:
        raise ConversionError(
            f"{config.network}: the file has {count} default boxes, the heads predict {predicted}: check NAME"
        )
    return mx.sym.Group([loc_pred, cls_pred, anchors]), FixedAnchors(count, config.anchors.variances)


def _layers(parts) -> list[str]:
    """Return the names of the feature layers, in order."""
    ending = "_loc_pred_conv_weight"
    return [name[: -len(ending)] for name in parts.list_arguments() if name.endswith(ending)]


def _map_boxes(layer, boxes: MapBoxes, name: str, cells: tuple[int, int], data_shape: tuple[int, int]):
    """Return the default boxes of one feature map (1, 4 * h * w * K), each from an operator of its own."""
    height, width = data_shape
    rows, columns = cells
    made = []
    for number, (wide, high) in enumerate(boxes.sides):
        # The operator makes a box (size * rows / columns * sqrt(ratio)) wide and (size / sqrt(ratio)) high.
        ratio = (wide / width) / (high / height) * columns / rows
        box = mx.sym.contrib.MultiBoxPrior(
            layer,
            sizes=(high / height * math.sqrt(ratio),),
            ratios=(ratio,),
            steps=(boxes.step[0] / height, boxes.step[1] / width),
            offsets=boxes.offset,
            name=f"{name}_anchors{number}",
        )
        made.append(mx.sym.reshape(box, shape=(1, -1, 1, 4), name=f"{name}_anchors{number}_column"))
    joined = mx.sym.concat(*made, dim=2, name=f"{name}_anchors")  # (1, h * w, K, 4)
    return mx.sym.Flatten(joined, name=f"{name}_anchors_flat")

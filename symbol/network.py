"""A network from image to heads: the part that training and inference share.

Names are mxnet-ssd's, so that its checkpoints load: `{L}_loc_pred_conv`, `{L}_cls_pred_conv`, `{L}_anchors`, and with
normalisation `{L}_norm` and `{L}_scale`, where L is the feature layer's name.

Source: mxnet-ssd symbol/common.py, multibox_layer; SSD paper, section 2.1.
"""

from __future__ import annotations

import contextlib
import io
import re

from common.errors import ConfigError
from common.mx import mx
from symbol.anchors import AnchorConfig
from symbol.features import features, new_bias
from symbol.presets import NetworkConfig

# No network of this kind needs an input larger than this.
_LARGEST_MINIMUM = 4096


def heads(config: NetworkConfig):
    """Build a network up to its predictions.

    Args:
        config: the network.

    Returns:
        A group of multibox_loc_pred (B, 4A), the encoded boxes; multibox_cls_pred (B, C+1, A), the class scores before
        the softmax, class 0 is background; multibox_anchors (1, A, 4), the default boxes, corner form.

    Raises:
        ConfigError: the input is too small for the network.
    """
    feature_shapes(config)
    locations, classes, anchors = [], [], []
    for index, (layer, name) in enumerate(zip(features(config), config.feature_names)):
        layer = _normalised(layer, name, config.num_filters[index], config.normalization[index])
        per_cell = config.anchors.per_cell()[index]
        locations.append(_predict(layer, 4 * per_cell, f"{name}_loc_pred"))
        classes.append(_predict(layer, (config.num_classes + 1) * per_cell, f"{name}_cls_pred"))
        anchors.append(_anchors(layer, config.anchors, index, name))
    return mx.sym.Group(
        [
            mx.sym.concat(*locations, dim=1, name="multibox_loc_pred"),
            _join_classes(classes, config.num_classes),
            _join_anchors(anchors),
        ]
    )


def _normalised(layer, name: str, channels: int, scale: float):
    """Return the layer with each cell's features brought to a learned length; scale -1: as it is."""
    if scale <= 0:
        return layer
    layer = mx.sym.L2Normalization(layer, mode="channel", name=f"{name}_norm")
    weight = mx.sym.Variable(
        f"{name}_scale", shape=(1, channels, 1, 1), init=mx.init.Constant(scale), attr={"__wd_mult__": "0.1"}
    )
    return mx.sym.broadcast_mul(weight, layer, name=f"{name}_scaled")


def _predict(layer, filters: int, name: str):
    """Return one head of one feature map, cell by cell: (B, C, h, w) -> (B, h * w * filters)."""
    body = mx.sym.Convolution(
        layer,
        bias=new_bias(f"{name}_conv_bias"),
        num_filter=filters,
        kernel=(3, 3),
        pad=(1, 1),
        name=f"{name}_conv",
    )
    body = mx.sym.transpose(body, axes=(0, 2, 3, 1), name=f"{name}_nhwc")  # (B, F, h, w) -> (B, h, w, F)
    return mx.sym.Flatten(body, name=f"{name}_flat")


def _anchors(layer, config: AnchorConfig, index: int, name: str):
    """Return the default boxes of one feature map: (1, 4 * h * w * K)."""
    boxes = mx.sym.contrib.MultiBoxPrior(
        layer,
        sizes=config.sizes[index],
        ratios=config.ratios[index],
        clip=config.clip,
        steps=config.step(index),
        offsets=config.offsets,
        name=f"{name}_anchors",
    )
    return mx.sym.Flatten(boxes, name=f"{name}_anchors_flat")


def _join_classes(classes: list, num_classes: int):
    """Return the class scores of all maps: each (B, A_i * (C+1)) -> (B, C+1, A)."""
    body = mx.sym.concat(*classes, dim=1, name="multibox_cls_pred_flat")
    body = mx.sym.reshape(body, shape=(0, -1, num_classes + 1), name="multibox_cls_pred_rows")
    return mx.sym.transpose(body, axes=(0, 2, 1), name="multibox_cls_pred")


def _join_anchors(anchors: list):
    """Return the default boxes of all maps: each (1, 4 * A_i) -> (1, A, 4)."""
    body = mx.sym.concat(*anchors, dim=1, name="multibox_anchors_flat")
    return mx.sym.reshape(body, shape=(0, -1, 4), name="multibox_anchors")


def feature_shapes(config: NetworkConfig) -> list[tuple[int, int]]:
    """Return (height, width) in cells of each feature map, the finest first.

    Raises:
        ConfigError: the input is too small; the message names the layer that it does not fill and what would do.
    """
    symbol = mx.sym.Group(features(config))
    try:
        return _shapes_at(symbol, config.data_shape)
    except mx.base.MXNetError as error:
        found = re.search(r"Error in operator (\w+)", str(error))
        layer = found.group(1) if found else "a layer"
        side = _smallest_side(symbol)
        raise ConfigError(
            f"data shape {config.data_shape[0]}x{config.data_shape[1]} is too small for {config.network}:"
            f" {layer} would end below 1x1; give at least {side} pixels in height and in width"
        ) from error


def _shapes_at(symbol, data_shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the (height, width) of a symbol's outputs; MXNetError where the input is too small."""
    # MXNet prints the arguments before it raises.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        _, shapes, _ = symbol.infer_shape(data=(1, 3, *data_shape))
    return [(shape[2], shape[3]) for shape in shapes]


def _smallest_side(symbol) -> int:
    """Return the smallest side of a square input that the network takes, in pixels."""
    low, high = 0, _LARGEST_MINIMUM
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _shapes_at(symbol, (middle, middle))
            high = middle
        except mx.base.MXNetError:
            low = middle
    return high

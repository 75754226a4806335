"""A network from image to heads: the part that training and inference share.

Names are mxnet-ssd's, so that its checkpoints load: `{L}_loc_pred_conv`, `{L}_cls_pred_conv`, `{L}_anchors`, and with
normalisation `{L}_norm` and `{L}_scale`, where L is the feature layer's name.

Source: mxnet-ssd symbol/common.py, multibox_layer; SSD paper, section 2.1.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from functools import partial

from common.errors import ConfigError
from common.mx import mx, quiet
from symbol.config import Feature, NetworkConfig
from symbol.features import features
from symbol.predictors import predict
from symbol.prior import map_anchors

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
        ConfigError: the input is too small for the network, or a name stands twice.
    """
    layers = features(config)
    maps = _maps_of(config, layers)
    locations, classes, anchors = [], [], []
    for index, (layer, feature) in enumerate(zip(layers, config.features)):
        name, (channels, *cells) = layer.name, maps[index]
        layer = _normalised(layer, feature, name, channels)
        per_cell = config.anchors.per_cell()[index]
        head = partial(predict, layer, kind=feature.head, channels=channels)
        locations.append(head(4 * per_cell, f"{name}_loc_pred"))
        classes.append(head((config.num_classes + 1) * per_cell, f"{name}_cls_pred"))
        anchors.append(map_anchors(layer, config.anchors, index, name, _aspect(config.data_shape, cells)))
    parts = [
        mx.sym.concat(*locations, dim=1, name="multibox_loc_pred"),
        _join_classes(classes, config.num_classes),
        _join_anchors(anchors),
    ]
    return _checked(mx.sym.Group(parts), config.network)


def _checked(parts, network: str):
    """Return the graph; refuse one with a name that stands twice, for a checkpoint would hold one of the two."""
    names = Counter(re.sub("_output$", "", name) for name in parts.get_internals().list_outputs())
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ConfigError(
            f"network {network}: two layers or parameters are called {twice[0]!r}, one of the backbone and one of the"
            " extra blocks or heads: rename the backbone's"
        )
    return parts


def _aspect(data_shape: tuple[int, int], cells: list[int]) -> float:
    """Return by how much a map of so many (rows, columns) is flatter than the image: 1 where it is not."""
    return (data_shape[0] / data_shape[1]) / (cells[0] / cells[1])


def _normalised(layer, feature: Feature, name: str, channels: int):
    """Return the layer as its head reads it."""
    if feature.norm == "none":
        return layer
    if feature.norm == "batch":
        return mx.sym.BatchNorm(layer, fix_gamma=False, eps=1e-5, momentum=0.9, name=f"{name}_norm")
    layer = mx.sym.L2Normalization(layer, mode="channel", name=f"{name}_norm")
    weight = mx.sym.Variable(
        f"{name}_scale",
        shape=(1, channels, 1, 1),
        init=mx.init.Constant(feature.scale),
        attr={"__wd_mult__": "0.1"},
    )
    return mx.sym.broadcast_mul(weight, layer, name=f"{name}_scaled")


def _join_classes(classes: list, num_classes: int):
    """Return the class scores of all maps: each (B, A_i * (C+1)) -> (B, C+1, A)."""
    body = mx.sym.concat(*classes, dim=1, name="multibox_cls_pred_flat")
    body = mx.sym.reshape(body, shape=(0, -1, num_classes + 1), name="multibox_cls_pred_rows")
    return mx.sym.transpose(body, axes=(0, 2, 1), name="multibox_cls_pred")


def _join_anchors(anchors: list):
    """Return the default boxes of all maps: each (1, 4 * A_i) -> (1, A, 4)."""
    body = mx.sym.concat(*anchors, dim=1, name="multibox_anchors_flat")
    return mx.sym.reshape(body, shape=(0, -1, 4), name="multibox_anchors")


def feature_maps(config: NetworkConfig) -> list[tuple[int, int, int]]:
    """Return (channels, height, width) of each feature map, the finest first; height and width in cells.

    Raises:
        ConfigError: the input is too small; the message names the layer that it does not fill and what would do.
    """
    return _maps_of(config, features(config))


def _maps_of(config: NetworkConfig, layers: list) -> list[tuple[int, int, int]]:
    """Return (channels, height, width) of the feature maps that were built."""
    symbol = mx.sym.Group(layers)
    try:
        return _shapes_at(symbol, config.data_shape)
    except mx.base.MXNetError as error:
        found = re.search(r"Error in operator (\w+)", str(error))
        raise _does_not_fit(config, symbol, found.group(1) if found else "a layer") from error


def _does_not_fit(config: NetworkConfig, symbol, layer: str) -> ConfigError:
    """Return the error for an input that a layer cannot take: too small, or too small is not what is wrong with it."""
    (height, width), side = config.data_shape, _smallest_side(symbol)
    if side <= min(height, width):
        return ConfigError(
            f"data shape {height}x{width} does not fit {config.network}: {layer} cannot compute of it; {side}x{side}"
            " fits: give another --data-shape"
        )
    return ConfigError(
        f"data shape {height}x{width} is too small for {config.network}: {layer} would end below 1x1; give at least"
        f" {side} pixels in height and in width"
    )


def feature_shapes(config: NetworkConfig) -> list[tuple[int, int]]:
    """Return (height, width) in cells of each feature map, the finest first.

    Raises:
        ConfigError: the input is too small.
    """
    return [(height, width) for _, height, width in feature_maps(config)]


def _shapes_at(symbol, data_shape: tuple[int, int]) -> list[tuple[int, int, int]]:
    """Return the (channels, height, width) of a symbol's outputs; MXNetError where the input is too small."""
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of shapes that stay unknown; told below
        _, shapes, _ = symbol.infer_shape(data=(1, 3, *data_shape))
    if shapes is None:
        others = ", ".join(name for name in symbol.list_arguments() if name != "data")
        raise ConfigError(
            f"the network's feature maps do not follow from the input alone: among {others[:200]} is one without a"
            " shape: give its Variable shape=(...), or leave it out"
        )
    return [tuple(shape[1:]) for shape in shapes]


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

"""The feature maps that the heads read: layers of the backbone, then extra blocks on top of the last.

Source: mxnet-ssd symbol/common.py, multi_layer_feature; SSD paper, section 2.1.
"""

from common.mx import mx
from symbol.presets import EXTRA, NetworkConfig


def features(config: NetworkConfig) -> list:
    """Build a network up to its feature maps.

    Args:
        config: the network.

    Returns:
        One Symbol for each feature map (B, C, h, w), the finest first.
    """
    body = config.backbone(mx.sym.Variable("data"))
    internals = body.get_internals()
    layers = []
    for index, name in enumerate(config.from_layers):
        layers.append(_extra(layers[-1], config, index) if name == EXTRA else internals[f"{name}_output"])
    return layers


def new_bias(name: str):
    """Return the bias of a layer that no backbone brings: from 0, learning twice as fast, as in mxnet-ssd."""
    return mx.sym.Variable(name, init=mx.init.Constant(0.0), attr={"__lr_mult__": "2.0"})


def _extra(data, config: NetworkConfig, index: int):
    """Return an extra block: a 1x1 convolution that halves the filters, then the 3x3 one that gives the map."""
    filters = config.num_filters[index]
    body = _convolution(data, max(128, filters // 2), 1, 1, 0, f"multi_feat_{index}_conv_1x1")
    stride, pad = config.strides[index], config.pads[index]
    return _convolution(body, filters, 3, stride, pad, f"multi_feat_{index}_conv_3x3")


def _convolution(data, filters: int, side: int, stride: int, pad: int, name: str):
    """Return convolution and ReLU."""
    body = mx.sym.Convolution(
        data,
        bias=new_bias(f"{name}_conv_bias"),
        num_filter=filters,
        kernel=(side, side),
        stride=(stride, stride),
        pad=(pad, pad),
        name=f"{name}_conv",
    )
    return mx.sym.Activation(body, act_type="relu", name=f"{name}_relu")

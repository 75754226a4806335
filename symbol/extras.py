"""Extra blocks: the feature maps on top of the backbone's, each half the size of the one before.

Each is a function (data, name, ...) -> Symbol; a preset fixes the rest with `functools.partial`. All layers' names
begin with `name`; the output's name is the feature map's, with which its heads' names begin.

Source: mxnet-ssd symbol/common.py, multi_layer_feature; SSD paper, section 2.1; the others as their functions say.
"""

from __future__ import annotations

from common.mx import mx
from symbol.layers import bottleneck, fan_in, normalised


def new_bias(name: str):
    """Return the bias of a layer that no backbone brings: from 0, learning twice as fast, as in mxnet-ssd."""
    return mx.sym.Variable(name, init=mx.init.Constant(0.0), attr={"__lr_mult__": "2.0"})


def plain(data, name: str, *, filters: int, stride: int, pad: int, side: int = 3):
    """Return mxnet-ssd's block: a 1x1 convolution to half of the filters (128 at least), then the map's.

    Args:
        data: (B, C, h, w).
        name: multi_feat_K in mxnet-ssd's networks.
        filters: of the second convolution.
        stride: of the second convolution.
        pad: of the second convolution.
        side: of the second convolution's kernel.

    Returns:
        {name}_conv_3x3_relu: (B, filters, h', w').
    """
    body = _convolution(data, max(128, filters // 2), 1, 1, 0, f"{name}_conv_1x1")
    return _convolution(body, filters, side, stride, pad, f"{name}_conv_{side}x{side}")


def biased_convolution(data, filters: int, side: int, stride: int, pad: int, *, names: tuple[str, str]):
    """Return convolution with a new bias, and ReLU.

    Args:
        data: (B, C, h, w).
        filters: of the convolution.
        side: of its kernel.
        stride: in both directions.
        pad: on every side.
        names: of the convolution and of the ReLU.
    """
    convolution, relu = names
    body = mx.sym.Convolution(
        data,
        bias=new_bias(f"{convolution}_bias"),
        num_filter=filters,
        kernel=(side, side),
        stride=(stride, stride),
        pad=(pad, pad),
        name=convolution,
    )
    return mx.sym.Activation(body, act_type="relu", name=relu)


def _convolution(data, filters: int, side: int, stride: int, pad: int, name: str):
    """Return {name}_conv and {name}_relu."""
    return biased_convolution(data, filters, side, stride, pad, names=(f"{name}_conv", f"{name}_relu"))


def plain_bn(data, name: str, *, middle: int, filters: int, stride: int):
    """Return SSD-pytorch's block: 1x1 and 3x3 convolution, each without bias and with BatchNorm and ReLU.

    Args:
        data: (B, C, h, w).
        name: what the layers' names begin with.
        middle: filters of the 1x1 convolution.
        filters: of the 3x3 convolution.
        stride: of the 3x3 convolution; it is padded where the stride is 2.

    Returns:
        {name}_3x3_relu: (B, filters, h', w').

    Source: SSD-pytorch src/model.py.
    """
    body = normalised(data, f"{name}_1x1", act="relu", filters=middle)
    pad = 1 if stride == 2 else 0
    return normalised(body, f"{name}_3x3", act="relu", filters=filters, side=3, stride=stride, pad=pad)


def separable(data, name: str, *, middle: int, filters: int, pad: int = 1):
    """Return pytorch-ssd's block without BatchNorm: 1x1, ReLU, depthwise 3x3 of stride 2, ReLU, 1x1, no ReLU.

    Args:
        data: (B, C, h, w).
        name: what the layers' names begin with.
        middle: filters of the first 1x1 convolution and of the depthwise one.
        filters: of the last 1x1 convolution.
        pad: of the depthwise convolution.

    Returns:
        {name}_project_conv: (B, filters, h', w').

    Source: pytorch-ssd vision/ssd/mobilenetv1_ssd_lite.py.
    """
    body = _convolution(data, middle, 1, 1, 0, f"{name}_1x1")
    body = depthwise(body, f"{name}_dw", channels=middle, stride=2, pad=pad)
    body = mx.sym.Activation(body, act_type="relu", name=f"{name}_dw_relu")
    return mx.sym.Convolution(
        body,
        bias=new_bias(f"{name}_project_conv_bias"),
        num_filter=filters,
        kernel=(1, 1),
        name=f"{name}_project_conv",
    )


def depthwise(data, name: str, *, channels: int, stride: int = 1, pad: int = 1):
    """Return a depthwise 3x3 convolution with bias, of a separable block or head."""
    return mx.sym.Convolution(
        data,
        weight=mx.sym.Variable(f"{name}_weight", init=fan_in()),
        bias=new_bias(f"{name}_bias"),
        num_filter=channels,
        num_group=channels,
        kernel=(3, 3),
        stride=(stride, stride),
        pad=(pad, pad),
        name=name,
    )


def inverted_residual(data, name: str, *, hidden: int, filters: int, act: str):
    """Return MobileNetV2's block of stride 2, which has no shortcut; V3's with another activation.

    Args:
        data: (B, C, h, w).
        name: what the layers' names begin with.
        hidden: channels of the expansion.
        filters: output channels.
        act: "relu6" or "hswish".

    Returns:
        {name}_project_bn: (B, filters, h / 2, w / 2).

    Source: pytorch-ssd vision/ssd/mobilenet_v2_ssd_lite.py and mobilenetv3_ssd_lite.py.
    """
    return bottleneck(data, name, hidden=hidden, filters=filters, stride=2, act=act)

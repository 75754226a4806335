"""Extra blocks: the feature maps on top of the backbone's, each half the size of the one before.

Each is a function (data, name, ...) -> Symbol; a preset fixes the rest with `functools.partial`. All layers' names
begin with `name`; the output's name is the feature map's, with which its heads' names begin.

Source: mxnet-ssd symbol/common.py, multi_layer_feature; SSD paper, section 2.1.
"""

from common.mx import mx


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

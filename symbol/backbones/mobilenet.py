"""MobileNet v1: depthwise separable convolutions.

Source: mxnet-ssd symbol/mobilenet.py; Howard et al., MobileNets (2017). As there, BatchNorm's gamma is fixed to 1.
"""

from common.mx import mx

# Filters and stride of the blocks conv_2 to conv_14.
BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)


def backbone(data):
    """Stack a convolution of stride 2 and thirteen depthwise separable blocks.

    Args:
        data: (B, 3, H, W).

    Returns:
        conv_14_relu: (B, 1024, H/32, W/32); conv_12_relu (B, 512, H/16, W/16) is among its internals.
    """
    body = _convolution(data, 32, 3, 2, 1, "conv_1")
    inputs = 32
    for number, (filters, stride) in enumerate(BLOCKS, start=2):
        body = _convolution(body, inputs, 3, stride, inputs, f"conv_{number}_dw")
        body = _convolution(body, filters, 1, 1, 1, f"conv_{number}")
        inputs = filters
    return body


def _convolution(data, filters: int, side: int, stride: int, groups: int, name: str):
    """Return convolution, BatchNorm and ReLU."""
    body = mx.sym.Convolution(
        data,
        num_filter=filters,
        kernel=(side, side),
        stride=(stride, stride),
        pad=(side // 2, side // 2),
        num_group=groups,
        no_bias=True,
        name=f"{name}_conv2d",
    )
    body = mx.sym.BatchNorm(body, fix_gamma=True, name=f"{name}_batchnorm")
    return mx.sym.Activation(body, act_type="relu", name=f"{name}_relu")

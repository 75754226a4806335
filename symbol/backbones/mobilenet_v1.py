"""MobileNet v1 as pytorch-ssd has it: depthwise separable blocks with a learned gamma in every BatchNorm.

symbol/backbones/mobilenet.py is mxnet-ssd's, with gammas fixed to 1 and BatchNorm's epsilon 1e-3.
Source: pytorch-ssd vision/nn/mobilenet.py; Howard et al., MobileNets (2017).
Deliberate addition: the paper's width multiplier, which pytorch-ssd leaves out.
"""

from __future__ import annotations

from symbol.backbones.mobilenet import BLOCKS
from symbol.layers import normalised


def backbone(data, *, width: float = 1.0):
    """Stack a convolution of stride 2 and thirteen depthwise separable blocks.

    Args:
        data: (B, 3, H, W).
        width: multiplies the channels, rounded to multiples of 8.

    Returns:
        conv_14_relu: (B, 1024 * width, H/32, W/32); conv_12_relu (B, 512 * width, H/16, W/16) is among its internals.
    """
    inputs = round_channels(32 * width)
    body = normalised(data, "conv_1", act="relu", filters=inputs, side=3, stride=2)
    for number, (filters, stride) in enumerate(BLOCKS, start=2):
        name, filters = f"conv_{number}", round_channels(filters * width)
        body = normalised(
            body, f"{name}_dw", act="relu", filters=inputs, side=3, stride=stride, groups=inputs
        )
        body = normalised(body, name, act="relu", filters=filters)
        inputs = filters
    return body


def round_channels(channels: float) -> int:
    """Return the nearest multiple of 8, 8 at least and never less than 9/10 of what was asked for.

    Source: the rule of MobileNetV2's authors, which torchvision follows.
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8

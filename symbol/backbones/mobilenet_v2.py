"""MobileNetV2: inverted residuals with ReLU6, for pytorch-ssd's mb2-ssd-lite and SSD-pytorch's SSDLite.

Blocks are counted as both systems count their layers: conv_0, block_1 to block_17, conv_18. Their first feature map is
the expansion inside block 14, `block_14_expand_relu6`.

Source: pytorch-ssd vision/nn/mobilenet_v2.py; Sandler et al., MobileNetV2 (2018), table 2.
Deliberate deviations: in SSD-pytorch the first head's gradient stops at the tap (the tensor is detached), here it flows
into the backbone. pytorch-ssd builds heads for 576 * width channels, which only some widths have; here they follow the
map.
"""

from __future__ import annotations

from collections.abc import Callable

from common.mx import mx
from symbol.layers import bottleneck, depthwise_project, normalised

# Expansion, channels, blocks, stride of the first block.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
LAST = 1280


def backbone(data, *, width: float = 1.0, rounded: Callable[[float], int] = int):
    """Stack a convolution of stride 2, seventeen inverted residuals and a last 1x1 convolution.

    Args:
        data: (B, 3, H, W).
        width: multiplies the channels; those of the last convolution above 1 only.
        rounded: channels as a float -> channels; pytorch-ssd cuts the fraction off, others round to multiples of 8.

    Returns:
        conv_18_relu6: (B, 1280, H/32, W/32); block_14_expand_relu6 (B, 576 * width, H/16, W/16) is among its internals.
    """
    inputs = rounded(32 * width)
    body = normalised(data, "conv_0", act="relu6", filters=inputs, side=3, stride=2)
    number = 0
    for expansion, channels, blocks, first_stride in STAGES:
        filters = rounded(channels * width)
        for block in range(blocks):
            number += 1
            stride = first_stride if block == 0 else 1
            body = _block(body, f"block_{number}", (inputs, expansion, filters), stride)
            inputs = filters
    return normalised(body, "conv_18", act="relu6", filters=rounded(LAST * max(1.0, width)))


def _block(data, name: str, channels: tuple[int, int, int], stride: int):
    """Return one inverted residual; `channels` are those of its input, its expansion, those of its output."""
    inputs, expansion, filters = channels
    build = bottleneck if expansion != 1 else depthwise_project
    body = build(data, name, hidden=inputs * expansion, filters=filters, stride=stride, act="relu6")
    return mx.sym.elemwise_add(data, body, name=f"{name}_sum") if stride == 1 and inputs == filters else body

"""MobileNetV3 as pytorch-ssd has it: inverted residuals, some with squeeze-and-excitation, ReLU or h-swish.

Blocks are counted from 1. The first feature map is the last block at 1/16 of the image: block 12 of the large network
(`block_12_sum`, 112 channels), block 8 of the small one (`block_8_sum`, 48).

Source: pytorch-ssd vision/nn/mobilenetv3.py; Howard et al., Searching for MobileNetV3 (2019), tables 1 and 2.
pytorch-ssd's network is not the paper's, and neither is this one, so that its weights fit: squeeze-and-excitation
stands after the projection, not before it, with BatchNorm in place of biases; a block of stride 1 that changes its
channels has a convolution in its shortcut; block 1 of the large network has an expansion, of as many channels as its
input; block 13 has stride 1 and block 14 the last stride. With one image in a batch that BatchNorm has a single value
to normalise: train with two or more.
"""

from __future__ import annotations

from typing import NamedTuple

from common.mx import mx
from symbol.layers import activation, batch_norm, bottleneck, convolution, normalised

_REDUCTION = 4


class Block(NamedTuple):
    """Side of the depthwise kernel, channels of the middle and of the output, squeeze-and-excitation, stride."""

    side: int
    hidden: int
    filters: int
    act: str
    squeeze: bool
    stride: int


LARGE = (
    Block(3, 16, 16, "relu", False, 1),
    Block(3, 64, 24, "relu", False, 2),
    Block(3, 72, 24, "relu", False, 1),
    Block(5, 72, 40, "relu", True, 2),
    Block(5, 120, 40, "relu", True, 1),
    Block(5, 120, 40, "relu", True, 1),
    Block(3, 240, 80, "hswish", False, 2),
    Block(3, 200, 80, "hswish", False, 1),
    Block(3, 184, 80, "hswish", False, 1),
    Block(3, 184, 80, "hswish", False, 1),
    Block(3, 480, 112, "hswish", True, 1),
    Block(3, 672, 112, "hswish", True, 1),
    Block(5, 672, 160, "hswish", True, 1),
    Block(5, 672, 160, "hswish", True, 2),
    Block(5, 960, 160, "hswish", True, 1),
)
SMALL = (
    Block(3, 16, 16, "relu", True, 2),
    Block(3, 72, 24, "relu", False, 2),
    Block(3, 88, 24, "relu", False, 1),
    Block(5, 96, 40, "hswish", True, 2),
    Block(5, 240, 40, "hswish", True, 1),
    Block(5, 240, 40, "hswish", True, 1),
    Block(5, 120, 48, "hswish", True, 1),
    Block(5, 144, 48, "hswish", True, 1),
    Block(5, 288, 96, "hswish", True, 2),
    Block(5, 576, 96, "hswish", True, 1),
    Block(5, 576, 96, "hswish", True, 1),
)


def backbone(data, *, blocks: tuple[Block, ...], last: int):
    """Stack a convolution of stride 2, the blocks and a last 1x1 convolution.

    Args:
        data: (B, 3, H, W).
        blocks: LARGE or SMALL.
        last: channels of the last convolution: 960 or 576.

    Returns:
        conv_last_hswish: (B, last, H/32, W/32); the blocks' outputs are among its internals: `block_N_sum` where the
        stride is 1.
    """
    inputs = 16
    body = normalised(data, "conv_first", act="hswish", filters=inputs, side=3, stride=2)
    for number, block in enumerate(blocks, start=1):
        body = _block(body, f"block_{number}", inputs, block)
        inputs = block.filters
    return normalised(body, "conv_last", act="hswish", filters=last)


def _block(data, name: str, inputs: int, block: Block):
    """Return one block."""
    _, hidden, filters, act, squeeze, stride = block
    body = bottleneck(data, name, hidden=hidden, filters=filters, side=block.side, stride=stride, act=act)
    body = squeeze_excitation(body, f"{name}_se", filters) if squeeze else body
    if stride != 1:
        return body
    if inputs != filters:
        data = normalised(data, f"{name}_shortcut", act="none", filters=filters)
    return mx.sym.elemwise_add(body, data, name=f"{name}_sum")


def squeeze_excitation(data, name: str, channels: int):
    """Scale each channel by a factor in [0, 1] that is computed from the means of all of them.

    Args:
        data: (B, C, h, w).
        name: what the layers' names begin with.
        channels: C.
    """
    means = mx.sym.Pooling(data, global_pool=True, pool_type="avg", kernel=(1, 1), name=f"{name}_means")
    body = normalised(means, f"{name}_reduce", act="relu", filters=channels // _REDUCTION)
    body = batch_norm(convolution(body, f"{name}_restore_conv", filters=channels), f"{name}_restore_bn")
    factors = activation(body, "hsigmoid", f"{name}_factors")  # (B, C, 1, 1)
    return mx.sym.broadcast_mul(data, factors, name=f"{name}_scaled")

"""SqueezeNet 1.1: fire modules, a narrow 1x1 convolution that two wide ones read.

Source: pytorch-ssd vision/nn/squeezenet.py; Iandola et al., SqueezeNet (2016). As there, and other than in
torchvision, pooling rounds down: an image of 300x300 has 17x17 cells at fire8, not 18x18.
There is no BatchNorm; weights start from He's values, for the project's usual ones leave a thousandth of the signal.
"""

from __future__ import annotations

from collections.abc import Callable

from common.mx import mx
from symbol.layers import fan_in

# Channels of the narrow convolution and of each wide one; None is a pooling.
FIRES = (None, (16, 64), (16, 64), None, (32, 128), (32, 128), None, (48, 192), (48, 192), (64, 256))
LAST_FIRE = (64, 256)


def backbone(data):
    """Stack the first convolution and the fire modules 2 to 8.

    Args:
        data: (B, 3, H, W).

    Returns:
        fire8: (B, 512, about H/17, W/17).
    """
    body = _convolution(data, "conv1", filters=64, side=3, stride=2)
    number, pools = 2, 1
    for channels in FIRES:
        if channels is None:
            body = mx.sym.Pooling(body, kernel=(3, 3), stride=(2, 2), pool_type="max", name=f"pool{pools}")
            pools += 1
        else:
            body = fire(body, f"fire{number}", channels)
            number += 1
    return body


def above_fire9(data, name: str, *, block: Callable):
    """Return an extra block on top of the last fire module, which the first head does not see.

    Args:
        data: fire8.
        name: of the extra block.
        block: (Symbol, name) -> Symbol.
    """
    return block(fire(data, "fire9", LAST_FIRE), name)


def fire(data, name: str, channels: tuple[int, int]):
    """Return one fire module.

    Args:
        data: (B, C, h, w).
        name: of the output, and what the layers' names begin with.
        channels: of the narrow convolution and of each wide one, D.

    Returns:
        (B, 2 * D, h, w).
    """
    narrow, wide = channels
    body = _convolution(data, f"{name}_squeeze", filters=narrow, side=1)
    parts = [_convolution(body, f"{name}_expand{side}x{side}", filters=wide, side=side) for side in (1, 3)]
    return mx.sym.concat(*parts, dim=1, name=name)


def _convolution(data, name: str, *, filters: int, side: int, stride: int = 1):
    """Return convolution and ReLU; the first of the network, of stride 2, is not padded."""
    pad = side // 2 if stride == 1 else 0
    body = mx.sym.Convolution(
        data,
        weight=mx.sym.Variable(f"{name}_weight", init=fan_in()),
        num_filter=filters,
        kernel=(side, side),
        stride=(stride, stride),
        pad=(pad, pad),
        name=name,
    )
    return mx.sym.Activation(body, act_type="relu", name=f"{name}_relu")

"""Residual networks of the second kind (BatchNorm and ReLU before the convolutions).

Source: mxnet-ssd symbol/resnet.py; He et al., Identity Mappings in Deep Residual Networks (2016).
The sum of unit n (counted from 0 over all stages) is called `_plusN`. In mxnet-ssd that name came from MXNet's counter
and was right for the first network of a process only; here it is explicit. The features are the raw sums, as there.
"""

from __future__ import annotations

from common.mx import mx
from symbol.layers import bare_convolution

# Units of the four stages.
UNITS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
FIRST_BOTTLENECK = 50  # networks with fewer layers have the basic unit of two 3x3 convolutions
BASIC_FILTERS = (64, 128, 256, 512)
BOTTLENECK_FILTERS = (256, 512, 1024, 2048)


def backbone(data, *, num_layers: int):
    """Stack the stem and the four stages, without the last BatchNorm and ReLU.

    Args:
        data: (B, 3, H, W).
        num_layers: one of UNITS.

    Returns:
        The last sum: (B, 2048, H/32, W/32), of 18 and 34 layers (B, 512, H/32, W/32); the other `_plusN` are among
        its internals.
    """
    deep = num_layers >= FIRST_BOTTLENECK
    unit_body = _bottleneck if deep else _basic
    body = _stem(data)
    count = 0
    for stage, filters in enumerate(BOTTLENECK_FILTERS if deep else BASIC_FILTERS, start=1):
        for unit in range(1, UNITS[num_layers][stage - 1] + 1):
            stride = 2 if unit == 1 and stage > 1 else 1
            name = f"stage{stage}_unit{unit}"
            first = _active(body, name, 1)
            # The first unit of every stage has a convolution in its shortcut, also where the shapes are equal.
            shortcut = bare_convolution(first, filters, 1, stride, f"{name}_sc") if unit == 1 else body
            body = mx.sym.elemwise_add(
                unit_body(first, filters, stride, name), shortcut, name=f"_plus{count}"
            )
            count += 1
    return body


def _normalise(data, name: str, *, fix_gamma: bool = False):
    return mx.sym.BatchNorm(data, fix_gamma=fix_gamma, eps=2e-5, momentum=0.9, name=name)


def _active(data, name: str, number: int):
    """Return BatchNorm and ReLU number `number` of a unit."""
    body = _normalise(data, f"{name}_bn{number}")
    return mx.sym.Activation(body, act_type="relu", name=f"{name}_relu{number}")


def _stem(data):
    """Return the 7x7 convolution and pooling: (B, 3, H, W) -> (B, 64, H/4, W/4)."""
    body = _normalise(data, "bn_data", fix_gamma=True)
    body = bare_convolution(body, 64, 7, 2, "conv0")
    body = mx.sym.Activation(_normalise(body, "bn0"), act_type="relu", name="relu0")
    return mx.sym.Pooling(body, kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="max", name="pooling0")


def _bottleneck(first, filters: int, stride: int, name: str):
    """Return a bottleneck without its shortcut: 1x1 to a quarter of the filters, 3x3, 1x1."""
    body = bare_convolution(first, filters // 4, 1, 1, f"{name}_conv1")
    body = bare_convolution(_active(body, name, 2), filters // 4, 3, stride, f"{name}_conv2")
    return bare_convolution(_active(body, name, 3), filters, 1, 1, f"{name}_conv3")


def _basic(first, filters: int, stride: int, name: str):
    """Return a basic unit without its shortcut: two 3x3 convolutions."""
    body = bare_convolution(first, filters, 3, stride, f"{name}_conv1")
    return bare_convolution(_active(body, name, 2), filters, 3, 1, f"{name}_conv2")

"""Densely connected networks: every unit's maps are put beside all those before it in its stage.

Source: mxnet-ssd symbol/densenet.py (its ImageNet form); Huang et al., Densely Connected Convolutional Networks (2017).
The feature maps are a stage's last concatenation as it is, before BatchNorm and ReLU, as there.
"""

from __future__ import annotations

from common.mx import mx
from symbol.layers import bare_convolution


def backbone(data, *, units: tuple[int, ...], growth: int):
    """Stack the stem and the stages, with a transition to half of the channels between two of them.

    Args:
        data: (B, 3, H, W).
        units: of each stage.
        growth: channels that a unit adds.

    Returns:
        DBstage{S}_concat{U} of the last stage and unit: (B, C, h, w); those of the other units are among its internals.
        Stage S has stride 2 ** (S + 1), rounded down by its transition.
    """
    channels = 2 * growth
    body = _stem(data, channels)
    for stage, count in enumerate(units, start=1):
        for unit in range(1, count + 1):
            new = _unit(body, growth, f"DBstage{stage}_unit{unit}")
            body = mx.sym.concat(body, new, dim=1, name=f"DBstage{stage}_concat{unit}")
        channels += count * growth
        if stage < len(units):
            channels //= 2
            body = _transition(body, channels, f"TBstage{stage}")
    return body


def _active(data, name: str, number: str, *, fix_gamma: bool = False):
    """Return BatchNorm and ReLU."""
    body = mx.sym.BatchNorm(data, fix_gamma=fix_gamma, eps=2e-5, momentum=0.9, name=f"{name}bn{number}")
    return mx.sym.Activation(body, act_type="relu", name=f"{name}relu{number}")


def _stem(data, filters: int):
    """Return the 7x7 convolution and pooling: (B, 3, H, W) -> (B, filters, H/4, W/4)."""
    body = mx.sym.BatchNorm(data, fix_gamma=True, eps=2e-5, momentum=0.9, name="bn_data")
    body = _active(bare_convolution(body, filters, 7, 2, "conv0"), "", "0")
    return mx.sym.Pooling(body, kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="max", name="pool0")


def _unit(data, growth: int, name: str):
    """Return a unit's new maps: 1x1 to four times the growth, 3x3 to the growth."""
    body = bare_convolution(_active(data, f"{name}_", "1"), 4 * growth, 1, 1, f"{name}_conv1")
    return bare_convolution(_active(body, f"{name}_", "2"), growth, 3, 1, f"{name}_conv2")


def _transition(data, filters: int, name: str):
    """Return a 1x1 convolution and average pooling: (B, C, h, w) -> (B, filters, h // 2, w // 2)."""
    body = bare_convolution(_active(data, f"{name}_", "1"), filters, 1, 1, f"{name}_conv1")
    return mx.sym.Pooling(body, kernel=(2, 2), stride=(2, 2), pool_type="avg", name=f"{name}_pool1")

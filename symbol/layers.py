"""Layers that several networks share: convolution, BatchNorm and activation under names that follow from one.

`symbol/backbones/` and `symbol/extras.py` stack these. BatchNorm is PyTorch's: epsilon 1e-5, momentum 0.9 (PyTorch
calls it 0.1), with a learned gamma.

Forms chosen by what they cost on a CPU (one thread):
- ReLU6 is `clip`: oneDNN folds it into the convolution before it at inference; the minimum of a ReLU and 6 is not
  folded and takes twice the convolution's time again. In training clip itself is slow (7 times that minimum, forward),
  yet a step of mb2-ssd-lite (160x160, batch 4) takes 0.18 s with it and 0.48 s with the minimum: clip brings
  gradients back to the plain layout. Without that MXNet gives the backward pass of BatchNorm two blocked layouts that
  differ, for which oneDNN has nothing but its reference implementation (100 ms for one layer).
- h-sigmoid is `hard_sigmoid`: half the time of plus, clip and times in inference, two thirds in training.
- Depthwise 3x3 convolutions have fast kernels in both directions, with a bias or without; 5x5 ones of channels that 16
  does not divide are slow in training (MobileNetV3's, whose numbers are the network's own).
- Means over the image are a global Pooling: half the time of `mean` in inference, half as much again in training.
"""

from __future__ import annotations

from common.mx import mx

ACTIVATIONS = ("none", "relu", "relu6", "hswish", "hsigmoid")


def fan_in():
    """Return the initial values that keep a signal's variance through a convolution and a ReLU (He et al., 2015).

    The project's usual ones count a depthwise convolution's outputs as if each read all channels, which makes them
    smaller by the square root of half the channels; without a BatchNorm behind it, nothing is left of the signal.
    """
    return mx.init.Xavier(rnd_type="gaussian", factor_type="in", magnitude=2)


def activation(data, kind: str, name: str):
    """Return an activation.

    Args:
        data: of any shape.
        kind: one of ACTIVATIONS.
        name: of the node, and what the names of nodes before it begin with.
    """
    if kind == "none":
        return data
    if kind == "relu":
        return mx.sym.Activation(data, act_type="relu", name=name)
    if kind == "relu6":
        return mx.sym.clip(data, a_min=0, a_max=6, name=name)
    if kind == "hsigmoid":
        return mx.sym.hard_sigmoid(data, alpha=1 / 6, beta=0.5, name=name)  # min(max(x + 3, 0), 6) / 6
    gate = mx.sym.hard_sigmoid(data, alpha=1 / 6, beta=0.5, name=f"{name}_gate")
    return mx.sym.elemwise_mul(data, gate, name=name)  # h-swish


def batch_norm(data, name: str):
    """Return BatchNorm as PyTorch has it by default."""
    return mx.sym.BatchNorm(data, fix_gamma=False, eps=1e-5, momentum=0.9, name=name)


def convolution(
    data, name: str, *, filters: int, side: int = 1, stride: int = 1, groups: int = 1, pad: int | None = None
):
    """Return a convolution without bias.

    Args:
        data: (B, C, h, w).
        name: of the layer.
        filters: output channels.
        side: of the kernel, odd.
        stride: in both directions.
        groups: 1, or C for a depthwise one.
        pad: None for half of the kernel.
    """
    pad = side // 2 if pad is None else pad
    return mx.sym.Convolution(
        data,
        weight=mx.sym.Variable(f"{name}_weight", init=fan_in()),
        num_filter=filters,
        kernel=(side, side),
        stride=(stride, stride),
        pad=(pad, pad),
        num_group=groups,
        no_bias=True,
        name=name,
    )


def bare_convolution(data, filters: int, side: int, stride: int, name: str):
    """Return a padded convolution without bias whose weights start as the project's usual ones.

    Args:
        data: (B, C, h, w).
        filters: output channels.
        side: of the kernel, odd.
        stride: in both directions.
        name: of the layer.
    """
    return mx.sym.Convolution(
        data,
        num_filter=filters,
        kernel=(side, side),
        stride=(stride, stride),
        pad=(side // 2, side // 2),
        no_bias=True,
        name=name,
    )


def normalised(data, name: str, *, act: str, **shape: int):
    """Return convolution, BatchNorm and activation: {name}_conv, {name}_bn, {name}_{act}.

    Args:
        data: (B, C, h, w).
        name: what the layers' names begin with.
        act: one of ACTIVATIONS.
        shape: filters, side, stride, groups and pad of `convolution`.
    """
    body = batch_norm(convolution(data, f"{name}_conv", **shape), f"{name}_bn")
    return activation(body, act, f"{name}_{act}")


def bottleneck(data, name: str, *, hidden: int, filters: int, side: int = 3, stride: int = 1, act: str):
    """Return MobileNetV2's layers between two narrow maps, without the shortcut.

    Args:
        data: (B, C, h, w).
        name: what the layers' names begin with.
        hidden: channels of the wide middle, the expansion.
        filters: output channels.
        side: of the depthwise kernel.
        stride: of the depthwise convolution.
        act: after the expansion ({name}_expand_{act}) and after the depthwise convolution; none at the end.

    Returns:
        {name}_project_bn: (B, filters, h / stride, w / stride).

    Source: Sandler et al., MobileNetV2 (2018), section 3.
    """
    body = normalised(data, f"{name}_expand", act=act, filters=hidden)
    return depthwise_project(body, name, hidden=hidden, filters=filters, side=side, stride=stride, act=act)


def depthwise_project(
    data, name: str, *, hidden: int, filters: int, side: int = 3, stride: int = 1, act: str
):
    """Return what stands behind a bottleneck's expansion; arguments and result as there, data has `hidden` channels."""
    body = normalised(data, f"{name}_dw", act=act, filters=hidden, side=side, stride=stride, groups=hidden)
    return normalised(body, f"{name}_project", act="none", filters=filters)

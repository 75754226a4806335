"""Layers with a window or a matrix: Convolution, Deconvolution, InnerProduct, Pooling, LRN.

The first convolution takes the image's channels as RGB: its weights are reversed along the input channels, and the
input scale is folded into them. Source: Caffe's `*_layer.cpp`; shapes are computed as there.
"""

from __future__ import annotations

import math

import numpy as np

from common.errors import ConversionError
from common.mx import mx
from tools.caffe_converter.net import Layer
from tools.caffe_converter.values import (
    Graph,
    Priors,
    Value,
    axis_of,
    check_count,
    check_shape,
    image_like,
    like,
    plain,
    tensor,
)

_DEPTHWISE = (
    "ConvolutionDepthwise",
    "DepthwiseConvolution",
)  # of forks: a convolution with a group for each channel
_MAX, _AVE = 0, 1
_FLOOR = 1
_MOST = {"pad": 1 << 9}  # pixels; a window that is nearly all padding can take MXNet minutes


def _pair(layer: Layer, message, name: str, default: int | None) -> tuple[int, int]:
    """Return (y, x) of a window's setting, which may stand as NAME, NAME twice, or NAME_h and NAME_w."""
    stem = "kernel" if name == "kernel_size" else name
    by_axis = (
        [getattr(message, f"{stem}_{axis}", 0) for axis in "hw"] if hasattr(message, f"{stem}_h") else [0]
    )
    has_axis = [hasattr(message, f"{stem}_h") and message.HasField(f"{stem}_{axis}") for axis in "hw"]
    given = getattr(message, name)
    given = list(given) if hasattr(given, "__len__") else [given] if message.HasField(name) else []
    if any(has_axis):
        pair = tuple(by_axis)
    elif len(given) in (1, 2):
        pair = (given[0], given[-1])
    elif not given and default is not None:
        pair = (default, default)
    else:
        raise ConversionError(f"{layer.where}: {name} has {len(given)} numbers, expected 1 or 2")
    least, most = 0 if name == "pad" else 1, _MOST.get(name, 1 << 14)
    if min(pair) < least or max(pair) > most:
        raise ConversionError(f"{layer.where}: {name} is {pair[0]}x{pair[1]}, expected {least} to {most}")
    return pair


def convolution(graph: Graph, layer: Layer, bottoms: list[Value | Priors]) -> list[Value]:
    """Convolution, also of the forks' depthwise types; of the image the channels are turned to RGB."""
    check_count(layer, len(bottoms), 1, 1)
    p = layer.message.convolution_param
    value = image_like(layer, tensor(layer, bottoms[0]))
    channels, filters = value.shape[1], p.num_output
    groups = channels if layer.type in _DEPTHWISE else p.group
    if groups < 1 or channels % groups or filters < 1 or filters % groups:
        raise ConversionError(
            f"{layer.where}: {channels} channels, num_output {filters}, group {groups}: both must be multiples of group"
        )
    if axis_of(layer, p.axis, 4) != 1:
        raise ConversionError(f"{layer.where}: axis {p.axis}: expected 1, the channels")
    if value.reversed_channels and groups > 1:
        plain(layer, value)
    kernel, stride = _pair(layer, p, "kernel_size", None), _pair(layer, p, "stride", 1)
    pad, dilation = _pair(layer, p, "pad", 0), _pair(layer, p, "dilation", 1)
    extents = [d * (k - 1) + 1 for d, k in zip(dilation, kernel)]
    sides = [(n + 2 * o - e) // s + 1 for n, o, e, s in zip(value.shape[2:], pad, extents, stride)]
    shape = check_shape(layer, (value.shape[0], filters, *sides))
    weight_shape = (filters, channels // groups, *kernel)
    name = graph.name(layer.name)
    symbol = mx.sym.Convolution(
        value.symbol,
        graph.param(f"{name}_weight", layer, 0, weight_shape, convert=_first_weights(value)),
        *([graph.param(f"{name}_bias", layer, 1, (filters,))] if p.bias_term else []),
        num_filter=filters,
        kernel=kernel,
        stride=stride,
        pad=pad,
        dilate=dilation,
        num_group=groups,
        no_bias=not p.bias_term,
        name=name,
    )
    return [like(value, symbol, shape, reversed_channels=False, scale=1.0)]


def _first_weights(value: Value):
    """Return what turns the weights of a convolution on that blob from Caffe's to ours; None for nothing."""
    if not value.reversed_channels and value.scale == 1.0:
        return None
    flip, scale = value.reversed_channels, np.float32(value.scale)
    return lambda blobs: (blobs[0][:, ::-1] if flip else blobs[0]) * scale


def deconvolution(graph: Graph, layer: Layer, bottoms: list[Value | Priors]) -> list[Value]:
    """Deconvolution (transposed convolution); weights are (channels, filters / group, y, x) in both."""
    check_count(layer, len(bottoms), 1, 1)
    p = layer.message.convolution_param
    value = image_like(layer, plain(layer, bottoms[0]))
    channels, filters = value.shape[1], p.num_output
    if p.group < 1 or channels % p.group or filters < 1 or filters % p.group:
        raise ConversionError(
            f"{layer.where}: {channels} channels, num_output {filters}, group {p.group}: both must be multiples of it"
        )
    kernel, stride = _pair(layer, p, "kernel_size", None), _pair(layer, p, "stride", 1)
    pad, dilation = _pair(layer, p, "pad", 0), _pair(layer, p, "dilation", 1)
    extents = [d * (k - 1) + 1 for d, k in zip(dilation, kernel)]
    sides = [(n - 1) * s + e - 2 * o for n, o, e, s in zip(value.shape[2:], pad, extents, stride)]
    name = graph.name(layer.name)
    symbol = mx.sym.Deconvolution(
        value.symbol,
        graph.param(f"{name}_weight", layer, 0, (channels, filters // p.group, *kernel)),
        *([graph.param(f"{name}_bias", layer, 1, (filters,))] if p.bias_term else []),
        num_filter=filters,
        kernel=kernel,
        stride=stride,
        pad=pad,
        dilate=dilation,
        num_group=p.group,
        no_bias=not p.bias_term,
        name=name,
    )
    return [like(value, symbol, check_shape(layer, (value.shape[0], filters, *sides)))]


def inner_product(graph: Graph, layer: Layer, bottoms: list[Value | Priors]) -> list[Value]:
    """InnerProduct over everything from its axis on."""
    check_count(layer, len(bottoms), 1, 1)
    p = layer.message.inner_product_param
    value = plain(layer, bottoms[0])
    axis = axis_of(layer, p.axis, len(value.shape))
    inputs, outputs = math.prod(value.shape[axis:]), p.num_output
    if axis == 0 or outputs < 1:
        raise ConversionError(
            f"{layer.where}: axis {p.axis}, num_output {outputs}: expected 1 or more of both"
        )
    if axis not in (1, len(value.shape) - 1):
        raise ConversionError(f"{layer.where}: axis {p.axis}: expected 1 or the last, of {len(value.shape)}")
    name = graph.name(layer.name)
    symbol = mx.sym.FullyConnected(
        value.symbol,
        graph.param(
            f"{name}_weight",
            layer,
            0,
            (inputs, outputs) if p.transpose else (outputs, inputs),
            to=(outputs, inputs),
            convert=(lambda blobs: blobs[0].reshape(inputs, outputs).T) if p.transpose else None,
        ),
        *([graph.param(f"{name}_bias", layer, 1, (outputs,))] if p.bias_term else []),
        num_hidden=outputs,
        no_bias=not p.bias_term,
        flatten=axis == 1,
        name=name,
    )
    return [like(value, symbol, (*value.shape[:axis], outputs))]


def pooling(graph: Graph, layer: Layer, bottoms: list[Value | Priors]) -> list[Value]:
    """Pooling: sides are rounded up, and the divisor of an average counts padding as Caffe counts it."""
    check_count(layer, len(bottoms), 1, 1)
    p = layer.message.pooling_param
    value = image_like(layer, plain(layer, bottoms[0]))
    if p.pool not in (_MAX, _AVE):
        raise ConversionError(f"{layer.where}: pool STOCHASTIC: expected MAX or AVE")
    kind, name = ("max", "avg")[p.pool], graph.name(layer.name)
    if p.global_pooling:
        symbol = mx.sym.Pooling(value.symbol, global_pool=True, kernel=(1, 1), pool_type=kind, name=name)
        return [like(value, symbol, (*value.shape[:2], 1, 1))]
    kernel, stride, pad = _pool_window(layer, p)
    floor = getattr(p, "round_mode", 0) == _FLOOR
    sides = [_pooled(*numbers, floor) for numbers in zip(value.shape[2:], kernel, stride, pad)]
    shape = check_shape(layer, (*value.shape[:2], *(kept for _, kept in sides)))
    symbol = mx.sym.Pooling(
        value.symbol,
        # Caffe lets a window hang over the border on both sides, MXNet not; what hangs over counts for nothing.
        kernel=tuple(min(k, n + 2 * o) for k, n, o in zip(kernel, value.shape[2:], pad)),
        stride=stride,
        pad=pad,
        pool_type=kind,
        pooling_convention="valid" if floor else "full",
        name=name,
    )
    for axis, (made, kept) in zip((2, 3), sides):
        if kept < made:  # Caffe drops a last window that lies in the padding alone
            symbol = mx.sym.slice_axis(symbol, axis=axis, begin=0, end=kept)
    return [like(value, symbol, shape)]


def _pool_window(layer: Layer, p) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return kernel, stride and padding of a Pooling, each (y, x)."""
    kernel, stride = _pair(layer, p, "kernel_size", None), _pair(layer, p, "stride", 1)
    pad = _pair(layer, p, "pad", 0)
    if any(o >= k for o, k in zip(pad, kernel)):
        raise ConversionError(
            f"{layer.where}: pad {pad[0]}x{pad[1]}: expected less than the kernel's {kernel}"
        )
    return kernel, stride, pad


def _pooled(size: int, kernel: int, stride: int, pad: int, floor: bool) -> tuple[int, int]:
    """Return how many windows the operator makes along an axis, and how many of them Caffe keeps."""
    room = size + 2 * pad - kernel
    made = (room // stride if floor else -(-room // stride)) + 1
    return made, made - 1 if pad and (made - 1) * stride >= size + pad else made


def lrn(graph: Graph, layer: Layer, bottoms: list[Value | Priors]) -> list[Value]:
    """Local response normalisation across channels."""
    check_count(layer, len(bottoms), 1, 1)
    p = layer.message.lrn_param
    value = image_like(layer, plain(layer, bottoms[0]))
    if p.norm_region != 0:
        raise ConversionError(f"{layer.where}: norm_region WITHIN_CHANNEL: expected ACROSS_CHANNELS")
    if p.local_size < 1 or p.local_size % 2 == 0:
        raise ConversionError(f"{layer.where}: local_size {p.local_size}: expected an odd number")
    symbol = mx.sym.LRN(
        value.symbol, nsize=p.local_size, alpha=p.alpha, beta=p.beta, knorm=p.k, name=graph.name(layer.name)
    )
    return [like(value, symbol)]


TRANSLATORS = {
    "Convolution": convolution,
    **dict.fromkeys(_DEPTHWISE, convolution),
    "Deconvolution": deconvolution,
    "InnerProduct": inner_product,
    "Pooling": pooling,
    "LRN": lrn,
}

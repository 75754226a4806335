"""Layers with a number for each channel: BatchNorm, Scale, Bias, PReLU, Normalize.

They may stand on the image itself: then their numbers are put in the order of RGB, and the first convolution behind
them is turned. A Scale that alone reads a BatchNorm becomes that BatchNorm's gamma and beta (`batch_norm`).
"""

from __future__ import annotations

import numpy as np

from common.errors import ConversionError
from common.mx import mx
from tools.caffe_converter.net import Layer
from tools.caffe_converter.values import (
    Graph,
    Param,
    Priors,
    Value,
    axis_of,
    check_count,
    image_like,
    like,
    plain,
    tensor,
)


def _in_order(value: Value, values: np.ndarray) -> np.ndarray:
    """Return numbers for each channel in the order that the blob has here."""
    return values[::-1] if value.reversed_channels and len(values) > 1 else values


def batch_norm(
    graph: Graph, layer: Layer, bottoms: list[Value | Priors], scale: Layer | None = None
) -> list[Value]:
    """BatchNorm by its stored statistics, with the gamma and beta of the Scale behind it, where one is given."""
    check_count(layer, len(bottoms), 1, 1)
    value, p = tensor(layer, bottoms[0]), layer.message.batch_norm_param
    if len(value.shape) < 2:
        raise ConversionError(f"{layer.where}: its bottom has the shape {value.shape}, expected (1, C, ...)")
    if p.HasField("use_global_stats") and not p.use_global_stats:
        raise ConversionError(
            f"{layer.where}: use_global_stats false: Caffe would take each batch's own statistics; expected true, or no"
            " such line, which is the same when testing"
        )
    channels, name = value.shape[1], graph.name(layer.name)
    for aux, blob in (("moving_mean", 0), ("moving_var", 1)):
        graph.aux[f"{name}_{aux}"] = Param(layer, blob, (channels,), _statistics(value, blob))
    gamma, beta = _gamma_beta(graph, name, value, channels, scale)
    symbol = mx.sym.BatchNorm(
        value.symbol,
        gamma,
        beta,
        mx.sym.Variable(f"{name}_moving_mean"),
        mx.sym.Variable(f"{name}_moving_var"),
        eps=p.eps,
        use_global_stats=True,
        fix_gamma=False,
        name=name,
    )
    return [like(value, symbol)]


def _statistics(value: Value, blob: int):
    """Return what turns mean or variance of Caffe, a sum over a moving factor, into its value."""

    def convert(blobs: list[np.ndarray]) -> np.ndarray:
        factor = float(blobs[2].ravel()[0]) if len(blobs) > 2 and blobs[2].size else 1.0
        return _in_order(value, blobs[blob].ravel() * np.float32(1 / factor if factor else 0))

    return convert


def _gamma_beta(graph: Graph, name: str, value: Value, channels: int, scale: Layer | None) -> tuple:
    """Return gamma and beta: of the Scale, else 1 and 0."""
    if scale is None:
        return (
            graph.constant(f"{name}_gamma", np.broadcast_to(np.float32(1), channels)),
            graph.constant(f"{name}_beta", np.broadcast_to(np.float32(0), channels)),
        )
    gamma = graph.param(
        f"{name}_gamma",
        scale,
        0,
        (channels,),
        convert=lambda blobs: _in_order(value, blobs[0].ravel()),
    )
    if not scale.message.scale_param.bias_term:
        return gamma, graph.constant(f"{name}_beta", np.broadcast_to(np.float32(0), channels))
    return gamma, graph.param(
        f"{name}_beta", scale, 1, (channels,), convert=lambda blobs: _in_order(value, blobs[1].ravel())
    )


def is_plain_scale(layer: Layer) -> bool:
    """Tell whether a layer is a Scale with one learned number for each channel."""
    p = layer.message.scale_param
    return layer.type == "Scale" and len(layer.bottoms) == 1 and p.axis == 1 and p.num_axes == 1


def scale(graph: Graph, layer: Layer, bottoms: list[Value | Priors]) -> list[Value]:
    """Scale, with its own numbers or with a second bottom, and an optional bias."""
    check_count(layer, len(bottoms), 1, 2)
    value, p = tensor(layer, bottoms[0]), layer.message.scale_param
    name = graph.name(layer.name)
    factor, shape = _operand(graph, layer, bottoms, p, f"{name}_gamma")
    symbol = mx.sym.broadcast_mul(value.symbol, factor, name=name)
    if p.bias_term:
        bias = _own_numbers(graph, layer, value, f"{name}_beta", len(bottoms) == 1, shape)
        symbol = mx.sym.broadcast_add(symbol, bias, name=graph.name(f"{name}_shifted"))
    return [like(value, symbol)]


def bias(graph: Graph, layer: Layer, bottoms: list[Value | Priors]) -> list[Value]:
    """Bias, with its own numbers or with a second bottom."""
    check_count(layer, len(bottoms), 1, 2)
    value, name = tensor(layer, bottoms[0]), graph.name(layer.name)
    added, _ = _operand(graph, layer, bottoms, layer.message.bias_param, f"{name}_beta")
    return [like(value, mx.sym.broadcast_add(value.symbol, added, name=name))]


def _operand(graph: Graph, layer: Layer, bottoms: list, p, name: str) -> tuple:
    """Return what a Scale multiplies or a Bias adds, ready to broadcast, and the axes (first, end) that it covers."""
    value = tensor(layer, bottoms[0])
    rank = len(value.shape)
    axis = axis_of(layer, p.axis, rank)
    if len(bottoms) == 1:
        end = rank if p.num_axes == -1 else axis + p.num_axes
        if not axis <= end <= rank:
            raise ConversionError(
                f"{layer.where}: num_axes {p.num_axes} from axis {axis}: the blob has {rank}"
            )
        if axis == 0:
            raise ConversionError(f"{layer.where}: axis 0, the batch: expected 1 or more")
        return _own_numbers(graph, layer, value, name, 0, (axis, end)), (axis, end)
    other = plain(layer, bottoms[1])
    plain(layer, value)
    shape, end = other.shape, axis + len(other.shape)
    if shape != value.shape[axis:end]:
        raise ConversionError(
            f"{layer.where}: its second bottom has the shape {shape}, expected {value.shape[axis:end]}"
        )
    first = shape[:1] if axis == 0 else (1,) * axis + shape[:1]
    full = (*first, *shape[1:], *(1,) * (rank - end))
    lead = -1 if axis == 0 else full[0]
    return mx.sym.reshape(other.symbol, shape=(lead, *full[1:])), (axis, end)


def _own_numbers(graph: Graph, layer: Layer, value: Value, name: str, blob: int, axes: tuple[int, int]):
    """Return a parameter over some axes of a blob, shaped to broadcast."""
    first, end = axes
    shape, rank = value.shape[first:end], len(value.shape)
    if value.reversed_channels and shape and first != 1:
        plain(layer, value)
    return graph.param(
        name,
        layer,
        int(blob),
        shape,
        to=(1,) * first + shape + (1,) * (rank - end) if shape else (1,) * rank,
        convert=lambda blobs: _in_order(value, blobs[int(blob)].reshape(shape)),
    )


def prelu(graph: Graph, layer: Layer, bottoms: list[Value | Priors]) -> list[Value]:
    """PReLU with a slope for each channel or for all."""
    check_count(layer, len(bottoms), 1, 1)
    value, name = tensor(layer, bottoms[0]), graph.name(layer.name)
    if len(value.shape) < 2:
        raise ConversionError(f"{layer.where}: its bottom has the shape {value.shape}, expected (1, C, ...)")
    count = 1 if layer.message.prelu_param.channel_shared else value.shape[1]
    channels = value.shape[1]
    slope = graph.param(
        f"{name}_gamma",
        layer,
        0,
        (count,),
        to=(channels,),
        convert=lambda blobs: np.broadcast_to(_in_order(value, blobs[0].ravel()), (channels,)),
    )
    return [like(value, mx.sym.LeakyReLU(value.symbol, slope, act_type="prelu", name=name))]


def normalize(graph: Graph, layer: Layer, bottoms: list[Value | Priors]) -> list[Value]:
    """Normalize (L2, over channels or over the whole image) with its learned scale."""
    check_count(layer, len(bottoms), 1, 1)
    value, p = image_like(layer, tensor(layer, bottoms[0])), layer.message.norm_param
    name, channels = graph.name(layer.name), value.shape[1]
    symbol = mx.sym.L2Normalization(
        value.symbol,
        mode="instance" if p.across_spatial else "channel",
        eps=p.eps,
        name=graph.name(f"{name}_norm"),
    )
    count = 1 if p.channel_shared else channels
    factor = graph.param(
        f"{name}_scale",
        layer,
        0,
        (count,),
        to=(1, count, 1, 1),
        convert=lambda blobs: _in_order(value, blobs[0].ravel()),
    )
    return [like(value, mx.sym.broadcast_mul(symbol, factor, name=name))]


TRANSLATORS = {
    "BatchNorm": batch_norm,
    "Scale": scale,
    "Bias": bias,
    "PReLU": prelu,
    "Normalize": normalize,
}

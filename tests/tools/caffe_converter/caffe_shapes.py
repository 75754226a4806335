"""Caffe's shape rules, written from its documentation, apart from the converter: the shape of every blob and weight."""

from __future__ import annotations

import math

from tools.caffe_converter.net import Layer, Net

Shape = tuple[int, ...]


def net_shapes(net: Net) -> tuple[list[tuple[Layer, list[Shape]]], dict[str, Shape]]:
    """Follow the shapes of a net.

    Args:
        net: of the test phase.

    Returns:
        (layer, shapes of its weights) in order; blob -> shape of its last version.
    """
    blobs, weights = dict(net.inputs), []
    for layer in net.layers:
        shapes = [blobs[name] for name in layer.bottoms]
        rule = _RULES.get(layer.type, _same)
        own, tops = rule(layer.message, shapes, len(layer.tops))
        blobs.update(zip(layer.tops, tops))
        weights.append((layer, own))
    return weights, blobs


def _same(message, shapes, count):
    return [], [shapes[0]] * count


def _pair(param, name, default):
    """Return (height, width) of a setting that has a field for both or one for each."""
    common = getattr(param, name if name != "kernel" else "kernel_size")
    values = list(common) if hasattr(common, "__len__") else [common] * bool(common)
    if getattr(param, f"{name}_h") or getattr(param, f"{name}_w"):
        return getattr(param, f"{name}_h") or 0, getattr(param, f"{name}_w") or 0
    return tuple((values * 2)[:2]) if values else (default, default)


def _convolution(message, shapes, count):
    p = message.convolution_param
    kernel, stride, pad = _pair(p, "kernel", 1), _pair(p, "stride", 1), _pair(p, "pad", 0)
    dilation = (list(p.dilation) * 2)[:2] or (1, 1)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel)]
    n, channels = shapes[0][:2]
    if message.type == "Deconvolution":
        sides = [s * (i - 1) + r - 2 * a for i, s, r, a in zip(shapes[0][2:], stride, reach, pad)]
        own = [(channels, p.num_output // p.group, *kernel)]
    else:
        sides = [(i + 2 * a - r) // s + 1 for i, s, r, a in zip(shapes[0][2:], stride, reach, pad)]
        own = [(p.num_output, channels // p.group, *kernel)]
    own += [(p.num_output,)] * p.bias_term
    return own, [(n, p.num_output, *sides)]


def _pooling(message, shapes, count):
    p = message.pooling_param
    n, channels, *inner = shapes[0]
    if p.global_pooling:
        return [], [(n, channels, 1, 1)]
    kernel, stride, pad = _pair(p, "kernel", 1), _pair(p, "stride", 1), _pair(p, "pad", 0)
    sides = []
    for i, k, s, a in zip(inner, kernel, stride, pad):
        steps = (i + 2 * a - k) / s
        side = (math.floor(steps) if p.round_mode == p.FLOOR else math.ceil(steps)) + 1
        sides.append(
            side - (a > 0 and (side - 1) * s >= i + a)
        )  # no window begins beyond the picture and its pad
    return [], [(n, channels, *sides)]


def _inner_product(message, shapes, count):
    p = message.inner_product_param
    axis = p.axis % len(shapes[0])
    inputs = math.prod(shapes[0][axis:])
    matrix = (inputs, p.num_output) if p.transpose else (p.num_output, inputs)
    return [matrix] + [(p.num_output,)] * p.bias_term, [(*shapes[0][:axis], p.num_output)]


def _batch_norm(message, shapes, count):
    return [(shapes[0][1],), (shapes[0][1],), (1,)], shapes


def _scale(message, shapes, count):
    p = message.bias_param if message.type == "Bias" else message.scale_param
    if len(shapes) > 1:
        return [], shapes[:1]
    axis = p.axis % len(shapes[0])
    end = len(shapes[0]) if p.num_axes == -1 else axis + p.num_axes
    bias = message.type == "Scale" and p.bias_term
    return [shapes[0][axis:end]] * (1 + bias), shapes


def _prelu(message, shapes, count):
    return [() if message.prelu_param.channel_shared else (shapes[0][1],)], shapes


def _normalize(message, shapes, count):
    return [() if message.norm_param.channel_shared else (shapes[0][1],)], shapes


def _concat(message, shapes, count):
    p = message.concat_param
    axis = (p.concat_dim if p.HasField("concat_dim") else p.axis) % len(shapes[0])
    total = sum(shape[axis] for shape in shapes)
    return [], [(*shapes[0][:axis], total, *shapes[0][axis + 1 :])]


def _slice(message, shapes, count):
    p = message.slice_param
    axis = (p.slice_dim if p.HasField("slice_dim") else p.axis) % len(shapes[0])
    size = shapes[0][axis]
    points = list(p.slice_point) or [size // count * index for index in range(1, count)]
    edges = [0, *points, size]
    return [], [(*shapes[0][:axis], b - a, *shapes[0][axis + 1 :]) for a, b in zip(edges, edges[1:])]


def _flatten(message, shapes, count):
    p, shape = message.flatten_param, shapes[0]
    start, end = p.axis % len(shape), p.end_axis % len(shape)
    return [], [(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])]


def _reshape(message, shapes, count):
    p, shape = message.reshape_param, shapes[0]
    start = p.axis if p.axis >= 0 else len(shape) + 1 + p.axis
    end = len(shape) if p.num_axes == -1 else start + p.num_axes
    inner = [shape[start + index] if dim == 0 else dim for index, dim in enumerate(p.shape.dim)]
    if -1 in inner:
        known = math.prod(dim for dim in inner if dim != -1)
        inner[inner.index(-1)] = math.prod(shape[start:end]) // known
    return [], [(*shape[:start], *inner, *shape[end:])]


def _permute(message, shapes, count):
    order = list(message.permute_param.order)
    order += [axis for axis in range(len(shapes[0])) if axis not in order]
    return [], [tuple(shapes[0][axis] for axis in order)]


def _crop(message, shapes, count):
    axis = message.crop_param.axis % len(shapes[0])
    return [], [(*shapes[0][:axis], *shapes[1][axis:])]


def _prior_box(message, shapes, count):
    p = message.prior_box_param
    ratios = [1.0]
    for ratio in p.aspect_ratio:
        if all(abs(ratio - known) >= 1e-6 for known in ratios):
            ratios += [ratio] + [1 / ratio] * p.flip
    boxes = len(ratios) * len(p.min_size) + len(p.max_size)
    return [], [(1, 2, shapes[0][2] * shapes[0][3] * boxes * 4)]


def _detection_output(message, shapes, count):
    return [], [(1, 1, 1, 7)]


_RULES = {
    "Convolution": _convolution,
    "Deconvolution": _convolution,
    "Pooling": _pooling,
    "InnerProduct": _inner_product,
    "BatchNorm": _batch_norm,
    "Scale": _scale,
    "Bias": _scale,
    "PReLU": _prelu,
    "Normalize": _normalize,
    "Concat": _concat,
    "Slice": _slice,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": _permute,
    "Crop": _crop,
    "PriorBox": _prior_box,
    "DetectionOutput": _detection_output,
}

"""Layers that move numbers: Concat, Slice, Flatten, Reshape, Permute, Crop; and Softmax, which looks at shapes.

Boxes of PriorBox pass Concat (axis 2), Flatten and Reshape that keep them as they are. Class scores that a Softmax or
Sigmoid made, and that were only reshaped since, remember what went into it (`values.Logits`).
"""

from __future__ import annotations

import dataclasses
import math

from common.errors import ConversionError
from common.mx import mx
from tools.caffe_converter.net import Layer
from tools.caffe_converter.priors import MAX_BOXES
from tools.caffe_converter.prototxt import shown
from tools.caffe_converter.values import (
    Graph,
    Logits,
    Priors,
    Value,
    axis_of,
    check_count,
    like,
    plain,
    reshaped,
)


def concat(graph: Graph, layer: Layer, bottoms: list[Value | Priors]) -> list[Value | Priors]:
    """Concat along an axis, of blobs or of default boxes."""
    check_count(layer, len(bottoms), 1, 10**6)
    p = layer.message.concat_param
    rank = len(bottoms[0].shape)
    axis = axis_of(layer, p.concat_dim if p.HasField("concat_dim") else p.axis, rank)
    if any(isinstance(value, Priors) for value in bottoms):
        if axis != 2 or not all(isinstance(value, Priors) for value in bottoms):
            raise ConversionError(f"{layer.where}: joins PriorBox's boxes with others, or not along axis 2")
        return [_joined_boxes(layer, bottoms)]
    values = [plain(layer, value) for value in bottoms]
    for value in values[1:]:
        rest = [(a, b) for i, (a, b) in enumerate(zip(values[0].shape, value.shape)) if i != axis]
        if len(value.shape) != rank or any(a != b for a, b in rest):
            raise ConversionError(
                f"{layer.where}: cannot join {values[0].shape} and {value.shape} along axis {axis}: the others differ"
            )
    if axis == 0:
        raise ConversionError(f"{layer.where}: axis 0, the batch: expected 1 or more")
    symbol = mx.sym.concat(*(value.symbol for value in values), dim=axis, name=graph.name(layer.name))
    size = sum(value.shape[axis] for value in values)
    return [like(values[0], symbol, (*values[0].shape[:axis], size, *values[0].shape[axis + 1 :]))]


def _joined_boxes(layer: Layer, bottoms: list[Priors]) -> Priors:
    """Join default boxes; counted first, since a net may join them with themselves again and again."""
    count = 0
    for value in bottoms:
        count += value.count
        if count > MAX_BOXES:
            raise ConversionError(
                f"{layer.where}: joins more than {MAX_BOXES} boxes, expected no more in a net"
            )
    return Priors(tuple(part for value in bottoms for part in value.parts))


def cut(graph: Graph, layer: Layer, bottoms: list[Value | Priors]) -> list[Value]:
    """Slice: equal parts, or at the points given."""
    check_count(layer, len(bottoms), 1, 1)
    p, value = layer.message.slice_param, plain(layer, bottoms[0])
    axis = axis_of(layer, p.slice_dim if p.HasField("slice_dim") else p.axis, len(value.shape))
    size, count = value.shape[axis], len(layer.tops)
    points = list(p.slice_point)
    if not points and size % count == 0:
        points = [size // count * i for i in range(1, count)]
    ends = [0, *points, size]
    if len(points) != count - 1 or any(a >= b for a, b in zip(ends, ends[1:])) or axis == 0:
        raise ConversionError(
            f"{layer.where}: {size} entries along axis {axis} cannot be cut at {shown(points or 'equal parts')}"
            f" for {count} tops"
        )
    name = graph.name(layer.name)
    return [
        like(
            value,
            mx.sym.slice_axis(
                value.symbol, axis=axis, begin=begin, end=end, name=graph.name(f"{name}_{index}")
            ),
            (*value.shape[:axis], end - begin, *value.shape[axis + 1 :]),
        )
        for index, (begin, end) in enumerate(zip(ends, ends[1:]))
    ]


def _to_shape(graph: Graph, layer: Layer, value: Value | Priors, shape: tuple[int, ...]) -> Value | Priors:
    """Return a blob in another shape."""
    if isinstance(value, Priors):
        if shape in (value.shape, (*value.shape, 1)):
            return value
        raise ConversionError(
            f"{layer.where}: turns PriorBox's boxes {value.shape} into {shape}, expected it to keep them"
        )
    if value.reversed_channels:
        plain(layer, value)
    symbol = reshaped(value.symbol, value.shape, shape, graph.name(layer.name))
    return dataclasses.replace(value, symbol=symbol, shape=shape)


def flatten(graph: Graph, layer: Layer, bottoms: list[Value | Priors]) -> list[Value | Priors]:
    """Flatten from one axis to another."""
    check_count(layer, len(bottoms), 1, 1)
    p, shape = layer.message.flatten_param, bottoms[0].shape
    first, last = axis_of(layer, p.axis, len(shape)), axis_of(layer, p.end_axis, len(shape), "end_axis")
    if last < first:
        raise ConversionError(f"{layer.where}: axis {p.axis} stands behind end_axis {p.end_axis}")
    joined = math.prod(shape[first : last + 1])
    return [_to_shape(graph, layer, bottoms[0], (*shape[:first], joined, *shape[last + 1 :]))]


def reshape(graph: Graph, layer: Layer, bottoms: list[Value | Priors]) -> list[Value | Priors]:
    """Reshape: 0 keeps an axis, -1 takes what is left; from `axis`, over `num_axes`."""
    check_count(layer, len(bottoms), 1, 1)
    p, shape = layer.message.reshape_param, bottoms[0].shape
    rank = len(shape)
    first = p.axis if p.axis >= 0 else rank + p.axis + 1
    end = rank if p.num_axes == -1 else first + p.num_axes
    if not 0 <= first <= end <= rank:
        raise ConversionError(
            f"{layer.where}: axis {p.axis}, num_axes {p.num_axes}: the blob has {rank} axes"
        )
    wanted = list(p.shape.dim)
    problem = ConversionError(
        f"{layer.where}: cannot reshape {shape} to dim {shown(wanted)}: the sizes do not fit"
    )
    if any(size < -1 for size in wanted) or wanted.count(-1) > 1:
        raise problem
    for index, size in enumerate(wanted):
        if size == 0:
            if first + index >= rank:
                raise problem
            wanted[index] = shape[first + index]
    whole, known = math.prod(shape[first:end]), math.prod(size for size in wanted if size != -1)
    if -1 in wanted:
        if known == 0 or whole % known:
            raise problem
        wanted[wanted.index(-1)] = whole // known
    if math.prod(wanted) != whole or not (*shape[:first], *wanted):
        raise problem
    return [_to_shape(graph, layer, bottoms[0], (*shape[:first], *wanted, *shape[end:]))]


def permute(graph: Graph, layer: Layer, bottoms: list[Value | Priors]) -> list[Value]:
    """Permute: axes in another order; those that are not named follow as they are."""
    check_count(layer, len(bottoms), 1, 1)
    value = plain(layer, bottoms[0])
    order = list(layer.message.permute_param.order)
    if len(set(order)) < len(order) or any(axis >= len(value.shape) for axis in order):
        raise ConversionError(
            f"{layer.where}: order {shown(order)}: the blob has the axes 0 to {len(value.shape) - 1}"
        )
    order += [axis for axis in range(len(value.shape)) if axis not in order]
    if order[0] != 0:
        raise ConversionError(f"{layer.where}: order {order}: expected the batch, axis 0, to stay first")
    symbol = mx.sym.transpose(value.symbol, axes=tuple(order), name=graph.name(layer.name))
    return [like(value, symbol, tuple(value.shape[axis] for axis in order))]


def crop(graph: Graph, layer: Layer, bottoms: list[Value | Priors]) -> list[Value]:
    """Crop to the sides of a second bottom, from `axis` on."""
    check_count(layer, len(bottoms), 2, 2)
    p, value, other = layer.message.crop_param, plain(layer, bottoms[0]), bottoms[1]
    first, offsets = axis_of(layer, p.axis, len(value.shape)), list(p.offset)
    covered = len(value.shape) - first
    if len(offsets) not in (0, 1, covered) or first == 0 or len(other.shape) != len(value.shape):
        raise ConversionError(
            f"{layer.where}: axis {p.axis} with {len(offsets)} offset, of {value.shape} to {other.shape}: expected"
            " axis 1 or more, and no offset, one, or one for each axis"
        )
    offsets = offsets * covered if len(offsets) == 1 else offsets or [0] * covered
    symbol, shape, name = value.symbol, list(value.shape), graph.name(layer.name)
    for axis, offset in zip(range(first, len(shape)), offsets):
        if offset + other.shape[axis] > shape[axis]:
            raise ConversionError(
                f"{layer.where}: axis {axis}: {other.shape[axis]} from {offset} on reach beyond {shape[axis]}"
            )
        symbol = mx.sym.slice_axis(symbol, axis=axis, begin=offset, end=offset + other.shape[axis])
        shape[axis] = other.shape[axis]
    return [like(value, mx.sym.identity(symbol, name=name), tuple(shape))]


def softmax(graph: Graph, layer: Layer, bottoms: list[Value | Priors]) -> list[Value]:
    """Softmax along an axis; what went into it is remembered where the axis is the last, for DetectionOutput."""
    check_count(layer, len(bottoms), 1, 1)
    value = plain(layer, bottoms[0])
    axis = axis_of(layer, layer.message.softmax_param.axis, len(value.shape))
    if axis == 0:
        raise ConversionError(f"{layer.where}: axis 0, the batch: expected 1 or more")
    last, name = axis == len(value.shape) - 1, graph.name(layer.name)
    if last and len(value.shape) == 4:
        # MXNet 1.9.1 crashes in a softmax over the last of four axes where others read its input too.
        rows = mx.sym.reshape(value.symbol, shape=(0, -1, value.shape[3]))
        flat = (value.shape[0], value.shape[1] * value.shape[2], value.shape[3])
        symbol = reshaped(mx.sym.softmax(rows, axis=2), flat, value.shape, name)
    else:
        symbol = mx.sym.softmax(value.symbol, axis=axis, name=name)
    return [like(value, symbol, logits=Logits(value.symbol, "softmax", value.shape[-1]) if last else None)]


TRANSLATORS = {
    "Concat": concat,
    "Slice": cut,
    "Flatten": flatten,
    "Reshape": reshape,
    "Permute": permute,
    "Crop": crop,
    "Softmax": softmax,
}

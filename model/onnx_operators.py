"""The rules by which a graph is rewritten for MXNet's ONNX exporter, an operator each (see model/onnx_rewrite.py).

What the exporter of MXNet 1.9.1 does with them, as measured, and what stands here instead:
- BatchNorm: the stored gamma is written even where `fix_gamma` makes it 1; a gamma of ones is.
- FullyConnected, LRN, Deconvolution and others: attributes that are not stated get other defaults than MXNet's; all
  are stated. "1" for True is not read everywhere; "True" is.
- L2Normalization: no epsilon, and `channel` alone; written out by its definition.
- LeakyReLU `prelu`: the slopes run along the width; written out with slopes for each channel.
- Pooling `full`: runtimes disagree on windows that reach over the border; padded in the graph, averages counted here.
- Reshape and its kin: only some of the codes; every shape is written out, the batch as -1.
- SwapAxis, slice_like, Crop, SliceChannel: graphs that compute shapes, or fail; fixed slices and transposes here.
- `scalar - x`, `scalar / x`: turned round by the node's name; written as other operators.
- SoftmaxActivation, broadcast_maximum, slope ranges (rrelu), old names (_v1): unknown to it.
"""

from __future__ import annotations

import numpy as np

from common.errors import ExportError
from model.onnx_pooling import pooling
from model.onnx_rewrite import FREE, NewGraph, Node, Ref


def _same(graph: NewGraph, node: Node, **attrs) -> list[Ref]:
    """Append the same operator, with attributes that take the place of its own."""
    return [graph.add(node.op, node.name, node.inputs, **{**node.attrs, **attrs})]


def _reshaped(graph: NewGraph, name: str, ref: Ref, shape: tuple) -> Ref:
    return graph.add("Reshape", name, [ref], shape=tuple(shape))


def _sliced(graph: NewGraph, name: str, ref: Ref, axis: int, begin: int, end: int) -> Ref:
    return graph.add("slice_axis", name, [ref], axis=axis, begin=begin, end=end)


def _passed(graph: NewGraph, node: Node) -> list[Ref]:
    """Dropout, BlockGrad and MakeLoss do nothing at inference."""
    return [node.inputs[0]]


def _to_shape(graph: NewGraph, node: Node) -> list[Ref]:
    """Reshape, Flatten, expand_dims, squeeze, reshape_like: all of them give the shape that was inferred."""
    return [_reshaped(graph, node.name, node.inputs[0], node.out_shapes[0])]


def _convolution(graph: NewGraph, node: Node) -> list[Ref]:
    attrs = {
        key: value for key, value in node.attrs.items() if key != "layout" or value not in ("None", "NCHW")
    }
    attrs["no_bias"] = str(node.flag("no_bias"))
    return [graph.add("Convolution", node.name, node.inputs, **attrs)]


def _deconvolution(graph: NewGraph, node: Node) -> list[Ref]:
    """State bias and padding; a target shape becomes the padding that leads to it, as the operator infers it."""
    attrs = {key: node.attrs[key] for key in ("kernel", "num_filter", "num_group") if key in node.attrs}
    kernel = node.numbers("kernel")
    plain = tuple(1 for _ in kernel)
    stride, dilate = node.numbers("stride", plain), node.numbers("dilate", plain)
    pad, adjust = (node.numbers(name, tuple(0 for _ in kernel)) for name in ("pad", "adj"))
    target = node.numbers("target_shape")
    if target and any(target):
        rows = zip(node.in_shapes[0][2:], kernel, stride, dilate, target)
        surplus = [
            step * (size - 1) + apart * (side - 1) + 1 - want for size, side, step, apart, want in rows
        ]
        pad, adjust = tuple((extra + 1) // 2 for extra in surplus), tuple(extra % 2 for extra in surplus)
    attrs.update(stride=stride, dilate=dilate, pad=pad, adj=adjust, no_bias=str(node.flag("no_bias", True)))
    return [graph.add("Deconvolution", node.name, node.inputs, **attrs)]


def _fully_connected(graph: NewGraph, node: Node) -> list[Ref]:
    """As a product of matrices, whatever the input's rank."""
    shape = node.in_shapes[0]
    columns = int(np.prod(shape[1:])) if node.flag("flatten", True) else shape[-1]
    rows = _reshaped(graph, f"{node.name}_rows", node.inputs[0], (-1, columns))
    attrs = {
        "num_hidden": node.attrs["num_hidden"],
        "no_bias": str(node.flag("no_bias")),
        "flatten": "True",
    }
    product = graph.add("FullyConnected", node.name, [rows, *node.inputs[1:]], **attrs)
    if len(node.out_shapes[0]) == 2:
        return [product]
    return [_reshaped(graph, f"{node.name}_shaped", product, node.out_shapes[0])]


def _batch_norm(graph: NewGraph, node: Node) -> list[Ref]:
    """State gamma as it counts; only the first output is to be had."""
    inputs = list(node.inputs)
    if node.flag("fix_gamma", True):
        inputs[1] = graph.constant(f"{node.name}_fixed_gamma", np.ones(node.in_shapes[1], np.float32))
    attrs = {"eps": node.attrs.get("eps", "0.001"), "axis": node.attrs.get("axis", "1"), "fix_gamma": "False"}
    return [graph.add("BatchNorm", node.name, inputs, **attrs)]


def _l2_normalization(graph: NewGraph, node: Node) -> list[Ref]:
    """Divide by the square root of (sum of squares + eps): over channels, over the image, or over positions."""
    rank, eps = len(node.in_shapes[0]), node.attrs.get("eps", "1e-10")
    axes = {"channel": (1,), "spatial": tuple(range(2, rank)), "instance": tuple(range(1, rank))}
    squares = graph.add("square", f"{node.name}_squares", node.inputs)
    axis = axes[node.attrs.get("mode", "instance")]
    total = graph.add("sum", f"{node.name}_sum", [squares], axis=axis, keepdims="True")
    total = graph.add("_plus_scalar", f"{node.name}_eps", [total], scalar=eps)
    length = graph.add("sqrt", f"{node.name}_length", [total])
    return [graph.add("broadcast_div", node.name, [node.inputs[0], length])]


def _leaky_relu(graph: NewGraph, node: Node) -> list[Ref]:
    kind = node.attrs.get("act_type", "leaky")
    if kind == "rrelu":  # at inference the middle of its range
        bounds = [float(node.attrs.get(*bound)) for bound in (("lower_bound", 0.125), ("upper_bound", 0.334))]
        return [graph.add("LeakyReLU", node.name, node.inputs, act_type="leaky", slope=sum(bounds) / 2)]
    if kind != "prelu":
        return _same(graph, node)
    data, slopes = node.inputs
    shape = (1, int(np.prod(node.in_shapes[1])), *(1 for _ in node.in_shapes[0][2:]))  # (C,) -> (1, C, 1, 1)
    slopes = _reshaped(graph, f"{node.name}_slopes", slopes, shape)
    below = graph.add("_minimum_scalar", f"{node.name}_below", [data], scalar=0)
    below = graph.add("broadcast_mul", f"{node.name}_sloped", [below, slopes])
    above = graph.add("relu", f"{node.name}_above", [data])
    return [graph.add("elemwise_add", node.name, [above, below])]


def _softmax_activation(graph: NewGraph, node: Node) -> list[Ref]:
    """Channel mode, or rows; of images MXNet takes the softmax over the last axis on the CPU, over all on GPUs."""
    shape = node.in_shapes[0]
    if node.attrs.get("mode", "instance") == "channel" or len(shape) == 2:
        return [graph.add("softmax", node.name, node.inputs, axis=1)]
    raise ExportError(
        f"{node.name}: SoftmaxActivation in mode {node.attrs.get('mode', 'instance')} on {len(shape)} axes, whose"
        " result depends on the device: use softmax, which names its axis"
    )


def _slice_axis(graph: NewGraph, node: Node) -> list[Ref]:
    size = node.in_shapes[0]
    axis = int(node.attrs["axis"]) % len(size)
    begin = int(node.attrs.get("begin", 0))
    if size[axis] == FREE:
        return _same(graph, node, axis=axis)
    begin = begin + size[axis] if begin < 0 else begin
    return [_sliced(graph, node.name, node.inputs[0], axis, begin, begin + node.out_shapes[0][axis])]


def _cut(graph: NewGraph, node: Node, begins: dict[int, int]) -> list[Ref]:
    """Slice the first input to the node's own shape; what begins elsewhere than at 0 is stated by axis."""
    ref = node.inputs[0]
    for axis, (before, after) in enumerate(zip(node.in_shapes[0], node.out_shapes[0])):
        if before != after:
            begin = begins.get(axis, 0)
            ref = _sliced(graph, f"{node.name}_{axis}", ref, axis, begin, begin + after)
    return [ref]


def _slice_like(graph: NewGraph, node: Node) -> list[Ref]:
    return _cut(graph, node, {})


def _crop(graph: NewGraph, node: Node) -> list[Ref]:
    begins = node.numbers("offset", (0, 0))
    if node.flag("center_crop"):
        begins = [(b - a) // 2 for b, a in zip(node.in_shapes[0][2:], node.out_shapes[0][2:])]
    return _cut(graph, node, {2: begins[0], 3: begins[1]})


def _slice_channel(graph: NewGraph, node: Node) -> list[Ref]:
    """Split an axis into equal parts, a slice each."""
    axis = int(node.attrs.get("axis", 1)) % len(node.in_shapes[0])
    step = node.in_shapes[0][axis] // len(node.out_shapes)
    parts = []
    for number, shape in enumerate(node.out_shapes):
        part = _sliced(
            graph, f"{node.name}_{number}", node.inputs[0], axis, number * step, (number + 1) * step
        )
        squeezed = node.flag("squeeze_axis")
        parts.append(_reshaped(graph, f"{node.name}_{number}_squeezed", part, shape) if squeezed else part)
    return parts


def _swap_axis(graph: NewGraph, node: Node) -> list[Ref]:
    axes = list(range(len(node.in_shapes[0])))
    one, other = (int(node.attrs.get(name, 0)) % len(axes) for name in ("dim1", "dim2"))
    axes[one], axes[other] = axes[other], axes[one]
    return [graph.add("transpose", node.name, node.inputs, axes=tuple(axes))]


def _transpose(graph: NewGraph, node: Node) -> list[Ref]:
    rank = len(node.in_shapes[0])
    axes = node.numbers("axes") or tuple(reversed(range(rank)))
    return [graph.add("transpose", node.name, node.inputs, axes=tuple(axis % rank for axis in axes))]


def _scalar_minus(graph: NewGraph, node: Node) -> list[Ref]:
    negative = graph.add("negative", f"{node.name}_negative", node.inputs)
    return [graph.add("_plus_scalar", node.name, [negative], scalar=node.attrs["scalar"])]


def _scalar_over(graph: NewGraph, node: Node) -> list[Ref]:
    inverse = graph.add("reciprocal", f"{node.name}_inverse", node.inputs)
    return [graph.add("_mul_scalar", node.name, [inverse], scalar=node.attrs["scalar"])]


def _broadcast_maximum(graph: NewGraph, node: Node) -> list[Ref]:
    negatives = [graph.add("negative", f"{node.name}_negative", [ref]) for ref in node.inputs]
    smaller = graph.add("broadcast_minimum", f"{node.name}_minimum", negatives)
    return [graph.add("negative", node.name, [smaller])]


def _inverse_root(graph: NewGraph, node: Node) -> list[Ref]:
    return [graph.add("reciprocal", node.name, [graph.add("sqrt", f"{node.name}_root", node.inputs)])]


def _lrn(graph: NewGraph, node: Node) -> list[Ref]:
    defaults = {"alpha": "0.0001", "beta": "0.75", "knorm": "2"}
    return _same(graph, node, **{name: node.attrs.get(name, value) for name, value in defaults.items()})


def _mean(graph: NewGraph, node: Node) -> list[Ref]:
    """As a sum: the exporter's own form is that of an older opset than it checks for."""
    rank = len(node.in_shapes[0])
    axes = sorted(axis % rank for axis in node.numbers("axis", tuple(range(rank))))
    if node.flag("exclude"):
        axes = [axis for axis in range(rank) if axis not in axes]
    if FREE in [node.in_shapes[0][axis] for axis in axes]:
        raise ExportError(f"{node.name}: the mean of a whole batch: give each image its own")
    total = graph.add("sum", f"{node.name}_sum", node.inputs, axis=tuple(axes), keepdims="True")
    count = int(np.prod([node.in_shapes[0][axis] for axis in axes]))
    total = graph.add("_mul_scalar", f"{node.name}_mean", [total], scalar=1 / count)
    return [total if node.flag("keepdims") else _reshaped(graph, node.name, total, node.out_shapes[0])]


RULES = {
    "BatchNorm": _batch_norm,
    "BatchNorm_v1": _batch_norm,
    "_contrib_SyncBatchNorm": _batch_norm,
    "BlockGrad": _passed,
    "MakeLoss": _passed,
    "make_loss": _passed,
    "Dropout": _passed,
    "_copy": _passed,
    "Convolution": _convolution,
    "Convolution_v1": _convolution,
    "Crop": _crop,
    "Deconvolution": _deconvolution,
    "Flatten": _to_shape,
    "FullyConnected": _fully_connected,
    "L2Normalization": _l2_normalization,
    "LRN": _lrn,
    "LeakyReLU": _leaky_relu,
    "Pooling": pooling,
    "Pooling_v1": pooling,
    "Reshape": _to_shape,
    "SliceChannel": _slice_channel,
    "SoftmaxActivation": _softmax_activation,
    "SwapAxis": _swap_axis,
    "_rdiv_scalar": _scalar_over,
    "_rminus_scalar": _scalar_minus,
    "broadcast_maximum": _broadcast_maximum,
    "expand_dims": _to_shape,
    "mean": _mean,
    "reshape_like": _to_shape,
    "rsqrt": _inverse_root,
    "slice_axis": _slice_axis,
    "slice_like": _slice_like,
    "squeeze": _to_shape,
    "transpose": _transpose,
}

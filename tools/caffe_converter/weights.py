"""The parameters of a converted graph, from a caffemodel's blobs.

Weights go by the layer's name, links by the blob's. A blob is held to the shape that the net asks for; leading ones do
not count, since old files keep every blob in four axes.
"""

from __future__ import annotations

import math

import numpy as np

from common.errors import ConversionError
from common.mx import mx
from tools.caffe_converter.caffemodel import MAX_VALUES
from tools.caffe_converter.graph import Converted
from tools.caffe_converter.prototxt import closest, shown
from tools.caffe_converter.values import Param

_BATCH_NORM_BLOBS = 3  # mean, variance, and the factor of both


def load_weights(
    converted: Converted, blobs: dict[str, list[np.ndarray]], path: str, *, every_layer: bool = False
) -> tuple[dict, dict]:
    """Fill a graph's parameters.

    Args:
        converted: the graph.
        blobs: layer name -> its blobs.
        path: of the caffemodel, for messages.
        every_layer: also of layers that the graph's outputs do not need.

    Returns:
        (arg_params, aux_params), name -> NDArray float32.

    Raises:
        ConversionError: a layer has no weights, or of another shape, or they are not finite.
    """
    graph = converted.graph
    arguments = set(converted.symbol.list_arguments())
    states = set(converted.symbol.list_auxiliary_states())
    args = {name: p for name, p in graph.args.items() if every_layer or name in arguments}
    aux = {name: p for name, p in graph.aux.items() if every_layer or name in states}
    _check_total([*args.values(), *aux.values()], path)
    _check_counts([*args.values(), *aux.values()], blobs, path)
    args, aux = ({name: _fill(p, blobs, path) for name, p in part.items()} for part in (args, aux))
    constants = {name: v for name, v in graph.constants.items() if every_layer or name in arguments}
    args.update({name: mx.nd.array(values) for name, values in constants.items()})
    return args, aux


def _check_total(params: list[Param], path: str) -> None:
    """Hold the memory that parameters will take to what a caffemodel can have: layers of one name share its blobs.

    Raises:
        ConversionError: it is too much.
    """
    total = sum(math.prod(param.shape) for param in params)
    if total > MAX_VALUES:
        raise ConversionError(
            f"{path}: the prototxt asks for {total} weights, expected at most {MAX_VALUES}, as many as a caffemodel may"
            " have: it is not an SSD's"
        )


def _check_counts(params: list[Param], blobs: dict[str, list[np.ndarray]], path: str) -> None:
    """Refuse a layer with more blobs than the net asks for: a bias, or factors, that would be lost.

    Raises:
        ConversionError: there is one.
    """
    asked: dict[str, int] = {}
    for param in params:
        count = _BATCH_NORM_BLOBS if param.layer.type == "BatchNorm" else param.blob + 1
        asked[param.layer.name] = max(asked.get(param.layer.name, 0), count)
    for name, count in asked.items():
        found = len(blobs.get(name, ()))
        if found > count:
            raise ConversionError(
                f"{path}: layer {shown(name)} has {found} blobs, the prototxt asks for {count}: is it the caffemodel of"
                " this prototxt (bias_term, or a BatchNorm with its own scale)?"
            )


def unused_layers(converted: Converted, blobs: dict[str, list[np.ndarray]]) -> list[str]:
    """Return the layers whose weights the net does not ask for (a training net's, often)."""
    params = [*converted.graph.args.values(), *converted.graph.aux.values()]
    wanted = {param.layer.name for param in params}
    return [name for name, values in blobs.items() if values and name not in wanted]


def _fill(param: Param, blobs: dict[str, list[np.ndarray]], path: str):
    """Return one parameter's values."""
    layer = param.layer
    if layer.name not in blobs:
        raise ConversionError(
            f"{path}: has no weights for layer {shown(layer.name)} ({layer.type}), which {layer.where} asks for:"
            f" is it the caffemodel of this prototxt?{closest(layer.name, blobs)}"
        )
    mine = blobs[layer.name]
    if param.blob >= len(mine):
        raise ConversionError(
            f"{path}: layer {shown(layer.name)} ({layer.type}) has {len(mine)} blobs, expected"
            f" {param.blob + 1} or more, of the shape {param.shape}"
        )
    found = mine[param.blob]
    per_channel = len(param.shape) == 1 and found.size == param.shape[0] == max(found.shape, default=1)
    if not per_channel and _without_ones(found.shape) != _without_ones(param.shape):
        raise ConversionError(
            f"{path}: layer {shown(layer.name)} ({layer.type}), blob {param.blob}: shape {found.shape},"
            f" expected {param.shape} by {layer.where}: it is the caffemodel of another net"
        )
    shaped = [*mine]
    shaped[param.blob] = found.reshape(param.shape)
    with np.errstate(all="ignore"):  # what is not finite is found next
        values = param.convert(shaped)
    if not np.isfinite(values).all():
        raise ConversionError(
            f"{path}: layer {shown(layer.name)} ({layer.type}), blob {param.blob}: holds"
            f" {values[~np.isfinite(values)][0]}, expected finite numbers: the file is damaged, or training diverged"
        )
    return mx.nd.array(values)


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without its leading ones."""
    first = next((index for index, size in enumerate(shape) if size != 1), len(shape))
    return tuple(shape[first:])

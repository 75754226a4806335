"""From a net to a graph: each layer by its translator, in the order of the file.

The result is a detector's graph where the net has a DetectionOutput, else the net's outputs as they come.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.errors import CheckpointError, ConversionError
from common.mx import mx
from model.graph import infer_shapes, reason_of
from symbol.detection import detection_symbol
from symbol.names import LocalNames
from tools.caffe_converter import layers_channel, layers_conv, layers_pointwise, layers_shape, priors
from tools.caffe_converter.detection import Heads, detection_output
from tools.caffe_converter.net import Layer, Net
from tools.caffe_converter.prototxt import closest, one_line, shown
from tools.caffe_converter.values import Graph, Priors, Value, check_shape

_TRANSLATORS = {
    **layers_conv.TRANSLATORS,
    **layers_channel.TRANSLATORS,
    **layers_pointwise.TRANSLATORS,
    **layers_shape.TRANSLATORS,
    **priors.TRANSLATORS,
}
_DETECTION = "DetectionOutput"
_READS_SHAPE_ALONE = ("PriorBox", _DETECTION)  # of the image


@dataclass(frozen=True)
class Converted:
    """A net as a graph, its parameters still to be filled.

    Attributes:
        symbol: data (B, 3, H, W) RGB to detection (B, K, 6), or to the net's outputs.
        graph: parameters, constants, and what each layer gave.
        heads: what is detected from; None for a net without DetectionOutput.
        outputs: names of the symbol's outputs.
        data_shape: (height, width).
        input_scale: that the card has to apply, 1 where it is folded into the weights.
    """

    symbol: object
    graph: Graph
    heads: Heads | None
    outputs: tuple[str, ...]
    data_shape: tuple[int, int]
    input_scale: float

    def constant_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of the parameters that the net alone decides."""
        return {name: values.shape for name, values in self.graph.constants.items()}


def convert_net(net: Net, *, truncate_sizes: bool = True, input_scale: float = 1.0) -> Converted:
    """Build the graph of a net.

    Args:
        net: as read from a prototxt.
        truncate_sizes: PriorBox cuts sizes to whole pixels, as Caffe does.
        input_scale: that Caffe multiplied images by, after taking the mean away.

    Raises:
        ConversionError: a layer has no counterpart, or does not fit its blobs.
    """
    name, shape = _image_input(net)
    folded = all(
        layer.type == "Convolution" or layer.type in _READS_SHAPE_ALONE
        for layer in net.layers
        if name in layer.bottoms
    )
    graph = Graph(truncate_sizes=truncate_sizes)
    graph.blobs[name] = Value(
        mx.sym.Variable("data"), shape, reversed_channels=True, scale=input_scale if folded else 1.0
    )
    with LocalNames("caffe_"):
        heads = _translate(net, graph)
        symbol, outputs = _finish(net, graph, heads)
    return Converted(symbol, graph, heads, outputs, shape[2:], 1.0 if folded else input_scale)


def _image_input(net: Net) -> tuple[str, tuple[int, int, int, int]]:
    """Return the name and the shape of the net's image input."""
    found = shown(", ".join(f"{name} {shape}" for name, shape in net.inputs.items()) or "none")
    if len(net.inputs) != 1:
        raise ConversionError(f"{net.path}: inputs: {found}: expected one, an image")
    ((name, shape),) = net.inputs.items()
    if len(shape) != 4 or shape[1] != 3:
        raise ConversionError(f"{net.path}: input {found}: expected (1, 3, height, width), a colour image")
    return name, tuple(shape)


def _translate(net: Net, graph: Graph) -> Heads | None:
    """Translate the layers, in their order; return what the net detects from."""
    heads, merged, detected = None, _scales_of_batch_norms(net), ()
    taken = {id(scale) for _, scale in merged.values()}
    for layer in net.layers:
        after = [name for name in layer.bottoms if name in detected]
        if after:
            raise ConversionError(
                f"{layer.where}: reads {shown(after[0])}, the detections: nothing may follow them"
            )
        bottoms = [_bottom(graph, layer, name) for name in _needed(layer)]
        if layer.type == _DETECTION:
            if heads is not None:
                raise ConversionError(f"{layer.where}: a second DetectionOutput: expected one")
            heads, detected = detection_output(graph, layer, bottoms), layer.tops
            continue
        scale = merged[id(layer)][1] if id(layer) in merged else None
        values = bottoms if id(layer) in taken else _values(graph, layer, bottoms, scale)
        _store(graph, layer, values)
        if id(layer) not in merged:  # its own blob does not exist any more
            graph.tops.append((layer, tuple(values)))
    return heads


def _values(graph: Graph, layer: Layer, bottoms: list, scale: Layer | None) -> list:
    """Translate one layer; a BatchNorm with the Scale behind it.

    Raises:
        ConversionError: layers of this kind are not known, or it cannot be.
    """
    if layer.type not in _TRANSLATORS:
        raise ConversionError(
            f"{layer.where}: layers of this type are not supported{closest(layer.type, _TRANSLATORS)}"
        )
    try:
        if scale is not None:
            return layers_channel.batch_norm(graph, layer, bottoms, scale)
        return _TRANSLATORS[layer.type](graph, layer, bottoms)
    except mx.base.MXNetError as error:
        raise ConversionError(
            f"{layer.where}: MXNet refuses its settings: {one_line(reason_of(error))}"
        ) from error


def _needed(layer: Layer) -> tuple[str, ...]:
    """Return the bottoms that a layer is translated from; a detection's fourth, the image or a label, is not."""
    return layer.bottoms[:3] if layer.type == _DETECTION else layer.bottoms


def _bottom(graph: Graph, layer: Layer, name: str) -> Value | Priors:
    if name not in graph.blobs:
        raise ConversionError(
            f"{layer.where}: its bottom {shown(name)} is made by no layer before it{closest(name, graph.blobs)}"
        )
    return graph.blobs[name]


def _store(graph: Graph, layer: Layer, values: list) -> None:
    if len(values) < len(layer.tops):
        raise ConversionError(f"{layer.where}: has {len(layer.tops)} tops, expected {len(values)}")
    for name, value in zip(layer.tops, values):
        if isinstance(value, Value):
            check_shape(layer, value.shape)
        graph.blobs[name] = value


def _scales_of_batch_norms(net: Net) -> dict[int, tuple[Layer, Layer]]:
    """Return the BatchNorm layers whose blob one Scale alone reads: id -> (the layer, its Scale)."""
    found = {}
    for index, layer in enumerate(net.layers):
        if layer.type != "BatchNorm" or len(layer.tops) != 1:
            continue
        readers = net.readers(index, layer.tops[0])
        if len(readers) == 1 and layers_channel.is_plain_scale(net.layers[readers[0]]):
            found[id(layer)] = (layer, net.layers[readers[0]])
    return found


def _finish(net: Net, graph: Graph, heads: Heads | None) -> tuple:
    """Return the whole graph's symbol and the names of its outputs."""
    if heads is not None:
        tail = detection_symbol(
            heads.loc_pred, heads.cls_pred, heads.anchors, heads.num_classes, heads.variances, heads.detection
        )
        others = [name for name in net.outputs if name not in heads.layer.tops]
        if others:
            graph.notes.append(
                f"{net.path}: its other outputs are left out: {', '.join(map(shown, others))} (without the"
                " DetectionOutput layer all outputs are kept)"
            )
        return tail, ("detection",)
    outputs = [name for name in net.outputs if name in graph.blobs]
    if not outputs:
        raise ConversionError(f"{net.path}: the net has no output")
    symbols = [_as_output(graph, name, graph.blobs[name]) for name in outputs]
    symbol = mx.sym.Group(symbols) if len(symbols) > 1 else symbols[0]
    if "data" not in symbol.list_arguments():
        names = shown(", ".join(outputs))
        raise ConversionError(f"{net.path}: its outputs ({names}) do not depend on the image")
    return symbol, tuple(outputs)


def _as_output(graph: Graph, name: str, value: Value | Priors):
    """Return a blob as an output of its name.

    Raises:
        ConversionError: it still has the image's channels.
    """
    if isinstance(value, Priors):
        return mx.sym.identity(graph.constant(f"{name}_values", value.array()), name=graph.name(name))
    if value.reversed_channels:
        raise ConversionError(
            f"output {shown(name)}: is the image itself, its channels in another order: expected a layer's"
        )
    return value.symbol if value.symbol.name == name else mx.sym.identity(value.symbol, name=graph.name(name))


def check_shapes(converted: Converted) -> None:
    """Hold the shape that Caffe's rules give each blob to what MXNet infers: a translator that is wrong shows here.

    Raises:
        ConversionError: they differ.
    """
    tops = [
        (layer, value)
        for layer, values in converted.graph.tops
        for value in values
        if isinstance(value, Value)
    ]
    if not tops:
        return
    group = mx.sym.Group([value.symbol for _, value in tops])
    try:
        _, shapes, _ = infer_shapes(group, converted.data_shape, "the converted net")
    except CheckpointError as error:
        raise ConversionError(one_line(error)) from error
    for (layer, value), shape in zip(tops, shapes):
        if tuple(shape) != tuple(value.shape):
            raise ConversionError(
                f"{layer.where}: the converted layer gives {tuple(shape)}, Caffe {tuple(value.shape)}: it is not"
                " converted right, please report the prototxt"
            )

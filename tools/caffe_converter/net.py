"""A Caffe net as the converter sees it: the layers that run in the test phase, in order, linked by blob names.

prototxt.py reads the file; here rules of phase, level and stage are applied, data layers become inputs, and layers
without a place in a detector (losses, measures, sinks) go. Blob names are those of the file: a layer that writes the
blob it reads makes a new version of it, and a reader sees the last version before it in the file's order. Weights go by
a layer's name, links by a blob's name; the two often differ.

Source: Caffe's Net::FilterNet, Net::StateMeetsRule, Net::AppendTop, InsertSplits.
"""

from __future__ import annotations

import collections
import logging
import os
from dataclasses import dataclass

from common.errors import ConversionError
from tools.caffe_converter.net_inputs import declared_inputs, settle_shapes
from tools.caffe_converter.net_links import link
from tools.caffe_converter.prototxt import layer_lines, parse_prototxt, read_bytes, shown
from tools.caffe_converter.v1 import upgrade_layer

_LOG = logging.getLogger(__name__)
_TEST = 1  # of the enum Phase
MAX_LAYERS = 3000  # ResNet-152 as an SSD has about 800
MAX_LINKS = 20_000  # bottoms and tops of all layers; that one has about 2000


@dataclass(frozen=True)
class Layer:
    """A layer of a net.

    Attributes:
        name: under which its weights lie.
        type: as today's Caffe has it ("Convolution"), also for older files.
        bottoms: blobs that it reads.
        tops: blobs that it makes; one of the same name as a bottom is its next version.
        message: the LayerParameter.
        line: in the prototxt, 1-based; 0 where unknown.
        path: of the prototxt, for messages.
    """

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    message: object
    line: int = 0
    path: str = ""

    @property
    def where(self) -> str:
        """The beginning of a message about this layer: file, line, name and type."""
        place = f"{shown(self.path)}:{self.line}" if self.line else shown(self.path)
        return f"{place}: layer {shown(self.name)} ({shown(self.type)})"


@dataclass(frozen=True)
class Net:
    """A net in the test phase.

    Attributes:
        name: as stated, or empty.
        path: of the prototxt.
        inputs: blob -> shape (N, C, H, W) with N = 1; only those that a layer reads.
        layers: in the file's order, which is an order of computation.
        outputs: blobs whose last version no layer reads, in the order in which they are made.
    """

    name: str
    path: str
    inputs: dict[str, tuple[int, ...]]
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]

    def readers(self, index: int, top: str) -> tuple[int, ...]:
        """Return which layers read the version of a blob that a layer makes.

        Args:
            index: of the layer that makes it; -1 for an input of the net.
            top: the blob.

        Returns:
            Indices of layers, in order; an output of the net has none.
        """
        found = []
        for later in range(index + 1, len(self.layers)):
            if top in self.layers[later].bottoms:
                found.append(later)
            if top in self.layers[later].tops:
                break
        return tuple(found)


def read_net(path: str | os.PathLike, *, data_shape: tuple[int, int] | None = None) -> Net:
    """Read a prototxt and make the net of its test phase.

    Args:
        path: the prototxt: best a deploy.prototxt, but a test or train_val one does where it has an output.
        data_shape: (height, width) in pixels in place of the picture's size in the file.

    Returns:
        The net, without data layers, losses, measures and sinks, for a batch of one.

    Raises:
        ConversionError: the file is no prototxt, the net is for training only, a layer reads what none has made, or
            the size of the input is unknown.
    """
    message, layers = _read(path)
    active, others, stages = [], [], set(message.state.stage)
    for layer in layers:
        (active if _runs(layer, message.state.level, stages) else others).append(layer)
    linked = link(active, declared_inputs(message, active, str(path)), others, str(path))
    _warn_of_equal_names(linked.layers)
    return Net(
        message.name,
        str(path),
        settle_shapes(linked.inputs, data_shape, str(path)),
        tuple(linked.layers),
        tuple(linked.outputs),
    )


def read_layers(path: str | os.PathLike) -> tuple[Layer, ...]:
    """Read all layers of a prototxt, whatever their phase: a training net's data layer tells mean and scale.

    Raises:
        ConversionError: the file is no prototxt.
    """
    return tuple(_read(path)[1])


def _read(path: str | os.PathLike) -> tuple[object, list[Layer]]:
    """Read a prototxt's NetParameter and its layers in today's form."""
    data = read_bytes(path, "prototxt")
    message = parse_prototxt(data, str(path))
    field = "layer" if message.layer else "layers"
    parts = getattr(message, field)
    if len(parts) > MAX_LAYERS:
        raise ConversionError(f"{shown(path)}: {len(parts)} layers, expected at most {MAX_LAYERS}")
    links = sum(len(part.bottom) + len(part.top) for part in parts)
    if links > MAX_LINKS:
        raise ConversionError(f"{shown(path)}: {links} bottoms and tops, expected at most {MAX_LINKS}")
    lines = layer_lines(data.decode("utf-8-sig"), field)
    if len(lines) != len(parts):
        lines = [0] * len(parts)
    if field == "layers":
        parts = [upgrade_layer(part, str(path)) for part in parts]
    return message, [_layer(part, line, str(path)) for part, line in zip(parts, lines)]


def _layer(message, line: int, path: str) -> Layer:
    """Make a Layer of its message."""
    layer = Layer(message.name, message.type, tuple(message.bottom), tuple(message.top), message, line, path)
    if not layer.type:
        raise ConversionError(f"{layer.where}: no type: add one to the prototxt")
    if len(message.include) and len(message.exclude):
        raise ConversionError(f"{layer.where}: has include and exclude rules: keep the ones or the others")
    return layer


def _runs(layer: Layer, level: int, stages: set[str]) -> bool:
    """Tell whether a layer is there in the test phase, at the level and in the stages that the net states."""
    if len(layer.message.include):
        return any(_meets(rule, level, stages) for rule in layer.message.include)
    return not any(_meets(rule, level, stages) for rule in layer.message.exclude)


def _meets(rule, level: int, stages: set[str]) -> bool:
    """Tell whether a rule is for the test phase, this level and these stages."""
    return (
        not (rule.HasField("phase") and rule.phase != _TEST)
        and not (rule.HasField("min_level") and level < rule.min_level)
        and not (rule.HasField("max_level") and level > rule.max_level)
        and stages.issuperset(rule.stage)
        and stages.isdisjoint(rule.not_stage)
    )


def _warn_of_equal_names(layers: list[Layer]) -> None:
    """Say which layers share a name: allowed, but weights cannot be told apart."""
    counts = collections.Counter(layer.name for layer in layers)
    repeated = [shown(name) for name, count in counts.items() if count > 1]
    if repeated:
        _LOG.warning("several layers are called %s; weights go by name", ", ".join(repeated[:10]))

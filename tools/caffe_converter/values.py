"""What flows along a net while it is converted: symbols with Caffe's shapes, default boxes, and parameters to come.

Shapes are Caffe's own for one image; the graph leaves the batch free. Each layer's translator returns values by Caffe's
shape rules, and `graph.check_shapes` holds them to what MXNet infers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from common.errors import ConversionError
from common.mx import mx
from tools.caffe_converter.net import Layer
from tools.caffe_converter.prototxt import shown

MAX_ELEMENTS = 1 << 28  # of one blob, 1 GB as float32; Caffe itself stops at 2**31 - 1
MAX_AXES = 6  # operators of MXNet refuse more, or crash
MAX_MADE = 1 << 26  # elements of all parameters that the file of weights does not hold, 256 MB
_RESERVED = ("data", "detection", "cls_prob", "multibox_loc_pred", "multibox_cls_pred", "multibox_anchors")


@dataclass(frozen=True)
class Logits:
    """Class scores before their activation.

    Attributes:
        symbol: as it goes into the activation; its memory order is that of (B, A, classes).
        activation: "softmax" or "sigmoid".
        classes: entries that a softmax is taken over, 0 for a sigmoid.
    """

    symbol: object
    activation: str
    classes: int


@dataclass(frozen=True)
class Value:
    """A blob.

    Attributes:
        symbol: of MXNet.
        shape: Caffe's, the first entry is the batch of 1.
        reversed_channels: the image is RGB here and BGR in Caffe, and this blob still has the image's channels.
        scale: that Caffe's image would have been multiplied by before this blob, not yet done.
        logits: where the blob is class scores that were only reshaped since.
    """

    symbol: object
    shape: tuple[int, ...]
    reversed_channels: bool = False
    scale: float = 1.0
    logits: Logits | None = None


@dataclass(frozen=True)
class Priors:
    """A blob of PriorBox: (1, 2, 4 * boxes), the boxes and their variances.

    Attributes:
        parts: of each PriorBox layer: symbol (1, boxes, 4), boxes (boxes, 4) float32 in numpy, variances (4).
    """

    parts: tuple[tuple[object, np.ndarray, tuple[float, ...]], ...]

    @property
    def count(self) -> int:
        """The number of boxes."""
        return sum(len(boxes) for _, boxes, _ in self.parts)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Caffe's shape of the blob."""
        return 1, 2, 4 * self.count

    def array(self) -> np.ndarray:
        """Return the blob as Caffe has it, (1, 2, 4 * boxes) float32."""
        boxes = np.concatenate([boxes for _, boxes, _ in self.parts]).ravel()
        variances = np.concatenate([np.tile(v, len(boxes)) for _, boxes, v in self.parts])
        return np.stack([boxes, variances])[None].astype(np.float32)


@dataclass(frozen=True)
class Param:
    """A parameter of the graph that stands in the caffemodel.

    Attributes:
        layer: whose blobs hold it.
        blob: its place among them.
        shape: of that blob, as the net wants it.
        convert: from the blob, and the layer's other blobs, to the parameter's values.
    """

    layer: Layer
    blob: int
    shape: tuple[int, ...]
    convert: Callable[[list[np.ndarray]], np.ndarray]


@dataclass
class Graph:
    """The graph as it grows.

    Attributes:
        blobs: name -> the blob's newest value (layers may write in place).
        args: name of a parameter -> what it is filled from.
        aux: the same for auxiliary states (BatchNorm's statistics).
        constants: name of a parameter -> its values, known from the net alone.
        tops: for each layer what it gave, for comparisons.
        truncate_sizes: PriorBox cuts sizes to whole pixels, as Caffe does.
        notes: what the user should know.
        made: elements of parameters so far that the caffemodel does not hold.
        boxes: of all PriorBox layers so far.
    """

    blobs: dict[str, Value | Priors] = field(default_factory=dict)
    args: dict[str, Param] = field(default_factory=dict)
    aux: dict[str, Param] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    tops: list[tuple[Layer, tuple]] = field(default_factory=list)
    truncate_sizes: bool = True
    notes: list[str] = field(default_factory=list)
    made: int = 0
    boxes: int = 0
    _names: set[str] = field(default_factory=lambda: {*_RESERVED})

    def name(self, wanted: str) -> str:
        """Return a name that no other node has; the first comer gets the one that is wanted.

        What cannot be printed becomes "_": MXNet cuts names at a zero, and writes others into JSON as they are.
        """
        wanted = "".join(letter if letter.isprintable() else "_" for letter in wanted)
        name, number = wanted, 1
        while name in self._names:
            number += 1
            name = f"{wanted}_{number}"
        self._names.add(name)
        return name

    def param(
        self,
        name: str,
        layer: Layer,
        blob: int,
        shape: tuple[int, ...],
        *,
        to: tuple[int, ...] | None = None,
        convert: Callable[[list[np.ndarray]], np.ndarray] | None = None,
    ):
        """Return a variable that will be filled from the caffemodel.

        Args:
            name: of the parameter.
            layer: whose blob it is.
            blob: its place among the layer's blobs.
            shape: of the blob.
            to: shape of the parameter; None: the blob's.
            convert: from the layer's blobs to values; None takes the blob as it is.
        """
        to = to or shape
        self._make(name, math.prod(to) - math.prod(shape))
        name = self.name(name)
        self.args[name] = Param(layer, blob, shape, _reshaped(convert or (lambda blobs: blobs[blob]), to))
        return mx.sym.Variable(name, shape=to)

    def constant(self, name: str, values: np.ndarray):
        """Return a variable of known values.

        Raises:
            ConversionError: they are too many, or not finite.
        """
        self._make(name, values.size)
        with np.errstate(over="ignore"):
            made = np.array(values, np.float32)
        if not np.isfinite(made).all():
            raise ConversionError(
                f"constant {shown(name)}: holds {made[~np.isfinite(made)][0]}, expected finite numbers: a number of the"
                " prototxt that it is computed from is beyond float32"
            )
        name = self.name(name)
        self.constants[name] = made
        return mx.sym.Variable(name, shape=values.shape, dtype=np.float32)

    def _make(self, name: str, count: int) -> None:
        """Count elements that the net alone asks for, before memory is taken.

        Raises:
            ConversionError: they are too many.
        """
        self.made += max(0, count)
        if self.made > MAX_MADE:
            raise ConversionError(
                f"parameter {shown(name)}: makes {self.made} numbers that are not in the caffemodel, expected at most"
                f" {MAX_MADE}: the net is too large (--data-shape sets the input's size)"
            )


def _reshaped(convert: Callable, shape: tuple[int, ...]) -> Callable:
    return lambda blobs: np.ascontiguousarray(convert(blobs), np.float32).reshape(shape)


def like(value: Value, symbol, shape: tuple[int, ...] | None = None, **changes) -> Value:
    """Return what a layer made of a value: image channels stay where they are, scores are scores no more."""
    return dataclasses.replace(
        value, **{"symbol": symbol, "shape": shape or value.shape, "logits": None, **changes}
    )


def plain(layer: Layer, value: Value | Priors) -> Value:
    """Return a blob that may stand anywhere in the layer.

    Raises:
        ConversionError: it is default boxes, which only Concat, Flatten and DetectionOutput can take, or it still has
            the image's channels, whose order would have to be reversed.
    """
    value = tensor(layer, value)
    if value.reversed_channels:
        raise ConversionError(
            f"{layer.where}: takes the image itself, expected a Convolution without groups first (or BatchNorm, Scale,"
            " Bias, Power, activations before it): the channels' order BGR cannot be turned into RGB here"
        )
    return value


def tensor(layer: Layer, value: Value | Priors) -> Value:
    """Return a blob that is not default boxes.

    Raises:
        ConversionError: it is.
    """
    if isinstance(value, Priors):
        raise ConversionError(
            f"{layer.where}: takes PriorBox's boxes, expected them to go to Concat (axis 2), Flatten and"
            " DetectionOutput alone"
        )
    return value


def image_like(layer: Layer, value: Value) -> Value:
    """Return a blob of four axes.

    Raises:
        ConversionError: it has others.
    """
    if len(value.shape) != 4:
        raise ConversionError(f"{layer.where}: its bottom has the shape {value.shape}, expected (1, C, H, W)")
    return value


def check_count(layer: Layer, found: int, least: int, most: int) -> None:
    """Check how many bottoms a layer has.

    Raises:
        ConversionError: too few or too many.
    """
    if not least <= found <= most:
        wanted = str(least) if least == most else f"{least} or more" if most > 99 else f"{least} to {most}"
        raise ConversionError(f"{layer.where}: has {found} bottoms, expected {wanted}")


def check_shape(layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a blob's shape.

    Raises:
        ConversionError: it has no axis or too many, one is below 1, or the blob is too large.
    """
    if not 1 <= len(shape) <= MAX_AXES:
        raise ConversionError(
            f"{layer.where}: would give {len(shape)} axes, {shown(shape)}, expected 1 to {MAX_AXES}"
        )
    if min(shape) < 1 or math.prod(shape) > MAX_ELEMENTS:
        raise ConversionError(
            f"{layer.where}: would give the shape {shape}: the input is too small or too large for it"
            " (--data-shape sets the input's size)"
        )
    return shape


def axis_of(layer: Layer, axis: int, rank: int, what: str = "axis") -> int:
    """Return an axis counted from the front.

    Raises:
        ConversionError: the blob has no such axis.
    """
    if not -rank <= axis < rank:
        raise ConversionError(
            f"{layer.where}: {what} {axis}: the blob has {rank} axes, expected {-rank} to {rank - 1}"
        )
    return axis % rank


def reshaped(symbol, old: tuple[int, ...], new: tuple[int, ...], name: str | None = None):
    """Reshape by Caffe's shapes of one image; the batch stays free.

    Args:
        symbol: whose shape is `old`.
        old: Caffe's shape of it.
        new: Caffe's shape to come; a first entry of 1 is the batch, a greater one holds the batch too and grows with
            it.
        name: of the node.
    """
    first = 0 if old[0] == new[0] == 1 else -1
    return mx.sym.reshape(symbol, shape=(first, *new[1:]), **({"name": name} if name else {}))

"""The links of a Caffe net: which blob each layer reads, what falls away in a detector, and what comes out.

The second half of net.py. Labels come from data layers only, so whatever lives on labels alone goes with them. Losses
go too, unless their inputs would then be all that comes out of the net: that is a training net, which lacks the layers
of a deploy.prototxt, and converting it would give something that looks like a detector and is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from common.errors import ConversionError
from tools.caffe_converter.net_inputs import DATA_TYPES, data_layer_shape
from tools.caffe_converter.prototxt import closest, shown

_MEASURES = frozenset(("Accuracy", "DetectionEvaluate", "HDF5Output"))  # what they look at is a result
_DETECTION_BOTTOMS = 3  # loc, conf, priors; further ones (data, label) serve the drawing of results only
_DEPLOY = "give the deploy.prototxt of the net"


@dataclass
class Links:
    """A net while its links are followed.

    Attributes:
        inputs: blob -> shape as stated.
        layers: those that stay.
        outputs: blobs whose last version nobody reads, in the order of their making.
        dropped: blobs that are not there in a detector -> the layer that would have made them.
        losses: layers that were left out.
        silenced: whether a Silence layer was there.
    """

    inputs: dict[str, tuple[int, ...]]
    layers: list = field(default_factory=list)
    outputs: dict[str, None] = field(default_factory=dict)
    dropped: dict[str, object] = field(default_factory=dict)
    losses: list = field(default_factory=list)
    silenced: bool = False


def link(layers: Sequence, inputs: dict[str, tuple[int, ...]], others: Sequence, path: str) -> Links:
    """Follow the links of a net.

    Args:
        layers: net.Layers of the test phase, in the file's order.
        inputs: what the net declares; where it declares none, its data layer is the input.
        others: layers of other phases, for messages.
        path: of the prototxt, for messages.

    Returns:
        Layers, inputs and outputs that are left.

    Raises:
        ConversionError: a layer reads what none has made or writes what another has, the net has no input, or it is
            for training only.
    """
    links = Links(dict(inputs))
    _take_data_layers(layers, links)
    if not links.inputs:
        raise ConversionError(_no_input(others, path))
    made = set(links.inputs)
    links.outputs.update(dict.fromkeys(links.inputs))
    for layer in layers:
        if layer.type != "Input" and layer.type not in DATA_TYPES:
            _follow(layer, made, links, others)
    _check_losses(links)
    _prune(links, path)
    return links


def _take_data_layers(layers: Sequence, links: Links) -> None:
    """Make the first data layer the input where none is declared; other blobs of data layers are dropped."""
    for layer in layers:
        if layer.type in DATA_TYPES:
            if not links.inputs and layer.tops:
                links.inputs[layer.tops[0]] = data_layer_shape(layer)
            links.dropped.update((top, layer) for top in layer.tops if top not in links.inputs)


def _follow(layer, made: set[str], links: Links, others: Sequence) -> None:
    """Add one layer to the net, or leave it out.

    Args:
        layer: the next one in the file's order.
        made: blobs that are there; grows.
        links: the net so far; grows.
        others: layers of other phases, for messages.
    """
    bottoms = layer.bottoms[:_DETECTION_BOTTOMS] if layer.type == "DetectionOutput" else layer.bottoms
    lost = [blob for blob in bottoms if blob not in made and blob in links.dropped]
    if layer.type == "Silence":
        links.silenced = True
        for blob in bottoms:
            links.outputs.pop(blob, None)
        return
    if layer.type in _MEASURES or layer.type.endswith("Loss") or (lost and len(lost) == len(bottoms)):
        if layer.type.endswith("Loss"):
            links.losses.append(layer)
        links.dropped.update((top, layer) for top in layer.tops)
        return
    _check_links(layer, bottoms, made, links, others)
    for blob in bottoms:
        links.outputs.pop(blob, None)
    made.update(layer.tops)
    links.outputs.update(dict.fromkeys(layer.tops))
    links.layers.append(replace(layer, bottoms=bottoms))


def _check_links(layer, bottoms: Sequence[str], made: set[str], links: Links, others: Sequence) -> None:
    """Check that what a layer reads is there and what it makes is new.

    Raises:
        ConversionError: names the layer and the blob.
    """
    if not layer.tops:
        raise ConversionError(f"{layer.where}: no top: name the blob that it makes")
    for blob in bottoms:
        if blob not in made and blob in links.dropped:
            raise ConversionError(
                f"{layer.where}: reads {shown(blob)!r} of {links.dropped[blob].where}, which a detector does not have:"
                f" {_DEPLOY}"
            )
        if blob not in made:
            raise ConversionError(
                f"{layer.where}: reads {shown(blob)!r}, which no layer before it makes"
                f"{_other_maker(blob, others) or closest(blob, sorted(made))}"
            )
    seen = set()
    for index, top in enumerate(layer.tops):
        in_place = index < len(bottoms) and bottoms[index] == top
        if (top in made and not in_place) or top in seen:
            raise ConversionError(
                f"{layer.where}: makes {shown(top)!r}, which another layer has made: rename one of them"
            )
        seen.add(top)


def _other_maker(blob: str, others: Sequence) -> str:
    """Say which layer of another phase makes a blob; empty where none does."""
    for layer in others:
        if blob in layer.tops:
            return f"; {layer.where} does, but not in the TEST phase: {_DEPLOY}"
    return ""


def _no_input(others: Sequence, path: str) -> str:
    """Say that a net has no input, and why."""
    for layer in others:
        if layer.type in DATA_TYPES or layer.type == "Input":
            return f"{layer.where} is the only input, and not in the TEST phase: a training net: {_DEPLOY}"
    return f"{shown(path)}: no input: no `input` field, no Input layer, no data layer: {_DEPLOY}"


def _check_losses(links: Links) -> None:
    """Refuse a net in which the inputs of a loss are what comes out.

    Raises:
        ConversionError: names the loss.
    """
    for layer in links.losses:
        bare = [blob for blob in layer.bottoms if blob in links.outputs and blob not in links.inputs]
        if bare:
            raise ConversionError(
                f"{layer.where}: a training net: {shown(bare[0])!r} goes into this loss only: {_DEPLOY}"
            )


def _prune(links: Links, path: str) -> None:
    """Leave out layers that only a Silence reads, and inputs that nobody reads.

    Raises:
        ConversionError: nothing is left.
    """
    remade = {blob for layer in links.layers for blob in layer.tops}
    for blob in links.inputs:
        if blob not in remade:
            links.outputs.pop(blob, None)
    if links.silenced:
        needed, live = set(links.outputs), []
        for layer in reversed(links.layers):
            if needed & set(layer.tops):
                needed = (needed - set(layer.tops)) | set(layer.bottoms)
                live.append(layer)
        links.layers = live[::-1]
    read = {blob for layer in links.layers for blob in layer.bottoms}
    links.inputs = {blob: shape for blob, shape in links.inputs.items() if blob in read}
    if not links.outputs or not links.inputs:
        raise ConversionError(
            f"{shown(path)}: no layer between input and output in the TEST phase: {_DEPLOY}"
        )

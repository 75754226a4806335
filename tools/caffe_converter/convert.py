"""A prototxt and a caffemodel become a saved detector: symbol, parameters, card."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from common.errors import CheckpointError, ConversionError
from common.files import sha256
from model.card import DEPLOYED, Card
from model.graph import keep_used
from model.parameters import check_fit
from symbol.anchors import FixedAnchors
from tools.caffe_converter.caffemodel import read_caffemodel
from tools.caffe_converter.graph import Converted, check_shapes, convert_net
from tools.caffe_converter.net import read_net
from tools.caffe_converter.preprocessing import Preprocessing
from tools.caffe_converter.prototxt import shown
from tools.caffe_converter.weights import load_weights, unused_layers

EPOCH = 0  # in the name of the parameters' file


@dataclass(frozen=True)
class Model:
    """A converted model.

    Attributes:
        converted: the graph.
        params: (arg_params, aux_params).
        notes: what the user should know.
    """

    converted: Converted
    params: tuple[dict, dict]
    notes: tuple[str, ...]


def convert_graph(
    prototxt: str | os.PathLike,
    *,
    data_shape: tuple[int, int] | None = None,
    truncate_sizes: bool = True,
    input_scale: float = 1.0,
) -> Converted:
    """Convert a prototxt alone.

    Args:
        prototxt: path.
        data_shape: (height, width) in place of the prototxt's; default boxes are laid out for it.
        truncate_sizes: PriorBox cuts sizes to whole pixels, as Caffe does; OpenCV does not.
        input_scale: see `graph.convert_net`.

    Raises:
        ConversionError: names file, line and layer.
    """
    net = read_net(prototxt, data_shape=data_shape)
    converted = convert_net(net, truncate_sizes=truncate_sizes, input_scale=input_scale)
    check_shapes(converted)
    return converted


def convert_model(
    prototxt: str | os.PathLike, caffemodel: str | os.PathLike, *, every_layer: bool = False, **options
) -> Model:
    """Convert a net with its weights.

    Args:
        prototxt: path.
        caffemodel: path.
        every_layer: fill the parameters of layers that the outputs do not need, too.
        **options: of `convert_graph`.

    Raises:
        ConversionError: names file, line and layer.
    """
    converted = convert_graph(prototxt, **options)
    blobs = read_caffemodel(caffemodel)
    params = load_weights(converted, blobs, str(caffemodel), every_layer=every_layer)
    used = keep_used(converted.symbol, *params)
    try:
        check_fit(converted.symbol, *used, converted.data_shape, str(caffemodel))
    except CheckpointError as error:
        raise ConversionError(str(error)) from error
    unused, notes = unused_layers(converted, blobs), list(converted.graph.notes)
    if unused:
        names = ", ".join(map(shown, unused[:5])) + (", ..." if len(unused) > 5 else "")
        notes.append(f"{caffemodel}: {len(unused)} layers with weights are not in the prototxt: {names}")
    return Model(converted, params, tuple(notes))


def make_card(
    converted: Converted, preprocessing: Preprocessing, class_names: tuple[str, ...] | None, source: dict
) -> Card:
    """Return the card of a converted detector.

    Args:
        converted: a graph with heads.
        preprocessing: of its images.
        class_names: of the foreground classes in the order of Caffe's labels; None takes the labels themselves.
        source: what the card says of the origin.

    Raises:
        ConversionError: there are more or fewer class names than classes.
    """
    heads = converted.heads
    names = tuple(str(label) for label in heads.labels) if class_names is None else class_names
    if len(names) != heads.num_classes:
        raise ConversionError(
            f"--class-names: {len(names)} names, expected {heads.num_classes}, one for each class of DetectionOutput"
            " without the background"
        )
    return Card(
        network="",
        data_shape=converted.data_shape,
        class_names=names,
        mean=preprocessing.mean,
        std=(1 / converted.input_scale,) * 3,
        anchors=FixedAnchors(heads.count, heads.variances),
        detection=heads.detection,
        graph=DEPLOYED,
        source=source,
    )


def source_of(prototxt: str | os.PathLike, caffemodel: str | os.PathLike) -> dict:
    """Return what a card says of the files that a detector was converted from."""
    return {
        "prototxt": Path(prototxt).name,
        "caffemodel": Path(caffemodel).name,
        "caffemodel_sha256": sha256(caffemodel),
        "epoch": EPOCH,
    }

"""DetectionOutput: the heads under the names that every command looks for, and the settings of the detection tail.

The tail itself is the project's own (`symbol/detection.py`), which follows Caffe's rule: every class at every box,
top_k of each class, NMS by class, keep_top_k of the image.

Source: detection_output_layer.cpp of Caffe's SSD branch. Deviations: scores below 1e-30 are never detections (Caffe
without a confidence_threshold keeps them); `eta` is refused where it would have an effect.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.errors import ConfigError, ConversionError
from common.mx import mx
from symbol.detection import DetectionConfig
from tools.caffe_converter.net import Layer
from tools.caffe_converter.prototxt import shortest, shown
from tools.caffe_converter.values import Graph, Priors, Value, check_count, plain, tensor

_CENTER_SIZE = 2
_MOST_CLASSES = 10_000  # Open Images has 601
_ADAPTS_ABOVE = 0.5  # of the NMS threshold: below it eta changes nothing


@dataclass(frozen=True)
class Heads:
    """What a DetectionOutput layer detects from.

    Attributes:
        layer: it.
        loc_pred: (B, 4A), encoded boxes.
        cls_pred: (B, C+1, A), class 0 is background.
        anchors: (1, A, 4).
        count: A.
        num_classes: foreground classes, C.
        labels: Caffe's label of each foreground class.
        variances: of the encoding.
        detection: settings of the tail.
    """

    layer: Layer
    loc_pred: object
    cls_pred: object
    anchors: object
    count: int
    num_classes: int
    labels: tuple[int, ...]
    variances: tuple[float, ...]
    detection: DetectionConfig


def detection_output(graph: Graph, layer: Layer, bottoms: list[Value | Priors]) -> Heads:
    """Translate DetectionOutput.

    Args:
        graph: as built so far.
        layer: the layer.
        bottoms: loc, conf and priors; what else there is (the image, a label) is not looked at.

    Raises:
        ConversionError: the blobs do not fit each other, or a setting has no counterpart.
    """
    check_count(layer, len(layer.bottoms), 3, 4)
    p = layer.message.detection_output_param
    _check_settings(layer, p)
    priors = bottoms[2]
    if not isinstance(priors, Priors):
        raise ConversionError(
            f"{layer.where}: its third bottom {shown(layer.bottoms[2])} is not made by PriorBox"
        )
    loc, conf, count = plain(layer, bottoms[0]), plain(layer, tensor(layer, bottoms[1])), priors.count
    classes = p.num_classes
    for value, blob, per_box in ((loc, layer.bottoms[0], 4), (conf, layer.bottoms[1], classes)):
        found = int(np.prod(value.shape))
        if value.shape[0] != 1:
            raise ConversionError(
                f"{layer.where}: {shown(blob)} has the shape {value.shape}, expected the batch of 1 first"
            )
        if found != count * per_box:
            raise ConversionError(
                f"{layer.where}: {shown(blob)} has {found} numbers an image, expected {count * per_box}:"
                f" {per_box} for each of the {count} boxes that PriorBox makes"
            )
    loc_symbol, variances = _one_variance(graph, mx.sym.reshape(loc.symbol, shape=(0, -1)), priors, p)
    cls_pred, activation = _class_scores(conf, count, classes)
    labels, cls_pred, activation = _background_first(layer, p, cls_pred, activation, classes)
    return Heads(
        layer=layer,
        loc_pred=mx.sym.identity(loc_symbol, name="multibox_loc_pred"),
        cls_pred=mx.sym.identity(cls_pred, name="multibox_cls_pred"),
        anchors=_anchors(priors),
        count=count,
        num_classes=len(labels),
        labels=labels,
        variances=variances,
        detection=_config(graph, layer, p, activation),
    )


def _check_settings(layer: Layer, p) -> None:
    """Refuse what the tail cannot do."""
    adapts = p.nms_param.eta < 1 and p.nms_param.nms_threshold > _ADAPTS_ABOVE
    for wrong, text in (
        (not p.share_location, "share_location false: expected true"),
        (p.code_type != _CENTER_SIZE, "code_type is not CENTER_SIZE, the only one that is known"),
        (adapts, f"eta {p.nms_param.eta:g} with nms_threshold {p.nms_param.nms_threshold:g}: expected eta 1"),
        (
            not 1 <= p.num_classes <= _MOST_CLASSES,
            f"num_classes {p.num_classes}: expected 1 to {_MOST_CLASSES}",
        ),
        (
            not -1 <= p.background_label_id < max(p.num_classes, 1),
            f"background_label_id {p.background_label_id}: expected -1 to {p.num_classes - 1}",
        ),
        (
            p.num_classes == 1 and p.background_label_id == 0,
            "num_classes 1 is the background alone: expected 2 or more",
        ),
    ):
        if wrong:
            raise ConversionError(f"{layer.where}: {text}")


def _config(graph: Graph, layer: Layer, p, activation: str) -> DetectionConfig:
    """Return the settings of the tail."""
    threshold = p.confidence_threshold if p.HasField("confidence_threshold") else 0.0
    if not p.HasField("confidence_threshold"):
        graph.notes.append(f"{layer.where}: no confidence_threshold: every score above 0 is a detection")
    try:
        return DetectionConfig(
            score_threshold=max(0.0, shortest(threshold)),
            nms_threshold=max(0.0, shortest(p.nms_param.nms_threshold)),
            nms_topk=p.nms_param.top_k if p.nms_param.HasField("top_k") and p.nms_param.top_k > -1 else -1,
            keep_topk=p.keep_top_k if p.keep_top_k > -1 else -1,
            activation=activation,
            clip=p.clip,
        )
    except ConfigError as error:
        raise ConversionError(f"{layer.where}: {error}") from error


def _one_variance(graph: Graph, loc, priors: Priors, p) -> tuple:
    """Return encoded boxes (B, 4A) and the four variances that decode all of them.

    Where PriorBox layers differ, the boxes are multiplied by their own variance over the first's.
    """
    if p.variance_encoded_in_target:
        return loc, (1.0, 1.0, 1.0, 1.0)
    first = priors.parts[0][2]
    if all(variances == first for _, _, variances in priors.parts):
        return loc, first
    factors = np.concatenate(
        [np.tile(np.divide(variances, first), len(boxes)) for _, boxes, variances in priors.parts]
    )
    return mx.sym.broadcast_mul(loc, graph.constant("multibox_variances", factors[None])), first


def _class_scores(conf: Value, count: int, classes: int) -> tuple:
    """Return class scores (B, classes, A), and the activation that is still to come.

    Scores from a Softmax over the classes, or from a Sigmoid, are taken from before it.
    """
    symbol, activation = conf.symbol, "none"
    if conf.logits is not None and conf.logits.classes in (0, classes):
        symbol, activation = conf.logits.symbol, conf.logits.activation
    rows = mx.sym.reshape(symbol, shape=(-1, count, classes))
    return mx.sym.transpose(rows, axes=(0, 2, 1)), activation


def _background_first(layer: Layer, p, cls_pred, activation: str, classes: int) -> tuple:
    """Return Caffe's labels of the foreground classes, the scores with the background first, and their activation."""
    background = p.background_label_id
    labels = tuple(label for label in range(classes) if label != background)
    if background == -1:
        if activation == "softmax":  # over the foreground alone, so it cannot wait
            cls_pred, activation = mx.sym.softmax(cls_pred, axis=1), "none"
        nothing = mx.sym.zeros_like(mx.sym.slice_axis(cls_pred, axis=1, begin=0, end=1))
        return labels, mx.sym.concat(nothing, cls_pred, dim=1), activation
    if background > 0:
        parts = [
            mx.sym.slice_axis(cls_pred, axis=1, begin=begin, end=end)
            for begin, end in (
                (background, background + 1),
                (0, background),
                (background + 1, classes),
            )
            if begin < end
        ]
        cls_pred = mx.sym.concat(*parts, dim=1)
    return labels, cls_pred, activation


def _anchors(priors: Priors):
    """Return the boxes of all PriorBox layers: (1, A, 4)."""
    symbols = [symbol for symbol, _, _ in priors.parts]
    joined = mx.sym.concat(*symbols, dim=1) if len(symbols) > 1 else symbols[0]
    return mx.sym.reshape(joined, shape=(0, -1, 4), name="multibox_anchors")

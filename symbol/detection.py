"""The detection tail: from heads to boxes, in the graph.

Default, "per_class": every class above the threshold at every anchor is a candidate, NMS runs for each class on its
own, and the best of the image are kept: what Caffe's DetectionOutput and the paper (section 3.1) do. The operator
`MultiBoxDetection` alone takes only the best class of each anchor; so each class goes through it as an image of its
own, against a background of score 0. Memory: C times that of the plain operator.
"multibox" is the operator as mxnet-ssd uses it: one class for each anchor, the fastest.
`force` suppresses boxes of other classes as well. Then the operator alone gives the same as every class at every
anchor would, since a worse class of an anchor has the same box as its best class and falls with it or to it.

Deviations: scores must be above the threshold, and IoUs above theirs to suppress (Caffe's rule; the operator takes
"equal or above" for both); boxes are cut at the image's border, which Caffe leaves to its caller.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from common.errors import ConfigError, did_you_mean
from common.mx import mx
from common.settings import from_known
from symbol.names import LocalNames

NMS_MODES = ("per_class", "multibox")
ACTIVATIONS = ("softmax", "sigmoid", "none")

# Outside these the operator neither sorts its candidates nor keeps the best of them.
_SMALLEST_THRESHOLD, _LARGEST_THRESHOLD = 1e-30, 1.0


@dataclass(frozen=True)
class DetectionConfig:
    """Settings of the detection tail.

    Attributes:
        score_threshold: detections score above this.
        nms_threshold: a box whose IoU with a better one of its class is above this is dropped.
        nms_topk: candidates that NMS looks at, the best ones, -1 for all: of each class; in mode "multibox" and with
            `force` anchors of the image.
        keep_topk: detections of an image at most, after NMS; -1 for all.
        nms_mode: "per_class" or "multibox".
        force: NMS across classes.
        activation: of the class head: "softmax" over all classes, "sigmoid" for each, or "none" where the head gives
            scores already (converted models).
        clip: whether boxes are cut at the image's border, before NMS; Caffe's rule is not to.
        image_topk: in mode "per_class" without `force`, candidates that NMS looks at of all classes of an image
            together, the best ones (and those that score like the last of them), -1 for all: gluoncv's rule.

    Raises:
        ConfigError: a value is out of range.
    """

    score_threshold: float = 0.01
    nms_threshold: float = 0.45
    nms_topk: int = 400
    keep_topk: int = 200
    nms_mode: str = "per_class"
    force: bool = False
    activation: str = "softmax"
    clip: bool = True
    image_topk: int = -1

    def __post_init__(self):
        for name, known in (("nms_mode", NMS_MODES), ("activation", ACTIVATIONS)):
            value = getattr(self, name)
            if value not in known:
                raise ConfigError(f"{name} {value!r} is unknown{did_you_mean(value, known)}")
        for name in ("force", "clip"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}, expected true or false")
        for name in ("score_threshold", "nms_threshold"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not math.isfinite(value) or not 0 <= value < 1:
                raise ConfigError(f"{name} is {value!r}, expected a number from 0 to below 1")
        for name in ("nms_topk", "keep_topk", "image_topk"):
            value = getattr(self, name)
            if not isinstance(value, int) or (value < 1 and value != -1):
                raise ConfigError(f"{name} is {value!r}, expected a whole number of 1 or more, or -1 for all")

    def to_dict(self) -> dict:
        """Return the settings as JSON values; the rare one only where it says something."""
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if name != "image_topk" or value > 0}

    @classmethod
    def from_dict(cls, values: dict) -> DetectionConfig:
        """Make the settings from JSON values, as `to_dict` gives them.

        Raises:
            ConfigError: an unknown or impossible setting.
        """
        return from_known(cls, values, "detection")


def detection_symbol(
    loc_pred, cls_pred, anchors, num_classes: int, variances: tuple, config: DetectionConfig
):
    """Put the detection tail on a network's heads; the batch size stays free.

    Args:
        loc_pred: (B, 4A), the encoded boxes.
        cls_pred: (B, C+1, A), class scores before the activation, class 0 is background.
        anchors: (1, A, 4), corner form, normalised.
        num_classes: foreground classes, C.
        variances: four, of the box encoding.
        config: the settings.

    Returns:
        Symbol `detection` (B, K, 6) of rows (class id, score, xmin, ymin, xmax, ymax), ids 0-based, boxes normalised
        (within [0, 1] where the settings clip them), the best first; void rows are -1 and stand at the end. K is
        `keep_topk`, or the number of candidates (anchors; candidates of a class times classes) where that is less.
    """
    config = for_classes(config, num_classes)
    with LocalNames("detection_"):
        cls_prob = _probabilities(cls_pred, config.activation)
        if one_class_per_anchor(config, num_classes):
            rows = _decode(cls_prob, loc_pred, anchors, variances, config)
        else:
            rows = _candidates_by_class(cls_prob, loc_pred, anchors, num_classes, variances, config)
        return _keep_best(rows, config.keep_topk)


def candidates_symbol(
    loc_pred, cls_pred, anchors, num_classes: int, variances: tuple, config: DetectionConfig
):
    """Put a tail on a network's heads that suppresses nothing, for soft-NMS outside the graph.

    Args:
        loc_pred: (B, 4A), the encoded boxes.
        cls_pred: (B, C+1, A), class scores before the activation, class 0 is background.
        anchors: (1, A, 4), corner form, normalised.
        num_classes: foreground classes, C.
        variances: four, of the box encoding.
        config: the settings; `nms_threshold` and `keep_topk` have no part.

    Returns:
        Symbol `detection` (B, K, 6) of rows as `detection_symbol` gives them, what it would begin NMS with: the best
        `nms_topk` of each class, K is C times that; in mode "multibox" and with `force` of all anchors, each with its
        best class. Void rows have the id -1.
    """
    config = for_classes(config, num_classes)
    with LocalNames("detection_"):
        cls_prob = _probabilities(cls_pred, config.activation)
        if one_class_per_anchor(config, num_classes):
            rows = _decode(
                cls_prob, loc_pred, anchors, variances, config, nms_threshold=0
            )  # no NMS, and unsorted
            return _keep_best(rows, config.nms_topk)
        rows = _candidates_by_class(
            cls_prob, loc_pred, anchors, num_classes, variances, config, suppress=False
        )
        return mx.sym.identity(rows, name="detection")


def open_symbol(loc_pred, cls_pred):
    """Put on a network's heads what a tail outside the graph begins with (detect/tail.py).

    Args:
        loc_pred: (B, 4A), the encoded boxes.
        cls_pred: (B, C+1, A), class scores before the softmax, class 0 is background.

    Returns:
        A group of `cls_prob` (B, A, C+1), loc_pred, and the class scores (B, A, C+1), which tell of values that are not
        finite: softmax hides them.
    """
    with LocalNames("detection_"):
        if cls_pred.list_attr().get("axes") == "(0, 2, 1)":  # the network has just turned them
            cls_pred = cls_pred.get_children()[0]
        else:
            cls_pred = mx.sym.transpose(cls_pred, axes=(0, 2, 1))  # (B, C+1, A) -> (B, A, C+1)
        return mx.sym.Group([mx.sym.softmax(cls_pred, axis=-1, name="cls_prob"), loc_pred, cls_pred])


def for_classes(config: DetectionConfig, num_classes: int) -> DetectionConfig:
    """Return the settings for so many classes: the candidates of one class are those of the image."""
    if num_classes > 1 or config.image_topk < 0 or config.force or config.nms_mode != "per_class":
        return config
    limits = [limit for limit in (config.nms_topk, config.image_topk) if limit > 0]
    return dataclasses.replace(config, nms_topk=min(limits))


def one_class_per_anchor(config: DetectionConfig, num_classes: int) -> bool:
    """Tell whether an anchor's best class is all that counts; for `force` see the module's header."""
    return config.nms_mode == "multibox" or config.force or num_classes == 1


def _probabilities(cls_pred, activation: str):
    """Return the scores of the class head: Symbol `cls_prob` (B, C+1, A)."""
    if activation == "softmax":
        return mx.sym.softmax(cls_pred, axis=1, name="cls_prob")
    if activation == "sigmoid":
        return mx.sym.sigmoid(cls_pred, name="cls_prob")
    return mx.sym.identity(cls_pred, name="cls_prob")


def _above(threshold: float) -> float:
    """Return the smallest float32 above a threshold, which turns the operator's "equal or above" into "above"."""
    above = np.nextafter(np.float32(threshold), np.float32(2))
    return float(np.clip(above, _SMALLEST_THRESHOLD, _LARGEST_THRESHOLD))


def _decode(
    cls_prob, loc_pred, anchors, variances: tuple, config: DetectionConfig, nms_threshold: float | None = None
):
    """Decode boxes, drop low scores and do NMS for the best class of each anchor.

    Args:
        nms_threshold: as the operator takes it; None takes that of the settings. At 0 it neither does NMS nor sorts.

    Returns:
        (B, A, 6) sorted by score, then what is below the threshold; what NMS dropped keeps its place and its score,
        with the id -1.
    """
    settings = operator_settings(config, variances)
    if nms_threshold is not None:
        settings["nms_threshold"] = nms_threshold
    return mx.sym.contrib.MultiBoxDetection(cls_prob, loc_pred, anchors, **settings)


def operator_settings(config: DetectionConfig, variances: tuple) -> dict:
    """Return what the operator `MultiBoxDetection` is told."""
    return {
        "clip": config.clip,
        "threshold": _above(config.score_threshold),
        "nms_threshold": _above(config.nms_threshold),
        "force_suppress": config.force,
        "variances": variances,
        "nms_topk": config.nms_topk,
    }


def _candidates_by_class(
    cls_prob, loc_pred, anchors, num_classes: int, variances: tuple, config: DetectionConfig, suppress=True
):
    """Decode and, where it is to suppress, do NMS for each class on its own.

    Returns:
        (B, C * min(nms_topk, A), 6), unsorted; void rows have the id -1.
    """
    scores = mx.sym.slice_axis(cls_prob, axis=1, begin=1, end=None)  # (B, C, A)
    scores = mx.sym.expand_dims(mx.sym.reshape(scores, shape=(-3, 0)), axis=1)  # (B, C, A) -> (B*C, 1, A)
    scores = mx.sym.concat(mx.sym.zeros_like(scores), scores, dim=1)  # (B*C, 2, A)
    boxes = mx.sym.broadcast_axis(mx.sym.expand_dims(loc_pred, axis=1), axis=1, size=num_classes)
    boxes = mx.sym.reshape(boxes, shape=(-3, 0))  # (B, C, 4A) -> (B*C, 4A)
    nms_threshold = None if suppress else _LARGEST_THRESHOLD  # sorts, and drops equal boxes only
    rows = _decode(scores, boxes, anchors, variances, config, nms_threshold)  # (B*C, A, 6)
    if config.nms_topk > 0:
        # Candidates come sorted; an end beyond the axis means its end.
        rows = mx.sym.slice(rows, begin=(None, 0), end=(None, config.nms_topk))
    if not suppress:
        rows = _with_equal_boxes(rows)
    rows = mx.sym.reshape(rows, shape=(-4, -1, num_classes, -2))  # (B*C, k, 6) -> (B, C, k, 6)
    if config.image_topk > 0:
        rows = _best_of_image(rows, config.image_topk)
    return mx.sym.reshape(_with_class_ids(rows, num_classes), shape=(0, -3, 0))  # (B, C, k, 6) -> (B, C*k, 6)


def _with_equal_boxes(rows):
    """Give what NMS dropped from rows (B, k, 6) of one class its id, 0, again; it has a score, void rows have -1."""
    ids = mx.sym.slice_axis(rows, axis=2, begin=1, end=2) > 0  # 1 or 0
    return mx.sym.concat(ids - 1, mx.sym.slice_axis(rows, axis=2, begin=1, end=None), dim=2)


def _best_of_image(rows, count: int):
    """Take the ids from those of rows (B, C, k, 6) that score below the image's best `count` candidates.

    A candidate falls to a better one only, so what NMS keeps of the best ones does not depend on the others: they can
    be left out afterwards as well. Those that NMS dropped still have their scores.
    """
    ids = mx.sym.slice_axis(rows, axis=3, begin=0, end=1)
    scores = mx.sym.slice_axis(rows, axis=3, begin=1, end=2)
    ranked = mx.sym.sort(mx.sym.reshape(scores, shape=(0, -1)), axis=1, is_ascend=False)  # (B, C*k)
    # An end beyond the axis means its end.
    least = mx.sym.min(mx.sym.slice(ranked, begin=(None, 0), end=(None, count)), axis=1)  # (B,)
    among = mx.sym.broadcast_greater_equal(scores, mx.sym.reshape(least, shape=(-1, 1, 1, 1)))  # 1 or 0
    ids = (ids + 1) * among - 1
    return mx.sym.concat(ids, mx.sym.slice_axis(rows, axis=3, begin=1, end=None), dim=3)


def _with_class_ids(rows, num_classes: int):
    """Turn the ids of rows (B, C, k, 6), 0 for a detection and -1 for none, into class ids and -1."""
    class_ids = mx.sym.reshape(mx.sym.arange(1, num_classes + 1), shape=(1, num_classes, 1, 1))
    ids = mx.sym.slice_axis(rows, axis=3, begin=0, end=1)
    ids = mx.sym.broadcast_mul(ids + 1, class_ids) - 1
    return mx.sym.concat(ids, mx.sym.slice_axis(rows, axis=3, begin=1, end=None), dim=3)


def _keep_best(rows, keep_topk: int):
    """Sort rows (B, N, 6) by score, void ones last, and keep the best.

    Returns:
        Symbol `detection` (B, min(keep_topk, N), 6).
    """
    # Nothing overlaps by more than 1: this only sorts and takes void rows out.
    sorted_rows = mx.sym.contrib.box_nms(
        rows,
        overlap_thresh=1,
        valid_thresh=0,
        topk=keep_topk,
        id_index=0,
        score_index=1,
        coord_start=2,
        background_id=-1,
    )
    end = None if keep_topk < 0 else keep_topk
    return mx.sym.slice(sorted_rows[0], begin=(None, 0), end=(None, end), name="detection")

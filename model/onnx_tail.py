"""From a network's heads to boxes in ONNX operators: activation, decoding, and the detection tail with NMS.

It finds what the tail of symbol/detection.py finds, in the same order; see there for the rules. Candidates are the best
`nms_topk` of each class (or, with the rules "multibox" and `force`, of the image), before NMS. NonMaxSuppression gives
one list of (image, class, candidate) for the whole batch; here it only marks candidates, and the marked ones are then
sorted by score, so that every output has a fixed size. Ties go to the lower class, then to the lower default box.

Deviations: none of results. Where the heads hold a value that is not finite, all scores of that image are NaN, since
NMS would find nothing and nobody would know.
"""

from __future__ import annotations

import numpy as np

from model.onnx_file import require
from model.onnx_nodes import Nodes
from symbol.detection import DetectionConfig, for_classes

_INT = np.int64


def image_nodes(into: Nodes, mean: tuple, std: tuple, uint8: bool) -> str:
    """Append what turns the input `data` into what the network takes, and return its name.

    Args:
        into: where to append.
        mean: of (R, G, B).
        std: of (R, G, B).
        uint8: whether the input is (N, H, W, 3) uint8; else (N, 3, H, W) float.
    """
    image = "data"
    if uint8:
        image = into.add("Cast", image, to=1)  # float32
        image = into.add("Transpose", image, perm=[0, 3, 1, 2])  # (N, H, W, 3) -> (N, 3, H, W)
    image = into.add("Sub", image, np.array(mean, np.float32).reshape(1, 3, 1, 1))
    return into.add("Div", image, np.array(std, np.float32).reshape(1, 3, 1, 1))


def score_nodes(into: Nodes, cls_pred: str, activation: str) -> str:
    """Append the activation of the class head (N, C+1, A) and return the scores' name."""
    if activation == "softmax":
        return into.add("Softmax", cls_pred, axis=1)
    return into.add("Sigmoid" if activation == "sigmoid" else "Identity", cls_pred)


def box_nodes(into: Nodes, loc_pred: str, anchors: np.ndarray, variances: tuple, clip: bool) -> str:
    """Append the decoding of boxes, with the arithmetic of MultiBoxDetection, and return the boxes' name: (N, A, 4).

    Args:
        into: where to append.
        loc_pred: (N, 4A).
        anchors: (A, 4) float32, corner form.
        variances: four.
        clip: whether boxes are cut at the image's border.
    """
    centre = (anchors[:, :2] + anchors[:, 2:]) / np.float32(2)
    size = anchors[:, 2:] - anchors[:, :2]
    scales = np.array(variances, np.float32)
    encoded = into.add("Reshape", loc_pred, np.array([-1, len(anchors), 4], _INT))
    encoded = into.add("Mul", encoded, scales)  # (N, A, 4)
    shift, growth = (
        into.add("Slice", encoded, *(np.array([n], _INT) for n in (begin, begin + 2, 2))) for begin in (0, 2)
    )
    middle = into.add("Add", into.add("Mul", shift, size[None]), centre[None])
    half = into.add("Mul", into.add("Exp", growth), size[None] / np.float32(2))
    boxes = into.add("Concat", into.add("Sub", middle, half), into.add("Add", middle, half), axis=2)
    return into.add("Clip", boxes, np.array(0, np.float32), np.array(1, np.float32)) if clip else boxes


def outside_nodes(into: Nodes, scores: str, boxes: str, sizes: tuple[int, int]) -> dict[str, tuple]:
    """Append the outputs of a model without NMS: `scores` (N, A, C+1), background first, and `boxes` (N, A, 4).

    Args:
        into: where to append.
        scores: name of the scores (N, C+1, A).
        boxes: name of the boxes (N, A, 4).
        sizes: (classes, default boxes).

    Returns:
        Output -> (type, shape without the batch).
    """
    num_classes, num_anchors = sizes
    into.add("Transpose", scores, perm=[0, 2, 1], name="scores")
    into.add("Identity", boxes, name="boxes")
    return {"scores": ("float32", (num_anchors, num_classes + 1)), "boxes": ("float32", (num_anchors, 4))}


def inside_nodes(
    into: Nodes,
    heads: tuple[str, str],
    scores: str,
    boxes: str,
    sizes: tuple[int, int],
    config: DetectionConfig,
) -> dict[str, tuple]:
    """Append NMS and the outputs `boxes`, `scores`, `classes` and `num`.

    Args:
        into: where to append.
        heads: names of loc_pred (N, 4A) and cls_pred (N, C+1, A), looked through for values that are not finite.
        scores: name of the scores (N, C+1, A).
        boxes: name of the boxes (N, A, 4).
        sizes: (classes, default boxes).
        config: settings of the tail.

    Returns:
        Output -> (type, shape without the batch).
    """
    num_classes, num_anchors = sizes
    config = for_classes(config, num_classes)
    one_class_each = config.nms_mode == "multibox" or config.force or num_classes == 1
    candidates = _best_class if one_class_each else _every_class
    count = num_anchors if config.nms_topk < 0 else min(config.nms_topk, num_anchors)
    foreground = into.add(
        "Slice", scores, *(np.array([n], _INT) for n in (1, num_classes + 1, 1))
    )  # (N, C, A)
    found, classes, boxes = candidates(into, foreground, boxes, count, (num_classes, config))
    total = count if one_class_each else count * num_classes
    kept = total if config.keep_topk < 0 else config.keep_topk
    _outputs(into, (found, classes, boxes), _not_finite(into, *heads), (total, kept))
    return {
        "boxes": ("float32", (kept, 4)),
        "scores": ("float32", (kept,)),
        "classes": ("int64", (kept,)),
        "num": ("int64", ()),
    }


def _every_class(into: Nodes, scores: str, boxes: str, count: int, rule: tuple) -> tuple[str, str, str]:
    """Append NMS of each class on its own.

    Returns:
        Names of scores (N, C*k), -1 where NMS dropped one, class ids (1, C*k) and boxes (N, C*k, 4).
    """
    num_classes, config = rule
    best, index = _topk(into, scores, count)  # (N, C, A) -> (N, C, k)
    total = num_classes * count
    if 0 < config.image_topk < total:
        best = _best_of_image(into, best, total, config.image_topk)
    boxes = _rows(into, boxes, into.add("Reshape", index, np.array([-1, total], _INT)), 4)  # (N, C*k, 4)
    # Each class stands as an image of its own, since the candidates of each are others.
    rows = into.add("Reshape", boxes, np.array([-1, count, 4], _INT))  # (N, C*k, 4) -> (N*C, k, 4)
    best = into.add("Reshape", best, np.array([-1, count], _INT))  # (N*C, k)
    kept = _suppressed(into, rows, into.add("Unsqueeze", best, np.array([1], _INT)), best, config)
    class_ids = np.repeat(np.arange(num_classes, dtype=_INT), count)[None]
    return into.add("Reshape", kept, np.array([-1, total], _INT)), into.constant(class_ids), boxes


def _best_of_image(into: Nodes, best: str, total: int, count: int) -> str:
    """Append -1 in place of those scores (N, C, k), `total` of an image, that are below its best `count`."""
    flat = into.add("Reshape", best, np.array([-1, total], _INT))
    ranked, _ = _topk(into, flat, count)  # (N, count)
    least = into.add("Slice", ranked, *(np.array([n], _INT) for n in (count - 1, count, 1)))  # (N, 1)
    below = into.add("Less", best, into.add("Unsqueeze", least, np.array([2], _INT)))  # (N, C, k)
    return into.add("Where", below, np.array(-1, np.float32), best)


def _best_class(into: Nodes, scores: str, boxes: str, count: int, rule: tuple) -> tuple[str, str, str]:
    """Append NMS of the best class of each default box, within classes or, with `force`, across them.

    Returns:
        Names of scores (N, k), -1 where NMS dropped one, class ids (N, k) and boxes (N, k, 4).
    """
    num_classes, config = rule
    classes = into.add("ArgMax", scores, axis=1, keepdims=0)  # (N, C, A) -> (N, A)
    best, index = _topk(into, into.add("ReduceMax", scores, axes=[1], keepdims=0), count)  # (N, k)
    boxes = _rows(into, boxes, index, 4)  # (N, k, 4)
    classes = _rows(into, classes, index, 1)  # (N, k)
    by_class = into.add("Unsqueeze", best, np.array([1], _INT))  # (N, 1, k)
    if not config.force:
        mine = into.add(
            "Equal",
            into.add("Unsqueeze", classes, np.array([1], _INT)),
            np.arange(num_classes, dtype=_INT).reshape(1, -1, 1),
        )
        by_class = into.add("Where", mine, by_class, np.array(-1, np.float32))  # (N, C, k)
    return _suppressed(into, boxes, by_class, best, config), classes, boxes


def _topk(into: Nodes, scores: str, count: int) -> tuple[str, str]:
    """Append the best of the last axis, best first; return the names of values and places."""
    values = into.add("TopK", scores, np.array([count], _INT), axis=-1, largest=1, sorted=1)
    places = f"{values}/places"
    into.nodes[-1].output.append(places)
    return values, places


def _rows(into: Nodes, values: str, index: str, width: int) -> str:
    """Append the taking of rows of each image: values (N, T, width) at index (N, K) -> (N, K, width).

    With width 1 both values and result lack the last axis. Plain Gather, which every runtime has, wants one axis: so
    the images' rows are strung together.
    """
    shape = into.add("Shape", values)
    images, rows = (into.add("Gather", shape, np.array(axis, _INT)) for axis in (0, 1))
    numbers = into.add("Range", np.array(0, _INT), images, np.array(1, _INT))
    begins = into.add("Mul", into.add("Unsqueeze", numbers, np.array([1], _INT)), rows)  # (N, 1)
    flat = into.add("Reshape", values, np.array([-1, width] if width > 1 else [-1], _INT))
    return into.add("Gather", flat, into.add("Add", index, begins), axis=0)


def _suppressed(into: Nodes, boxes: str, by_class: str, scores: str, config: DetectionConfig) -> str:
    """Append NMS.

    Args:
        into: where to append.
        boxes: (R, k, 4).
        by_class: scores (R, classes, k).
        scores: (R, k).
        config: settings.

    Returns:
        The name of scores (R, k), -1 for those dropped or not above the threshold.
    """
    threshold = np.array([config.score_threshold], np.float32)
    # More than are kept in the end can come from no class.
    most = np.array([np.iinfo(np.int32).max if config.keep_topk < 0 else config.keep_topk], _INT)
    overlap = np.array([config.nms_threshold], np.float32)
    chosen = into.add("NonMaxSuppression", boxes, by_class, most, overlap, threshold)  # (M, 3)
    places = into.add("Gather", chosen, np.array([0, 2], _INT), axis=1)  # (M, 2): row, candidate
    amount = into.add("Slice", into.add("Shape", chosen), np.array([0], _INT), np.array([1], _INT))
    one = _tensor(np.ones(1, np.float32))
    ones = into.add("ConstantOfShape", amount, value=one)
    nothing = into.add("ConstantOfShape", into.add("Shape", scores), value=_tensor(np.zeros(1, np.float32)))
    marks = into.add("ScatterND", nothing, places, ones)
    marked = into.add("Greater", marks, np.array(0.5, np.float32))
    above = into.add("Greater", scores, threshold)  # some runtimes take "equal or above"
    return into.add("Where", into.add("And", marked, above), scores, np.array(-1, np.float32))


def _tensor(array: np.ndarray):
    """Return an array as an attribute's value."""
    return require("onnx").numpy_helper.from_array(array)


def _not_finite(into: Nodes, loc_pred: str, cls_pred: str) -> str:
    """Append the sum of all heads' values times 0: NaN where one is not finite, else 0; (N, 1)."""
    zero, axes = np.array(0, np.float32), np.array([1], _INT)
    loc = into.add("ReduceSum", into.add("Mul", loc_pred, zero), axes, keepdims=1)
    flat = into.add("Flatten", cls_pred, axis=1)
    return into.add("Add", loc, into.add("ReduceSum", into.add("Mul", flat, zero), axes, keepdims=1))


def _outputs(into: Nodes, found: tuple[str, str, str], not_finite: str, counts: tuple[int, int]) -> None:
    """Append the choice of the best of the image, and the outputs.

    Args:
        into: where to append.
        found: names of scores (N, T), class ids (N or 1, T) and boxes (N, T, 4).
        not_finite: name of what is added to the scores.
        counts: (T, K).
    """
    scores, classes, boxes = found
    total, wanted = counts
    if classes.startswith("ssd/constant"):  # one row for all images
        classes = into.add("Expand", classes, into.add("Shape", scores))
    best, index = _topk(into, scores, min(wanted, total))  # (N, K)
    there = into.add("Greater", best, np.array(0, np.float32))
    boxes = into.add(
        "Where",
        into.add("Unsqueeze", there, np.array([2], _INT)),
        _rows(into, boxes, index, 4),
        np.array(-1, np.float32),
    )
    classes = into.add("Where", there, _rows(into, classes, index, 1), np.array(-1, _INT))
    into.add("ReduceSum", into.add("Cast", there, to=7), np.array([1], _INT), keepdims=0, name="num")  # int64
    _padded(into, "boxes", boxes, np.array([0, 0, 0, 0, wanted - min(wanted, total), 0], _INT))
    short = np.array([0, 0, 0, wanted - min(wanted, total)], _INT)
    _padded(into, "classes", classes, short)
    whole = into.add("Pad", best, short, np.array(-1, np.float32)) if short.any() else best
    into.add("Add", whole, not_finite, name="scores")


def _padded(into: Nodes, name: str, values: str, pads: np.ndarray) -> None:
    """Append an output, lengthened with -1 where there are fewer candidates than places."""
    if pads.any():
        filling = np.array(-1, np.float32 if name == "boxes" else _INT)
        into.add("Pad", values, pads, filling, name=name)
    else:
        into.add("Identity", values, name=name)

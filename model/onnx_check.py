"""Whether an exported model finds what MXNet finds, before its file gets its name.

In three steps, on noise: the heads against MXNet's; the activation; the detections against MXNet's tail on the very
scores and boxes that the model's own heads give. So the smallest difference between two libraries' convolutions, which
may turn NMS over where two boxes score alike, is not taken for a fault, and a fault in the tail is not hidden by it.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict

import numpy as np

from common.errors import ExportError
from common.mx import mx
from model.card import Card
from model.graph import anchors_of, heads, keep_used
from model.onnx_file import OUTSIDE, UINT8, ExportSettings, open_session, require
from model.onnx_nodes import Exported
from model.saved import SavedDetector, symbol_path
from symbol.detection import detection_symbol

_SEED = 20161208
_HEADS = 1e-3  # largest difference of the heads, of their largest value
_CLOSE = 1e-4  # of scores and boxes
_BORDERLINE = 0.02  # share of detections at which NMS may decide otherwise: IoUs that lie at the threshold
_IMAGES = 2  # where the batch size is free


def check(exported: Exported, saved: SavedDetector, card: Card, settings: ExportSettings) -> None:
    """Check a model by the rules of ONNX, then run it and MXNet on the same noise.

    Raises:
        ExportError: it breaks a rule, cannot be run, or finds something else.
    """
    onnx, name = require("onnx"), str(symbol_path(saved.prefix))
    try:
        onnx.checker.check_model(exported.model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"{name}: exported against the rules of ONNX: {' '.join(str(error).split())[:200]}"
        ) from error
    shape = (_IMAGES if settings.dynamic_batch else 1, *card.data_shape, 3)
    images = np.random.default_rng(_SEED).integers(0, 256, shape, dtype=np.uint8)
    found = _run(exported, images if settings.layout == UINT8 else _planes(images))
    inputs = (_planes(images) - _column(card.mean)) / _column(card.std)
    _check_heads(exported, found, saved, inputs, name)
    _check_scores(exported, found, card, name)
    if settings.nms == OUTSIDE:
        _check_outside(exported, found, saved, card, name)
    else:
        _check_detections(exported, found, saved, card, name)


def _planes(images: np.ndarray) -> np.ndarray:
    """Turn (N, H, W, 3) uint8 into (N, 3, H, W) float32."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32)


def _column(values: tuple) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, 3, 1, 1)


def _run(exported: Exported, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return all outputs of a model, and what it computes on the way, by name."""
    onnx = require("onnx")
    model = onnx.ModelProto()
    model.CopyFrom(exported.model)
    for value in dict.fromkeys((exported.loc_pred, exported.cls_pred, exported.cls_prob)):
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(value))
    session = open_session(model.SerializeToString(), ("CPUExecutionProvider",), "exported model")
    names = [output.name for output in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, {"data": images})))
    except Exception as error:  # onnxruntime's classes have no common base but this one
        raise ExportError(f"exported model cannot be run: {' '.join(str(error).split())[:200]}") from error


def _forward(symbol, arrays: dict, states: dict) -> list[np.ndarray]:
    values = {key: mx.nd.array(value) for key, value in arrays.items()}
    executor = symbol.bind(mx.cpu(), values, grad_req="null", aux_states=states)
    return [output.asnumpy() for output in executor.forward(is_train=False)]


def _check_heads(
    exported: Exported, found: dict, saved: SavedDetector, inputs: np.ndarray, name: str
) -> None:
    """Hold the heads to MXNet's."""
    group = mx.sym.Group(list(heads(saved.symbol, name)[:2]))
    args, states = keep_used(group, saved.arg_params, saved.aux_params)
    expected = _forward(group, {**args, "data": inputs}, states)
    for key, what, value in zip((exported.loc_pred, exported.cls_pred), ("box head", "class head"), expected):
        if not np.isfinite(value).all():
            raise ExportError(f"{name}: the network gives values that are not finite: take another --epoch")
        _hold(found[key], value, _HEADS * max(1.0, np.abs(value).max()), what, name)


def _hold(found: np.ndarray, expected: np.ndarray, tolerance: float, what: str, name: str) -> None:
    """Refuse a model whose values are others than MXNet's."""
    if found.shape != expected.shape:
        raise ExportError(
            f"{name}: exported wrongly: {what} has the shape {found.shape}, MXNet's {expected.shape}"
        )
    difference = np.abs(found - expected).max()
    if not difference <= tolerance:
        raise ExportError(
            f"{name}: exported wrongly: {what} differs from MXNet's by {difference:g}, expected at most"
            f" {tolerance:g}: an operator of this graph is not known well enough here; please report it"
        )


def _check_scores(exported: Exported, found: dict, card: Card, name: str) -> None:
    """Hold the activation to its definition."""
    logits = found[exported.cls_pred].astype(np.float64)
    if card.detection.activation == "softmax":
        powers = np.exp(logits - logits.max(1, keepdims=True))
        expected = powers / powers.sum(1, keepdims=True)
    else:
        expected = 1 / (1 + np.exp(-logits)) if card.detection.activation == "sigmoid" else logits
    _hold(found[exported.cls_prob], expected, _CLOSE * max(1.0, np.abs(expected).max()), "scores", name)


def _check_outside(exported: Exported, found: dict, saved: SavedDetector, card: Card, name: str) -> None:
    """Hold the outputs without NMS to their definition."""
    _hold(found["scores"], found[exported.cls_prob].transpose(0, 2, 1), 0.0, "output scores", name)
    anchors = anchors_of(saved.symbol, saved.arg_params, card.data_shape, name).astype(np.float64)
    encoded = found[exported.loc_pred].reshape(-1, len(anchors), 4) * np.array(card.anchors.variances)
    size = anchors[:, 2:] - anchors[:, :2]
    middle = (anchors[:, :2] + anchors[:, 2:]) / 2 + encoded[..., :2] * size
    half = np.exp(encoded[..., 2:]) * size / 2
    boxes = np.concatenate([middle - half, middle + half], axis=2)
    boxes = np.clip(boxes, 0, 1) if card.detection.clip else boxes
    _hold(found["boxes"], boxes, _CLOSE * max(1.0, np.abs(boxes).max()), "output boxes", name)


def _check_detections(exported: Exported, found: dict, saved: SavedDetector, card: Card, name: str) -> None:
    """Hold the detections to those of MXNet's tail on the model's own heads."""
    arrays = {
        "loc_pred": found[exported.loc_pred],
        "cls_prob": found[exported.cls_prob],
        "anchors": anchors_of(saved.symbol, saved.arg_params, card.data_shape, name)[None],
    }
    config = dataclasses.replace(card.detection, activation="none")
    inputs = [mx.sym.Variable(key) for key in arrays]
    tail = detection_symbol(*inputs, card.num_classes, card.anchors.variances, config)
    (expected,) = _forward(tail, arrays, {})
    for image, rows in enumerate(expected):
        rows = rows[rows[:, 0] >= 0]
        ours = np.column_stack([found["classes"][image], found["scores"][image], found["boxes"][image]])
        count = int(found["num"][image])
        if (ours[count:] != -1).any() or (ours[:count, 0] < 0).any():
            raise ExportError(
                f"{name}: exported wrongly: the {count} detections that it counts are not those it gives"
            )
        differing = _differing(ours[:count], rows)
        if differing > _BORDERLINE * len(rows):
            raise ExportError(
                f"{name}: exported wrongly: of MXNet's {len(rows)} detections on noise and the model's {count},"
                f" {differing} differ: please report it"
            )


def _differing(found: np.ndarray, expected: np.ndarray) -> int:
    """Count the rows (class id, score, box) that one has and the other has not; scores are the same to the bit."""
    groups = defaultdict(lambda: ([], []))
    for side, rows in enumerate((found, expected)):
        for row in rows.tolist():
            groups[row[0], row[1]][side].append(row[2:])
    count = 0
    for mine, theirs in groups.values():
        if len(mine) != len(theirs):
            count += abs(len(mine) - len(theirs))
        elif not np.allclose(sorted(mine), sorted(theirs), rtol=_CLOSE, atol=_CLOSE):
            count += len(mine)
    return count

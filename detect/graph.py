"""Which graph a Detector runs, and what its card is: training graphs lose their loss layers, old files get a card.

Deviation from mxnet-ssd: what its files do not say is read from the graph where it stands there (default boxes, number
of classes), so that a network need not be named, or known, to be used.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from common.errors import CheckpointError, ConfigError, did_you_mean
from common.mx import mx
from detect.answers import OpenGraph, Rows
from detect.tail import Tail, applies_to
from model.card import Card
from model.graph import (
    anchors_of,
    check_detects,
    detects,
    has_heads,
    heads,
    inference_symbol,
    is_training,
    keep_used,
    num_classes_of,
)
from model.old_files import completed
from model.optimize import has_constant_boxes
from model.parameters import check_fit
from model.saved import SavedDetector, require_card
from symbol.detection import DetectionConfig, candidates_symbol, open_symbol

DETECTION_SETTINGS = tuple(f.name for f in dataclasses.fields(DetectionConfig))
CARD_SETTINGS = ("network", "data_shape", "class_names", "mean", "std")
SOFT_NMS = "soft_nms_sigma"  # beside the card, whose settings are what a graph can hold


@dataclass(frozen=True)
class Plan:
    """What a Detector runs.

    Attributes:
        symbol: data (B, 3, H, W) -> what `reader` takes: `symbol.detection.open_symbol`, or detection (B, K, 6), and
            where the graph has heads loc_pred and cls_pred too: a NaN score gives no detection and no error, and a NaN
            box comes out as a box, so only the heads tell.
        params: (arg_params, aux_params) that the symbol uses.
        card: with all settings in it.
        name: of the detector, for messages.
        reader: what finds the detections in the graph's outputs.
    """

    symbol: object
    params: tuple[dict, dict]
    card: Card
    name: str
    reader: Rows | OpenGraph


def make_plan(saved: SavedDetector, settings: dict) -> Plan:
    """Choose the graph and complete the card.

    Args:
        saved: the detector.
        settings: of the detection tail and of the card, in place of what the card says, and soft_nms_sigma; None
            values are left out.

    Raises:
        CheckpointError: the detector and the settings do not fit each other.
        ConfigError: a setting is unknown or cannot be.
    """
    settings = {name: value for name, value in settings.items() if value is not None}
    check_known(settings)
    name = f"{saved.prefix or 'detector'}, epoch {saved.epoch}"
    told = saved.card is not None  # else a tail in the graph may be any
    saved = completed(saved, card_settings(settings))
    check_detects(saved.symbol, name)
    card = _card(saved, card_settings(settings), name)
    _check_size(saved, card, name)
    changes = {key: value for key, value in settings.items() if key in DETECTION_SETTINGS}
    card = dataclasses.replace(card, detection=dataclasses.replace(card.detection, **changes))
    sigma = soft_nms_sigma(settings)
    free = told or changes or is_training(saved.symbol) or not detects(saved.symbol)
    if sigma is None and free and has_heads(saved.symbol) and applies_to(card.detection, card.num_classes):
        boxes = anchors_of(saved.symbol, saved.arg_params, card.data_shape, name)
        reader = OpenGraph(Tail(card.detection, card.anchors.variances, boxes))
        loc_pred, cls_pred, _ = heads(saved.symbol, name)
        symbol = open_symbol(loc_pred, cls_pred)
    else:
        reader = Rows(card.detection, sigma)
        symbol = _graph(saved, card, name, changed=bool(changes), soft=sigma is not None)
    params = keep_used(symbol, saved.arg_params, saved.aux_params)
    check_fit(symbol, *params, card.data_shape, name)
    return Plan(symbol, params, card, name, reader)


def soft_nms_sigma(settings: dict) -> float | None:
    """Return the sigma of soft-NMS that settings state; None for none, which 0 says too.

    Raises:
        ConfigError: it cannot be.
    """
    sigma = settings.get(SOFT_NMS) or None
    if sigma is None:
        return None
    if isinstance(sigma, bool) or not isinstance(sigma, (int, float)) or not 0 < sigma < math.inf:
        raise ConfigError(f"{SOFT_NMS} is {sigma!r}, expected a number above 0, such as 0.5; 0 is off")
    return float(sigma)


def check_known(settings: dict) -> None:
    """Check the names of settings.

    Raises:
        ConfigError: one is unknown.
    """
    known = (*DETECTION_SETTINGS, *CARD_SETTINGS, SOFT_NMS)
    for name in settings:
        if name not in known:
            raise ConfigError(f"unknown setting {name!r} of a detector{did_you_mean(name, known)}")


def card_settings(settings: dict) -> dict:
    """Return the settings that belong to the card, as its types.

    Raises:
        ConfigError: one has the wrong number of values.
    """
    stated = {key: value for key, value in settings.items() if key in CARD_SETTINGS}
    shape = stated.get("data_shape")
    if isinstance(shape, int):
        stated["data_shape"] = (shape, shape)
    for key, count in (("data_shape", 2), ("mean", 3), ("std", 3)):
        if key in stated:
            stated[key] = tuple(stated[key])
            if len(stated[key]) != count:
                raise ConfigError(f"{key} is {settings[key]!r}, expected {count} numbers")
    if "class_names" in stated:
        stated["class_names"] = tuple(stated["class_names"])
    return stated


def _card(saved: SavedDetector, stated: dict, name: str) -> Card:
    """Return the detector's card with what was stated put over it, and checked against the graph."""
    card = require_card(saved, stated)
    if has_heads(saved.symbol):
        classes = num_classes_of(saved.symbol, card.data_shape, name)
        if classes != card.num_classes:
            raise CheckpointError(
                f"{name}: made for {classes} classes, but there are {card.num_classes} class names"
                f" (the first is {card.class_names[0]}): check --class-names"
            )
    return card


def _check_size(saved: SavedDetector, card: Card, name: str) -> None:
    """Refuse another input size for a graph whose default boxes are a constant."""
    if has_constant_boxes(saved.symbol) and saved.card and card.data_shape != saved.card.data_shape:
        (height, width), (wanted, wide) = saved.card.data_shape, card.data_shape
        raise CheckpointError(
            f"{name}: was made faster for an input of {height}x{width}, not {wanted}x{wide}: leave --data-shape out,"
            f" or deploy its checkpoint again with --data-shape {wanted},{wide} or --no-optimize"
        )


def _graph(saved: SavedDetector, card: Card, name: str, *, changed: bool, soft: bool):
    """Return the graph to run: with the detection tail (for soft-NMS one that gives candidates), without loss layers,
    with the heads."""
    if not has_heads(saved.symbol):
        if soft:
            raise ConfigError(
                f"{SOFT_NMS}: NMS is built into the graph of {name}, which gives no candidates: leave it out, or use"
                " the checkpoint that it was made from"
            )
        if changed:
            raise ConfigError(
                f"{name}: its detection settings are built into the graph and cannot be changed: use the checkpoint"
                " that it was made from, or deploy that again with other settings"
            )
        if is_training(saved.symbol):
            heads(saved.symbol, name)  # raises, and says what is missing
        return saved.symbol
    symbol, variances = saved.symbol, card.anchors.variances
    if soft:
        symbol = candidates_symbol(*heads(symbol, name), card.num_classes, variances, card.detection)
    elif changed or is_training(symbol) or not detects(symbol):
        symbol = inference_symbol(symbol, card.num_classes, variances, card.detection, name)
    loc_pred, cls_pred, _ = heads(symbol, name)
    return mx.sym.Group([symbol[0], loc_pred, cls_pred])

"""Which graph a Detector runs, and what its card is: training graphs lose their loss layers, old files get a card.

Deviation from mxnet-ssd: what its files do not say is read from the graph where it stands there (default boxes, number
of classes), so that a network need not be named, or known, to be used.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass

from common.errors import CheckpointError, ConfigError, did_you_mean
from common.mx import mx
from model.card import Card
from model.graph import has_heads, heads, inference_symbol, is_training, keep_used, num_classes_of
from model.parameters import check_fit
from model.saved import SavedDetector, require_card
from symbol.anchors import AUTO_STEP, AnchorConfig
from symbol.detection import DetectionConfig
from symbol.presets import network_config

DETECTION_SETTINGS = tuple(f.name for f in dataclasses.fields(DetectionConfig))
CARD_SETTINGS = ("network", "data_shape", "class_names", "mean", "std")


@dataclass(frozen=True)
class Plan:
    """What a Detector runs.

    Attributes:
        symbol: data (B, 3, H, W) -> detection (B, K, 6), and where the graph has heads loc_pred and cls_pred too: a
            NaN score gives no detection and no error, and a NaN box comes out as a box, so only the heads tell.
        card: with all settings in it.
        name: of the detector, for messages.
    """

    symbol: object
    card: Card
    name: str


def make_plan(saved: SavedDetector, settings: dict) -> Plan:
    """Choose the graph and complete the card.

    Args:
        saved: the detector.
        settings: of the detection tail and of the card, in place of what the card says; None values are left out.

    Raises:
        CheckpointError: the detector and the settings do not fit each other.
        ConfigError: a setting is unknown or cannot be.
    """
    settings = {name: value for name, value in settings.items() if value is not None}
    for name in settings:
        if name not in DETECTION_SETTINGS + CARD_SETTINGS:
            known = DETECTION_SETTINGS + CARD_SETTINGS
            raise ConfigError(f"unknown setting {name!r} of a detector{did_you_mean(name, known)}")
    name = f"{saved.prefix or 'detector'}, epoch {saved.epoch}"
    card = _card(saved, _card_settings(settings), name)
    changes = {key: value for key, value in settings.items() if key in DETECTION_SETTINGS}
    card = dataclasses.replace(card, detection=dataclasses.replace(card.detection, **changes))
    symbol = _graph(saved, card, bool(changes), name)
    params = keep_used(symbol, saved.arg_params, saved.aux_params)
    check_fit(symbol, *params, card.data_shape, name)
    return Plan(symbol, card, name)


def _card_settings(settings: dict) -> dict:
    """Return the settings that belong to the card, as its types."""
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
    if saved.card is None:
        stated = {**stated, "anchors": _anchors(saved, stated)}
    card = require_card(saved, stated)
    if saved.card is not None and card.data_shape != saved.card.data_shape:
        _check_steps(saved.card, card.data_shape, name)
    if has_heads(saved.symbol):
        classes = num_classes_of(saved.symbol, card.data_shape, name)
        if classes != card.num_classes:
            raise CheckpointError(
                f"{name}: made for {classes} classes, but there are {card.num_classes} class names"
                f" (the first is {card.class_names[0]}): check --class-names"
            )
    return card


def _check_steps(card: Card, data_shape: tuple[int, int], name: str) -> None:
    """Refuse another input size where the default boxes lie at fixed steps, which would no longer fit the cells."""
    if any(step != AUTO_STEP for step in card.anchors.steps):
        height, width = card.data_shape
        raise CheckpointError(
            f"{name}: its default boxes are laid out for an input of {height}x{width}, not"
            f" {data_shape[0]}x{data_shape[1]}: leave --data-shape out, or train for the other size"
        )


def _graph(saved: SavedDetector, card: Card, changed: bool, name: str):
    """Return the graph to run: with the detection tail, without loss layers, with the heads."""
    if not has_heads(saved.symbol):
        if changed:
            raise ConfigError(
                f"{name}: its detection settings are built into the graph and cannot be changed: use the checkpoint"
                " that it was made from, or deploy that again with other settings"
            )
        if is_training(saved.symbol):
            heads(saved.symbol, name)  # raises, and says what is missing
        return saved.symbol
    symbol = saved.symbol
    if changed or is_training(symbol):
        symbol = inference_symbol(symbol, card.num_classes, card.anchors.variances, card.detection, name)
    loc_pred, cls_pred, _ = heads(symbol, name)
    return mx.sym.Group([symbol[0], loc_pred, cls_pred])


def _anchors(saved: SavedDetector, stated: dict) -> AnchorConfig | None:
    """Return the default boxes of files without a card: what the graph says, else those of the network named."""
    found = anchors_in_graph(saved.symbol)
    if found is None and {"network", "data_shape", "class_names"} <= set(stated):
        return network_config(stated["network"], stated["data_shape"], len(stated["class_names"])).anchors
    return found


def anchors_in_graph(symbol) -> AnchorConfig | None:
    """Read the default boxes from a graph's MultiBoxPrior nodes; None where it has none.

    Args:
        symbol: any graph of an SSD.
    """
    nodes = json.loads(symbol.tojson())["nodes"]
    priors = [node.get("attrs", {}) for node in nodes if node["op"] == "_contrib_MultiBoxPrior"]
    tails = [node.get("attrs", {}) for node in nodes if node["op"].startswith("_contrib_MultiBox")]
    if not priors:
        return None

    def tuples(name: str, default: str) -> tuple:
        return tuple(_numbers(node.get(name, default)) for node in priors)

    variances = [_numbers(node["variances"]) for node in tails if "variances" in node]
    return AnchorConfig(
        sizes=tuples("sizes", "(1.0,)"),
        ratios=tuples("ratios", "(1.0,)"),
        steps=tuples("steps", "(-1.0, -1.0)"),
        offsets=tuples("offsets", "(0.5, 0.5)")[0],
        clip=priors[0].get("clip", "False") in ("True", "1"),
        **({"variances": variances[0]} if variances else {}),
    )


def _numbers(text: str) -> tuple[float, ...]:
    """Read an operator's attribute: "(0.1, 0.2)", "[0.1,0.2]" or "0.1"."""
    return tuple(float(number) for number in re.findall(r"[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?", text))

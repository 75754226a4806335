"""Parts of a network that learn slower or not at all: frozen parameters and the parts' learning rates.

A part's rate is stated absolutely, like --lr, and kept as a multiplier of it, so that every schedule holds. A frozen
parameter gets no gradient and no weight decay; a BatchNorm whose parameters are frozen works with its running
statistics, and they do not move: in the graph that is trained, not in the one that is saved, which later runs may train
whole.

Source: the freezing flags and rates of pytorch-ssd's train_ssd.py; mxnet-ssd's --freeze, matched from the beginning of
the names. Deliberate deviation from both: there, a frozen layer's BatchNorm goes on with its statistics (mxnet-ssd), or
all of them do (pytorch-ssd).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from common.errors import ConfigError
from common.mx import mx
from model.transfer import PARTS, parts_of
from symbol.loss import TARGETS
from train.settings import TrainSettings

_INPUTS = {"data", "label", *TARGETS}
_NORMS = {"BatchNorm", "BatchNorm_v1", "_contrib_SyncBatchNorm"}


def noted_layers(training: dict) -> list[str] | None:
    """Return with what the names of extra blocks' parameters begin, as a card's training says; None where it does not.

    Args:
        training: of a card; a foreign one may say anything.
    """
    layers = training.get("extra_layers")
    is_list = isinstance(layers, list) and all(isinstance(layer, str) and layer for layer in layers)
    return layers if is_list else None


def frozen_names(symbol, pattern: str) -> list[str]:
    """Return the parameters that a regular expression freezes, matched from the beginning of the name.

    Raises:
        ConfigError: it is no regular expression, or freezes nothing or everything.
    """
    if not pattern:
        return []
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--freeze {pattern}: not a regular expression: {error}") from error
    names = _parameters(symbol)
    frozen = [name for name in names if expression.match(name)]
    if not frozen or len(frozen) == len(names):
        found = "nothing" if not frozen else "everything"
        raise ConfigError(f"--freeze {pattern}: it matches {found}: names are like {', '.join(names[:4])}")
    return frozen


def _parameters(symbol) -> list[str]:
    return [name for name in symbol.list_arguments() if name not in _INPUTS]


def frozen_parameters(symbol, settings: TrainSettings, extra_layers: Sequence[str] | None) -> list[str]:
    """Return the parameters that stay as they are, in the graph's order.

    Args:
        symbol: a training graph.
        settings: their freeze, freeze_base, freeze_all_but_heads, and rates of 0.
        extra_layers: as for `parts_of`.

    Raises:
        ConfigError: nothing would be left to train, or a part that is spoken of is not there.
    """
    names = _parameters(symbol)
    parts = parts_of(symbol, extra_layers)
    frozen = set(frozen_names(symbol, settings.freeze))
    for part, flag in settings.frozen_parts().items():
        frozen |= {name for name in names if parts[name] == part}
        if frozen >= set(names):
            raise ConfigError(f"{flag}: with it nothing is left to train: leave a part unfrozen")
    for part in PARTS:
        if getattr(settings, f"{part}_lr") is not None and part not in {parts[name] for name in names}:
            raise ConfigError(f"--{part}-lr: the network has no parameters of that part: leave the flag out")
    return [name for name in names if name in frozen]


def rate_multipliers(symbol, settings: TrainSettings, extra_layers: Sequence[str] | None) -> dict[str, float]:
    """Return what multiplies the learning rate of parameters in parts with a rate of their own.

    Args:
        symbol: a training graph.
        settings: their rates.
        extra_layers: as for `parts_of`.

    Returns:
        name -> multiplier, beside the layer's own.
    """
    rates = {part: getattr(settings, f"{part}_lr") for part in PARTS}
    stated = {part: rate / settings.lr for part, rate in rates.items() if rate}
    if not stated:
        return {}
    parts = parts_of(symbol, extra_layers)
    return {name: stated[parts[name]] for name in _parameters(symbol) if parts[name] in stated}


def described_rates(settings: TrainSettings) -> str:
    """Return what the start line says of parts with a learning rate of their own; "" where there are none."""
    rates = {part: getattr(settings, f"{part}_lr") for part in PARTS}
    stated = ", ".join(f"{part} {rate:g}" for part, rate in rates.items() if rate)
    return f"; learning rates: {stated}, the rest {settings.lr:g}" if stated else ""


def with_fixed_statistics(symbol, frozen: Sequence[str]):
    """Return a graph in which a BatchNorm whose parameters are all frozen uses its running statistics.

    Args:
        symbol: the graph that is trained; not changed.
        frozen: names of parameters.
    """
    graph, stays = json.loads(symbol.tojson()), set(frozen)
    nodes, changed = graph["nodes"], False
    for node in nodes:
        if node["op"] in _NORMS and _learned(node, nodes) <= stays:
            node["attrs"] = {**node.get("attrs", {}), "use_global_stats": "True"}
            changed = True
    return mx.sym.load_json(json.dumps(graph)) if changed else symbol


def _learned(node: dict, nodes: list[dict]) -> set[str]:
    """Return the names of a BatchNorm's parameters that training changes: beta, and gamma where it is not always 1."""
    gamma, beta = (nodes[entry[0]]["name"] for entry in node["inputs"][1:3])
    fixed = node.get("attrs", {}).get("fix_gamma", "True") in ("True", "1")
    return {beta} if fixed else {gamma, beta}

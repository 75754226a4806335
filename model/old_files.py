"""Files without a card, as mxnet-ssd wrote them: completed where the graph is missing, and named as their graph is.

Between loading and use. mxnet-ssd's releases often are a params file alone; then the network that is stated gives the
graph. Its residual networks call two feature maps by MXNet's counter of the whole process (`_plus12`, or `_plus29` for
the second network of a process); such names mean the same by their order. What the graph does not use (ImageNet's
classifier) is left out, and said.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterable

from common.errors import CheckpointError
from model.graph import has_heads, heads
from model.parameters import check_fit
from model.saved import SavedDetector, params_path, symbol_path
from symbol.config import NetworkConfig
from symbol.network import heads as network_heads
from symbol.presets import network_config

log = logging.getLogger(__name__)

_COUNTED = re.compile(r"(_[a-z]+)(\d+)(_.+)")  # the name of an operator that nobody named, and what follows
_NOT_PARAMETERS = {"data", "label"}
_SHOWN = 6  # names in a message
_NEEDED = {"network": "--network", "data_shape": "--data-shape", "class_names": "--class-names"}


def completed(saved: SavedDetector, stated: dict) -> SavedDetector:
    """Return a detector whose parameters are those of its graph; one with a card is such already.

    Args:
        saved: the detector; its symbol may be None where it has no card.
        stated: field of `Card` -> value, what the caller says of it; None values do not count.

    Raises:
        CheckpointError: there is no graph and too little was stated to build it, or parameters are missing or of
            another shape.
        ConfigError: the network that was stated is unknown, or does not take such an input.
    """
    if saved.card is not None:
        return saved
    symbol = saved.symbol
    if symbol is None:
        config = _stated_config(saved, stated)
        symbol = network_heads(config)
    arguments, states = (
        renamed(params, names)
        for params, names in (
            (saved.arg_params, symbol.list_arguments()),
            (saved.aux_params, symbol.list_auxiliary_states()),
        )
    )
    changed = dataclasses.replace(saved, symbol=symbol, arg_params=arguments, aux_params=states)
    if saved.symbol is None:
        _check_network(changed, config)
    else:
        _check_graph(changed)
    _tell_unused(changed)
    return changed


def renamed(params: dict, wanted: Iterable[str]) -> dict:
    """Return parameters with those names that MXNet's counter made put in the place of the wanted ones, by their order.

    Args:
        params: name -> NDArray; not changed.
        wanted: the names that a graph has.
    """
    mine, theirs = _by_kind(wanted), _by_kind(params)
    names = {}
    for kind, numbers in theirs.items():
        goal = mine.get(kind, [])
        if len(goal) == len(numbers):
            (hint, rest) = kind
            names.update({f"{hint}{old}{rest}": f"{hint}{new}{rest}" for old, new in zip(numbers, goal)})
    return {names.get(name, name): array for name, array in params.items()}


def _by_kind(names: Iterable[str]) -> dict[tuple[str, str], list[int]]:
    """Return the numbers of counted names, ascending, by what stands before and behind the number."""
    kinds: dict[tuple[str, str], list[int]] = {}
    for found in filter(None, map(_COUNTED.fullmatch, names)):
        kinds.setdefault((found.group(1), found.group(3)), []).append(int(found.group(2)))
    return {kind: sorted(numbers) for kind, numbers in kinds.items()}


def _stated_config(saved: SavedDetector, stated: dict) -> NetworkConfig:
    """Return the network that was stated.

    Raises:
        CheckpointError: something was not stated.
    """
    missing = [flag for field, flag in _NEEDED.items() if not stated.get(field)]
    if missing:
        raise CheckpointError(
            f"{symbol_path(saved.prefix)}: is not there, so the graph must be built from the network's name: give"
            f" {', '.join(missing)}"
        )
    return network_config(stated["network"], stated["data_shape"], len(stated["class_names"]))


def _check_network(saved: SavedDetector, config: NetworkConfig) -> None:
    """Hold parameters to the network that was stated.

    Raises:
        CheckpointError: names the parameter, the network and the flags.
    """
    height, width = config.data_shape
    path = params_path(saved.prefix, saved.epoch)
    try:
        check_fit(saved.symbol, saved.arg_params, saved.aux_params, config.data_shape, str(path))
    except CheckpointError as error:
        classes = _classes_in(saved, config)
        if classes not in (None, config.num_classes):
            raise CheckpointError(
                f"{path}: its heads are made for {classes} classes, there are {config.num_classes} names: mend"
                " --class-names"
            ) from error
        raise CheckpointError(
            f"{error}; --network {config.network} at {height}x{width} with {config.num_classes} classes was asked for:"
            " check --network, --data-shape and --class-names"
        ) from error


def _classes_in(saved: SavedDetector, config: NetworkConfig) -> int | None:
    """Return the number of classes that the heads' biases are for; None where they do not agree on one."""
    ending = "_cls_pred_conv_bias"
    names = [name for name in saved.symbol.list_arguments() if name.endswith(ending)]
    found = set()
    for name, per_cell in zip(names, config.anchors.per_cell()):
        filters = saved.arg_params[name].size if name in saved.arg_params else 0
        found.add(filters // per_cell - 1 if filters and filters % per_cell == 0 else None)
    return found.pop() if len(found) == 1 else None


def _check_graph(saved: SavedDetector) -> None:
    """Refuse parameters that are not those of the graph beside them.

    Raises:
        CheckpointError: names the first that is missing.
    """
    path = symbol_path(saved.prefix)
    used = heads(saved.symbol, str(path)) if has_heads(saved.symbol) else (saved.symbol,)
    names = [
        (name, params)
        for part in used
        for listed, params in (
            (part.list_arguments(), saved.arg_params),
            (part.list_auxiliary_states(), saved.aux_params),
        )
        for name in listed
    ]
    missing = list(dict.fromkeys(name for name, params in names if name not in {*params, *_NOT_PARAMETERS}))
    if missing:
        raise CheckpointError(
            f"{params_path(saved.prefix, saved.epoch)}: {len(missing)} parameters of the graph {path.name} are missing"
            f" (the first is {missing[0]}): the two are of different networks: check --prefix and --epoch, or move"
            f" {path.name} away and name the network by --network"
        )


def _tell_unused(saved: SavedDetector) -> None:
    """Say which parameters the graph has no use for."""
    used = {*saved.symbol.list_arguments(), *saved.symbol.list_auxiliary_states()}
    unused = [name for params in (saved.arg_params, saved.aux_params) for name in params if name not in used]
    if unused:
        shown = ", ".join(unused[:_SHOWN]) + (", ..." if len(unused) > _SHOWN else "")
        log.warning(
            f"{params_path(saved.prefix, saved.epoch)}: {len(unused)} parameters are not the network's and are left"
            f" out: {shown}"
        )

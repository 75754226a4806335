"""Weights of Gluon's classification networks under the names of their graph here (`gluon:NAME`).

A `.params` file of Gluon's comes in three forms: by structure ("features.0.weight", save_parameters), by the block's
names ("resnetv10_conv0_weight", save_params), or by these with "arg:" and "aux:" before them (export). A block's names
count up within the process that made the file ("resnetv13_conv0_weight"): they are compared by the order of their
numbers, not by the numbers. The classifier's weights are left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from common.errors import CheckpointError, ConfigError
from common.mx import mx
from model.parameters import check_fit, load_arrays
from symbol.gluon_network import MXNETS, PREFIX, GluonGraph, is_gluon, trace

_NUMBERED = re.compile(r"(?P<kind>.*?)(?P<number>\d+)_(?P<rest>.*)")


def load_gluon_params(path: str | os.PathLike, network: str) -> tuple[dict, dict]:
    """Read a Gluon parameter file.

    Args:
        path: the file.
        network: `gluon:NAME`, whose weights it holds.

    Returns:
        (arg_params, aux_params): name in the graph of that network -> float32 NDArray on the CPU, all of its backbone.

    Raises:
        CheckpointError: the file is missing, damaged, or of another network.
        ConfigError: there is no such network.
    """
    graph = trace(network)
    arrays = {_bare(key): array for key, array in load_arrays(path).items()}
    found = _matched(graph, arrays, f"{path}: not the weights of {network}")
    for name, array in found.items():
        if not np.isfinite(array.asnumpy()).all():
            raise CheckpointError(
                f"{path}: parameter {name} holds values that are not finite: fetch it again"
            )
    symbol = mx.sym.load_json(graph.json)
    states = set(symbol.list_auxiliary_states())
    arg_params = {name: array for name, array in found.items() if name not in states}
    aux_params = {name: array for name, array in found.items() if name in states}
    check_fit(symbol, arg_params, aux_params, (graph.side, graph.side), str(path))
    return arg_params, aux_params


def imagenet_params(network: str) -> tuple[dict, dict, tuple, tuple]:
    """Return the ImageNet weights of a network's backbone, from the file that model/download.py fetched.

    Args:
        network: `gluon:NAME`.

    Returns:
        (arg_params, aux_params, mean, std): the parameters by the graph's names, the preprocessing that they are
        trained with, of (R, G, B) in 0..255.

    Raises:
        ConfigError: there are no such weights.
        CheckpointError: the file is not here (the message says which command fetches it), or is damaged.
    """
    from model.zoo import local_path

    if not is_gluon(network):
        raise ConfigError(
            f"--pretrained imagenet: {network} has no ImageNet weights here: take a backbone of Gluon's by --network"
            f" {PREFIX}NAME (python model/download.py --list names them), or the prefix of other weights"
        )
    entry = _entry(network)
    path = Path(local_path(entry))
    if not path.is_file():
        raise CheckpointError(
            f"--pretrained imagenet: {path} is not here: run `python model/download.py {entry.name}`"
        )
    if entry.checksum and not entry.checksum.matches(path):
        raise CheckpointError(
            f"--pretrained imagenet: {path} is damaged or another file: its {entry.checksum.algorithm} is not the one"
            f" that was published: move it away and run `python model/download.py {entry.name}`"
        )
    return (*load_gluon_params(path, network), tuple(entry.mean), tuple(entry.std))


def _entry(network: str):
    """Return the zoo's entry of a network; MXNet's weights have one of their own only where gluoncv's are others."""
    from model.zoo import find  # here: most uses of this module have a file of their own

    name = network[len(PREFIX) :]
    try:
        return find(name)
    except ConfigError as error:
        if not name.startswith(MXNETS):
            raise ConfigError(f"--pretrained imagenet: {error}") from error
    return find(name[len(MXNETS) :])


def _bare(key: str) -> str:
    """Return a file's name of a parameter without the "arg:" or "aux:" of an exported one."""
    kind, _, name = key.partition(":")
    return name if kind in ("arg", "aux") and name else key


def _matched(graph: GluonGraph, arrays: dict, problem: str) -> dict:
    """Return {the graph's name: array as float32} of the backbone, whichever way the file names its parameters."""
    ways = (
        graph.structural,
        {ours: ours for ours in graph.parameters.values() if ours},
        graph.parameters,
        _by_order(graph.parameters, arrays),
    )
    needed = {ours for ours in graph.parameters.values() if ours}
    best: dict = {}
    for way in ways:
        found = {ours: arrays[theirs] for theirs, ours in way.items() if ours and theirs in arrays}
        if needed <= found.keys():
            return {name: array.astype("float32") for name, array in found.items()}
        best = max(best, found, key=len)
    missing = next(name for name in graph.parameters.values() if name and name not in best)
    raise CheckpointError(
        f"{problem}: it has {len(best)} of the {len(needed)} parameters of the backbone, and lacks {missing}; its own"
        f" are named like {next(iter(arrays), 'nothing')!r}: give the file of that network"
    )


def _by_order(parameters: dict[str, str | None], arrays: dict) -> dict[str, str | None]:
    """Return {the file's name: the graph's} of the names that are equal but for where their counting began."""
    mine, theirs = _renumbered(parameters), _renumbered(arrays)
    return {theirs[name]: parameters[mine[name]] for name in theirs if name in mine}


def _renumbered(names: Iterable[str]) -> dict[str, str]:
    """Return {name with the first number of its kind as 0: name}: conv5_weight and conv7_weight are conv0, conv1."""
    parts = {name: _NUMBERED.fullmatch(name) for name in names}
    numbers: dict[str, set[int]] = {}
    for part in filter(None, parts.values()):
        numbers.setdefault(part["kind"], set()).add(int(part["number"]))
    ranks = {
        kind: {number: rank for rank, number in enumerate(sorted(seen))} for kind, seen in numbers.items()
    }
    return {
        f"{part['kind']}{ranks[part['kind']][int(part['number'])]}_{part['rest']}" if part else name: name
        for name, part in parts.items()
    }

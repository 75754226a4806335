"""Loading and saving a detector: `PREFIX-symbol.json`, `PREFIX-NNNN.params` and the card `PREFIX.json`.

Files without a card (mxnet-ssd's own, converted ones) load too, with a card made from what the caller states.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import CheckpointError
from common.files import sha256, write_text
from model.card import Card, card_path, read_card, write_card
from model.graph import anchors_in_graph, load_symbol
from model.mismatch import boxes_differ, layers_differ
from model.parameters import join_params, load_arrays, save_arrays, split_params
from symbol.anchors import AUTO_STEP, AnchorConfig, generate_anchors
from symbol.config import NetworkConfig
from symbol.network import feature_shapes
from symbol.presets import is_known, network_config

log = logging.getLogger(__name__)

_PARAMS_NAME = re.compile(r"-(\d{4,})\.params$")


@dataclass(frozen=True)
class SavedDetector:
    """A detector as it lies on disk.

    Attributes:
        prefix: where it was loaded from.
        epoch: which of its epochs.
        symbol: the graph, with or without loss layers; None where nobody needed it yet and there is no file.
        arg_params: name -> NDArray.
        aux_params: name -> NDArray.
        card: what it is; None where there is no card (see `require_card`).
    """

    prefix: str
    epoch: int
    symbol: object
    arg_params: dict
    aux_params: dict
    card: Card | None


def symbol_path(prefix: str | os.PathLike) -> Path:
    """Return where the graph of a prefix lies."""
    return Path(f"{prefix}-symbol.json")


def params_path(prefix: str | os.PathLike, epoch: int) -> Path:
    """Return where the parameters of a prefix's epoch lie."""
    return Path(f"{prefix}-{epoch:04d}.params")


def epochs_on_disk(prefix: str | os.PathLike) -> list[int]:
    """Return the epochs whose parameter files lie beside a prefix, ascending."""
    prefix = Path(prefix)
    if not prefix.parent.is_dir():
        return []
    names = (path.name for path in prefix.parent.iterdir() if path.name.startswith(f"{prefix.name}-"))
    found = (_PARAMS_NAME.fullmatch(name[len(prefix.name) :]) for name in names)
    return sorted(int(match.group(1)) for match in found if match)


def parse_epoch(text: str | int | None, flag: str = "--epoch") -> str | int | None:
    """Read an epoch as flags give it: "best", "last", a number, or None for best, else last.

    Args:
        text: the flag's value.
        flag: its name, for the message.

    Raises:
        CheckpointError: it is none of these.
    """
    if text is None or isinstance(text, int):
        return text
    lowered = text.strip().lower()
    if lowered in ("best", "last"):
        return lowered
    if lowered.isdecimal():
        return int(lowered)
    raise CheckpointError(f"{flag} {text}: expected best, last or a number")


def resolve_epoch(
    prefix: str | os.PathLike,
    epoch: str | int | None,
    card: Card | None,
    *,
    flags: tuple[str, str] = ("--prefix", "--epoch"),
) -> int:
    """Return the number of the epoch that is meant.

    Args:
        prefix: of the detector.
        epoch: "best", "last", a number, or None for best, else last.
        card: the detector's card, or None; then the files on disk count, and there is no best.
        flags: by which the user gives the prefix and the epoch, for the message.

    Raises:
        CheckpointError: there is no such epoch; the message tells those there are.
    """
    wanted = parse_epoch(epoch, flags[1])
    there = sorted(card.epochs) if card else epochs_on_disk(prefix)
    best, last = (card.best, card.last) if card else (None, there[-1] if there else None)
    if not there:
        where = "its card names no finished epoch" if card else f"there is no {Path(prefix).name}-NNNN.params"
        raise CheckpointError(
            f"{prefix}: no such detector: {where} in {Path(prefix).parent}: check {flags[0]}"
        )
    number = {"best": best, "last": last, None: last if best is None else best}.get(wanted, wanted)
    if number not in there:
        why = "it was trained without validation" if card else "it has no card that says which"
        named = f"epoch {wanted}" if wanted != "best" else f"best epoch ({why})"
        listed = ", ".join(str(n) for n in there)
        raise CheckpointError(f"{prefix}: no {named}: kept are {listed}: give one by {flags[1]}")
    return number


def load(
    prefix: str | os.PathLike, epoch: str | int | None = None, *, need_graph: bool = True
) -> SavedDetector:
    """Load a detector.

    Args:
        prefix: path without "-symbol.json".
        epoch: "best", "last", a number, or None for best, else last.
        need_graph: False lets the graph be missing where there is no card; `model.old_files.completed` builds it then.

    Raises:
        CheckpointError: a file is missing, damaged or something else.
    """
    card = read_card(prefix)
    number = resolve_epoch(prefix, epoch, card)
    path = params_path(prefix, number)
    expected = card.epochs[number].get("sha256") if card else None
    needed = need_graph or card is not None or symbol_path(prefix).exists()
    symbol = _load_graph(symbol_path(prefix), card) if needed else None
    arg_params, aux_params = split_params(load_arrays(path, expected), path)
    return SavedDetector(str(prefix), number, symbol, arg_params, aux_params, card)


def _load_graph(path: Path, card: Card | None):
    """Read a graph, held to the hash in the card."""
    if card and card.symbol_sha256 and path.is_file() and sha256(path) != card.symbol_sha256:
        raise CheckpointError(
            f"{path}: damaged, or of another run ({path.stat().st_size} bytes): its sha256 is not the one in the card:"
            " copy the file again"
        )
    return load_symbol(path)


def require_card(saved: SavedDetector, stated: dict) -> Card:
    """Return a detector's card with what the caller states put over it.

    Without a card the default boxes come from the graph, else, with mean and std, from the network that is stated.

    Args:
        saved: the detector.
        stated: field of `Card` -> value; None values are left out.

    Raises:
        CheckpointError: there is no card and something that it would say was not stated, or another input size is
            stated where the default boxes lie at fixed steps, which would no longer fit the cells.
    """
    stated = {name: value for name, value in stated.items() if value is not None}
    if saved.card is not None:
        height, width = stated.get("data_shape", saved.card.data_shape)
        if saved.card.anchors.for_one_size and (height, width) != saved.card.data_shape:
            has = "x".join(map(str, saved.card.data_shape))
            raise CheckpointError(
                f"{saved.prefix}, epoch {saved.epoch}: its default boxes are laid out for an input of {has}, not"
                f" {height}x{width}: leave --data-shape out, or train (a Caffe model: convert it) for the other size"
            )
        return dataclasses.replace(saved.card, **stated)
    found = _found(saved, stated)
    stated = {**found, **stated}
    if found.get("network") == "":
        stated["network"] = ""
    flags = {"data_shape": "--data-shape", "class_names": "--class-names", "anchors": "--network"}
    missing = [flag for name, flag in flags.items() if name not in stated]
    if missing:
        raise CheckpointError(
            f"{saved.prefix}: has no card ({card_path(saved.prefix).name}): give {', '.join(missing)} by hand"
        )
    return Card(
        **{
            "network": "",
            "mean": (123.0, 117.0, 104.0),
            "std": (1.0, 1.0, 1.0),
            **stated,
            "last": saved.epoch,
        }
    )


def _found(saved: SavedDetector, stated: dict) -> dict:
    """Return what graph and network say of a detector without a card; the graph may be of a network unknown here.

    Its network is "" where it is another than the one stated, which then serves for mean and std alone.
    """
    anchors = anchors_in_graph(saved.symbol)
    found = {"anchors": anchors} if anchors else {}
    network = stated.get("network")
    if {"network", "data_shape", "class_names"} <= set(stated) and (is_known(network) or not anchors):
        config = network_config(network, stated["data_shape"], len(stated["class_names"]))
        _check_anchors(saved, anchors, config)
        anchors = anchors_in_graph(saved.symbol, config.anchors.variances)
        found = {"anchors": anchors} if anchors else {}
        if anchors and _same_boxes(anchors, config):
            found = {"anchors": dataclasses.replace(config.anchors, variances=anchors.variances)}
        found = {"anchors": config.anchors, "mean": config.mean, "std": config.std, **found}
        unlike = layers_differ(saved.symbol, config)
        if unlike:
            log.warning(
                f"{saved.prefix}: {unlike}: the graph is taken as it is, with the network's mean and std"
            )
            found["network"] = ""
    elif "mean" not in stated and not (network and is_known(network)):
        log.warning(
            f"{saved.prefix}: no card, and no --network that is known here: taken to want mean 123,117,104 and std 1"
        )
    return found


def _same_boxes(anchors: AnchorConfig, config: NetworkConfig) -> bool:
    """Tell whether settings from a graph make a network's own boxes, whose settings hold for other inputs too."""
    cells, shape = feature_shapes(config), config.data_shape
    mine, theirs = (generate_anchors(settings, cells, shape) for settings in (config.anchors, anchors))
    return np.allclose(mine, theirs, atol=1e-5)


def _check_anchors(saved: SavedDetector, anchors: AnchorConfig | None, config: NetworkConfig) -> None:
    """Hold a network that is stated to the default boxes that the graph has.

    Raises:
        CheckpointError: they are laid out otherwise: another network, or another input size.
    """
    if anchors is None:
        return
    fixed = [
        (mine, theirs)
        for mine, theirs in zip(config.anchors.steps, anchors.steps)
        if AUTO_STEP not in (mine, theirs)
    ]
    if anchors.per_cell() != config.anchors.per_cell() or not np.allclose(
        *zip(*fixed or [(0, 0)]), atol=1e-3
    ):
        raise CheckpointError(f"{saved.prefix}: {boxes_differ(anchors, config)}")


def save(prefix: str | os.PathLike, epoch: int, symbol, params: tuple[dict, dict], card: Card) -> None:
    """Write a detector of one epoch; the card comes last.

    Args:
        prefix: path without "-symbol.json".
        epoch: the number in the parameter file's name.
        symbol: the graph.
        params: (arg_params, aux_params).
        card: the card; its epochs are replaced by this one.
    """
    # MXNet leaves out casts of mixed precision, which a graph whose parameters are bfloat16 needs.
    write_text(symbol_path(prefix), symbol.tojson(remove_amp_cast=not card.quantization))
    digest = save_arrays(params_path(prefix, epoch), join_params(*params))
    entry = {**card.epochs.get(epoch, {}), "sha256": digest}
    write_card(prefix, dataclasses.replace(card, epochs={epoch: entry}, last=epoch, best=None))

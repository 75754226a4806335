"""--finetune PREFIX[:EPOCH]: a new run from a detector with other classes, or the same ones.

Network, options, input, mean and std, default boxes and detection settings come from the detector's card, where flags
say nothing else; the parameters by their names, those of the class heads class by class (model/transfer.py). What the
source is has nothing to do with where the run is saved: it is never written to.

Deliberate deviations from mxnet-ssd: its `--finetune N` went on in the files of the detector that it started from, at
that epoch's decayed learning rate, and froze all that is no head. Here N names the epoch of --prefix and --out the new
prefix; the run begins with epoch 1; what is frozen, a flag says.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common.command import read_class_names
from common.errors import CheckpointError, ConfigError, did_you_mean
from model.card import Card, card_path, read_card
from model.graph import num_classes_of
from model.new_classes import with_classes
from model.old_files import completed
from model.saved import SavedDetector, epochs_on_disk, load, require_card, resolve_epoch, symbol_path
from symbol.anchors import AnchorConfig
from symbol.config import NetworkConfig
from symbol.network import heads
from symbol.presets import default_shape
from train.anchor_flags import anchor_changes
from train.finetune_flag import is_asked, split_source
from train.network_flags import changed_options, chosen_network, chosen_shape

log = logging.getLogger(__name__)

_MOST_NAMES = 8  # in a line of the report


@dataclass(frozen=True)
class FoundNetwork:
    """A network that nobody here can build, as its files have it; what a run asks of a NetworkConfig.

    Attributes:
        network: name, "" where unknown.
        data_shape: (height, width) of the input in pixels.
        num_classes: foreground classes.
        anchors: the default boxes.
        mean: of (R, G, B), subtracted from pixels in 0..255.
        std: of (R, G, B), divides after the subtraction.
        graph: the heads for that many classes.
        rate: None: it has weights to start from.
    """

    network: str
    data_shape: tuple[int, int]
    num_classes: int
    anchors: AnchorConfig
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    graph: object
    rate: None = None


@dataclass(frozen=True)
class Source:
    """The detector that a run starts from.

    Attributes:
        saved: its graph and parameters.
        card: its own, or made from what flags and graph say.
        is_known: whether its network can be built here.
        reset_heads: start all heads anew.
    """

    saved: SavedDetector
    card: Card
    is_known: bool
    reset_heads: bool

    @property
    def name(self) -> str:
        """PREFIX:EPOCH."""
        return f"{self.saved.prefix}:{self.saved.epoch}"


def open_source(args: argparse.Namespace) -> Source | None:
    """Load the detector that --finetune names.

    Args:
        args: parsed flags.

    Returns:
        The detector, None where the flag is off.

    Raises:
        CheckpointError: there is none, or it cannot be read.
        ConfigError: flags contradict each other, or it is of another network than --network.
    """
    if not is_asked(args.finetune):
        for flag, given in (
            ("--reset-heads", args.reset_heads),
            ("--finetune-class-names", args.finetune_class_names),
        ):
            if given:
                raise ConfigError(f"{flag}: says how to --finetune PREFIX, which is not given")
        return None
    if args.pretrained:
        raise ConfigError(
            f"--pretrained {args.pretrained}: a run starts from --finetune or from --pretrained: leave one of them out"
        )
    source, epoch = split_source(args.finetune)
    if epoch is not None and args.epoch is not None:
        raise ConfigError(
            f"--epoch {args.epoch}: --finetune {args.finetune} says an epoch too: leave one of them out"
        )
    _check_there(source, args.finetune)
    card = read_card(source)
    wanted = args.epoch if epoch is None else epoch
    number = resolve_epoch(source, wanted, card, flags=("--finetune", "--finetune PREFIX:EPOCH"))
    saved = load(source, number, need_graph=False)
    if card is not None and args.network and args.network != card.network and _is_known(card.network):
        raise ConfigError(
            f"--network {args.network}: {source} is of the network {card.network}: leave the flag out; what fits of it"
            f" into another network, --pretrained {source} takes"
        )
    return _described(saved, args)


def _check_there(prefix: str, text: str) -> None:
    """Refuse a prefix where no detector lies.

    Raises:
        CheckpointError: names the closest ones that there are.
    """
    if card_path(prefix).exists() or epochs_on_disk(prefix):
        return
    found = re.fullmatch(r"(.+?)(?:-(\d{4,})\.(?:params|states)|-symbol\.json|\.json)", prefix)
    if found and Path(prefix).is_file():
        epoch = f":{int(found.group(2))}" if found.group(2) else ""
        raise CheckpointError(
            f"--finetune {text}: is a file of a detector, expected its prefix: --finetune {found.group(1)}{epoch}"
        )
    where = Path(prefix) if Path(prefix).is_dir() else Path(prefix).parent
    if not where.is_dir():
        raise CheckpointError(
            f"--finetune {text}: there is no folder {where}: check the path, seen from {Path.cwd()}"
        )
    names = sorted(
        {
            match.group(1)
            for match in map(re.compile(r"(.+)-\d{4,}\.params").fullmatch, os.listdir(where))
            if match
        }
    )
    there = [str(where / name) for name in names]
    raise CheckpointError(
        f"--finetune {text}: there is no detector at {prefix} (no {Path(prefix).name}-NNNN.params)"
        f"{did_you_mean(prefix, there) or f'; {where} holds none'}"
    )


def _described(saved: SavedDetector, args: argparse.Namespace) -> Source:
    """Return a loaded detector with a card; flags say what a missing card would.

    Raises:
        CheckpointError: nobody says how its classes are called, or as many as it has.
    """
    names = _source_names(saved, args)
    if saved.card is None:
        stated = {"network": args.network, "data_shape": args.data_shape, "class_names": names}
        if args.network and not args.data_shape:
            stated["data_shape"] = chosen_shape(args)
        with _naming_the_sources_classes():
            saved = completed(saved, stated)
        card = require_card(saved, stated)
    else:
        card = require_card(saved, {"class_names": names, "network": _named_network(saved.card, args)})
    has = num_classes_of(saved.symbol, card.data_shape, str(symbol_path(saved.prefix)))
    if has != card.num_classes:
        raise CheckpointError(
            f"{saved.prefix}: its class heads are for {has} classes, there are {card.num_classes} names"
            f" ({', '.join(card.class_names[:_MOST_NAMES])}): give those of its classes, in their order, by"
            " --finetune-class-names"
        )
    return Source(saved, card, _is_known(card.network), args.reset_heads)


@contextlib.contextmanager
def _naming_the_sources_classes() -> Iterator[None]:
    """Put the flag that names the source's classes into messages about class names."""
    try:
        yield
    except (ConfigError, CheckpointError) as error:
        raise type(error)(str(error).replace("--class-names", "--finetune-class-names")) from error


def _source_names(saved: SavedDetector, args: argparse.Namespace) -> tuple[str, ...] | None:
    """Return the class names that a flag gives the source; None for those of its card."""
    if args.finetune_class_names:
        with _naming_the_sources_classes():
            return read_class_names(args.finetune_class_names)
    if saved.card is None:
        raise CheckpointError(
            f"--finetune {saved.prefix}: has no card that names its classes: give them, in the order of their ids, by"
            " --finetune-class-names A,B,... or a text file (--pretrained takes all but the class heads without names)"
        )
    return None


def _named_network(card: Card, args: argparse.Namespace) -> str | None:
    """Return what --network calls the network of a card whose own name says nothing here (a file that was moved).

    Raises:
        ConfigError: that one is unknown too.
    """
    if args.network and args.network != card.network:
        default_shape(args.network)
    return args.network


def _is_known(network: str) -> bool:
    """Tell whether a network can be built by its name."""
    try:
        return bool(network) and bool(default_shape(network))
    except ConfigError:
        return False


def network_of(source: Source, args: argparse.Namespace, num_classes: int) -> NetworkConfig | FoundNetwork:
    """Return the network of the new run.

    Args:
        source: the detector that it starts from.
        args: parsed flags, which go over the detector's card.
        num_classes: foreground classes of the new run.

    Raises:
        ConfigError: an option cannot be.
        CheckpointError: the network is not known here, and flags ask for more than other classes.
    """
    card = source.card
    if source.is_known:
        network = chosen_network(args, num_classes, source=card)
        if network.anchors != card.anchors and network.data_shape != card.data_shape:
            log.info(
                f"  default boxes: those of the network at this input; {source.name} has its own for its input"
            )
        return network
    if not isinstance(card.anchors, AnchorConfig):
        raise CheckpointError(
            f"--finetune {source.name}: its default boxes are fixed in the graph, which cannot be trained: give a"
            f" --network with layers of the same names, and --pretrained {source.saved.prefix} for --finetune"
        )
    path = str(symbol_path(source.saved.prefix))
    shape = args.data_shape or card.data_shape
    _refuse_changes(source, args)
    if shape != card.data_shape:
        card = require_card(source.saved, {"data_shape": shape})
    graph = with_classes(source.saved.symbol, num_classes, shape, path)
    log.info(f"  the network {card.network or 'of ' + path} is not known here: its graph is taken as it is")
    return FoundNetwork(card.network, shape, num_classes, card.anchors, card.mean, card.std, graph)


def _refuse_changes(source: Source, args: argparse.Namespace) -> None:
    """Refuse flags that would change a graph which nobody here can build.

    Raises:
        ConfigError: names the first of them.
    """
    card = source.card
    changes = {**changed_options(args, card), **anchor_changes(args, card.anchors, card.data_shape)}
    for flag, (_, given) in changes.items():
        if given is not None:
            raise ConfigError(
                f"--{flag}: the network of {source.name} is not known here, its graph is taken as it is: leave the flag"
                " out, or name the network by --network"
            )


def graph_of(network: NetworkConfig | FoundNetwork):
    """Return the heads of a run's network."""
    return network.graph if isinstance(network, FoundNetwork) else heads(network)


def extra_layers_of(network: NetworkConfig | FoundNetwork) -> list[str] | None:
    """Return with what the names of the extra blocks' parameters begin; None where nobody knows."""
    if isinstance(network, FoundNetwork):
        return None
    return [feature.layer for feature in network.features if feature.extra is not None]

"""What a run is made from, new or resumed: records, training graph, settings, card and the position to begin at."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path

from common.command import read_class_names
from common.errors import CheckpointError, ConfigError, RecordError
from common.files import is_locked
from common.mx import mx
from dataset.records import RecordDataset
from model.card import TRAINING, Card, read_card
from model.graph import heads as graph_heads
from model.graph import load_symbol, num_classes_of
from model.parameters import check_fit
from model.saved import symbol_path
from symbol.gluon_network import is_gluon
from symbol.loss import training_symbol
from train.anchor_flags import anchor_changes
from train.checkpoint import Checkpoints, Position, refuse_existing
from train.finetune import graph_of
from train.finetune_flag import beside_resume
from train.from_flags import chosen_detection, new_settings, resumed_detection, resumed_settings
from train.network_flags import changed_options, chosen_channels
from train.origin import open_origin
from train.settings import TrainSettings, Watching

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What a run is made from.

    Attributes:
        settings: what decides the result.
        card: of the run, before its first checkpoint or as it lies.
        symbol: the training graph.
        position: where to begin, with parameters.
        train: the training records.
        val: the validation records, or None.
        checkpoints: None for a new run, whose prefix is still empty.
    """

    settings: TrainSettings
    card: Card
    symbol: object
    position: Position
    train: RecordDataset
    val: RecordDataset | None
    checkpoints: Checkpoints | None = None


def plan_new(args: argparse.Namespace, prefix: str, contexts: list) -> Plan:
    """Make the plan of a new run."""
    refuse_existing(prefix, overwrite=args.overwrite)
    if not args.train_path:
        raise ConfigError(
            "--train-path: give the packed records to train on (tools/prepare_dataset.py makes them)"
        )
    origin = open_origin(args)
    train = RecordDataset(args.train_path)
    class_names = _class_names(args, train)
    train.check_classes(class_names)
    train.check_hash()
    if train.max_objects == 0:
        log.warning(
            f"{train.path}: not one object in {len(train)} images: the detector will learn to find nothing"
        )
    network = origin.network(len(class_names))
    settings = dataclasses.replace(new_settings(args, network, contexts), finetune=origin.name)
    _check_batch(settings, train)
    if not (settings.pretrained or settings.finetune) and network.rate is None:
        imagenet = " or, with ImageNet's (model/download.py), --pretrained imagenet"
        log.warning(
            f"{network.network} starts from random weights: it needs a long run and much data; --pretrained PREFIX"
            f" starts from a detector's weights{imagenet if is_gluon(network.network) else ''}; --network ssd7 and"
            " mb1-ssd-lite are made for random ones"
        )
    val = _open_validation(settings.val_path, class_names)
    symbol = training_symbol(graph_of(network), network.num_classes, network.anchors.variances, settings.loss)
    shapes = input_shapes(settings, network.data_shape, train)
    params, about = origin.params(symbol, shapes, network, class_names=class_names, settings=settings)
    mean, std = origin.pixels(network)
    card = Card(
        network=network.network,
        data_shape=network.data_shape,
        class_names=class_names,
        mean=chosen_channels(args, "mean", mean),
        std=chosen_channels(args, "std", std),
        anchors=network.anchors,
        network_options=origin.options(network),
        detection=chosen_detection(args, origin.detection),
        training={**training_entry(settings, train, results_name(prefix)), **about},
    )
    return Plan(settings, card, symbol, Position(0, 0, *params), train, val)


def plan_resume(args: argparse.Namespace, prefix: str, wanted: str, contexts: list) -> Plan:
    """Make the plan of a run that goes on from its own checkpoint."""
    card = read_card(prefix)
    if card is None or card.graph != TRAINING or not {"settings", "data_sha256"} <= set(card.training):
        why = f"there is no card {Path(prefix).name}.json: check --prefix, or start a run without --resume"
        if card is not None:
            why = f"its card holds a finished detector, not a run: --finetune {prefix} begins a run from it"
        raise CheckpointError(f"{prefix}: there is no run to resume: {why}")
    _refuse_other_network(args, card)
    settings = resumed_settings(args, card, prefix, contexts)
    if not Path(settings.train_path).exists():
        raise RecordError(
            f"{settings.train_path}: the run's records are not there, seen from {Path.cwd()}: go to the folder where"
            " the run was started, or give them by --train-path"
        )
    train = RecordDataset(settings.train_path)
    train.check_classes(card.class_names)
    if train.sha256() != card.training["data_sha256"]:
        raise RecordError(
            f"{settings.train_path}: not the records that {prefix} was trained on (another sha256):"
            " give those by --train-path, or start a new run with --pretrained"
        )
    if not card.epochs and not card.interrupted:
        raise CheckpointError(
            f"{prefix}: the run was ended before its first epoch was saved, so there is nothing to resume: start it"
            " again without --resume"
        )
    checkpoints = Checkpoints(prefix, card, settings.checkpoint_period)
    position = checkpoints.load_position(wanted)
    checkpoints.drop_after(position, overwrite=args.overwrite)
    _check_position(position, settings, card, prefix)
    val = _open_validation(settings.val_path, card.class_names)
    symbol = _resumed_symbol(prefix, position, settings, card)
    log.info(f"resume {prefix}: {position.epoch} epochs and {position.batch} batches are done")
    training = {"results": "results.csv", **card.training}
    card = dataclasses.replace(checkpoints.card, detection=resumed_detection(args, card), training=training)
    return Plan(settings, card, symbol, position, train, val, checkpoints)


def _check_batch(settings: TrainSettings, train: RecordDataset) -> None:
    """Refuse a batch that takes every image more than once.

    Raises:
        ConfigError: there are fewer images.
    """
    if settings.batch_size > len(train):
        raise ConfigError(
            f"--batch-size {settings.batch_size}: {train.path} has {len(train)} images, expected that many at most"
        )


def _check_position(position: Position, settings: TrainSettings, card: Card, prefix: str) -> None:
    """Refuse to go on where nothing is left to do, or from inside an epoch that would become another.

    Raises:
        ConfigError: says which flag is in the way.
    """
    if position.epoch >= settings.end_epoch:
        raise ConfigError(
            f"{prefix}: {position.epoch} epochs are trained already, of {settings.end_epoch}:"
            " a greater --end-epoch trains on"
        )
    for name in ("batch_size", "seed") if position.batch else ():
        has = card.training["settings"].get(name)
        if getattr(settings, name) != has:
            raise ConfigError(
                f"--{name.replace('_', '-')} {getattr(settings, name)}: the run stopped inside epoch"
                f" {position.epoch + 1}, whose batches were laid out with {has}: leave the flag out,"
                f" or go on from a whole epoch with --resume {position.epoch}"
            )


def _resumed_symbol(prefix: str, position: Position, settings: TrainSettings, card: Card):
    """Return the run's training graph, checked against its parameters and with the loss that the settings ask for.

    Raises:
        CheckpointError: the graph is of another network than the parameters.
    """
    path = symbol_path(prefix)
    symbol = load_symbol(path)
    network = mx.sym.Group(graph_heads(symbol, str(path)))
    check_fit(network, position.arg_params, position.aux_params, card.data_shape, str(path))
    if num_classes_of(symbol, card.data_shape, str(path)) != card.num_classes:
        raise CheckpointError(f"{path}: not the graph of a network for {card.num_classes} classes")
    if settings.loss.to_dict() == card.training["settings"].get("loss"):
        return symbol
    return training_symbol(network, card.num_classes, card.anchors.variances, settings.loss)


def _class_names(args: argparse.Namespace, train: RecordDataset) -> tuple[str, ...]:
    """Return the class names, of the records or by the flag."""
    names = train.class_names
    if args.class_names:
        given = read_class_names(args.class_names)
        if names and tuple(given) != tuple(names):
            raise RecordError(
                f"{train.path}: its classes are {', '.join(names)}, --class-names says {', '.join(given)}:"
                " leave the flag out, or pack the records with those classes"
            )
        names = given
    if not names:
        raise RecordError(f"{train.path}: has no manifest that names its classes: give them by --class-names")
    if args.num_class is not None and args.num_class != len(names):
        raise RecordError(
            f"--num-class {args.num_class}: {train.path} has {len(names)} classes: leave the flag out"
        )
    return tuple(names)


def _refuse_other_network(args: argparse.Namespace, card: Card) -> None:
    """Refuse flags that would make another network of a run that goes on.

    Raises:
        ConfigError: names the flag, what the run has and what was given.
    """
    has_and_given = {
        "network": (card.network, args.network),
        "data-shape": (card.data_shape, args.data_shape),
        "num-class": (card.num_classes, args.num_class),
        "class-names": (card.class_names, args.class_names and read_class_names(args.class_names)),
        **changed_options(args, card),
        **anchor_changes(args, card.anchors, card.data_shape),
        "mean-r, -g, -b": (card.mean, chosen_channels(args, "mean", card.mean)),
        "std-r, -g, -b": (card.std, chosen_channels(args, "std", card.std)),
        "pretrained": (card.training["settings"].get("pretrained", ""), args.pretrained or None),
        "finetune": beside_resume(card.training["settings"].get("finetune", ""), args.finetune),
        "reset-heads": (
            card.training.get("finetune", {}).get("reset_heads", False),
            args.reset_heads or None,
        ),
    }
    for flag, (has, given) in has_and_given.items():
        if given is not None and given != has:
            given, has = (_shown(flag, value) for value in (given, has))
            raise ConfigError(
                f"--{flag} {given}: a resumed run keeps its own ({has or 'none'}): leave the flag out, or start"
                " a new run at another --prefix"
            )


def _shown(flag: str, value) -> object:
    """Return a value as its flag takes it."""
    if flag == "data-shape" and value:
        return "x".join(map(str, value))
    if flag == "anchor-steps" and value == ():
        return "auto"
    if not isinstance(value, tuple):
        return f"{value:g}" if isinstance(value, float) else value
    rows = any(isinstance(entry, tuple) for entry in value)
    return (";" if rows else ",").join(str(_shown("", entry)) for entry in value)


def _open_validation(path: str, class_names: tuple[str, ...]) -> RecordDataset | None:
    """Open the validation records and check that their classes are the model's."""
    if not path:
        return None
    val = RecordDataset(path)
    val.check_classes(class_names)
    val.check_hash()
    val.truth(0)  # a missing truth is told now, and not after the first epoch
    return val


def training_entry(
    settings: TrainSettings,
    train: RecordDataset,
    results: str,
    watching: Watching = Watching(),  # noqa: B008 (frozen)
) -> dict:
    """Return what the card says of the training; `results` is the name of the run's table."""
    return {
        "settings": settings.to_dict(),
        "images": len(train),
        "data_sha256": train.sha256(),
        "results": results,
        "watching": dataclasses.asdict(watching),
    }


def results_name(prefix: str) -> str:
    """Return the name of a new run's table: results.csv, or NAME-results.csv where another run has the folder.

    A run that replaces another at its prefix takes that one's table. One that has begun elsewhere in the folder and has
    no card yet is known by its lock.
    """
    name, folder = Path(prefix).name, Path(prefix).parent
    own = _run_at(prefix)
    if own is not None and isinstance(own.training.get("results"), str):
        return Path(own.training["results"]).name
    locks = [path for path in folder.glob("*.lock") if path.name != f"{name}.lock"]
    cards = [path.with_suffix("") for path in folder.glob("*.json") if path.stem != name]
    taken = any(map(is_locked, locks)) or any(_run_at(other) is not None for other in cards)
    return f"{name}-results.csv" if taken else "results.csv"


def _run_at(prefix: str | Path) -> Card | None:
    """Return the card of the run at a prefix; None where there is none, or a file of another kind."""
    try:
        card = None if Path(prefix).name.endswith("-symbol") else read_card(prefix)
    except CheckpointError:
        return None
    return card if card is not None and "settings" in card.training and card.graph == TRAINING else None


def input_shapes(
    settings: TrainSettings, data_shape: tuple[int, int], train: RecordDataset
) -> dict[str, tuple]:
    """Return the shapes of the training graph's inputs: data (B, 3, H, W) and label (B, M, columns)."""
    objects = (train.label_pad_width - 2) // train.object_width
    return {
        "data": (settings.batch_size, 3, *data_shape),
        "label": (settings.batch_size, objects, train.object_width),
    }

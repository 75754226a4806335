"""From parsed flags to a network, detection settings and training settings; what is not given has a default here."""

from __future__ import annotations

import argparse
import dataclasses
import logging

from common import mx as runtime
from common.errors import ConfigError
from common.settings import from_known, with_flags
from dataset.augmentation import recipe
from dataset.iterator import default_workers
from model.card import Card
from symbol.config import NetworkConfig
from symbol.detection import DetectionConfig
from symbol.loss import LossConfig
from train.finetune_flag import is_asked
from train.settings import DECAYS, DEFAULT_RATE, RATE_SCALES, TrainSettings, Watching

log = logging.getLogger(__name__)

# Flags that a resumed run may change without becoming another network.
_PLAIN_SETTINGS = (
    "batch_size", "optimizer", "momentum", "wd", "clip_gradient", "lr_schedule", "lr_steps", "lr_factor",
    "warmup_epochs", "end_epoch", "val_period", "checkpoint_period", "overlap", "seed", "workers", "freeze",
    "train_path", "val_path", "lr", "use_difficult", "lr_scale_by_batch", "plateau_patience", "min_lr",
    "early_stopping", "min_epochs", "min_delta", "freeze_base", "freeze_all_but_heads", "base_lr", "extra_lr",
    "head_lr", "amp",
)  # fmt: skip


def chosen_detection(args: argparse.Namespace, current: DetectionConfig) -> DetectionConfig:
    """Return the detection settings for the card: the current ones with what the flags state."""
    flags = {"nms_threshold": "--nms", "nms_topk": "--nms-topk", "force": "--force"}
    return with_flags(current, args, flags)


def _given_settings(args: argparse.Namespace, current: TrainSettings) -> dict:
    """Return the plain settings that flags state; the current ones are the defaults, or a resumed run's."""
    given = {name: getattr(args, name) for name in _PLAIN_SETTINGS}
    if args.voc07 is not None:
        given["metric"] = "voc07" if args.voc07 else "voc"
    if args.nesterov is not None:
        given["optimizer"] = _with_nesterov(args, current.optimizer)
    return {name: value for name, value in given.items() if value is not None}


def _with_nesterov(args: argparse.Namespace, current: str) -> str:
    """Return the optimiser that --nesterov or --no-nesterov makes of the one by --optimizer, or the current one.

    Raises:
        ConfigError: that one has no momentum of the kind.
    """
    name = args.optimizer or current
    if name not in ("sgd", "nag"):
        if args.nesterov:
            raise ConfigError(
                f"--nesterov: goes with --optimizer sgd, not with {name}: leave one of them out"
            )
        return name
    return "nag" if args.nesterov else "sgd"


def _changed_loss(args: argparse.Namespace, loss: LossConfig) -> LossConfig:
    flags = {
        "overlap_threshold": "--overlap-threshold",
        "negative_ratio": "--negative-ratio",
        "minimum_negatives": "--min-neg-samples",
        "mining": "--mining",
        "matching": "--matching",
        "neutral_iou": "--neutral-iou",
        "label_smoothing": "--label-smoothing",
        "loc_weight": "--loc-weight",
    }
    return with_flags(loss, args, flags)


def _changed_augmentation(args: argparse.Namespace, current):
    base = recipe(args.augment) if args.augment else current
    return with_flags(base, args, {"max_zoom_out": "--max-zoom-out", "min_crop_scale": "--min-crop-scale"})


def new_settings(args: argparse.Namespace, network: NetworkConfig, contexts: list) -> TrainSettings:
    """Return a new run's settings: flags, else defaults, some of which follow from network and machine."""
    given = _given_settings(args, TrainSettings(""))
    rate = _usual_rate(args, network) * RATE_SCALES.get(args.optimizer or "sgd", 1.0)
    defaults = {"lr": rate, "workers": default_workers(runtime.num_threads), "contexts": len(contexts)}
    if (args.pretrained or is_asked(args.finetune)) and network.network.startswith("vgg16_reduced"):
        defaults["freeze"] = "^(conv1_|conv2_).*"  # mxnet-ssd's: edges and colours need no training
    if given.get("optimizer") in DECAYS:
        defaults["wd"] = DECAYS[given["optimizer"]]
    settings = TrainSettings(**{**defaults, **given, "pretrained": args.pretrained or ""})
    return dataclasses.replace(
        settings,
        loss=_changed_loss(args, settings.loss),
        augmentation=_changed_augmentation(args, settings.augmentation),
    )


def _usual_rate(args: argparse.Namespace, network: NetworkConfig) -> float:
    """Return SGD's learning rate where no flag says one: a detector to fine-tune has something to lose."""
    if network.rate is None:
        return DEFAULT_RATE
    return network.rate / 3 if is_asked(args.finetune) else network.rate


def resumed_detection(args: argparse.Namespace, card: Card) -> DetectionConfig:
    """Return the card's detection settings with what flags change; a change is told."""
    changed = chosen_detection(args, card.detection)
    if changed != card.detection:
        log.info(f"changed on resume: detection {card.detection} -> {changed}")
    return changed


def resumed_settings(args: argparse.Namespace, card: Card, prefix: str, contexts: list) -> TrainSettings:
    """Return the card's settings with what flags change; each change is told."""
    old = TrainSettings.from_dict(card.training["settings"], f"{prefix}.json")
    given = {**_given_settings(args, old), "contexts": len(contexts)}
    _refuse_other_optimizer(old, given.get("optimizer", old.optimizer))
    new = dataclasses.replace(
        old,
        **given,
        loss=_changed_loss(args, old.loss),
        augmentation=_changed_augmentation(args, old.augmentation),
    )
    for field in dataclasses.fields(new):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before != after:
            log.info(f"changed on resume: {field.name} {before} -> {after}")
    return new


def _refuse_other_optimizer(old: TrainSettings, wanted: str) -> None:
    """Refuse to go on with another optimiser: its state may have the same shapes, and means something else.

    Raises:
        ConfigError: names both.
    """
    if wanted != old.optimizer and not {wanted, old.optimizer} <= {"sgd", "nag"}:
        raise ConfigError(
            f"--optimizer {wanted}: the run's state is that of {old.optimizer}: resume with the optimiser and the"
            " frozen parameters of the first run, or start a new run with --pretrained"
        )


def without_effect(args: argparse.Namespace, settings: TrainSettings) -> list[str]:
    """Return a line for each flag that was given and does nothing beside the run's other settings."""
    needs = {
        ("plateau_patience", "min_lr"): ("--lr-schedule plateau", settings.lr_schedule == "plateau"),
        ("min_epochs",): ("--early-stopping", settings.early_stopping > 0),
        ("min_delta",): (
            "--early-stopping or --lr-schedule plateau",
            settings.early_stopping > 0 or settings.lr_schedule == "plateau",
        ),
        ("lr", "lr_schedule", "lr_scale_by_batch", "warmup_epochs"): (
            "another --optimizer: adadelta sets its own step",
            settings.optimizer != "adadelta",
        ),
    }
    return [
        f"--{name.replace('_', '-')} has no effect without {need}"
        for names, (need, there) in needs.items()
        for name in names
        if not there and getattr(args, name)
    ]


def watching(args: argparse.Namespace, card: Card) -> Watching:
    """Return how the run is watched: by flags, else as a resumed run's card says."""
    kept = from_known(Watching, card.training.get("watching", {}), "watching")
    flags = {name: f"--{name}" for name in ("tensorboard", "monitor", "pattern", "frequent")}
    return with_flags(kept, args, flags)

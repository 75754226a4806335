"""From parsed flags to a network, detection settings and training settings; what is not given has a default here."""

from __future__ import annotations

import argparse
import dataclasses
import logging

from common import mx as runtime
from common.settings import from_known, with_flags
from dataset.augmentation import recipe
from dataset.iterator import default_workers
from model.card import Card
from symbol.config import NetworkConfig
from symbol.detection import DetectionConfig
from symbol.loss import LossConfig
from train.settings import DEFAULT_RATE, RATE_SCALES, TrainSettings, Watching

log = logging.getLogger(__name__)

# Flags that a resumed run may change without becoming another network.
_PLAIN_SETTINGS = (
    "batch_size", "optimizer", "momentum", "wd", "clip_gradient", "lr_schedule", "lr_steps", "lr_factor",
    "warmup_epochs", "end_epoch", "val_period", "checkpoint_period", "overlap", "seed", "workers", "freeze",
    "train_path", "val_path", "lr", "use_difficult",
)  # fmt: skip


def chosen_detection(args: argparse.Namespace, current: DetectionConfig) -> DetectionConfig:
    """Return the detection settings for the card: the current ones with what the flags state."""
    flags = {"nms_threshold": "--nms", "nms_topk": "--nms-topk", "force": "--force"}
    return with_flags(current, args, flags)


def _given_settings(args: argparse.Namespace) -> dict:
    """Return the plain settings that flags state."""
    given = {name: getattr(args, name) for name in _PLAIN_SETTINGS}
    if args.voc07 is not None:
        given["metric"] = "voc07" if args.voc07 else "voc"
    return {name: value for name, value in given.items() if value is not None}


def _changed_loss(args: argparse.Namespace, loss: LossConfig) -> LossConfig:
    flags = {
        "overlap_threshold": "--overlap-threshold",
        "negative_ratio": "--negative-ratio",
        "minimum_negatives": "--min-neg-samples",
        "mining": "--mining",
    }
    return with_flags(loss, args, flags)


def _changed_augmentation(args: argparse.Namespace, current):
    base = recipe(args.augment) if args.augment else current
    return with_flags(base, args, {"max_zoom_out": "--max-zoom-out", "min_crop_scale": "--min-crop-scale"})


def new_settings(args: argparse.Namespace, network: NetworkConfig, contexts: list) -> TrainSettings:
    """Return a new run's settings: flags, else defaults, some of which follow from network and machine."""
    given = _given_settings(args)
    rate = (network.rate or DEFAULT_RATE) * RATE_SCALES.get(args.optimizer or "sgd", 1.0)
    defaults = {"lr": rate, "workers": default_workers(runtime.num_threads), "contexts": len(contexts)}
    if args.pretrained and network.network.startswith("vgg16"):
        defaults["freeze"] = "^(conv1_|conv2_).*"  # mxnet-ssd's: edges and colours need no training
    settings = TrainSettings(**{**defaults, **given, "pretrained": args.pretrained or ""})
    return dataclasses.replace(
        settings,
        loss=_changed_loss(args, settings.loss),
        augmentation=_changed_augmentation(args, settings.augmentation),
    )


def resumed_detection(args: argparse.Namespace, card: Card) -> DetectionConfig:
    """Return the card's detection settings with what flags change; a change is told."""
    changed = chosen_detection(args, card.detection)
    if changed != card.detection:
        log.info(f"changed on resume: detection {card.detection} -> {changed}")
    return changed


def resumed_settings(args: argparse.Namespace, card: Card, prefix: str, contexts: list) -> TrainSettings:
    """Return the card's settings with what flags change; each change is told."""
    old = TrainSettings.from_dict(card.training["settings"], f"{prefix}.json")
    given = {**_given_settings(args), "contexts": len(contexts)}
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


def watching(args: argparse.Namespace, card: Card) -> Watching:
    """Return how the run is watched: by flags, else as a resumed run's card says."""
    kept = from_known(Watching, card.training.get("watching", {}), "watching")
    flags = {name: f"--{name}" for name in ("tensorboard", "monitor", "pattern", "frequent")}
    return with_flags(kept, args, flags)

"""The flags of a network and its options, and the network that they ask for."""

from __future__ import annotations

import argparse
import dataclasses
import math

from common.command import parse_shape
from common.errors import ConfigError
from common.settings import stated, with_flags
from model.card import Card
from symbol.anchors import AnchorConfig
from symbol.config import NetworkConfig
from symbol.network import feature_maps
from symbol.presets import default_shape, network_config, widening_names
from symbol.presets.options import NetworkOptions
from train.anchor_flags import add_anchor_flags, changed_anchors

DEFAULT_NETWORK = "vgg16_reduced"  # mxnet-ssd's
OPTION_FLAGS = {  # option -> flag
    "heads": "--heads",
    "norm": "--norm",
    "extra_layers": "--extra-layers",
    "width_mult": "--width-mult",
    "from_layers": "--from-layers",
}


def add_network_flags(group) -> None:
    """Add the flags of a network to a parser, or a group of one."""
    group.add_argument(
        "--network",
        metavar="NAME",
        help=f"a network by name (--list-networks shows them), gluon:NAME, or PATH.py (default {DEFAULT_NETWORK})",
    )
    group.add_argument(
        "--data-shape",
        type=parse_shape,
        metavar="H[,W]",
        help="input height and width in pixels (default: what the network is made for)",
    )
    group.add_argument("--heads", metavar="STYLE", help="plain or separable heads on all feature maps")
    group.add_argument(
        "--norm",
        type=_parse_norm,
        metavar="KIND",
        help="l2, batch (BatchNorm) or none before the heads that have a normalisation, else before the first",
    )
    group.add_argument(
        "--extra-layers", type=int, metavar="N", help="extra blocks on top of the backbone: fewer, or more"
    )
    group.add_argument(
        "--width-mult",
        type=float,
        metavar="X",
        help=f"multiplies the channels of the backbone ({', '.join(widening_names())})",
    )
    group.add_argument(
        "--from-layers",
        type=_parse_names,
        metavar="A,B",
        help="feature maps of the backbone by their layers' names, the finest first",
    )
    add_anchor_flags(group)


def add_channel_flags(group) -> None:
    """Add the flags of the input's mean and standard deviation to a parser, or a group of one."""
    for name in ("mean", "std"):
        for channel in "rgb":
            group.add_argument(
                f"--{name}-{channel}", type=float, metavar="X", help="of the input (default: network's)"
            )


def _parse_norm(text: str) -> str:
    return {"bn": "batch", "batchnorm": "batch"}.get(text.strip().lower(), text.strip().lower())


def _parse_names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def chosen_options(args: argparse.Namespace, source: Card | None = None) -> NetworkOptions:
    """Return the options of the flags.

    Args:
        args: parsed flags.
        source: of a detector whose options count where the flags say nothing; None for none.

    Raises:
        ConfigError: an option cannot be; the message names its flag.
    """
    usual = NetworkOptions()
    if source is not None and source.network == chosen_name(args, source):
        usual = NetworkOptions.from_dict(source.network_options)
    return with_flags(usual, args, OPTION_FLAGS)


def chosen_name(args: argparse.Namespace, source: Card | None = None) -> str:
    """Return the name of the network: the flag's, else the source's, else the default."""
    return args.network or (source.network if source else "") or DEFAULT_NETWORK


def chosen_shape(args: argparse.Namespace, source: Card | None = None) -> tuple[int, int]:
    """Return (height, width) of the input: the flag's, else the source's, else the network's own.

    Raises:
        ConfigError: the network is unknown.
    """
    name = chosen_name(args, source)
    if args.data_shape:
        return args.data_shape
    return source.data_shape if source is not None and source.network == name else default_shape(name)


def chosen_network(
    args: argparse.Namespace, num_classes: int, *, source: Card | None = None
) -> NetworkConfig:
    """Return the network that flags ask for, with its options and default boxes.

    Args:
        args: parsed flags.
        num_classes: foreground classes.
        source: of a detector whose network, options, input and default boxes count where the flags say nothing.

    Raises:
        ConfigError: the network is unknown, or an option or a default box cannot be.
    """
    name, shape = chosen_name(args, source), chosen_shape(args, source)
    options = chosen_options(args, source)
    config = network_config(name, shape, num_classes, options=options)
    if args.from_layers:
        _check_layers(config, args.from_layers)
    anchors = changed_anchors(args, _usual_anchors(config, source), shape)
    return dataclasses.replace(config, anchors=anchors)


def _usual_anchors(config: NetworkConfig, source: Card | None) -> AnchorConfig:
    """Return the source's default boxes where they fit the network and its input, else the network's."""
    if source is None or source.network != config.network or not isinstance(source.anchors, AnchorConfig):
        return config.anchors
    if len(source.anchors.sizes) != len(config.anchors.sizes):
        return config.anchors
    if source.data_shape == config.data_shape or not source.anchors.for_one_size:
        return source.anchors
    options = NetworkOptions.from_dict(source.network_options)
    usual = network_config(source.network, source.data_shape, source.num_classes, options=options).anchors
    # Distances belong to the input; what the source's user chose does not, sizes being parts of the image.
    names = {field.name for field in dataclasses.fields(AnchorConfig)} - {"steps"}
    chosen = {name: getattr(source.anchors, name) for name in names}
    own = {name: value for name, value in chosen.items() if value != getattr(usual, name)}
    return dataclasses.replace(config.anchors, **own)


def _check_layers(config: NetworkConfig, names: tuple[str, ...]) -> None:
    """Refuse layers that are not there, or not in the order of their maps.

    Raises:
        ConfigError: names --from-layers.
    """
    flag = f"--from-layers {','.join(names)}"
    try:
        maps = [cells for _, *cells in feature_maps(config)]
    except ConfigError as error:
        raise ConfigError(f"{flag}: {error}") from error
    for (name, found), before in zip(zip(names[1:], maps[1:]), maps):
        if found[0] > before[0] or found[1] > before[1]:
            raise ConfigError(
                f"{flag}: {name} has {found[0]}x{found[1]} cells, more than the map before it with"
                f" {before[0]}x{before[1]}: give the finest first"
            )


def changed_options(args: argparse.Namespace, card: Card) -> dict[str, tuple]:
    """Return {flag without dashes: (what a run has, what its flag states, None where it does not)} for the options.

    Args:
        args: parsed flags.
        card: of the run.
    """
    has, given = NetworkOptions.from_dict(card.network_options), stated(args, OPTION_FLAGS)
    return {flag.strip("-"): (getattr(has, name), given[name]) for name, flag in OPTION_FLAGS.items()}


def chosen_channels(args: argparse.Namespace, name: str, default: tuple) -> tuple[float, float, float]:
    """Return mean or std by the flags, channel for channel, else the network's.

    Raises:
        ConfigError: a value is not finite, or a std is not above 0.
    """
    given = (getattr(args, f"{name}_{channel}") for channel in "rgb")
    values = tuple(float(d if g is None else g) for g, d in zip(given, default))
    for channel, value in zip("rgb", values):
        if not math.isfinite(value) or (name == "std" and value <= 0):
            expected = "a number above 0" if name == "std" else "a number"
            raise ConfigError(f"--{name}-{channel} {value}: expected {expected}")
    return values

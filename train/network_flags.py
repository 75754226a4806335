"""The flags of a network and its default boxes, and the network that they ask for."""

from __future__ import annotations

import argparse
import dataclasses
import math

from common.command import parse_number_lists, parse_numbers, parse_shape
from common.errors import ConfigError
from symbol.anchors import AnchorConfig
from symbol.config import NetworkConfig
from symbol.presets import network_config, network_names

_LARGEST_SIZE = 4  # of a default box; larger ones are pixels by mistake
DEFAULT_SHAPE = (300, 300)  # (height, width), mxnet-ssd's


def add_network_flags(group) -> None:
    """Add the flags of a network to a parser, or a group of one."""
    group.add_argument(
        "--network", metavar="NAME", help=f"{', '.join(network_names())} (default vgg16_reduced)"
    )
    group.add_argument(
        "--data-shape",
        type=parse_shape,
        metavar="H[,W]",
        help="input height and width in pixels (default 300)",
    )
    group.add_argument(
        "--anchor-sizes",
        type=parse_number_lists,
        metavar="A,B;C,D;...",
        help="default boxes' sides relative to the image's height, a list for each feature map",
    )
    group.add_argument(
        "--anchor-ratios",
        type=parse_number_lists,
        metavar="A,B;...",
        help="default boxes' width over height; one list serves all feature maps",
    )
    group.add_argument(
        "--anchor-steps",
        type=parse_numbers,
        metavar="A,B,...",
        help="distance of default boxes relative to the image, one for each feature map (default: its cells)",
    )
    for name in ("mean", "std"):
        for channel in "rgb":
            group.add_argument(
                f"--{name}-{channel}", type=float, metavar="X", help="of the input (default: network's)"
            )


def chosen_network(args: argparse.Namespace, num_classes: int) -> NetworkConfig:
    """Return the network, with the default boxes of the flags where they are given."""
    name, shape = args.network or "vgg16_reduced", args.data_shape or DEFAULT_SHAPE
    config = network_config(name, shape, num_classes)
    return network_config(name, shape, num_classes, changed_anchors(args, config.anchors))


def changed_anchors(args: argparse.Namespace, anchors: AnchorConfig) -> AnchorConfig:
    """Return default boxes with what the flags state."""
    changes = {}
    for flag, given in (("--anchor-sizes", args.anchor_sizes), ("--anchor-steps", args.anchor_steps)):
        if given is not None and len(given) != len(anchors.sizes):
            raise ConfigError(
                f"{flag}: found {len(given)} entries, expected {len(anchors.sizes)}, one for each feature map"
            )
    if args.anchor_sizes:
        largest = max((size for sizes in args.anchor_sizes for size in sizes), default=0)
        if largest > _LARGEST_SIZE:
            raise ConfigError(
                f"--anchor-sizes: found {largest:g}, expected sides relative to the image's height (0.1, not 30"
                f" pixels), {_LARGEST_SIZE} at most"
            )
        changes["sizes"] = args.anchor_sizes
    if args.anchor_ratios:
        ratios, maps = args.anchor_ratios, args.anchor_sizes or anchors.sizes
        changes["ratios"] = ratios * len(maps) if len(ratios) == 1 else ratios
    if args.anchor_steps:
        changes["steps"] = tuple((step, step) for step in args.anchor_steps)
    return dataclasses.replace(anchors, **changes)


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

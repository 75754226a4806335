"""train.py --list-networks: the networks there are, or one of them with its options; nothing is made or locked."""

from __future__ import annotations

import argparse

from common.command import add_switch, read_class_names
from common.errors import ConfigError
from symbol.gluon_network import PREFIX, gluon_names
from symbol.network_list import listed_networks, network_page, network_table
from train.anchor_flags import ANCHOR_FLAGS
from train.network_flags import OPTION_FLAGS, chosen_network

_USUAL_CLASSES = 20  # VOC's, mxnet-ssd's default
_OTHERS = (
    "gluon:NAME puts an SSD on a classification network of gluoncv or mxnet.gluon.model_zoo (gluon:resnet50_v1b;"
    " --list-networks gluon lists them);"
    "\nPATH.py or PATH.py:FUNCTION takes a network from a Python file; docs/compose-your-own.md tells more of both."
    "\n--list-networks NAME shows one, with the options beside it (--data-shape, --heads, --extra-layers, ...)."
)


def add_listing_flags(group) -> None:
    """Add the flags that ask for the networks to a parser, or a group of one."""
    group.add_argument(
        "--list-networks",
        nargs="?",
        const="",
        metavar="NAME",
        help="print the networks there are and end: input, feature maps, default boxes, parameters, multiply-adds,"
        " preprocessing, source; with NAME or --network one of them, with the options of the other flags",
    )
    add_switch(group, "--markdown", default=False, help="with --list-networks: print a Markdown table")


def networks_text(args: argparse.Namespace) -> str:
    """Return what --list-networks prints.

    Raises:
        ConfigError: a network is unknown, or flags do not fit it or each other.
    """
    name = args.list_networks or args.network
    if args.list_networks and args.network not in (None, args.list_networks):
        raise ConfigError(
            f"--list-networks {args.list_networks}: --network says {args.network}: leave one of them out"
        )
    classes = args.num_class
    if classes is None:
        classes = len(read_class_names(args.class_names)) if args.class_names else _USUAL_CLASSES
    if name in ("gluon", PREFIX):
        return "\n".join(f"{PREFIX}{known}" for known in gluon_names())
    if name:
        args = argparse.Namespace(**{**vars(args), "network": name})
        config = chosen_network(args, classes)
        return network_table([(name, config)], markdown=True) if args.markdown else network_page(config)
    for flag in (*OPTION_FLAGS.values(), *ANCHOR_FLAGS):
        if getattr(args, flag.strip("-").replace("-", "_")) is not None:
            raise ConfigError(f"{flag}: is for one network: give --list-networks NAME")
    table = network_table(listed_networks(classes, args.data_shape), markdown=args.markdown)
    return table if args.markdown else f"{table}\n\nFor {classes} classes. {_OTHERS}"

"""The flags of train.py: mxnet-ssd's names, in groups; what is not given comes from network, data or card."""

from __future__ import annotations

import argparse

from common.command import CommandParser, add_switch
from dataset.augmentation import RECIPES
from train.distributed import add_kv_store_flags
from train.list_networks import add_listing_flags
from train.network_flags import add_channel_flags, add_network_flags
from train.optimiser_flags import add_loss_flags, add_optimiser_flags
from train.start_flags import add_start_flags

# Flags of mxnet-ssd whose work is done by itself now; they are taken and not used.
_DERIVED = ("--train-list", "--val-list", "--label-width", "--num-example", "--begin-epoch")


def build_parser() -> CommandParser:
    """Return the parser of train.py."""
    parser = CommandParser(
        prog="train.py",
        description="Train an SSD detector on packed records, with validation mAP, checkpoints and exact resume.",
    )
    _add_data(parser.add_argument_group("data"))
    group = parser.add_argument_group("network and default boxes")
    add_network_flags(group)
    add_channel_flags(group)
    add_listing_flags(group)
    add_start_flags(parser.add_argument_group("start"))
    add_optimiser_flags(parser.add_argument_group("optimiser and schedule"))
    add_loss_flags(parser.add_argument_group("matching and hard negatives"))
    _add_validation(parser.add_argument_group("validation and detection settings kept in the card"))
    _add_run(parser.add_argument_group("run"))
    _add_watching(parser.add_argument_group("watching a run"))
    return parser


def _add_data(group) -> None:
    group.add_argument("--train-path", metavar="FILE.rec", help="packed records to train on")
    group.add_argument("--val-path", metavar="FILE.rec", help="packed records to validate on; '' for none")
    group.add_argument(
        "--batch-size", type=int, metavar="N", help="images in a batch, over all devices (default 32)"
    )
    group.add_argument(
        "--augment", metavar="NAME", help=f"augmentation: {', '.join(RECIPES)} (default ssd, as mxnet-ssd)"
    )
    group.add_argument(
        "--max-zoom-out",
        type=float,
        metavar="X",
        help="greatest side of the zoom-out's canvas (default 4; 1 is off)",
    )
    group.add_argument(
        "--min-crop-scale",
        type=float,
        metavar="X",
        help="least side of a random crop, relative (default 0.3)",
    )
    group.add_argument(
        "--workers", type=int, metavar="N", help="decoding iterators; part of the result (default: the cores)"
    )
    group.add_argument("--num-class", type=int, metavar="N", help="check the records for that many classes")
    group.add_argument(
        "--class-names", metavar="A,B|FILE", help="in order of their ids; only for records without a manifest"
    )
    for flag in _DERIVED:
        group.add_argument(flag, help=argparse.SUPPRESS)


def _add_validation(group) -> None:
    group.add_argument("--val-period", type=int, metavar="N", help="epochs between validations (default 1)")
    group.add_argument("--overlap", type=float, metavar="X", help="IoU of a right detection (default 0.5)")
    add_switch(group, "--voc07", default=None, help="11-point average precision (default: the area)")
    group.add_argument("--nms", type=float, metavar="X", help="IoU of non-maximum suppression (default 0.45)")
    group.add_argument(
        "--nms-topk", "--nms_topk", type=int, metavar="N", help="candidates before it (default 400)"
    )
    add_switch(group, "--force", default=None, help="suppress across classes (default: off)")
    add_switch(group, "--use-difficult", default=None, help="count difficult objects in validation")


def _add_run(group) -> None:
    group.add_argument(
        "--prefix", default="output/exp1/ssd", metavar="PREFIX", help="where the detector is saved"
    )
    group.add_argument(
        "--gpus", metavar="0,1", help="GPUs; '' is the CPU, cpu:2 two CPU contexts (default: all there are)"
    )
    add_switch(group, "--cpu", default=False, help="compute on the CPU whatever GPUs there are")
    add_kv_store_flags(group)
    add_switch(
        group,
        "--amp",
        default=None,
        help="convolutions compute in float16, the rest and the weights in float32; NVIDIA GPUs (default: off)",
    )
    group.add_argument("--seed", type=int, metavar="N", help="of parameters and record order (default 0)")
    group.add_argument(
        "--checkpoint-period",
        type=int,
        metavar="N",
        help="keep every N-th epoch besides last and best (default: none)",
    )
    group.add_argument(
        "--log", default="train.log", metavar="FILE", help="name of the log in the prefix's folder"
    )
    group.add_argument(
        "--frequent",
        type=int,
        metavar="N",
        help="batches between updates of the bar, and between the points of TensorBoard's curves (default 20, or a"
        " fifth of an epoch where that is less)",
    )


def _add_watching(group) -> None:
    add_switch(
        group,
        "--tensorboard",
        default=None,
        help="write curves, validation pictures and texts for TensorBoard into the folder logs beside the prefix;"
        " a resumed run is watched as before",
    )
    group.add_argument(
        "--monitor",
        type=int,
        metavar="N",
        help="every N batches look at weights, gradients and activations: histograms with --tensorboard, else"
        " lines in the log; 0 is off (default)",
    )
    group.add_argument(
        "--pattern",
        metavar="REGEX",
        help="what --monitor looks at, by the beginning of the name (default all)",
    )

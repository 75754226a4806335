"""The flags of optimiser, schedule, matching and loss."""

from __future__ import annotations

from common.command import parse_numbers
from train.optimizer import OPTIMIZERS
from train.schedule import SCHEDULES


def add_optimiser_flags(group) -> None:
    """Add the flags of optimiser and schedule to a parser, or a group of one."""
    group.add_argument("--optimizer", metavar="NAME", help=f"{', '.join(OPTIMIZERS)} (default sgd)")
    group.add_argument(
        "--lr",
        type=float,
        metavar="X",
        help="at Caffe's loss scale: a quarter of mxnet-ssd's (default: network's)",
    )
    group.add_argument("--momentum", type=float, metavar="X", help="of sgd (default 0.9)")
    group.add_argument("--wd", type=float, metavar="X", help="weight decay (default 0.0005)")
    group.add_argument(
        "--clip-gradient",
        type=float,
        metavar="X",
        help="bound of each gradient element; 0 is off (default 5)",
    )
    group.add_argument("--lr-schedule", metavar="NAME", help=f"{', '.join(SCHEDULES)} (default multi-step)")
    group.add_argument(
        "--lr-steps", type=parse_numbers, metavar="A,B", help="epochs of multi-step (default 80,160)"
    )
    group.add_argument("--lr-factor", type=float, metavar="X", help="of multi-step (default 0.1)")
    group.add_argument("--warmup-epochs", type=float, metavar="X", help="linear warm-up (default 0)")
    group.add_argument("--end-epoch", type=int, metavar="N", help="epochs of the whole run (default 240)")


def add_loss_flags(group) -> None:
    """Add the flags of matching and loss to a parser, or a group of one."""
    group.add_argument(
        "--overlap-threshold",
        type=float,
        metavar="X",
        help="least IoU of a matched default box (default 0.5)",
    )
    group.add_argument(
        "--negative-ratio", type=float, metavar="X", help="hard negatives for each positive (default 3)"
    )
    group.add_argument(
        "--min-neg-samples",
        "--min_neg_samples",
        type=int,
        metavar="N",
        help="least negatives of an image, images without objects included (default 3)",
    )
    group.add_argument(
        "--mining", metavar="WHERE", help="rank negatives by image or by batch (default image)"
    )

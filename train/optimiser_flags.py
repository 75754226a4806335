"""The flags of optimiser, schedule, matching and loss."""

from __future__ import annotations

from common.command import add_switch, parse_numbers
from symbol.loss import MATCHINGS
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
    add_switch(
        group,
        "--lr-scale-by-batch",
        default=None,
        help="take --lr for a batch of 32 images and multiply it by batch / 32 (default: off)",
    )
    group.add_argument("--momentum", type=float, metavar="X", help="of sgd and nag (default 0.9)")
    add_switch(group, "--nesterov", default=None, help="Nesterov's momentum: sgd becomes nag (default: off)")
    group.add_argument(
        "--wd",
        type=float,
        metavar="X",
        help="weight decay (default 0.0005; of adadelta 0: no rate scales it)",
    )
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
    group.add_argument("--lr-factor", type=float, metavar="X", help="of multi-step and plateau (default 0.1)")
    group.add_argument(
        "--plateau-patience",
        type=int,
        metavar="N",
        help="plateau cuts the rate after that many validations without a better mAP, or, without --val-path, epochs"
        " without a better loss (default 8)",
    )
    group.add_argument(
        "--min-lr", type=float, metavar="X", help="plateau cuts to this at the least (default 0)"
    )
    group.add_argument("--warmup-epochs", type=float, metavar="X", help="linear warm-up (default 0)")
    group.add_argument("--end-epoch", type=int, metavar="N", help="epochs of the whole run (default 240)")
    _add_early_stopping(group)


def _add_early_stopping(group) -> None:
    group.add_argument(
        "--early-stopping",
        type=int,
        metavar="PATIENCE",
        help="end the run after that many validations without a better mAP, or, without --val-path, epochs without a"
        " better loss; 0 is off (default)",
    )
    group.add_argument(
        "--min-epochs", type=int, metavar="N", help="epochs before a run may end early (default 0)"
    )
    group.add_argument(
        "--min-delta",
        type=float,
        metavar="X",
        help="an improvement is more than this, for plateau and early stopping (default 0)",
    )


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
    group.add_argument(
        "--matching",
        metavar="HOW",
        help=f"{' or '.join(MATCHINGS)}: bipartite gives each object its best default box alone, as an"
        " --overlap-threshold above 1 does (default multi)",
    )
    group.add_argument(
        "--neutral-iou",
        type=float,
        metavar="X",
        help="default boxes without an object whose best IoU is X or more are ignored, and no negatives; 0 is off"
        " (default)",
    )
    group.add_argument(
        "--label-smoothing",
        type=float,
        metavar="X",
        help="share of each class target that goes to all classes, background too; 0 is off (default)",
    )
    group.add_argument(
        "--loc-weight",
        type=float,
        metavar="X",
        help="weight of the localisation loss against the classification loss (default 1)",
    )

"""The flags that say what a run starts from, and what of it stays as it is."""

from __future__ import annotations

from common.command import add_switch


def add_start_flags(group) -> None:
    """Add the flags of a run's start to a parser, or a group of one."""
    group.add_argument(
        "--pretrained",
        metavar="PREFIX",
        help="start from what fits of these parameters; imagenet: from the backbone's ImageNet weights"
        " (model/download.py fetches them); '' starts anew (default)",
    )
    group.add_argument(
        "--finetune",
        metavar="PREFIX[:EPOCH]",
        help="start from this detector, with the records' classes: heads of classes that both know are kept, network"
        " and settings are the detector's own; a bare number is that epoch of --prefix, and --out says the new prefix;"
        " -1 is off (default)",
    )
    group.add_argument("--out", metavar="PREFIX", help="where a run by --finetune N is saved")
    add_switch(
        group,
        "--reset-heads",
        default=False,
        help="--finetune without what the heads have learned of boxes and classes",
    )
    group.add_argument(
        "--finetune-class-names",
        metavar="A,B|FILE",
        help="what the classes of --finetune's detector are called, in the order of their ids (default: by its card)",
    )
    group.add_argument(
        "--epoch", metavar="N", help="which epoch of --pretrained or --finetune (default best, else last)"
    )
    group.add_argument(
        "--resume",
        nargs="?",
        const="last",
        metavar="N|last",
        help="go on with the run of --prefix, bit for bit; other flags are not needed",
    )
    group.add_argument(
        "--freeze", metavar="REGEX", help="parameters to leave as they are, by the beginning of the name"
    )
    add_switch(group, "--freeze-base", default=None, help="leave the backbone as it is")
    add_switch(
        group, "--freeze-all-but-heads", default=None, help="leave backbone and extra blocks as they are"
    )
    for part, what in (("base", "the backbone"), ("extra", "the extra blocks"), ("head", "the heads")):
        group.add_argument(
            f"--{part}-lr",
            type=float,
            metavar="X",
            help=f"learning rate of {what}; 0 freezes (default: --lr)",
        )
    add_switch(group, "--overwrite", default=False, help="replace a detector that lies at --prefix")

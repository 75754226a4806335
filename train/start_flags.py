"""The flags that say what a run starts from, and what of it stays as it is."""

from __future__ import annotations

from common.command import add_switch


def add_start_flags(group) -> None:
    """Add the flags of a run's start to a parser, or a group of one."""
    group.add_argument(
        "--pretrained",
        metavar="PREFIX",
        help="start from what fits of these parameters; '' starts anew (default)",
    )
    group.add_argument("--epoch", metavar="N", help="which epoch of --pretrained (default best, else last)")
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
    add_switch(group, "--overwrite", default=False, help="replace a detector that lies at --prefix")

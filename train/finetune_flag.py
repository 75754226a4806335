"""What --finetune says: PREFIX, PREFIX:EPOCH, mxnet-ssd's bare epoch number, or -1 and 0 for nothing."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from pathlib import Path

from common.errors import ConfigError

_OFF = ("", "-1", "0")


def is_asked(text: str | None) -> bool:
    """Tell whether --finetune asks for something; mxnet-ssd's -1 and 0 do not."""
    return (text or "").strip() not in _OFF


def settled(args: argparse.Namespace, prefix: str, argv: list[str]) -> tuple[argparse.Namespace, str]:
    """Return what to start from and where to save, once they are two.

    mxnet-ssd's bare number keeps its meaning: that epoch of --prefix; --out says where the run is saved.

    Args:
        args: parsed flags; not changed.
        prefix: of the run by --prefix.
        argv: the flags as they were typed, for the message.

    Returns:
        (flags with PREFIX:EPOCH in place of the number, the prefix to save by).

    Raises:
        ConfigError: --out is missing, or stands where nobody reads it; or the run would be saved over its source.
    """
    text = (args.finetune or "").strip()
    is_number = is_asked(text) and text.isdecimal()
    if is_number and not args.out:
        folder = Path(prefix).parent
        beside = folder.with_name(f"{folder.name}_finetuned") if folder.name else Path("finetuned")
        typed = shlex.join(["python", "train.py", *argv, "--out", str(beside / Path(prefix).name)])
        raise ConfigError(
            f"--finetune {text}: epoch {text} of --prefix {prefix} is to start from, and the new run needs a prefix of"
            f" its own: {typed}"
        )
    if args.out and not is_number:
        raise ConfigError(
            f"--out {args.out}: belongs to --finetune with a bare epoch number; --prefix says where a run is saved"
        )
    if is_number:
        if not Path(args.out).name or args.out.endswith(("/", os.sep)):
            raise ConfigError(f"--out {args.out}: expected a path that ends in a name, like output/exp2/ssd")
        text, prefix = f"{prefix}:{int(text)}", args.out
        args = argparse.Namespace(**{**vars(args), "finetune": text})
    if is_asked(text) and place_of(split_source(text)[0]) == place_of(prefix):
        flag = "--out" if is_number else "--prefix"
        raise ConfigError(
            f"{flag} {prefix}: is what --finetune starts from, and would be overwritten: give another {flag}"
        )
    return args, prefix


def split_source(text: str) -> tuple[str, str | None]:
    """Split PREFIX[:EPOCH]; a colon of which no epoch follows belongs to the prefix."""
    prefix, colon, epoch = text.strip().rpartition(":")
    if colon and prefix and re.fullmatch(r"\d+|best|last", epoch.lower()):
        return prefix, epoch.lower()
    return text.strip(), None


def same_source(has: str, given: str) -> bool:
    """Tell whether what --finetune says is what a run was started from; without an epoch it is any of them."""
    (old, old_epoch), (new, new_epoch) = split_source(has), split_source(given)
    return place_of(old) == place_of(new) and new_epoch in (None, old_epoch)


def beside_resume(has: str, text: str | None) -> tuple[str, str | None]:
    """Return (what a run was started from, what --finetune says beside --resume where that is something else)."""
    return has, None if not is_asked(text) or (has and same_source(has, text)) else text


def place_of(prefix: str) -> Path:
    """Return a prefix's one path, links in it followed."""
    return Path(prefix).parent.resolve() / Path(prefix).name

"""Whether records and a model mean the same classes: a wrong id trains, and scores, without a word.

Used by `RecordDataset.check_classes`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from common.errors import RecordError


def check_same_names(path: str | os.PathLike, found: Sequence[str], wanted: Sequence[str]) -> None:
    """Hold the class names of records to a model's.

    Args:
        path: of the records.
        found: names in the records, in the order of the ids.
        wanted: of the model.

    Raises:
        RecordError: names or order differ.
    """
    if tuple(found) != tuple(wanted):
        raise RecordError(
            f"{path}: the records' classes are {_shorten(found)}, the model's are {_shorten(wanted)}:"
            f" {_difference(found, wanted)}; pack the data again with --class-names {','.join(wanted)},"
            " or take records of the model's classes (a converted model gets other names by converting again)"
        )


def check_largest_id(path: str | os.PathLike, largest: int, wanted: Sequence[str]) -> None:
    """Hold the ids of records without class names to a model's number of classes.

    Args:
        path: of the records.
        largest: class id in the records.
        wanted: class names of the model.

    Raises:
        RecordError: the model has no such class.
    """
    if largest >= len(wanted):
        raise RecordError(
            f"{path}: class id {largest}, but the model has {_shorten(wanted)}, ids 0..{len(wanted) - 1}:"
            " take the records, or the class names, of the same data set"
        )


def _shorten(names: Sequence[str]) -> str:
    """Return class names for a message."""
    return f"{len(names)} ({', '.join(names[:8])}{', ...' if len(names) > 8 else ''})"


def _difference(found: Sequence[str], wanted: Sequence[str]) -> str:
    """Say how two lists of class names differ."""
    if sorted(found) == sorted(wanted):
        return "the same names in another order"
    pairs = enumerate(zip(found, wanted))
    index = next((i for i, pair in pairs if pair[0] != pair[1]), min(len(found), len(wanted)))
    ends = [repr(names[index]) if index < len(names) else "nothing" for names in (found, wanted)]
    return f"they differ first at id {index}, {ends[0]} in the records and {ends[1]} in the model"

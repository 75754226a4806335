"""The training iterator's errors: which records are damaged, which MXNet's iterator does not say.

Used by dataset/iterator.py. The iterator drops a record with a damaged frame in silence, and reports an image that it
cannot decode long before, or batches after, that image's turn, without its name.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from common import images
from common.errors import ConfigError, RecordError, SSDError
from dataset.epochs import Segment
from dataset.record_io import MAGIC, REPACK
from dataset.records import RecordDataset

_MOST_NAMED = 8  # damaged records in a message


def read_whole(dataset: RecordDataset, index: int) -> bytes:
    """Return a record as it stands in the file, its frame checked.

    Args:
        dataset: the packed records.
        index: position of the record.

    Raises:
        RecordError: MXNet would not take these bytes for one record.
    """
    raw = dataset.read_raw(index)
    magic, word = struct.unpack("<II", raw[:8])
    kind, length = word >> 29, word & (1 << 29) - 1
    # Kind 0 is a whole record, kind 1 the first part of one that is cut where it holds the magic number itself.
    if magic != MAGIC or kind > 1 or (kind == 0 and 8 + length + -length % 4 != len(raw)):
        raise RecordError(f"{dataset.where(index)}: its frame is damaged: copy the file again, or {REPACK}")
    return raw


def decoding_error(dataset: RecordDataset, segment: Segment, error: Exception) -> RecordError:
    """Return the error that names the damaged records among those that MXNet could not decode.

    Args:
        dataset: the packed records.
        segment: where it stumbled; every image of it is looked at.
        error: what it said.
    """
    names = []
    for index in map(int, np.unique(np.concatenate(segment.batches))):
        try:
            images.load(dataset.read_parts(index).image, "image")
        except SSDError:
            name, number = dataset.name(index), f"record {dataset.keys[index]}"
            names.append(number if name == number else f"{name} ({number})")
    shown = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
    found = f"damaged: {shown}" if names else f"MXNet says: {_first_line(error)}"
    return RecordError(
        f"{dataset.path}: a record cannot be decoded; {found}: tools/inspect_records.py --verify looks at all of them;"
        f" {REPACK}"
    )


def check_folder(folder: Path) -> None:
    """Refuse a folder whose name MXNet would take for something else than a path.

    Raises:
        ConfigError: it holds such a sign.
    """
    found = [sign for sign in "#;?" if sign in str(folder)]
    if found:
        raise ConfigError(
            f"{folder}: MXNet cannot read records from a folder with {found[0]!r} in its name: choose another"
        )


def writing_error(folder: Path, size: int, error: OSError) -> ConfigError:
    """Return the error for a copy of records that cannot be written.

    Args:
        folder: where.
        size: the most bytes that all copies there take.
        error: what the system said.
    """
    return ConfigError(
        f"{folder}: the shuffled copy of the records cannot be written ({error.strerror or error}): it takes up to"
        f" {max(1, size >> 20)} MB; free space or choose another folder"
    )


def _first_line(error: Exception) -> str:
    """Return the line of an MXNet error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next(
        (line for line in lines if "Error" in line or "Check failed" in line), lines[0] if lines else "ended"
    )

"""Where each record of a .rec file begins: from its .idx, or by going through the file.

Used by `dataset.records`. An .idx is text, key and position on each line.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.errors import RecordError
from common.files import describe
from dataset.record_io import REPACK, RecordFile, read_label

_REMEDY = f"remove it (the index is then found by reading the records), or {REPACK}"


def read_index(path: Path, file: RecordFile) -> tuple[list[int], np.ndarray]:
    """Read an .idx file.

    Args:
        path: of the .idx.
        file: the records that it is of.

    Returns:
        Keys and positions (R,) int64, in the order of the positions.

    Raises:
        RecordError: it is no index, or not of this file.
    """
    try:
        data = path.read_bytes()
        lines = [line.split() for line in data.decode("ascii").splitlines() if line.strip()]
        keys, offsets = [int(line[0]) for line in lines], np.array([int(line[1]) for line in lines], np.int64)
    except OSError as error:
        raise RecordError(f"{path}: the index cannot be read ({error.strerror or error})") from error
    except (ValueError, IndexError, OverflowError) as error:
        raise RecordError(f"{path}: not an index of records: it is {describe(data)}: {_REMEDY}") from error
    if not keys:
        raise RecordError(f"{path}: the index is empty: {_REMEDY}")
    if len(set(keys)) != len(keys):
        raise RecordError(f"{path}: the index names a key twice: {_REMEDY}")
    order = np.argsort(offsets, kind="stable")
    offsets = offsets[order]
    gaps = np.diff(np.append(offsets, file.size))
    if offsets[0] != 0 or (offsets % 4).any() or (gaps < 8).any():
        raise RecordError(f"{path}: its positions do not fit {file.path} of {file.size} bytes: {_REMEDY}")
    return [keys[index] for index in order], offsets


def scan_index(file: RecordFile) -> tuple[list[int], np.ndarray]:
    """Find the records of a file without an .idx.

    Returns:
        Keys (as the records say; 0, 1, 2, ... where those are not unique) and positions (R,) int64.

    Raises:
        RecordError: the file is damaged.
    """
    keys, offsets, offset = [], [], 0
    while offset < file.size:
        end = file.end(offset)
        keys.append(read_label(file, offset, f"{file.path}: byte {offset}").key)
        offsets.append(offset)
        offset = end
    if len(set(keys)) != len(keys):
        keys = list(range(len(keys)))
    return keys, np.array(offsets, np.int64)


def read_names(path: Path) -> dict[int, str]:
    """Return the image path of each record key in a .lst file; lines that say nothing of the kind are passed over."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    parts = [line.rstrip("\r").split("\t") for line in lines]
    return {int(part[0]): part[-1] for part in parts if len(part) > 2 and part[0].isdigit()}

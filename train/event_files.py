"""TensorBoard's event files, taken apart: where a run resumes, the events that it will write again are dropped.

An event file is a row of records in TFRecord's frame: length (8 bytes), its checksum (4), the event, its checksum (4);
numbers are little-endian, checksums are CRC-32C, masked. An event is a protobuf message, of which only the step and
whether it carries a summary are read here, so that nothing of TensorBoard's is needed.

Only files of our own name are touched: another program's in the same folder stay as they are.
Source: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from common import files

log = logging.getLogger(__name__)

_POLYNOMIAL = 0x82F63B78  # CRC-32C, bits reversed
_MASK = 0xA282EAD8
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_BLOCK = 1 << 20  # bytes copied at once
_STEP, _SUMMARY = 2, 5  # field numbers of an Event
_FIXED_WIDTHS = {1: 8, 5: 4}  # protobuf's wire types of a fixed number of bytes
# TensorBoard reads a folder's files by the order of their names; `.ssd` marks ours.
_OWN = re.compile(r"events\.out\.tfevents\.(\d{10})\.ssd")


class DamagedEvent(ValueError):
    """Bytes that are no whole event."""


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _crc_table()


def masked_crc32c(data: bytes) -> int:
    """Return TFRecord's checksum of some bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


@dataclass(frozen=True)
class Event:
    """Where an event stands in its file, and what decides whether it stays.

    Attributes:
        begin: of its record, in bytes from the file's start.
        end: one past its record.
        step: as it was logged.
        summary: whether it carries values; the first event of a file has none.
    """

    begin: int
    end: int
    step: int
    summary: bool


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return protobuf's number of variable length at a place, and the place after it."""
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at
    raise DamagedEvent("a number without an end")


def _parse(payload: bytes) -> tuple[int, bool]:
    """Return (step, whether there is a summary) of an Event message; raises DamagedEvent where it is none."""
    at, step, summary = 0, 0, False
    while at < len(payload):
        key, at = _varint(payload, at)
        field, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(payload, at)
            step = value if field == _STEP else step
        elif kind == 2:
            length, at = _varint(payload, at)
            summary, at = summary or field == _SUMMARY, at + length
        elif kind in _FIXED_WIDTHS:
            at += _FIXED_WIDTHS[kind]
        else:
            raise DamagedEvent(f"a field of kind {kind}")
    if at != len(payload):
        raise DamagedEvent("a field that is longer than its event")
    return (step - (1 << 64) if step >> 63 else step), summary  # int64


def read_events(stream: BinaryIO, size: int) -> Iterator[Event]:
    """Read the whole events from a file's start; what follows the last of them is not read.

    Every length is held to its checksum. An event is held to its own only where it is the file's last, the one that a
    killed run or a full disk may have left in part: the sums of all would take minutes for a long run's pictures.

    Args:
        stream: the file, opened for reading.
        size: of the file in bytes.
    """
    begin = 0
    while begin < size:
        header = stream.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return
        length, crc = _HEADER.unpack(header)
        end = begin + _HEADER.size + length + _FOOTER.size
        if crc != masked_crc32c(header[:8]) or end > size:
            return
        payload, footer = stream.read(length), stream.read(_FOOTER.size)
        if end == size and _FOOTER.unpack(footer)[0] != masked_crc32c(payload):
            return
        try:
            step, summary = _parse(payload)
        except DamagedEvent:
            return
        yield Event(begin, end, step, summary)
        begin = end


def drop_from(path: Path, step: int) -> int:
    """Drop the events of a file from a step on, and what no reader could read at its end.

    A file that keeps no values is removed. One that does not begin with an event is left as it is, with a warning.

    Args:
        path: the file, which nobody writes to.
        step: the first that is dropped.

    Returns:
        How many events were dropped.

    Raises:
        OSError: the file cannot be read or removed.
        ConfigError: it cannot be written.
    """
    size = path.stat().st_size
    with open(path, "rb") as stream:
        events = list(read_events(stream, size))
        if size and not events:
            log.warning(f"{path}: not a whole event of TensorBoard's in it: left as it is")
            return 0
        kept = [event for event in events if not event.summary or event.step < step]
        if not any(event.summary for event in kept):
            path.unlink()
        elif sum(event.end - event.begin for event in kept) < size:
            with files.atomic_path(path) as temporary, open(temporary, "wb") as target:
                _copy(stream, target, kept)
    return len(events) - len(kept)


def _copy(stream: BinaryIO, target: BinaryIO, events: list[Event]) -> None:
    """Copy events from file to file, neighbours together."""
    spans: list[list[int]] = []
    for event in events:
        if spans and spans[-1][1] == event.begin:
            spans[-1][1] = event.end
        else:
            spans.append([event.begin, event.end])
    for begin, end in spans:
        stream.seek(begin)
        while begin < end:
            block = stream.read(min(_BLOCK, end - begin))
            if not block:
                raise OSError(f"{stream.name}: became shorter while it was read")
            target.write(block)
            begin += len(block)


def own_files(folder: Path) -> list[Path]:
    """Return our event files in a folder, in the order in which they were begun; none where there is no folder."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(path for path in folder.iterdir() if _OWN.fullmatch(path.name))
    return []


def remove_half_written(folder: Path) -> None:
    """Remove the copies that a run killed inside `drop_from` left."""
    files.remove_half_written(folder, "events.out.tfevents.*.ssd")


def next_name(folder: Path) -> str:
    """Return the name of a new event file: after those that are there, also where the clock was set back."""
    last = max((int(_OWN.fullmatch(path.name).group(1)) for path in own_files(folder)), default=0)
    return f"events.out.tfevents.{max(int(time.time()), last + 1):010d}.ssd"


def others(folder: Path) -> list[Path]:
    """Return the event files of other programs in a folder."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        names = sorted(os.listdir(folder))
        return [folder / name for name in names if "tfevents" in name and not _OWN.fullmatch(name)]
    return []

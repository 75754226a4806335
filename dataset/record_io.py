"""The RecordIO container, byte by byte: one record written, one record read at a position.

Stands under packing and `RecordDataset`. MXNet's own reader keeps a position, so threads cannot share it, and it drops
a record whose first magic number is damaged without a word; this one reads at positions and says what it finds.

Source: dmlc-core `include/dmlc/recordio.h`, `src/recordio.cc`; MXNet `python/mxnet/recordio.py` (IRHeader).
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from common.errors import RecordError
from common.files import describe

REPACK = "pack the data again with tools/prepare_dataset.py"

MAGIC = 0xCED7230A
_MAGIC_BYTES = struct.pack("<I", MAGIC)
_FRAME = struct.Struct("<II")  # magic, kind << 29 | length
_HEADER = struct.Struct("<IfQQ")  # number of label floats, label of a plain class, id, second id
_LENGTH_MASK = (1 << 29) - 1
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)


@dataclass(frozen=True)
class RawRecord:
    """A record taken apart.

    Attributes:
        key: the header's id.
        label: the label's bytes, float32 little endian.
        image: the image file's bytes.
    """

    key: int
    label: bytes
    image: bytes


def pack_record(key: int, label: bytes, image: bytes) -> bytes:
    """Return the payload of a record: header, label, image.

    Args:
        key: the record's id.
        label: float32 little endian, at least one number.
        image: the image file's bytes.
    """
    return _HEADER.pack(len(label) // 4, 0.0, key, 0) + label + image


def frame_record(payload: bytes) -> bytes:
    """Return a payload as it stands in the file: framed, cut where it holds the magic number itself, and padded.

    Args:
        payload: from `pack_record`, under 512 MB.

    Raises:
        RecordError: the payload is too long for the format.
    """
    if len(payload) > _LENGTH_MASK:
        raise RecordError(
            f"a record of {len(payload)} bytes: the format ends at {_LENGTH_MASK}; use --resize-short"
        )
    cuts, begin = [], payload.find(_MAGIC_BYTES)
    while begin >= 0:
        # The format looks at whole words of 4 bytes only.
        if begin % 4 == 0:
            cuts.append(begin)
            begin = payload.find(_MAGIC_BYTES, begin + 4)
        else:
            begin = payload.find(_MAGIC_BYTES, begin + 1)
    parts, start = [], 0
    for cut in cuts:
        parts.append(
            _FRAME.pack(MAGIC, (_MIDDLE if parts else _FIRST) << 29 | (cut - start)) + payload[start:cut]
        )
        start = cut + 4
    kind = _LAST if parts else _WHOLE
    parts.append(_FRAME.pack(MAGIC, kind << 29 | (len(payload) - start)) + payload[start:])
    return b"".join(parts) + bytes(-len(payload) % 4)


class RecordFile:
    """A .rec file open for reading at positions; any number of threads may read at once.

    Args:
        path: the file.

    Raises:
        RecordError: it cannot be opened, or does not begin as such a file.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = path
        try:
            self._stream: BinaryIO = open(path, "rb", buffering=0)  # noqa: SIM115 (open as long as the object lives)
        except OSError as error:
            raise RecordError(
                f"{path}: records cannot be read ({error.strerror or error})"
                f"{_hint(path) or ': tools/prepare_dataset.py packs records'}"
            ) from error
        self.size = os.fstat(self._stream.fileno()).st_size
        try:
            beginning = self.read_at(0, 512)
        except OSError as error:  # a folder, on some systems
            raise RecordError(f"{path}: records cannot be read ({error.strerror or error})") from error
        if beginning[:4] != _MAGIC_BYTES:
            self.close()
            hint = _hint(path) or f": copy it again, or {REPACK}"
            raise RecordError(f"{path}: expected a RecordIO file (.rec), found {describe(beginning)}{hint}")

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def read_at(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from a position, fewer only at the file's end."""
        parts = []
        while length > 0:
            part = os.pread(self._stream.fileno(), length, offset)
            if not part:
                break
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
        return b"".join(parts)

    def parts(self, offset: int) -> list[tuple[int, int]]:
        """Return where the parts of the record at a position lie: [(position, length)].

        Raises:
            RecordError: there is no whole record.
        """
        parts = []
        while True:
            kind, length = self._frame(offset)
            if kind not in ((_MIDDLE, _LAST) if parts else (_WHOLE, _FIRST)):
                raise RecordError(
                    f"{self.path}: byte {offset}: a part of kind {kind} out of turn, the file is damaged"
                )
            parts.append((offset + 8, length))
            offset += 8 + length + -length % 4
            if offset > self.size:
                raise RecordError(
                    f"{self.path}: cut short: a record ends at byte {offset}, the file at {self.size}"
                )
            if kind in (_WHOLE, _LAST):
                return parts

    def end(self, offset: int) -> int:
        """Return where the record at a position ends, padding included.

        Raises:
            RecordError: there is no whole record.
        """
        begin, length = self.parts(offset)[-1]
        return begin + length + -length % 4

    def payload(self, offset: int) -> bytes:
        """Return the payload of the record at a position.

        Raises:
            RecordError: there is no whole record.
        """
        pieces = [self.read_at(begin, length) for begin, length in self.parts(offset)]
        return _MAGIC_BYTES.join(pieces)

    def _frame(self, offset: int) -> tuple[int, int]:
        """Read the 8 bytes before a part: (kind, length)."""
        frame = self.read_at(offset, 8)
        if len(frame) < 8:
            raise RecordError(
                f"{self.path}: cut short: byte {offset} should begin a record, the file ends before"
            )
        magic, word = _FRAME.unpack(frame)
        if magic != MAGIC:
            raise RecordError(
                f"{self.path}: byte {offset}: found {frame[:4].hex(' ')} where a record begins with"
                f" {_MAGIC_BYTES.hex(' ')}: the file is damaged, or the .idx belongs to another"
            )
        return word >> 29, word & _LENGTH_MASK


def _hint(path: str | os.PathLike) -> str:
    """Return the name of the .rec file that was meant, if there is one, as the end of a message."""
    meant = Path(path).with_suffix(".rec")
    return f"; did you mean {meant}?" if meant != Path(path) and meant.is_file() else ""


def unpack_record(payload: bytes, where: str) -> RawRecord:
    """Take a payload apart; the inverse of `pack_record`.

    Args:
        payload: from `RecordFile.payload`.
        where: file and record, for messages.

    Raises:
        RecordError: the payload is shorter than its header says.
    """
    if len(payload) < _HEADER.size:
        raise RecordError(
            f"{where}: {len(payload)} bytes, a header alone has {_HEADER.size}: the file is damaged"
        )
    floats, _, key, _ = _HEADER.unpack_from(payload)
    end = _HEADER.size + 4 * floats
    if end > len(payload):
        raise RecordError(
            f"{where}: the label should have {floats} numbers, the record has {len(payload)} bytes"
        )
    return RawRecord(key, payload[_HEADER.size : end], payload[end:])


def read_label(file: RecordFile, offset: int, where: str) -> RawRecord:
    """Read key and label of a record without its image, which stays empty.

    Args:
        file: open.
        offset: where the record begins.
        where: file and record, for messages.

    Raises:
        RecordError: there is no whole record, or it is shorter than its header says.
    """
    begin, length = file.parts(offset)[0]
    head = file.read_at(begin, min(length, 4096))
    floats = _HEADER.unpack_from(head)[0] if len(head) >= _HEADER.size else 0
    end = _HEADER.size + 4 * floats
    if floats and end <= length:
        head += file.read_at(begin + len(head), end - len(head))
        record = unpack_record(head[:end], where)
        return RawRecord(record.key, record.label, b"")
    record = unpack_record(
        file.payload(offset), where
    )  # the label itself is cut by the magic number, or is damaged
    return RawRecord(record.key, record.label, b"")

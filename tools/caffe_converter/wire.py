"""Protobuf's wire format, read without making a message: where each field of a binary file lies.

caffemodel.py walks files of some hundred megabytes with it. A file is foreign: every length is held to the bytes that
are there before anything is made of it, and the number of fields to a budget, so that neither time nor memory can grow
beyond the file's honest content.

Source: protobuf's encoding (varints of 7 bits, lowest first; a tag is number * 8 + wire type).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)
_FIXED = {FIXED64: 8, FIXED32: 4}
_MAX_VARINT = 10  # bytes that 64 bits take
MAX_FIELDS = 100_000  # of one file; a ResNet-152 has some 10,000


class WireError(Exception):
    """Bytes that are no protobuf message, with the offset at which that shows."""


class Field(NamedTuple):
    """A field of a message.

    Attributes:
        number: as the schema has it.
        kind: wire type.
        tag: offset of the field in the file, tag included.
        start: offset of its content.
        end: offset behind it.
    """

    number: int
    kind: int
    tag: int
    start: int
    end: int


class Walker:
    """Walks the fields of messages in one buffer, with one budget for all of them."""

    def __init__(self, data: bytes, budget: int = MAX_FIELDS):
        self.data = data
        self._left = budget

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """Give the fields of the message that lies from `start` to `end`.

        Raises:
            WireError: the bytes are no message, end too early, or hold more fields than the budget allows.
        """
        position = start
        while position < end:
            self._left -= 1
            if self._left < 0:
                raise WireError(f"more than {MAX_FIELDS} fields")
            tag_at = position
            tag, position = self._varint(position, end)
            number, kind = tag >> 3, tag & 7
            if not number or number >= 1 << 29:
                raise WireError(f"byte {tag_at}: field number {number}")
            position, stop = self._content(kind, position, end)
            yield Field(number, kind, tag_at, position, stop)
            position = stop

    def _content(self, kind: int, position: int, end: int) -> tuple[int, int]:
        """Return where the content of a field begins and ends."""
        if kind == BYTES:
            length, start = self._varint(position, end)
        elif kind == VARINT:
            return position, self._varint(position, end)[1]
        elif kind in _FIXED:
            length, start = _FIXED[kind], position
        else:  # groups are not in this format, 6 and 7 in none
            raise WireError(f"byte {position}: wire type {kind}")
        if length > end - start:
            raise WireError(f"byte {position}: {length} bytes announced, {end - start} left")
        return start, start + length

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        """Return a number and the offset behind it."""
        value = 0
        for count in range(_MAX_VARINT):
            if position + count >= end:
                raise WireError(f"byte {position}: ends in the midst of a number")
            byte = self.data[position + count]
            value |= (byte & 0x7F) << (7 * count)
            if byte < 0x80:
                return value, position + count + 1
        raise WireError(f"byte {position}: a number of more than {_MAX_VARINT} bytes")

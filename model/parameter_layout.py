"""The layout of MXNet's `.params` files, walked through before MXNet reads one.

MXNet believes every length that a file states: one wrong digit makes it ask for any amount of memory, or run for
minutes. Files that a card names are held to their hash; this is for those without one.

Source: MXNet 1.9.1 `src/ndarray/ndarray.cc` (NDArray::Save, Load, LegacyLoad); dmlc-core's serializer for the names.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import BinaryIO

_LIST_MAGIC = 0x112
_V1_MAGIC, _V2_MAGIC, _V3_MAGIC = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
# float32, 64, 16, uint8, int32, 8, 64, bool, bfloat16
_ITEM_SIZES = {0: 4, 1: 8, 2: 2, 3: 1, 4: 4, 5: 1, 6: 8, 7: 1, 12: 2}
_MOST_DIMENSIONS = 32
_CPU_KINDS = (1, 3, 5)  # cpu, pinned, shared: of where the array was; GPUs are 2
_GPU = 2
_MOST_DEVICES = 64


class LayoutError(ValueError):
    """A file that is not laid out as it should be; the message is the reason."""


def check_layout(path: Path) -> None:
    """Hold every length in a parameter file to the file's size.

    Args:
        path: the file; any version of the format.

    Raises:
        LayoutError: a length does not fit, or a kind of array is not one of a detector's.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as stream:
        reader = _Reader(stream, path.stat().st_size)
        if reader.number("<Q") != _LIST_MAGIC:
            raise LayoutError("it does not begin as such a file")
        reader.number("<Q")
        count = reader.number("<Q")
        for _ in range(reader.fitting(count, 4)):
            _skip_array(reader)
        if reader.number("<Q") != count:
            raise LayoutError(f"it has {count} arrays and not as many names")
        for _ in range(count):
            reader.skip(reader.number("<Q"))
        if reader.left:
            raise LayoutError(f"{reader.left} bytes follow its end")


class _Reader:
    """A file read from its beginning, never beyond its end."""

    def __init__(self, stream: BinaryIO, size: int):
        self._stream = stream
        self.left = size

    def number(self, form: str) -> int:
        size = struct.calcsize(form)
        self.fitting(size)
        self.left -= size
        return struct.unpack(form, self._stream.read(size))[0]

    def skip(self, size: int) -> None:
        self.left -= self.fitting(size)
        self._stream.seek(size, 1)

    def fitting(self, count: int, size: int = 1) -> int:
        """Return `count` if so many things of `size` bytes can still follow."""
        if not 0 <= count * size <= self.left:
            raise LayoutError(f"it states {count * size} more bytes where {self.left} are left")
        return count


def _skip_array(reader: _Reader) -> None:
    """Read past one array."""
    magic = reader.number("<I")
    if magic in (_V2_MAGIC, _V3_MAGIC) and reader.number("<i") != 0:
        raise LayoutError("a sparse array")
    old = magic not in (_V1_MAGIC, _V2_MAGIC, _V3_MAGIC)
    dimensions = magic if old else reader.number("<i")
    if not 0 < dimensions <= _MOST_DIMENSIONS:
        raise LayoutError(f"an array of {dimensions} dimensions")
    shape = [reader.number("<I" if old else "<q") for _ in range(dimensions)]
    if min(shape) < 1:
        raise LayoutError(f"an array of the shape {shape}")
    kind, number, item = reader.number("<i"), reader.number("<i"), reader.number("<i")
    if kind not in (*_CPU_KINDS, _GPU) or not 0 <= number < _MOST_DEVICES or item not in _ITEM_SIZES:
        raise LayoutError(f"an array on device {kind}:{number} of type {item}")
    reader.skip(math.prod(shape) * _ITEM_SIZES[item])

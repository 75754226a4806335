"""Checksums as publishers state them, in full or by their first digits."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass

from common.errors import ConfigError

_DIGITS = {"sha1": 40, "sha256": 64}
_FEWEST_DIGITS = 8  # as gluoncv puts into its files' names


@dataclass(frozen=True)
class Checksum:
    """A checksum as published.

    Attributes:
        algorithm: "sha1" or "sha256".
        digits: hexadecimal, the whole checksum or its first 8 digits or more.
    """

    algorithm: str
    digits: str

    def __post_init__(self):
        whole = _DIGITS.get(self.algorithm)
        if whole is None:
            raise ConfigError(f"checksum {self.algorithm!r}: expected {' or '.join(_DIGITS)}")
        if not re.fullmatch(rf"[0-9a-f]{{{_FEWEST_DIGITS},{whole}}}", self.digits):
            raise ConfigError(
                f"{self.algorithm} {self.digits!r}: expected {_FEWEST_DIGITS} to {whole} hexadecimal digits, lower case"
            )

    def of(self, path: str | os.PathLike) -> str:
        """Return this kind of checksum of a file, all its digits."""
        digest = hashlib.new(self.algorithm)
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
        return digest.hexdigest()

    def matches(self, path: str | os.PathLike) -> bool:
        """Tell whether a file has this checksum."""
        return self.of(path).startswith(self.digits)

    def __str__(self):
        return f"{self.algorithm} {self.digits}"

"""Names for files and folders that users' class names and pictures give rise to: possible everywhere, each once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_LONGEST = 150  # bytes of 255: a temporary name, a number and an ending come on top
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\ud800-\udfff]')  # by Windows, or by UTF-8
_RESERVED = re.compile(
    r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE
)  # devices of Windows


class TakenNames:
    """Gives each name once: a second one gets "-2", case not counted, since some file systems fold it."""

    def __init__(self):
        self._taken: set[str] = set()
        self._numbers: Counter[str] = Counter()  # by stem: those below were tried, and stay taken

    def new(self, stem: str, ending: str = "") -> str:
        """Return stem and ending, with the stem's next free number between them where that name is taken.

        Args:
            stem: of the name; its numbers are counted over all endings.
            ending: to come after a number, such as ".png".
        """
        result, key = f"{stem}{ending}", stem.casefold()
        while result.casefold() in self._taken:
            self._numbers[key] += 1
            result = f"{stem}-{self._numbers[key] + 1}{ending}"
        self._taken.add(result.casefold())
        return result


def folder_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Return a folder's name for each class: the class name where it can be one, all different."""
    names = TakenNames()
    return tuple(names.new(_safe(name)) for name in class_names)


def _safe(name: str) -> str:
    """Return a name that every file system takes: no separators, no device, no dot or space at an end."""
    name = shortened(_FORBIDDEN.sub("_", name))
    name = re.sub(r"^[\s.]+|[\s.]+$", lambda match: "_" * len(match.group()), name)
    return f"_{name}" if not name or _RESERVED.fullmatch(name) else name


def file_name(name: str) -> str:
    """Return a picture's name as the beginning of a file's name: short enough, and leading nowhere else."""
    return shortened(re.sub(r"[/\\\x00]", "_", name)) or "_"


def shortened(name: str) -> str:
    """Cut a name at so many bytes, between two characters."""
    data = name.encode("utf-8", "surrogateescape")
    return name if len(data) <= _LONGEST else data[:_LONGEST].decode("utf-8", "ignore")

"""COCO's results file, written as detections come: one list of all images, whole or not there.

Source: https://cocodataset.org/#format-results
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from common.errors import ConfigError
from common.files import atomic_path, check_place
from common.structures import Detections
from detect.out_folder import same_file

_KEYS = ("image_id", "category_id", "bbox", "score")  # of a result
_IN_MEMORY = 1 << 26  # bytes; then on disk: a day of video gives more than memory holds


class ResultsFile:
    """Collects results and writes them at the end.

    Args:
        path: of the file; one that is there must be a results file.
        not_these: files that are read, which it must not replace.
        nor_these: files that the demo itself writes.

    Raises:
        ConfigError: it cannot be written there, or would replace something else.
    """

    def __init__(
        self, path: str | os.PathLike, not_these: Iterable[Path] = (), nor_these: Iterable[Path] = ()
    ):
        self.path, self.count = Path(path), 0
        check_place(path)
        if any(same_file(path, other) for other in not_these):
            raise ConfigError(f"--save-results {path}: is a file to be read: choose another name")
        if any(same_file(path, other) for other in nor_these):
            raise ConfigError(f"--save-results {path}: the demo writes that file itself: choose another name")
        if os.path.lexists(path) and not holds_results(path):
            raise ConfigError(
                f"--save-results {path}: is there already and no results file: choose another name"
            )
        self._lines = tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+b")  # noqa: SIM115 (closed by `close`)

    def add(self, found: Detections, image_id: int | str, category_ids: Sequence[int]) -> None:
        """Add an image's detections, in pixels; ids as for `Detections.to_coco`."""
        for entry in found.to_coco(image_id, tuple(category_ids)):
            start = ",\n" if self.count else ""
            line = json.dumps(entry, ensure_ascii=False, allow_nan=False)
            self._lines.write((start + line).encode("utf-8", "replace"))
            self.count += 1

    def write(self) -> None:
        """Write the file.

        Raises:
            ConfigError: the disk is full.
        """
        self._lines.seek(0)
        with atomic_path(self.path) as temporary, open(temporary, "wb") as stream:
            stream.write(b"[")
            shutil.copyfileobj(self._lines, stream)
            stream.write(b"]\n")

    def close(self) -> None:
        """Let go of what was collected."""
        self._lines.close()


def holds_results(path: str | os.PathLike) -> bool:
    """Tell whether a file is empty or begins like results in COCO's form: a list of nothing, or of a result."""
    if not Path(path).is_file():  # reading a pipe would wait for ever
        return False
    try:
        with open(path, "rb") as stream:
            head = stream.read(4096).decode("utf-8-sig", "replace")
    except OSError:
        return False
    if re.fullmatch(r"\s*|\s*\[\s*\]\s*", head):
        return True
    start = re.match(r"\s*\[\s*(?=\{)", head)
    try:
        first = json.JSONDecoder().raw_decode(head, start.end())[0] if start else {}
    except (ValueError, RecursionError):
        return False
    return set(_KEYS) <= set(first)

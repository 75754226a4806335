"""The folder of `--out`: a result may take the place of what an earlier demo wrote there, and of nothing else.

detections.json in it lists by "written" the files that this and earlier runs wrote; what is there and not listed is
somebody's. The list is brought up to date before the work, so that a run that was killed can be repeated.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from common.errors import ConfigError
from common.files import write_json

SUMMARY = "detections.json"
_OURS = ("model", "class_names")  # keys of a detections.json that the demo wrote


def same_file(one: str | os.PathLike, other: str | os.PathLike) -> bool:
    """Tell whether two paths are one file, also through links, or would be where neither is there yet.

    Names that differ in case only count as one as long as one of them is missing: some file systems fold it.
    """
    try:
        return os.path.samefile(one, other)
    except OSError:
        return os.path.realpath(one).casefold() == os.path.realpath(other).casefold()


def check_targets(paths: Iterable[Path], folder: str | os.PathLike) -> None:
    """Make sure that results replace nothing that the demo did not write.

    Args:
        paths: of the results, in `folder`; detections.json goes without saying.
        folder: of `--out`.

    Raises:
        ConfigError: a file is there that no earlier run lists, or a detections.json of something else.
    """
    before = _written(_summary(Path(folder)))
    for path in paths:
        if os.path.lexists(path) and not any(_is_entry(path, name) for name in before):
            raise ConfigError(
                f"--out {folder}: {path} is there already and the demo did not write it: choose another folder"
            )


def announce(paths: Iterable[Path], folder: str | os.PathLike, about: dict) -> None:
    """List results in detections.json before they are written; the rest of an earlier one stays until the end.

    Args:
        paths: as for `check_targets`, which they have passed.
        folder: of `--out`.
        about: what a new detections.json begins with.
    """
    summary = _summary(Path(folder))
    write_summary(paths, folder, summary or {**about, "images": [], "failed": []})


def write_summary(paths: Iterable[Path], folder: str | os.PathLike, summary: dict) -> None:
    """Write detections.json: a run's `summary`, and under "written" the names of its results and of earlier ones."""
    names = {*_written(_summary(Path(folder))), *(path.name for path in paths)}
    write_json(Path(folder) / SUMMARY, {**summary, "written": sorted(names)})


def _summary(folder: Path) -> dict:
    """Return what an earlier run wrote into detections.json; {} where there is none.

    Raises:
        ConfigError: it is something else.
    """
    path = folder / SUMMARY
    if not os.path.lexists(path):
        return {}
    try:
        data = json.loads(path.read_bytes()) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or not all(key in data for key in _OURS):
        raise ConfigError(
            f"--out {folder}: {path} is there already and the demo did not write it: choose another folder"
        )
    return data


def _written(summary: dict) -> set[str]:
    """Return the names of the files that a detections.json lists, also one from before there was "written"."""
    names = {name for name in _list(summary.get("written")) if isinstance(name, str)}
    entries = [*_list(summary.get("images")), summary.get("video")]
    for entry in (entry for entry in entries if isinstance(entry, dict)):
        names.update(
            entry[key] for key in ("picture", "video", "detections") if isinstance(entry.get(key), str)
        )
    return names


def _list(value: object) -> list:
    return value if isinstance(value, list) else []


def _is_entry(path: Path, name: str) -> bool:
    """Tell whether a path has that name, or one of another case where the file system folds it."""
    if path.name == name:
        return True
    return path.name.casefold() == name.casefold() and same_file(path, path.parent / name)

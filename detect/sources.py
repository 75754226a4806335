"""Which pictures to look at: names and folders as a command line gives them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.errors import ConfigError, ImageError, did_you_mean
from common.images import EXTENSIONS


def find_images(images: Sequence[str], folder: str | None = None, extension: str | None = None) -> list[Path]:
    """Return the picture files that are meant, each once.

    Args:
        images: comma lists of names; none takes every picture in the folder, sorted by name.
        folder: where the names lie; None takes them as paths.
        extension: appended to names that do not end in it, for example ".jpg".

    Raises:
        ConfigError: nothing is named, the folder is missing, or holds no picture.
        ImageError: a file is missing.
    """
    if folder is not None and not Path(folder).is_dir():
        raise ConfigError(f"--dir {folder}: no such folder")
    if not images and folder is None:
        raise ConfigError("no pictures: give --images with names, or --dir with a folder")
    if not images:
        return _all_in(Path(folder))
    names = [name for text in images for name in _split(text, Path(folder or ""))]
    if not names:
        raise ConfigError("--images is empty: give names with commas between them")
    paths = [Path(folder or "") / _with_extension(name, extension) for name in names]
    for path in paths:
        _check_file(path)
    return list(dict.fromkeys(paths))


def _all_in(folder: Path) -> list[Path]:
    """Return the pictures that lie in a folder itself, sorted by name."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS and path.is_file())
    if not found:
        raise ConfigError(
            f"--dir {folder}: no picture in it ({', '.join(EXTENSIONS)}); folders inside are not entered"
        )
    return found


def _split(text: str, folder: Path) -> list[str]:
    """Split a comma list of names; a file whose own name has a comma is taken as it is."""
    if (folder / text).is_file():
        return [text]
    return [name.strip() for name in text.split(",") if name.strip()]


def _with_extension(name: str, extension: str | None) -> str:
    if not extension:
        return name
    extension = extension if extension.startswith(".") else f".{extension}"
    return name if name.lower().endswith(extension.lower()) else name + extension


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ConfigError(f"{path}: a folder, not a picture: give it by --dir")
    if not path.is_file():
        there = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, there)
        raise ImageError(f"{path}: no such file{hint if 'did you' in hint else ''}")

"""What to look at: pictures, a video, a camera or a stream, as a command line names them."""

from __future__ import annotations

import argparse
import glob
import os
from collections.abc import Sequence
from pathlib import Path

from common.errors import ConfigError, ImageError, did_you_mean
from common.images import EXTENSIONS

_KINDS = ("images", "video", "camera", "url", "serve")  # --dir goes with --images
_VIDEOS = (
    ".mp4",
    ".mov",
    ".mkv",
    ".avi",
    ".m4v",
    ".webm",
    ".ts",
    ".mpg",
    ".mpeg",
    ".wmv",
)  # told apart by name
_LIST = ".txt"  # a file that names pictures


def kind_of_source(args: argparse.Namespace) -> str:
    """Return which one of the sources flags choose: "images", "video", "camera", "url" or "serve"; "" for none.

    Args:
        args: with all of those, and `dir`.

    Raises:
        ConfigError: there are several.
    """
    given = {
        "images": bool(args.images) or args.dir is not None,
        "video": args.video is not None,
        "camera": args.camera is not None,
        "url": args.url is not None,
        "serve": bool(args.serve),
    }
    kinds = [kind for kind in _KINDS if given[kind]]
    if len(kinds) > 1:
        flags = ["--dir" if kind == "images" and not args.images else f"--{kind}" for kind in kinds]
        raise ConfigError(f"{' and '.join(flags)}: one kind of source at a time: leave out all but one")
    return kinds[0] if kinds else ""


def find_images(images: Sequence[str], folder: str | None = None, extension: str | None = None) -> list[Path]:
    """Return the picture files that are meant, each once.

    Args:
        images: comma lists of names, patterns with * ? [] or ** (any depth), and text files (.txt) with a name on each
            line; none takes every picture in the folder, sorted by name.
        folder: where the names lie; None takes them as paths, those in a text file from its folder, else from here.
        extension: appended to names that do not end in it, for example ".jpg".

    Raises:
        ConfigError: nothing is named, the folder is missing, or holds no picture.
        ImageError: a file is missing.
    """
    if folder is not None and not Path(folder).is_dir():
        raise ConfigError(f"--dir {folder}: {'not a' if Path(folder).exists() else 'no such'} folder")
    if not images and folder is None:
        raise ConfigError("no pictures: give --images with names, or --dir with a folder")
    if not images:
        return _all_in(Path(folder))
    names = [name for text in images for name in _split(text, Path(folder or ""))]
    if not names:
        raise ConfigError("--images is empty: give names with commas between them")
    paths = [path for name in names for path in _files(name, folder, extension)]
    return list(dict.fromkeys(paths))


def _all_in(folder: Path) -> list[Path]:
    """Return the pictures that lie in a folder itself, sorted by name."""
    try:
        found = sorted(path for path in folder.iterdir() if _is_picture(path))
    except OSError as error:
        raise ConfigError(
            f"--dir {folder}: cannot be read ({error.strerror or error}): check who may read it"
        ) from error
    if not found:
        raise ConfigError(
            f"--dir {folder}: no picture in it ({', '.join(EXTENSIONS)}); folders inside are not entered"
        )
    return found


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and path.is_file()


def _split(text: str, folder: Path) -> list[str]:
    """Split a comma list of names; a file whose own name has a comma is taken as it is."""
    if (folder / text).is_file():
        return [text]
    return [name.strip() for name in text.split(",") if name.strip()]


def _files(name: str, folder: str | None, extension: str | None) -> list[Path]:
    """Return the files that one name means: itself, the lines of a list, or what a pattern fits."""
    if Path(name).suffix.lower() == _LIST:
        return _listed(_list_file(name, folder), folder, extension)
    path = Path(folder or "") / _with_extension(name, extension)
    if glob.has_magic(name) and not path.is_file():
        return _fitting(name, folder)
    _check_file(path)
    return [path]


def _fitting(pattern: str, folder: str | None) -> list[Path]:
    """Return the pictures that a pattern fits, sorted."""
    whole = os.path.join(glob.escape(folder), pattern) if folder else pattern
    found = sorted(path for path in map(Path, glob.glob(whole, recursive=True)) if _is_picture(path))
    if not found:
        raise ConfigError(f"--images {pattern}: no picture fits it ({', '.join(EXTENSIONS)})")
    return found


def _list_file(name: str, folder: str | None) -> Path:
    """Return the path of a text file of names, which may lie here or in the folder."""
    paths = [Path(name), *([Path(folder) / name] if folder else [])]
    for path in paths:
        if path.is_file():
            return path
    raise ImageError(f"{name}: no such list of pictures (a text file with a name on each line)")


def _listed(file: Path, folder: str | None, extension: str | None) -> list[Path]:
    """Return the pictures that a text file names, one on each line; empty lines are passed over."""
    try:
        data = file.read_bytes().removeprefix(b"\xef\xbb\xbf")  # the mark (BOM) of Windows editors
    except OSError as error:
        raise ConfigError(f"{file}: list cannot be read ({error.strerror or error})") from error
    if b"\0" in data:
        raise ConfigError(f"{file}: not a list of pictures: expected text with a name on each line")
    paths = []
    for number, line in enumerate(data.splitlines(), start=1):
        name = os.fsdecode(line).strip()  # names of files need not be UTF-8
        if not name:
            continue
        name = _with_extension(name, extension)
        places = [Path(folder) / name] if folder else [file.parent / name, Path(name)]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise ImageError(
                f"{file}, line {number}: no such picture: {' or '.join(map(str, dict.fromkeys(places)))}"
            )
        paths.append(path)
    if not paths:
        raise ConfigError(f"{file}: names no picture: give one on each line")
    return paths


def _with_extension(name: str, extension: str | None) -> str:
    if not extension:
        return name
    extension = extension if extension.startswith(".") else f".{extension}"
    return name if name.lower().endswith(extension.lower()) else name + extension


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ConfigError(f"{path}: a folder, not a picture: give it by --dir")
    if path.is_file() and path.suffix.lower() in _VIDEOS:
        raise ConfigError(f"{path}: a video, not a picture: give it by --video")
    if not path.is_file():
        there = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, there)
        raise ImageError(f"{path}: no such file{hint if 'did you' in hint else ''}")

"""Where a data set of Pascal VOC's form keeps its files: folders, image sets, and the image of an id.

Used by the reader (`dataset.voc`). Two layouts: the VOCdevkit with a folder for each year, and any single folder with
Annotations, JPEGImages and ImageSets/Main (or ImageSets).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from common.errors import AnnotationError, ConfigError, did_you_mean
from common.images import EXTENSIONS

_CLASS_FLAG = re.compile(r"\s+(-1|0|1)$")  # VOC's sets of one class: "000012  -1"


def find_folders(root: str | os.PathLike, years: Sequence[str] = ()) -> list[Path]:
    """Return the folders that hold Annotations, one for each year, or the one there is.

    Args:
        root: a VOCdevkit, the folder above it, or a single folder of VOC's form.
        years: for example ("2007", "2012"); empty takes the root itself, or its only VOC folder.

    Raises:
        ConfigError: there is no such folder, or several and no year says which.
    """
    root = Path(root)
    if not root.is_dir():
        raise ConfigError(f"--root {root}: no such folder")
    if not years and (root / "Annotations").is_dir():
        return [root]
    devkit = root / "VOCdevkit" if (root / "VOCdevkit").is_dir() else root
    present = sorted(path.name[3:] for path in devkit.glob("VOC*") if (path / "Annotations").is_dir())
    if not years and len(present) == 1:
        return [devkit / f"VOC{present[0]}"]
    if not years:
        raise ConfigError(
            f"--root {root}: no folder Annotations here"
            + (f"; add --year {','.join(present)}" if present else "")
        )
    if len(years) == 1 and root.name == f"VOC{years[0]}" and (root / "Annotations").is_dir():
        return [root]
    for year in years:
        if year not in present:
            raise ConfigError(
                f"--year {year}: no folder {devkit / f'VOC{year}'}{did_you_mean(year, present)}"
            )
    return [devkit / f"VOC{year}" for year in years]


def pair_sets(folders: Sequence[Path], image_sets: Sequence[str]) -> list[tuple[Path, str]]:
    """Pair folders (years) with image sets; a single one of either goes with all of the other.

    Args:
        folders: from `find_folders`.
        image_sets: for example ("trainval", "test").

    Raises:
        ConfigError: the two lists have different lengths, both over 1, or one is empty.
    """
    count = max(len(folders), len(image_sets))
    if not folders or not image_sets or not {len(folders), len(image_sets)} <= {1, count}:
        raise ConfigError(
            f"--year and --set must have as many entries as each other, or one; found {len(folders)} and"
            f" {len(image_sets)}"
        )
    folders = list(folders) * count if len(folders) == 1 else folders
    image_sets = list(image_sets) * count if len(image_sets) == 1 else image_sets
    return list(zip(folders, image_sets))


def read_image_set(folder: Path, image_set: str) -> list[str]:
    """Return the ids of an image set, in the file's order.

    Args:
        folder: with ImageSets/Main or ImageSets.
        image_set: name of the text file, without .txt.

    Raises:
        ConfigError: there is no such set, or it is not text.
    """
    places = [folder / "ImageSets" / "Main", folder / "ImageSets"]
    path = next(
        (place / f"{image_set}.txt" for place in places if (place / f"{image_set}.txt").is_file()), None
    )
    if path is None:
        present = sorted({file.stem for place in places for file in place.glob("*.txt")})
        raise ConfigError(
            f"--set {image_set}: no {image_set}.txt in {places[0]} or {places[1]}{did_you_mean(image_set, present)};"
            " it is a text file with the name of an image, without its ending, on each line"
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: not a list of image ids: not UTF-8 text ({error.reason})") from error
    annotations = folder / "Annotations"
    return [_image_id(line.strip(), annotations) for line in lines if line.strip()]


def _image_id(line: str, annotations: Path) -> str:
    """Return the id that a line of an image set names: as it is, without a class flag, without an extension."""
    plain = _CLASS_FLAG.sub("", line)
    candidates = [line, plain]
    candidates += [
        name[: -len(Path(name).suffix)] for name in candidates if Path(name).suffix.lower() in EXTENSIONS
    ]
    try:
        return next((name for name in candidates if (annotations / f"{name}.xml").is_file()), plain)
    except (OSError, ValueError):  # no file can have such a name
        return plain


class ImageFinder:
    """Finds the image files of ids in a folder, whatever the case of their names and extensions.

    Args:
        folder: for example VOC2007/JPEGImages.
    """

    def __init__(self, folder: str | os.PathLike):
        self._folder = Path(folder)
        self._names: dict[Path, dict[str, list[str]]] = {}

    def find(self, image_id: str, filename: str = "") -> Path | None:
        """Return the image of an id: the id's own file first, then what the annotation's <filename> says.

        Args:
            image_id: file name without extension, may hold folders.
            filename: as the annotation states it; its folder is ignored.

        Returns:
            The path, or None. Of several files of one id, the one <filename> names, else by the order of EXTENSIONS.
        """
        own = self._folder / image_id
        stated = Path(filename.replace("\\", "/")).name
        names = [own.name + extension for extension in EXTENSIONS]
        if Path(stated).stem.lower() == own.name.lower():
            names.insert(0, stated)
        for name in names:
            path = self._match(own.parent, name)
            if path is not None:
                return path
        return self._match(own.parent, stated) if stated else None

    def _match(self, folder: Path, name: str) -> Path | None:
        """Return the file of that name in a folder, exactly, else without regard to case."""
        if Path(name).suffix.lower() not in EXTENSIONS:
            return None
        if folder not in self._names:
            self._names[folder] = _list_files(folder)
        matches = self._names[folder].get(name.lower(), [])
        return folder / (name if name in matches else matches[0]) if matches else None


def _list_files(folder: Path) -> dict[str, list[str]]:
    """Return the names of a folder's entries, sorted, by their lower-case form."""
    names: dict[str, list[str]] = {}
    try:
        entries = sorted(os.listdir(folder))
    except (OSError, ValueError):
        entries = []
    for name in entries:
        names.setdefault(name.lower(), []).append(name)
    return names

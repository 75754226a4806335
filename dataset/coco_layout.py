"""Where a data set of COCO's form keeps its files: the annotations of an image set, and the image of an entry.

Used by the reader (`dataset.coco`). COCO's own layout is annotations/instances_SET.json beside a folder SET of images;
others are common, so each place is tried in a fixed order, and what was tried stands in the error.

Source: mxnet-ssd `dataset/mscoco.py` for images/SET and sets like minival2014, whose images lie in val2014.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from common.errors import ConfigError, did_you_mean
from dataset.annotations import relative_path

_PREFIXES = ("instances_", "image_info_", "")
_YEAR = re.compile(r"(\d{4})$")
_OWN_NAME = re.compile(r"COCO_([a-z]+\d{4})_")  # COCO_val2014_000000000042.jpg lies in val2014


def find_annotation_files(
    root: Path, image_sets: Sequence[str], annotations: str | os.PathLike | None = None
) -> list[tuple[str, Path]]:
    """Return the annotation file of each image set.

    Args:
        root: folder of the data set.
        image_sets: for example ("train2017", "val2017").
        annotations: the file itself; at most one image set then names the folder of its images.

    Returns:
        (name of the set, file) in that order.

    Raises:
        ConfigError: the root or a file is not there.
    """
    if not root.is_dir():
        raise ConfigError(f"--root {root}: no such folder")
    if annotations is None:
        if not image_sets:
            raise ConfigError(f"--set: name an image set{did_you_mean('', _present_sets(root))}")
        return [(name, _find_set(root, name)) for name in image_sets]
    if len(image_sets) > 1:
        raise ConfigError(
            f"--annotations {annotations}: one file is one image set, --set names {len(image_sets)}: call once for each"
        )
    path = _first_file([Path(annotations), root / annotations])
    if path is None:
        raise ConfigError(
            f"--annotations {annotations}: no such file; tried {annotations} and {root / annotations}"
        )
    return [(image_sets[0] if image_sets else set_of(path), path)]


def _find_set(root: Path, name: str) -> Path:
    """Return the annotation file of an image set, in COCO's layout or a common other one."""
    folders = (root / "annotations", root)
    places = [folder / f"{prefix}{name}.json" for prefix in _PREFIXES for folder in folders]
    places += [
        root / name / "_annotations.coco.json",
        root / name / f"{name}.json",
        root / name / "labels.json",
    ]
    path = _first_file(places)
    if path is None:
        raise ConfigError(
            f"--set {name}: no annotations of that set{did_you_mean(name, _present_sets(root))}; tried in {root}:"
            f" {', '.join(relative_path(path, root) for path in places)}; give the file by --annotations"
        )
    return path


def _first_file(places: Iterable[Path]) -> Path | None:
    """Return the first of some paths that is a file."""
    for path in places:
        try:
            if path.is_file():
                return path
        except (OSError, ValueError):  # no file can have such a name
            continue
    return None


def _present_sets(root: Path) -> list[str]:
    """Return the image sets that a data set's folder has annotations of."""
    files = [*root.glob("annotations/*.json"), *root.glob("*.json"), *root.glob("*/_annotations.coco.json")]
    return sorted({set_of(path) for path in files})


def set_of(path: Path) -> str:
    """Return the image set that an annotation file is named after."""
    if path.name == "_annotations.coco.json":
        return path.parent.name
    prefix = next(prefix for prefix in _PREFIXES if path.stem.startswith(prefix))
    return path.stem[len(prefix) :]


class ImageFinder:
    """Finds the images that a file of annotations names; each folder is listed once.

    Args:
        root: folder of the data set.
        image_set: name of the set.
        annotation_file: whose images are wanted.
        file_names: of all images of the file, to know which of their last parts are unambiguous.

    Attributes:
        folders: that are searched, in order.
    """

    def __init__(self, root: Path, image_set: str, annotation_file: Path, file_names: Iterable[str]):
        self._root = root
        own = [root / image_set, root / "images" / image_set, root / image_set / "images"]
        shared = [root, root / "images", root / "data", annotation_file.parent, annotation_file.parent.parent]
        year = _YEAR.search(image_set)
        # A folder of the set's own name says that the images of other sets are others, though named alike.
        has_own = any(folder.is_dir() for folder in own)
        splits = (
            [f"{split}{year.group(1)}" for split in ("train", "val", "test")] if year and not has_own else []
        )
        self._others = self._both(splits)
        self.folders = list(dict.fromkeys([*own, *shared, *self._others]))
        self._fixed = [str(folder) for folder in dict.fromkeys([*own, *shared])]
        self._last_parts = Counter(_last_part(name) for name in file_names)
        self._listed: dict[str, frozenset[str]] = {}

    def find(self, file_name: str, url: str = "") -> list[Path]:
        """Return where an image lies: nothing where it is missing, several paths where it is ambiguous.

        Args:
            file_name: as the entry states it, maybe with folders in front.
            url: the address (coco_url), which ends in COCO's folder and name of the image.
        """
        names = [file_name, file_name.replace("\\", "/")]
        last = _last_part(file_name)
        if self._last_parts[last] == 1:
            names.append(last)
        names = list(dict.fromkeys(names))
        hinted = [str(folder) for folder in self._both(_hints(last, url))]
        for name in names:
            for folder in (*self._fixed, *hinted):
                if self._has(folder, name):
                    return [Path(folder, name)]
        for name in names:
            found = [folder / name for folder in self._others if self._has(str(folder), name)]
            if found:
                return found
        return []

    def _both(self, splits: Sequence[str]) -> list[Path]:
        """Return the folders of some sets, directly below the root or below images."""
        return [base / split for split in splits for base in (self._root, self._root / "images")]

    def _has(self, folder: str, name: str) -> bool:
        """Tell whether a folder holds a file of that name, which may have folders in front."""
        last = name.rpartition("/")[2]
        place = os.path.join(folder, name[: len(name) - len(last)])  # an absolute name stays absolute
        if place not in self._listed:
            try:
                self._listed[place] = frozenset(os.listdir(place))
            except (OSError, ValueError):
                self._listed[place] = frozenset()
        return last in self._listed[place]


def _last_part(file_name: str) -> str:
    """Return a file name without the folders in front of it, of whatever system."""
    return file_name.replace("\\", "/").rpartition("/")[2]


def _hints(last: str, url: str) -> list[str]:
    """Return the sets in whose folders COCO itself keeps an image, by its name and its address."""
    own = _OWN_NAME.match(last)
    hints = [own.group(1)] if own else []
    if url.count("/") > 3:  # http://images.cocodataset.org/val2017/000000000139.jpg
        hints.append(url.split("/")[-2])
    return hints

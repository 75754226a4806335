"""The numbers of images and classes in COCO's results: a file's own name, or what a truth file says.

COCO names its images after their ids ("000000000139.jpg", "COCO_val2014_000000000042.jpg"), so results on its test
sets can be submitted without a truth file but for the category ids, which have gaps.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from common.errors import ConfigError, did_you_mean
from common.files import read_json

_NUMBERED = re.compile(
    r"(?:COCO_[a-z]+[0-9]{4}_)?([0-9]{1,18})"
)  # more digits are a hash, and no 64-bit number


def image_id_of(path: str | os.PathLike) -> int | str:
    """Return the image id that a file's name states: the number that it is, else the name without its ending."""
    stem = Path(path).stem
    numbered = _NUMBERED.fullmatch(stem)
    return int(numbered.group(1)) if numbered else stem


class TruthIds:
    """Image ids and category ids of a data set.

    Args:
        path: of the truth file, for messages.
        images: file name as the data set states it -> id.
        category_ids: the data set's number of each class of the detector.
    """

    def __init__(self, path: str, images: dict[str, int | str], category_ids: tuple[int, ...]):
        self.category_ids = category_ids
        self._path = path
        self._by_name: dict[str, list[tuple[tuple[str, ...], int | str]]] = {}
        for name, image_id in images.items():
            parts = PurePosixPath(name.replace("\\", "/")).parts
            self._by_name.setdefault(parts[-1] if parts else "", []).append((parts, image_id))

    @classmethod
    def read(cls, path: str, class_names: Sequence[str]) -> TruthIds:
        """Read a truth file.

        Args:
            path: of COCO's instances or image_info, or of NAME.gt.json.
            class_names: of the detector, in the order of their ids.

        Raises:
            ConfigError: it is missing or something else, or lacks a class of the detector.
        """
        data = read_json(path, "truth in COCO's form", ConfigError)
        try:
            images = {str(image["file_name"]): image["id"] for image in data["images"]}
            categories = {str(entry["name"]): entry["id"] for entry in data["categories"]}
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"--truth {path}: not the truth of a data set in COCO's form: expected"
                ' {"images": [{"id", "file_name"}], "categories": [{"id", "name"}]}'
            ) from error
        for name in class_names:
            if name not in categories:
                raise ConfigError(
                    f"--truth {path}: has no category {name!r}, a class of the detector{did_you_mean(name, categories)}"
                )
        return cls(path, images, tuple(categories[name] for name in class_names))

    def image_id(self, source: str | os.PathLike) -> int | str:
        """Return the id of a file; where several have its name, of the one whose folders agree as well.

        Raises:
            ConfigError: there is no such image, or no telling which.
        """
        parts = Path(source).absolute().parts
        same = self._by_name.get(parts[-1], [])
        if len(same) > 1:
            same = [entry for entry in same if entry[0] == parts[-len(entry[0]) :]]
        if len(same) != 1:
            found = f"{len(same)} images of that name" if same else "no such image"
            raise ConfigError(
                f"--truth {self._path}: has {found}: {source}; leave the picture out, or --truth"
            )
        return same[0][1]

"""The manifest of packed records, NAME.json: what is in them, how they were made, and the hashes of their files.

It is written last: records with a manifest that fits them are complete. It holds no time and no machine's paths, so
that packing the same data twice gives the same bytes.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common.errors import ConfigError, RecordError
from common.files import read_json, sha256
from common.structures import Sample
from dataset.record_io import REPACK

_log = logging.getLogger(__name__)

FORMAT = "ssd-records"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class RecordPaths:
    """The files of one packed data set.

    Attributes:
        rec: the records.
        idx: record key and position of each.
        lst: mxnet-ssd's list: key, label, image path.
        truth: COCO instances form.
        skipped: what was left out, as CSV.
        manifest: the manifest.
    """

    rec: Path
    idx: Path
    lst: Path
    truth: Path
    skipped: Path
    manifest: Path

    def all(self) -> list[Path]:
        """Return the files, the manifest last."""
        return [self.rec, self.idx, self.lst, self.truth, self.skipped, self.manifest]


def record_paths(target: str | os.PathLike) -> RecordPaths:
    """Return the files of a packed data set.

    Args:
        target: NAME, or NAME with .lst, .rec, .idx or .json.
    """
    target = Path(target)
    name = target.name
    for extension in (".lst", ".rec", ".idx", ".gt.json", ".json"):
        if name.endswith(extension) and name != extension:
            name = name[: -len(extension)]
            break
    extensions = (".rec", ".idx", ".lst", ".gt.json", ".skipped.csv", ".json")
    return RecordPaths(*(target.with_name(name + extension) for extension in extensions))


@dataclass
class Statistics:
    """Counts over the packed records, gathered while they are written."""

    class_names: tuple[str, ...]
    images: int = 0
    without_objects: int = 0
    difficult: int = 0
    crowds: int = 0
    widest: int = 0
    by_class: Counter = field(default_factory=Counter)
    widths: list[int] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)

    def add(self, sample: Sample, in_label: np.ndarray, packed_size: tuple[int, int]) -> None:
        """Count a record.

        Args:
            sample: its truth.
            in_label: (N,) bool, which of its objects stand in the label.
            packed_size: (width, height) of the packed image; the truth's size is the original's.
        """
        self.images += 1
        self.without_objects += int(not in_label.any())
        self.widest = max(self.widest, int(in_label.sum()))
        self.difficult += int(sample.difficult[in_label].sum())
        self.crowds += int(sample.crowd.sum())
        self.by_class.update(int(class_id) for class_id in sample.class_ids[in_label])
        self.widths.append(packed_size[0])
        self.heights.append(packed_size[1])

    def as_dict(self) -> dict:
        """Return the counts for the manifest."""
        return {
            "images": self.images,
            "images_without_objects": self.without_objects,
            "objects": sum(self.by_class.values()),
            "objects_by_class": {name: self.by_class[i] for i, name in enumerate(self.class_names)},
            "difficult": self.difficult,
            "crowds": self.crowds,
            "widest_label": self.widest,
            "image_width": _spread(self.widths),
            "image_height": _spread(self.heights),
        }


def _spread(values: list[int]) -> dict:
    """Return the smallest, middle and largest of some numbers."""
    return {"min": int(min(values)), "median": float(np.median(values)), "max": int(max(values))}


def make_manifest(
    statistics: Statistics,
    *,
    category_ids: tuple[int, ...],
    skipped: dict,
    files: dict[str, Path],
    made_by: dict,
) -> dict:
    """Return a manifest.

    Args:
        statistics: of the records.
        category_ids: the data set's own number of each class.
        skipped: images and objects left out, and how often each reason occurred.
        files: role (rec, idx, lst, truth) -> the finished file, maybe under a temporary name.
        made_by: options of the command, without machine paths.
    """
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "class_names": list(statistics.class_names),
        "category_ids": list(category_ids),
        **statistics.as_dict(),
        "object_width": 6,
        "skipped": skipped,
        "files": {
            role: {"bytes": path.stat().st_size, "sha256": sha256(path)} for role, path in files.items()
        },
        "made_by": made_by,
    }


def read_manifest(path: Path) -> dict:
    """Read a manifest.

    Raises:
        RecordError: it is missing, or not a manifest of a version that this program knows.
    """
    manifest = read_json(path, "manifest of packed records", RecordError)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise RecordError(f"{path}: not a manifest of packed records: {REPACK}, or move the file away")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise RecordError(
            f"{path}: format version {manifest.get('format_version')!r}, this program reads {FORMAT_VERSION}: {REPACK}"
        )
    try:
        complete = (
            all(isinstance(name, str) for name in manifest["class_names"])
            and all(isinstance(manifest[count], int) for count in ("images", "widest_label"))
            and all({"bytes", "sha256"} <= set(manifest["files"][role]) for role in ("rec", "idx", "truth"))
        )
    except (KeyError, TypeError, AttributeError):
        complete = False
    if not complete:
        raise RecordError(f"{path}: the manifest is not complete: {REPACK}")
    return manifest


def check_target(paths: RecordPaths, overwrite: bool, *, quiet: bool = False) -> None:
    """Refuse to write over files that are not a data set packed by this program.

    Args:
        paths: to be written.
        overwrite: write over them all the same.
        quiet: say nothing of an earlier pack that will be replaced.

    Raises:
        ConfigError: there are such files.
    """
    present = [path for path in paths.all() if path.exists()]
    if not present or overwrite:
        return
    try:
        old = read_manifest(paths.manifest)
        if not quiet:
            _log.warning("%s: replaces an earlier pack of %d images", paths.rec, old["images"])
    except RecordError as error:
        raise ConfigError(
            f"{present[0]}: it exists and was not written by this program (no manifest {paths.manifest.name} that"
            " fits): choose another --target, or add --overwrite"
        ) from error

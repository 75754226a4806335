"""Packed records, opened for reading: the detector's evaluation, the training iterator and the reports read here.

Opening is cheap and refuses what is not a whole file of detection records; `scan` reads every label, and
`dataset.verify` every byte. Records of mxnet-ssd, without manifest or .idx and with labels of 5 columns, open as well.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common import boxes as box_ops
from common import images
from common.errors import RecordError
from common.files import sha256
from common.structures import Sample
from dataset.class_names import check_largest_id, check_same_names
from dataset.label_scan import LabelScan, scan_labels
from dataset.labels import HEADER_WIDTH, label_rows, objects_of
from dataset.manifest import read_manifest, record_paths
from dataset.record_index import read_index, read_names, scan_index
from dataset.record_io import REPACK, RawRecord, RecordFile, read_label, unpack_record
from dataset.truth import Truth, read_truth


@dataclass(frozen=True)
class Record:
    """One record.

    Attributes:
        key: its number in the .idx.
        name: of its image.
        image: the image file's bytes.
        label: (N, 6) float32 of (class, xmin, ymin, xmax, ymax, difficult), normalised; N is 0 without objects.
    """

    key: int
    name: str
    image: bytes
    label: np.ndarray


class RecordDataset:
    """A packed data set; any number of threads may read from it.

    Attributes:
        path: of the .rec file.
        manifest: None for records without one.
        class_names: in the order of the ids; () where there is no manifest.
        keys: of the records, in file order.
        record_sizes: (R,) int64, bytes of each record in the file, frame and padding included.

    Args:
        path: the .rec file.

    Raises:
        RecordError: it is missing, is something else, is cut short, or does not fit its .idx or manifest.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._file = RecordFile(self.path)
        self._paths = record_paths(self.path)
        self._label_truths: dict[int, Sample] = {}  # each costs decoding an image
        self.manifest = read_manifest(self._paths.manifest) if self._paths.manifest.exists() else None
        self.class_names = tuple(self.manifest["class_names"]) if self.manifest else ()
        self._check_size()
        index = (
            read_index(self._paths.idx, self._file) if self._paths.idx.exists() else scan_index(self._file)
        )
        self.keys, self._offsets = index
        self.record_sizes = np.diff(np.append(self._offsets, self._file.size)).astype(np.int64)
        self._check_ends()

    def __len__(self) -> int:
        return len(self.keys)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> RecordDataset:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def where(self, index: int) -> str:
        """Return file and record number, for messages."""
        return f"{self.path}: record {self.keys[index]}"

    def name(self, index: int) -> str:
        """Return the name of the image at that position."""
        return self.name_of(self.keys[index])

    def name_of(self, key: int) -> str:
        """Return the name of a record's image, from the .lst or the truth; "record KEY" where neither tells."""
        return self._names.get(key, f"record {key}")

    def read(self, index: int) -> Record:
        """Read the record at a position.

        Args:
            index: 0-based, in file order.

        Raises:
            RecordError: the record is damaged.
        """
        raw = self.read_parts(index)
        rows = label_rows(raw.label, self.where(index))
        return Record(self.keys[index], self.name(index), raw.image, objects_of(rows))

    def read_parts(self, index: int) -> RawRecord:
        """Return the record at a position taken apart, its label not yet looked at.

        Raises:
            RecordError: the record is damaged.
        """
        return unpack_record(self._file.payload(self._offset(index)), self.where(index))

    def read_raw(self, index: int) -> bytes:
        """Return the record at a position as it stands in the file, frame and padding included."""
        return self._file.read_at(self._offset(index), int(self.record_sizes[index]))

    def truth(self, index: int) -> Sample:
        """Return the ground truth of the record at a position, in pixels of the original image (`Sample.size`).

        From NAME.gt.json where there is a manifest, else from the label and the packed image's own size.

        Raises:
            RecordError: the truth is missing or changed, or the record is damaged.
            ImageError: the image cannot be decoded (only without a manifest).
        """
        if self.manifest is None:
            if index not in self._label_truths:
                self._label_truths[index] = self._truth_of_label(index)
            return self._label_truths[index]
        key = self.keys[index]
        self._check_in_truth(key)
        return self._truth.samples[key]

    @property
    def image_ids(self) -> tuple[int, ...]:
        """The number of each image in COCO's form, in file order: the truth's "id"; record keys without a manifest.

        Raises:
            RecordError: the truth is missing or changed.
        """
        if self.manifest is None:
            return tuple(self.keys)
        for key in self.keys:
            self._check_in_truth(key)
        return tuple(self._truth.image_ids[key] for key in self.keys)

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The data set's own number of each class, in the order of the class ids; 1..C where nothing tells.

        () for records without a manifest, whose classes have no names.

        Raises:
            RecordError: the truth is missing or changed.
        """
        return self._truth.category_ids if self.manifest else ()

    @property
    def set_name(self) -> str:
        """The image set as the packing command was told it ("val2017"), else the file's name without .rec."""
        made_by = self.manifest.get("made_by") if self.manifest else None
        told = made_by.get("set") if isinstance(made_by, dict) else None
        return told if isinstance(told, str) and told else self.path.stem

    def sha256(self) -> str:
        """Return the SHA-256 of the .rec file; it is read once."""
        return self._sha256

    def check_hash(self) -> None:
        """Hold the .rec file to its manifest; RecordIO itself has no checksum and a changed byte reads like any other.

        Raises:
            RecordError: the file was changed since it was packed.
        """
        if self.manifest and self._sha256 != self.manifest["files"]["rec"]["sha256"]:
            raise RecordError(
                f"{self.path}: changed since it was packed (its sha256 is not the manifest's):"
                f" tools/inspect_records.py --verify tells what damage shows; copy it again, or {REPACK}"
            )

    def scan(self) -> LabelScan:
        """Read and check every label, once.

        Raises:
            RecordError: a label is damaged, not finite, not normalised, has a class id beyond the class names, or
                another width than the first.
        """
        return self._scan

    @property
    def object_width(self) -> int:
        """Numbers of one object in a label, 5 or 6."""
        return self._first_rows.shape[1]

    @property
    def max_objects(self) -> int:
        """The most objects that a label has, as the manifest says; without one, by reading all labels."""
        return self.manifest["widest_label"] if self.manifest else int(self._scan.counts.max(initial=0))

    @property
    def label_pad_width(self) -> int:
        """Floats of the widest label, header included: what ImageDetRecordIter wants to be told."""
        rows = self.max_objects if self.manifest else self._scan.rows
        return HEADER_WIDTH + self.object_width * max(1, rows)

    def check_classes(self, class_names: Sequence[str]) -> None:
        """Hold the records' classes to those of a model.

        Args:
            class_names: of the model, in the order of its ids.

        Raises:
            RecordError: names or order differ; for records without names, an id is beyond the model's.
        """
        if self.class_names:
            check_same_names(self.path, self.class_names, class_names)
        elif len(self._scan.objects):
            check_largest_id(self.path, int(self._scan.objects[:, 0].max()), class_names)

    def _check_in_truth(self, key: int) -> None:
        """Raise where a record is not in the truth file."""
        if key not in self._truth.samples:
            raise RecordError(f"{self._paths.truth}: record {key} is not in it: {REPACK}")

    def _offset(self, index: int) -> int:
        return int(self._offsets[index])

    def _check_size(self) -> None:
        """Hold the file's size to the manifest."""
        expected = self.manifest["files"]["rec"]["bytes"] if self.manifest else self._file.size
        if self._file.size != expected:
            raise RecordError(
                f"{self.path}: {self._file.size} bytes, its manifest {self._paths.manifest.name} says {expected}:"
                f" the file is cut short, or belongs to another manifest: copy it again, or {REPACK}"
            )

    def _check_ends(self) -> None:
        """Hold the number of records to the manifest, and the first and the last record to the file."""
        if self.manifest and len(self.keys) != self.manifest["images"]:
            raise RecordError(
                f"{self.path}: its index has {len(self.keys)} records, its manifest {self.manifest['images']}: {REPACK}"
            )
        end = self._file.end(self._offset(len(self.keys) - 1))
        if end != self._file.size:
            raise RecordError(
                f"{self.path}: the last record of {self._paths.idx.name} ends at byte {end}, the file at"
                f" {self._file.size}: the .idx belongs to another file: remove it, or {REPACK}"
            )
        self._first_rows  # noqa: B018 (raises where the label is not one of detection)

    @functools.cached_property
    def _sha256(self) -> str:
        return sha256(self.path)

    @functools.cached_property
    def _first_rows(self) -> np.ndarray:
        return label_rows(read_label(self._file, 0, self.where(0)).label, self.where(0))

    @functools.cached_property
    def _truth(self) -> Truth:
        """The truth file, checked against the manifest: an edited one would change the mAP in silence."""
        path = self._paths.truth
        if not path.exists():
            raise RecordError(
                f"{path}: missing, though {self._paths.manifest.name} names it: copy it here, or {REPACK}"
            )
        if sha256(path) != self.manifest["files"]["truth"]["sha256"]:
            raise RecordError(
                f"{path}: changed since it was packed (its sha256 is not the manifest's): {REPACK}"
            )
        return read_truth(path)

    @functools.cached_property
    def _names(self) -> dict[int, str]:
        if self._paths.lst.exists():
            return read_names(self._paths.lst)
        if self.manifest is not None and self._paths.truth.exists():
            return {key: str(sample.image_path) for key, sample in self._truth.samples.items()}
        return {}

    @functools.cached_property
    def _scan(self) -> LabelScan:
        rows = (
            label_rows(read_label(self._file, self._offset(i), self.where(i)).label, self.where(i))
            for i in range(len(self))
        )
        return scan_labels(
            rows, object_width=self.object_width, num_classes=len(self.class_names) or None, where=self.where
        )

    def _truth_of_label(self, index: int) -> Sample:
        record = self.read(index)
        height, width = images.decode(record.image, self.where(index)).shape[:2]
        return Sample(
            image_path=Path(record.name),
            size=(width, height),
            boxes=box_ops.to_pixels(record.label[:, 1:5], width, height),
            class_ids=record.label[:, 0],
            difficult=record.label[:, 5] > 0,
            image_id=record.name,
            source=self.where(index),
        )

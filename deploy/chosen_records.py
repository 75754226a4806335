"""Some of the records of a file, spread evenly over it: what deploy.py calibrates on, and scores on."""

from __future__ import annotations

import numpy as np

from common.structures import Sample
from dataset.record_io import RawRecord
from dataset.records import RecordDataset


class ChosenRecords:
    """Records seen through a choice; `evaluate.run` reads it like the whole.

    Args:
        dataset: the records.
        count: how many at most; None takes all. The same file and number give the same records.
    """

    def __init__(self, dataset: RecordDataset, count: int | None = None):
        whole = len(dataset)
        places = np.linspace(0, whole - 1, min(count or whole, whole)).round().astype(int)
        self.path, self.class_names, self.set_name = dataset.path, dataset.class_names, dataset.set_name
        self.check_classes, self.check_hash = dataset.check_classes, dataset.check_hash
        self.category_ids = dataset.category_ids
        self._dataset, self._places = dataset, [int(place) for place in places]

    def __len__(self) -> int:
        return len(self._places)

    def __str__(self) -> str:
        whole = len(self._dataset)
        return f"{len(self)}{'' if len(self) == whole else f' of {whole}'} images of {self.path}"

    @property
    def image_ids(self) -> tuple[int, ...]:
        """The number of each image in COCO's form."""
        ids = self._dataset.image_ids
        return tuple(ids[place] for place in self._places)

    def where(self, index: int) -> str:
        """Return file and record number, for messages."""
        return self._dataset.where(self._places[index])

    def truth(self, index: int) -> Sample:
        """Return the ground truth of a chosen record; see `RecordDataset.truth`."""
        return self._dataset.truth(self._places[index])

    def read_parts(self, index: int) -> RawRecord:
        """Return a chosen record taken apart; see `RecordDataset.read_parts`."""
        return self._dataset.read_parts(self._places[index])

"""The truth beside packed records, NAME.gt.json: COCO's instances form, so that COCO's own tools read it too.

Written while packing, read for evaluation. It holds what a label cannot: original ids, boxes in pixels of the original
image, areas, crowds. Image ids are the data set's own where they are numbers; COCO's tools want numbers, so
images with other ids are numbered in the order of these. The data set's own id always stands under "name". Older packs
numbered such images by their records, which another seed changes, and those made with
--resize-short have their truth in pixels of the packed image; the size beside the boxes always tells which.

Source: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common import boxes as box_ops
from common.errors import RecordError
from common.files import read_json
from common.structures import Sample


@dataclass(frozen=True)
class Truth:
    """The ground truth of packed records.

    Attributes:
        samples: record key -> Sample, boxes and areas in pixels of `Sample.size`.
        image_ids: record key -> the number of the image in COCO's form.
        category_ids: the data set's own number of each class, in the order of the class ids.
    """

    samples: dict[int, Sample]
    image_ids: dict[int, int]
    category_ids: tuple[int, ...]


class TruthWriter:
    """Collects the truth of records, as text, since objects would take many times the memory.

    Attributes:
        category_ids: the number of each class.

    Args:
        class_names: in the order of the ids.
        category_ids: the data set's own number of each class; empty: 1..C.
        samples: the whole data set, by whose sorted ids images are numbered where those are texts: 1, 2, ...; so the
            numbers do not depend on the order of packing. Empty: the record keys serve.
    """

    def __init__(
        self,
        class_names: tuple[str, ...],
        category_ids: tuple[int, ...] = (),
        samples: Sequence[Sample] = (),
    ):
        self.category_ids = category_ids or tuple(range(1, len(class_names) + 1))
        self._categories = [
            {"id": number, "name": name} for number, name in zip(self.category_ids, class_names)
        ]
        any_text = not all(_is_number(sample.image_id) for sample in samples)
        named = sorted({_name(sample) for sample in samples}) if any_text else []
        self._numbers = {name: number for number, name in enumerate(named, start=1)}
        self._images: list[str] = []
        self._annotations: list[str] = []

    def add(self, key: int, sample: Sample, file_name: str) -> None:
        """Add a record.

        Args:
            key: of the record.
            sample: with boxes in pixels of the original, upright image and that image's size.
            file_name: of the image, relative to the data set's root.
        """
        own = sample.image_id
        image_id = int(own) if _is_number(own) else self._numbers.get(_name(sample), key)
        width, height = sample.size
        image = {"id": image_id, "record": key, "name": sample.image_id, "file_name": file_name}
        self._images.append(_line({**image, "width": width, "height": height}))
        rows = zip(
            sample.class_ids.tolist(),
            box_ops.to_xywh(sample.boxes).tolist(),
            sample.areas.tolist(),
            sample.crowd.tolist(),
            sample.difficult.tolist(),
        )
        for class_id, box, area, crowd, difficult in rows:
            annotation = {
                "id": len(self._annotations) + 1,  # COCO's tools take 0 for "no match"
                "image_id": image_id,
                "category_id": self.category_ids[class_id],
                "bbox": box,
                "area": area,
                "iscrowd": int(crowd),
                "difficult": int(difficult),
            }
            self._annotations.append(_line(annotation))

    def write(self, path: Path) -> None:
        """Write the file, one image or object on each line."""
        with open(path, "w", encoding="utf-8") as stream:
            stream.write('{"images": [\n' + ",\n".join(self._images) + "\n],\n")
            stream.write('"annotations": [\n' + ",\n".join(self._annotations) + "\n],\n")
            stream.write('"categories": ' + _line(self._categories) + "}\n")


def _is_number(image_id: int | str) -> bool:
    """Whether COCO's tools take this id of an image as it is."""
    return isinstance(image_id, (int, np.integer))


def _name(sample: Sample) -> tuple[str, str]:
    """Return what tells an image of a data set from all others."""
    return str(sample.image_id), str(sample.image_path)


def _line(value: object) -> str:
    """Return a value as JSON on one line."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def read_truth(path: Path) -> Truth:
    """Read a truth file.

    Args:
        path: NAME.gt.json.

    Raises:
        RecordError: the file is missing or is not a truth file.
    """
    data = read_json(path, "truth of packed records", RecordError)
    try:
        return Truth(
            samples=dict(_samples(data, path)),
            image_ids={int(image["record"]): int(image["id"]) for image in data["images"]},
            category_ids=tuple(int(category["id"]) for category in data["categories"]),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RecordError(
            f"{path}: not the truth of packed records ({type(error).__name__}: {error}); pack the data again"
        ) from error


def _samples(data: dict, path: Path) -> Iterator[tuple[int, Sample]]:
    """Yield (record key, Sample) of a parsed truth file."""
    class_ids = {category["id"]: index for index, category in enumerate(data["categories"])}
    by_image: dict[object, list[dict]] = {image["id"]: [] for image in data["images"]}
    for annotation in data["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    for image in data["images"]:
        found = by_image[image["id"]]
        yield (
            int(image["record"]),
            Sample(
                image_path=Path(image["file_name"]),
                size=(int(image["width"]), int(image["height"])),
                boxes=box_ops.from_xywh([entry["bbox"] for entry in found]),
                class_ids=[class_ids[entry["category_id"]] for entry in found],
                difficult=[bool(entry["difficult"]) for entry in found],
                crowd=np.array([bool(entry["iscrowd"]) for entry in found], bool),
                areas=np.array([entry["area"] for entry in found], np.float64),
                image_id=image["name"],
                source=f"{path}: record {image['record']}",
            ),
        )

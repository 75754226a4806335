"""The truth beside packed records, NAME.gt.json: COCO's instances form, so that COCO's own tools read it too.

Written while packing, read for evaluation. It holds what a label cannot: original ids, boxes in pixels of the packed
image, areas, crowds. Image ids are the data set's own where they are numbers, else the record keys, because COCO's
tools want numbers; the data set's own id always stands under "name".

Source: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from common.errors import RecordError
from common.files import read_json
from common.structures import Sample


class TruthWriter:
    """Collects the truth of records, as text, since objects would take many times the memory.

    Args:
        class_names: in the order of the ids.
        category_ids: the data set's own number of each class; empty: 1..C.
    """

    def __init__(self, class_names: tuple[str, ...], category_ids: tuple[int, ...] = ()):
        self._category_ids = category_ids or tuple(range(1, len(class_names) + 1))
        self._categories = [
            {"id": number, "name": name} for number, name in zip(self._category_ids, class_names)
        ]
        self._images: list[str] = []
        self._annotations: list[str] = []

    def add(self, key: int, sample: Sample, file_name: str) -> None:
        """Add a record.

        Args:
            key: of the record.
            sample: with boxes in pixels of the packed image and that image's size.
            file_name: of the image, relative to the data set's root.
        """
        is_number = isinstance(sample.image_id, (int, np.integer))
        image_id = int(sample.image_id) if is_number else key
        width, height = sample.size
        image = {"id": image_id, "record": key, "name": sample.image_id, "file_name": file_name}
        self._images.append(_line({**image, "width": width, "height": height}))
        for index in range(len(sample.class_ids)):
            xmin, ymin, xmax, ymax = (float(side) for side in sample.boxes[index])
            annotation = {
                "id": len(self._annotations) + 1,  # COCO's tools take 0 for "no match"
                "image_id": image_id,
                "category_id": self._category_ids[int(sample.class_ids[index])],
                "bbox": [xmin, ymin, xmax - xmin, ymax - ymin],
                "area": float(sample.areas[index]),
                "iscrowd": int(sample.crowd[index]),
                "difficult": int(sample.difficult[index]),
            }
            self._annotations.append(_line(annotation))

    def write(self, path: Path) -> None:
        """Write the file, one image or object on each line."""
        with open(path, "w", encoding="utf-8") as stream:
            stream.write('{"images": [\n' + ",\n".join(self._images) + "\n],\n")
            stream.write('"annotations": [\n' + ",\n".join(self._annotations) + "\n],\n")
            stream.write('"categories": ' + _line(self._categories) + "}\n")


def _line(value: object) -> str:
    """Return a value as JSON on one line."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def read_truth(path: Path) -> dict[int, Sample]:
    """Read a truth file.

    Args:
        path: NAME.gt.json.

    Returns:
        Record key -> Sample in pixels of the packed image.

    Raises:
        RecordError: the file is missing or is not a truth file.
    """
    data = read_json(path, "truth of packed records", RecordError)
    try:
        return dict(_samples(data, path))
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
        boxes = np.array([entry["bbox"] for entry in found], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]  # (x, y, width, height) -> corner form
        yield (
            int(image["record"]),
            Sample(
                image_path=Path(image["file_name"]),
                size=(int(image["width"]), int(image["height"])),
                boxes=boxes,
                class_ids=[class_ids[entry["category_id"]] for entry in found],
                difficult=[bool(entry["difficult"]) for entry in found],
                crowd=np.array([bool(entry["iscrowd"]) for entry in found], bool),
                areas=np.array([entry["area"] for entry in found], np.float64),
                image_id=image["name"],
                source=f"{path}: record {image['record']}",
            ),
        )

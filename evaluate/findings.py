"""What a detector found on a data set, beside the truth: the one value that every measure and report starts from.

Made once, by running a detector over records (`evaluate.run`) or by reading a results file (`evaluate.results`);
then scored as often as one likes, without the network. All boxes are in pixels of the original images.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass

import numpy as np

from common.structures import Detections, Sample


@dataclass(frozen=True)
class Findings:
    """Truth and detections of each image of a data set.

    Attributes:
        truths: of each image, in file order, boxes in pixels of the original image.
        detections: of each image, best first, in the same pixels; float32 from a detector, float64 from a file.
        class_names: in the order of the class ids.
        category_ids: the data set's own number of each class.
        image_ids: the number of each image in COCO's form (the "id" of NAME.gt.json).
        name: of the data set, for titles and the names of VOC's results files ("test").
    """

    truths: list[Sample]
    detections: list[Detections]
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    image_ids: tuple[int, ...]
    name: str = ""

    def __post_init__(self):
        lengths = {len(self.truths), len(self.detections), len(self.image_ids)}
        if len(lengths) != 1:
            raise ValueError(f"truths, detections and image ids must be as many, found {sorted(lengths)}")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.truths)

    def with_detections(self, detections: list[Detections]) -> Findings:
        """Return the same truth with other detections."""
        return dataclasses.replace(self, detections=detections)


def image_finder(findings: Findings) -> dict[str, int]:
    """Return the image that a text names: the data set's own id, else the image file's path, name or stem.

    Texts that would name several images name none.
    """
    table: dict[str, int] = {}
    for name_of in (
        lambda truth: str(truth.image_id),
        lambda truth: truth.image_path.as_posix(),
        lambda truth: truth.image_path.name,
        lambda truth: truth.image_path.stem,
    ):
        names = [name_of(truth) for truth in findings.truths]
        counts = Counter(names)
        for index, name in enumerate(names):
            if counts[name] == 1 and name:
                table.setdefault(name, index)
    return table


def by_image(
    findings: Findings, image: np.ndarray, class_id: np.ndarray, *, score: np.ndarray, boxes: np.ndarray
) -> list[Detections]:
    """Sort detections of a whole data set into its images, best first; equal scores keep their order.

    Args:
        findings: the data set.
        image: (N,) the position of each detection's image.
        class_id: (N,) int64.
        score: (N,) float64.
        boxes: (N, 4) float64, corner form in pixels.

    Returns:
        The Detections of each image.
    """
    order = np.lexsort((-score, image))  # stable
    ends = np.searchsorted(image[order], np.arange(len(findings) + 1))
    parts = [order[begin:end] for begin, end in zip(ends[:-1], ends[1:])]
    return [
        Detections(class_id[part], score[part], boxes[part], truth.size, findings.class_names)
        for part, truth in zip(parts, findings.truths)
    ]

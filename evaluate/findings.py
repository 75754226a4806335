"""What a detector found on a data set, beside the truth: the one value that every measure and report starts from.

Made once, by running a detector over records (`evaluate.run`) or by reading a results file (`evaluate.results`);
then scored as often as one likes, without the network. All boxes are in pixels of the original images.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

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

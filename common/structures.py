"""The two values that cross rooms: Sample (an annotated image) and Detections (what a detector found)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common import boxes as box_ops
from common.libraries import require


@dataclass(frozen=True)
class Sample:
    """One image of a data set with its ground truth, as a reader states it.

    Attributes:
        image_path: the image file.
        size: (width, height) in pixels as the annotation states it; None where it does not. The image decides.
        boxes: (N, 4) float64, corner form in pixels of the upright image, 0-based and half-open.
        class_ids: (N,) int64, 0-based foreground ids into the reader's class names.
        difficult: (N,) bool; difficult objects count neither for nor against a detector.
        crowd: (N,) bool; a box around a group (COCO's iscrowd): in the truth for evaluation, never in the labels.
        areas: (N,) float64, object areas in square pixels (COCO measures the segment, not the box).
        image_id: the data set's own id of the image, for example "000012" or 139.
        source: the annotation file (with a line or index where there is one), for messages.
    """

    image_path: Path
    size: tuple[int, int] | None
    boxes: np.ndarray
    class_ids: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray = None
    areas: np.ndarray = None
    image_id: str | int = ""
    source: str = ""

    def __post_init__(self):
        count = len(self.class_ids)
        object.__setattr__(self, "boxes", np.asarray(self.boxes, np.float64).reshape(-1, 4))
        object.__setattr__(self, "class_ids", np.asarray(self.class_ids, np.int64).reshape(-1))
        object.__setattr__(self, "difficult", np.asarray(self.difficult, bool).reshape(-1))
        crowd = np.zeros(count, bool) if self.crowd is None else np.asarray(self.crowd, bool).reshape(-1)
        object.__setattr__(self, "crowd", crowd)
        areas = box_ops.area(self.boxes) if self.areas is None else self.areas
        object.__setattr__(self, "areas", np.asarray(areas, np.float64).reshape(-1))
        lengths = {len(v) for v in (self.boxes, self.class_ids, self.difficult, self.crowd, self.areas)}
        if lengths != {count}:
            raise ValueError(
                f"a Sample's arrays must have one length, found {sorted(lengths)} ({self.source})"
            )


@dataclass(frozen=True)
class Detections:
    """The objects found in one image, best first.

    Attributes:
        class_id: (N,) int64, 0-based foreground ids into `class_names`.
        score: (N,) float32 in (0, 1], descending.
        boxes: (N, 4) float32 corner form (xmin, ymin, xmax, ymax), 0-based and half-open; in pixels of the
            original image where `size` is set, else normalised to [0, 1].
        size: (width, height) of the original image in pixels, or None for normalised boxes.
        class_names: names in the order of the ids; empty where unknown.
    """

    class_id: np.ndarray
    score: np.ndarray
    boxes: np.ndarray
    size: tuple[int, int] | None = None
    class_names: tuple[str, ...] = field(default=())

    @classmethod
    def from_rows(cls, rows: np.ndarray, class_names: tuple[str, ...] = ()) -> Detections:
        """Make Detections (normalised) from a detection graph's output rows.

        Args:
            rows: (K, 6) of (class id, score, xmin, ymin, xmax, ymax), normalised; id -1 marks a void row.
            class_names: names in the order of the ids.
        """
        rows = np.asarray(rows)
        rows = rows[rows[:, 0] >= 0]
        rows = rows[np.argsort(-rows[:, 1], kind="stable")]
        return cls(
            rows[:, 0].astype(np.int64), rows[:, 1].copy(), rows[:, 2:6].copy(), None, tuple(class_names)
        )

    def __len__(self) -> int:
        return len(self.class_id)

    def __repr__(self) -> str:
        """Return a line: how many there are, and the best few."""
        best = ", ".join(f"{self.name(i)} {self.score[i]:.3f}" for i in range(min(3, len(self))))
        return f"Detections({len(self)}{': ' + best if best else ''}{', ...' if len(self) > 3 else ''})"

    def above(self, threshold: float | np.ndarray) -> Detections:
        """Return the detections whose score is above the threshold.

        Args:
            threshold: one for all classes, or (C,) one for each, in the order of the ids.
        """
        return self.select(self.is_above(threshold))

    def is_above(self, threshold: float | np.ndarray) -> np.ndarray:
        """Return whether each score is above the threshold, (N,) bool; the argument is that of `above`."""
        of_each = np.asarray(threshold, self.score.dtype)  # one number and one for each class must agree
        return self.score > (of_each[self.class_id] if of_each.ndim else of_each)

    def select(self, index: np.ndarray) -> Detections:
        """Return the detections that a mask or an index array picks, in that order."""
        return Detections(
            self.class_id[index], self.score[index], self.boxes[index], self.size, self.class_names
        )

    def in_pixels(self, width: int, height: int) -> Detections:
        """Return these normalised detections in pixels of an image of that size."""
        scaled = box_ops.to_pixels(self.boxes, width, height).astype(np.float32)
        return Detections(self.class_id, self.score, scaled, (int(width), int(height)), self.class_names)

    def name(self, index: int) -> str:
        """Return the class name of the detection at that index, or its id as text where names are unknown."""
        class_id = int(self.class_id[index])
        return self.class_names[class_id] if class_id < len(self.class_names) else str(class_id)

    def to_coco(self, image_id: int | str, category_ids: tuple[int, ...] = ()) -> list[dict]:
        """Return results in COCO's form, one for each detection, ready for JSON.

        Numbers are not rounded: `bbox[0] + bbox[2]` is xmax again, to the last digit.

        Args:
            image_id: the data set's own.
            category_ids: the data set's own number of each class, in the order of the ids; empty: 1..C.

        Returns:
            [{"image_id", "category_id", "bbox": [x, y, width, height] in pixels, "score"}].

        Raises:
            ValueError: the boxes are not in pixels.

        Source: https://cocodataset.org/#format-results
        """
        if self.size is None and len(self):
            raise ValueError("COCO's results are in pixels: call in_pixels(width, height) first")
        return [
            {
                "image_id": image_id,
                "category_id": category_ids[class_id] if category_ids else class_id + 1,
                "bbox": box,
                "score": score,
            }
            for class_id, box, score in zip(
                self.class_id.tolist(), box_ops.to_xywh(self.boxes).tolist(), self.score.tolist()
            )
        ]

    def to_supervision(self):
        """Return supervision's Detections, which its annotators, trackers and zones take.

        Returns:
            supervision.Detections with xyxy (N, 4) float32 in pixels, confidence (N,) float32, class_id (N,) int64
            and data["class_name"] (N,) text; supervision numbers the classes as here.

        Raises:
            ValueError: the boxes are not in pixels.
            DependencyError: supervision is not installed.

        Source: https://supervision.roboflow.com/latest/detection/core/
        """
        if self.size is None and len(self):
            raise ValueError("supervision's boxes are in pixels: call in_pixels(width, height) first")
        supervision = require("supervision", "to_supervision() needs")
        return supervision.Detections(
            xyxy=self.boxes.reshape(-1, 4).astype(np.float32),
            confidence=self.score.astype(np.float32),
            class_id=self.class_id.astype(np.int64),
            data={"class_name": np.array([self.name(i) for i in range(len(self))], dtype=str)},
        )

    def as_records(self) -> list[dict]:
        """Return plain dictionaries (class_id, class_name, score, box) ready for JSON."""
        return [
            {
                "class_id": int(self.class_id[i]),
                "class_name": self.name(i),
                "score": round(float(self.score[i]), 6),
                "box": [round(float(v), 4 if self.size else 6) for v in self.boxes[i]],
            }
            for i in range(len(self))
        ]

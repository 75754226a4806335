"""What a reader of annotations hands on: Samples, class names, and a list of what is wrong with the data.

Stands between the readers (`dataset.voc`, `dataset.coco`) and packing (`dataset.pack`). `Reason` is the whole list of
rules by which an object or an image is left out; each occurrence becomes a `Problem`, is counted and stands in
NAME.skipped.csv.
"""

from __future__ import annotations

import csv
import enum
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import AnnotationError
from common.structures import Sample

IMAGE_LEFT_OUT = "image left out"
OBJECT_LEFT_OUT = "object left out"
KEPT = "kept"


class Reason(enum.Enum):
    """What can be wrong with a data set: (name in reports, what is done, the rule)."""

    MISSING_ANNOTATION = ("missing annotation", IMAGE_LEFT_OUT, "there is no annotation file of that id")
    BAD_ANNOTATION = ("unreadable annotation", IMAGE_LEFT_OUT, "the annotation file is not what it should be")
    DUPLICATE_ID = (
        "duplicate id",
        IMAGE_LEFT_OUT,
        "the image set names the image again; the first one counts",
    )
    MISSING_IMAGE = ("missing image", IMAGE_LEFT_OUT, "no image file for the id or for the stated file name")
    AMBIGUOUS_IMAGE = ("ambiguous image", IMAGE_LEFT_OUT, "several folders hold an image of that name")
    CORRUPT_IMAGE = ("corrupt image", IMAGE_LEFT_OUT, "the image cannot be decoded, whole")
    NOTHING_LEFT = (
        "no object left",
        IMAGE_LEFT_OUT,
        "each object was bad; as a negative the image would lie",
    )
    NONE_FOR_LABEL = (
        "none for the label",
        IMAGE_LEFT_OUT,
        "only crowds, or difficult ones that were not wanted",
    )
    NEGATIVE = (
        "no objects",
        IMAGE_LEFT_OUT,
        "no objects in the annotation, and --no-true-negative was given",
    )
    UNKNOWN_IMAGE = ("unknown image", OBJECT_LEFT_OUT, "the file lists no image of the object's image_id")
    BAD_OBJECT = ("unreadable object", OBJECT_LEFT_OUT, "no class, or a coordinate that is no number")
    NOT_FINITE = ("not finite", OBJECT_LEFT_OUT, "a coordinate is NaN or infinite")
    INVERTED = ("inverted box", OBJECT_LEFT_OUT, "the maximum lies before the minimum")
    DEGENERATE = ("degenerate box", OBJECT_LEFT_OUT, "minimum and maximum are the same: a click, not a box")
    OUTSIDE = ("outside the image", OBJECT_LEFT_OUT, "less than a pixel of the box lies inside the image")
    CLASS_NOT_ASKED = ("other class", OBJECT_LEFT_OUT, "its class is not among --class-names")
    BAD_CLASS_ID = ("class id out of range", OBJECT_LEFT_OUT, "the id is below 0 or has no class name")
    CLIPPED = ("clipped box", KEPT, "over one pixel of the box lay outside the image and was cut off")
    SIZE_DIFFERS = ("size differs", KEPT, "the annotation states another image size; the image decides")
    SCALED = (
        "box scaled",
        KEPT,
        "the boxes fit the stated size, not the image's, or both have one aspect: the image was resized since",
    )
    BAD_AREA = ("unreadable area", KEPT, "the area is no number of 0 and more; that of the box is taken")
    TURNED = ("box turned", KEPT, "the boxes were drawn on the image as stored; they turn with it (EXIF)")

    @property
    def text(self) -> str:
        """The name in reports."""
        return self.value[0]

    @property
    def outcome(self) -> str:
        """IMAGE_LEFT_OUT, OBJECT_LEFT_OUT or KEPT."""
        return self.value[1]

    @property
    def rule(self) -> str:
        """When it applies."""
        return self.value[2]

    @property
    def is_wish(self) -> bool:
        """Whether the user asked for it, so that --strict does not stop at it."""
        return self in (Reason.CLASS_NOT_ASKED, Reason.NEGATIVE)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a data set.

    Attributes:
        image: the data set's id of the image.
        source: the annotation file, with the image in it where it holds several; that of the image's Sample.
        reason: the rule.
        value: what was found.
        object_index: which object: VOC, its 0-based position in the annotation file; COCO, the annotation's own id.
            None for the image as a whole.
    """

    image: str
    source: str
    reason: Reason
    value: str = ""
    object_index: int | None = None

    def message(self) -> str:
        """Return the problem as one line."""
        place = "" if self.object_index is None else f", object {self.object_index}"
        found = f" ({self.value})" if self.value else ""
        return f"{self.source}{place}: {self.reason.text}{found}: {self.reason.rule}"


@dataclass(frozen=True)
class AnnotationSet:
    """A data set as its reader found it.

    Attributes:
        samples: in the order of the image sets; boxes as stated, not yet held to the image.
        class_names: in the order of the class ids.
        problems: what the reader left out, in order.
        object_indices: for each sample (N,) int64, which objects they are, as `Problem.object_index` tells it; empty:
            0..N-1.
        category_ids: the data set's own number of each class; empty: 1..C, as COCO's tools expect.
        root: folder that image paths are told relative to.
    """

    samples: list[Sample]
    class_names: tuple[str, ...]
    problems: list[Problem]
    object_indices: tuple[np.ndarray, ...] = ()
    category_ids: tuple[int, ...] = ()
    root: Path = Path()

    def indices(self, position: int) -> np.ndarray:
        """Return which objects of the annotation file those of the sample at that position are, (N,) int64."""
        if self.object_indices:
            return self.object_indices[position]
        return np.arange(len(self.samples[position].class_ids))


def stop_if_strict(problems: Iterable[Problem], strict: bool) -> None:
    """Turn the first problem, that the user did not ask for, into an error.

    Args:
        problems: in order.
        strict: False does nothing.

    Raises:
        AnnotationError: there is a problem.
    """
    for problem in problems:
        if strict and not problem.reason.is_wish:
            raise AnnotationError(f"{problem.message()}; mend it, or leave --strict out to go on without it")


def count_reasons(problems: Iterable[Problem]) -> dict[str, int]:
    """Return how often each reason occurs, by its name, in the order of `Reason`."""
    counts = Counter(problem.reason for problem in problems)
    return {reason.text: counts[reason] for reason in Reason if counts[reason]}


def relative_path(path: str | Path, root: Path) -> str:
    """Return a path relative to the data set's root, with forward slashes; as it is where it lies elsewhere."""
    try:
        return Path(path).relative_to(root).as_posix()
    except ValueError:
        return Path(path).as_posix()


def problems_csv(problems: Iterable[Problem], root: Path) -> str:
    """Return problems as a CSV table: image, annotation, object, reason, value, outcome.

    Args:
        problems: in order.
        root: annotation files are told relative to it.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["image", "annotation", "object", "reason", "value", "outcome"])
    for problem in problems:
        index = "" if problem.object_index is None else problem.object_index
        source = relative_path(problem.source, root)
        writer.writerow(
            [problem.image, source, index, problem.reason.text, problem.value, problem.reason.outcome]
        )
    return stream.getvalue()

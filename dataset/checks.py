"""The rules that hold an annotated image to its pixels, each an entry of `dataset.annotations.Reason`.

Used while packing, when the image's real size is known. Pure functions: a Sample in, a new Sample and Problems out.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from common import boxes as box_ops
from common.structures import Sample
from dataset.annotations import Problem, Reason

_SAME_ASPECT = 0.02  # relative difference of two aspect ratios that rounding to whole pixels can make
MINIMUM_SIDE = 1.0  # pixel, of what is left of a box inside the image
# pixel; tools that count from 0, and rounding, put boxes that far outside. A whole pixel is cut off without a word;
# less stays as stated, so that the truth is the annotation's to the last digit. Labels are always cut.
_SLACK = 1.0


def check_sample(
    sample: Sample, object_indices: np.ndarray, *, size: tuple[int, int], num_classes: int
) -> tuple[Sample, list[Problem]]:
    """Drop the objects that cannot be used and clip the others to the image.

    Args:
        sample: as read; it is not changed.
        object_indices: (N,) where the objects stand in the annotation file.
        size: (width, height) of the upright image in pixels.
        num_classes: foreground classes.

    Returns:
        The Sample with the image's size and clipped boxes (a box that reaches out by less than a pixel stays as it
        is); what was found, in the order of the objects.
    """
    sample, problems = _in_image_pixels(sample, size)
    clipped = clip(sample.boxes, size)
    keep = np.ones(len(sample.class_ids), bool)
    for index in range(len(keep)):
        reason = _reason(sample.boxes[index], clipped[index], int(sample.class_ids[index]), num_classes)
        if reason is not None:
            keep[index] = reason.outcome == "kept"
            value = _value(sample, index, reason)
            problems.append(
                Problem(str(sample.image_id), sample.source, reason, value, int(object_indices[index]))
            )
    return _select(sample, keep, clipped, size), problems


def _in_image_pixels(sample: Sample, size: tuple[int, int]) -> tuple[Sample, list[Problem]]:
    """Return a Sample with its boxes in the image's own pixels, where the annotation states another size.

    An image that was resized after it was annotated keeps its aspect, or its boxes reach out of it while all fit the
    stated size: then the boxes are scaled. Else the stated size is wrong and the boxes are taken as they are.
    """
    if sample.size is None or tuple(sample.size) == tuple(size):
        return sample, []
    stated, real = np.array(sample.size, np.float64), np.array(size, np.float64)
    value = f"stated {sample.size[0]}x{sample.size[1]}, image {size[0]}x{size[1]}"
    reason = Reason.SIZE_DIFFERS
    if (stated > 0).all() and np.isfinite(sample.boxes).all() and _fits(sample.boxes, stated):
        factors = real / stated
        if abs(factors[0] / factors[1] - 1) < _SAME_ASPECT or not _fits(sample.boxes, real):
            scaled = sample.boxes * np.tile(factors, 2)
            sample = dataclasses.replace(sample, boxes=scaled, areas=sample.areas * factors.prod())
            reason = Reason.SCALED
    return sample, [Problem(str(sample.image_id), sample.source, reason, value)]


def _fits(boxes: np.ndarray, size: np.ndarray) -> bool:
    """Tell whether there are boxes and all lie inside an image of (width, height), but for the slack."""
    return len(boxes) > 0 and bool((boxes >= -_SLACK).all() and (boxes <= np.tile(size, 2) + _SLACK).all())


def clip(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return boxes cut to an image: (N, 4) corner form in pixels, (width, height) -> (N, 4)."""
    width, height = size
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float64))


def turn_boxes(boxes: np.ndarray, stored_size: tuple[int, int], orientation: int) -> np.ndarray:
    """Turn boxes drawn on an image as it is stored, so that they fit it upright.

    Args:
        boxes: (N, 4) corner form in pixels of the stored image.
        stored_size: (width, height) in pixels before turning.
        orientation: EXIF's number, 1 to 8.

    Returns:
        (N, 4) corner form in pixels of the upright image.
    """
    width, height = stored_size
    xmin, ymin, xmax, ymax = np.asarray(boxes, np.float64).reshape(-1, 4).T
    if orientation in (2, 3, 7, 8):
        xmin, xmax = width - xmax, width - xmin
    if orientation in (3, 4, 6, 7):
        ymin, ymax = height - ymax, height - ymin
    if orientation >= 5:
        xmin, ymin, xmax, ymax = ymin, xmin, ymax, xmax
    return np.stack([xmin, ymin, xmax, ymax], axis=1)


def turn_with_image(
    sample: Sample, stored_size: tuple[int, int], *, upright_size: tuple[int, int], orientation: int
) -> tuple[Sample, list[Problem]]:
    """Turn a Sample's boxes where they were drawn on the image as stored, without its EXIF orientation.

    The stated size tells: it is the stored one, and the upright one differs. Where the two are equal (orientations
    1 to 4, square images) nothing tells, and boxes are taken as drawn on the upright image, as viewers show it.

    Returns:
        The Sample, the same one where nothing is to turn; what was found.
    """
    if orientation < 5 or sample.size != tuple(stored_size) or tuple(stored_size) == tuple(upright_size):
        return sample, []
    turned = turn_boxes(sample.boxes, stored_size, orientation)
    problem = Problem(str(sample.image_id), sample.source, Reason.TURNED, f"EXIF orientation {orientation}")
    return dataclasses.replace(sample, boxes=turned, size=tuple(upright_size)), [problem]


def _reason(box: np.ndarray, clipped: np.ndarray, class_id: int, num_classes: int) -> Reason | None:
    """Return what is wrong with an object, boxes (4,) in pixels; None where all is well."""
    if not 0 <= class_id < num_classes:
        return Reason.BAD_CLASS_ID
    if not np.isfinite(box).all():
        return Reason.NOT_FINITE
    sides = box[2:] - box[:2]
    if (sides < 0).any():
        return Reason.INVERTED
    if (sides == 0).any():
        return Reason.DEGENERATE
    # A box that was thinner than a pixel to begin with is kept: nothing was cut off.
    if (clipped[2:] - clipped[:2] < np.minimum(sides, MINIMUM_SIDE)).any():
        return Reason.OUTSIDE
    return Reason.CLIPPED if np.abs(box - clipped).max() > _SLACK else None


def _value(sample: Sample, index: int, reason: Reason) -> str:
    """Return what was found, for the report."""
    if reason is Reason.BAD_CLASS_ID:
        return str(int(sample.class_ids[index]))
    return " ".join(f"{side:g}" for side in sample.boxes[index])


def _select(sample: Sample, keep: np.ndarray, clipped: np.ndarray, size: tuple[int, int]) -> Sample:
    """Return the kept objects; where a box is clipped, its object's area is at most that of what is left."""
    stated, clipped, areas = sample.boxes[keep], clipped[keep], sample.areas[keep]
    is_cut = np.abs(stated - clipped).max(axis=1, initial=0) >= _SLACK
    return dataclasses.replace(
        sample,
        size=tuple(size),
        boxes=np.where(is_cut[:, None], clipped, stated),
        class_ids=sample.class_ids[keep],
        difficult=sample.difficult[keep],
        crowd=sample.crowd[keep],
        areas=np.where(is_cut, np.minimum(areas, box_ops.area(clipped)), areas),
    )

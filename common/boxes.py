"""Boxes as arrays: the conventions, in one place.

Corner form is (xmin, ymin, xmax, ymax), 0-based and half-open: a box that covers the first pixel alone is (0, 0, 1, 1).
Inside the project boxes are normalised to [0, 1] by the image's width and height; readers and drawing use pixels.
"""

import numpy as np


def from_voc(boxes: np.ndarray) -> np.ndarray:
    """Turn Pascal VOC's boxes (pixels, 1-based, both ends inclusive) into ours (pixels, 0-based, half-open).

    Args:
        boxes: (N, 4) corner form as the XML files state it.

    Returns:
        (N, 4) float64.

    Source: VOC2007 development kit, section 6.2 (the top left pixel has the coordinates (1, 1)).
    """
    return np.asarray(boxes, np.float64).reshape(-1, 4) - np.array([1.0, 1.0, 0.0, 0.0])


def to_voc(boxes: np.ndarray) -> np.ndarray:
    """Turn our boxes (pixels, 0-based, half-open) into Pascal VOC's (pixels, 1-based, both ends inclusive).

    Args:
        boxes: (N, 4) corner form.

    Returns:
        (N, 4) float64, not rounded.
    """
    return np.asarray(boxes, np.float64).reshape(-1, 4) + np.array([1.0, 1.0, 0.0, 0.0])


def to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Turn corner form into COCO's (x, y, width, height): x + width is xmax again, exactly.

    Of the sides that lead back to the same corner the one of fewest decimals is taken, which is what a file said: the
    width 53.04 of a box at 212.6 comes out of the corners as 53.03999999999999. So boxes that were read from COCO's
    form go back as they were, up to 12 decimals, and COCO's measures round as they do on the file itself.

    Args:
        boxes: (N, 4) corner form, minimum before maximum.

    Returns:
        (N, 4) float64 of (xmin, ymin, width, height).
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    low, high = boxes[:, :2], boxes[:, 2:]
    size = high - low
    # Where the difference was rounded, its neighbour may be the one that leads back.
    for neighbour in (np.nextafter(size, np.inf), np.nextafter(size, -np.inf)):
        size = np.where((low + size != high) & (low + neighbour == high), neighbour, size)
    for digits in (12, 9, 6, 4, 3, 2, 1, 0):
        short = np.round(size, digits)
        np.copyto(size, short, where=low + short == high)
    return np.concatenate([low, size], axis=1)


def from_xywh(boxes: np.ndarray) -> np.ndarray:
    """Turn COCO's (x, y, width, height) into corner form; the inverse of `to_xywh`.

    Args:
        boxes: (N, 4) of (xmin, ymin, width, height).

    Returns:
        (N, 4) float64 corner form.
    """
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def normalise(boxes: np.ndarray, width: float, height: float) -> np.ndarray:
    """Divide boxes in pixels by the image's size.

    Args:
        boxes: (N, 4) corner form in pixels.
        width: of the image, in pixels.
        height: of the image, in pixels.

    Returns:
        (N, 4) float64 corner form, in [0, 1] for boxes inside the image.
    """
    return np.asarray(boxes, np.float64).reshape(-1, 4) / np.array([width, height, width, height], np.float64)


def to_pixels(boxes: np.ndarray, width: float, height: float) -> np.ndarray:
    """Multiply normalised boxes by the image's size; the inverse of `normalise`.

    Args:
        boxes: (N, 4) corner form, normalised.
        width: of the image, in pixels.
        height: of the image, in pixels.

    Returns:
        (N, 4) float64 corner form in pixels.
    """
    return np.asarray(boxes, np.float64).reshape(-1, 4) * np.array([width, height, width, height], np.float64)


def area(boxes: np.ndarray) -> np.ndarray:
    """Return the areas of boxes in corner form: (N, 4) -> (N,); 0 where a box is inverted."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.clip(boxes[:, 2] - boxes[:, 0], 0, None) * np.clip(boxes[:, 3] - boxes[:, 1], 0, None)


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersection over union of every pair of boxes.

    Args:
        first: (N, 4) corner form, in the unit of `second`.
        second: (M, 4) corner form.

    Returns:
        (N, M) float64 in [0, 1]; 0 where both boxes have no area.
    """
    first = np.asarray(first, np.float64).reshape(-1, 1, 4)
    second = np.asarray(second, np.float64).reshape(1, -1, 4)
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    intersection = np.prod(np.clip(sides, 0, None), axis=-1)  # (N, M)
    union = area(first)[:, None] + area(second)[None, :] - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)

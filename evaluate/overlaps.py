"""What detections have in common with objects, rounded as COCO's own code rounds.

COCO's boxes are (x, y, width, height), and its code (pycocotools, `maskApi.c`) takes areas from width and height and
ends from their sums. `common.boxes.iou` starts from corners, which differs in the last digit; where an IoU is a
threshold exactly, a measure that is to equal COCO's needs its rounding too.
"""

from __future__ import annotations

import numpy as np

from common import boxes as box_ops


def in_coco_form(boxes: list[np.ndarray]) -> list[np.ndarray]:
    """Turn the boxes of all images into COCO's form at once: few boxes cost nearly as much as a hundred.

    Args:
        boxes: of each image, (N, 4) corner form.

    Returns:
        Of each image, (N, 4) float64 of (x, y, width, height).
    """
    ends = np.cumsum([len(of_image) for of_image in boxes], dtype=int)
    together = box_ops.to_xywh(np.concatenate([np.zeros((0, 4)), *boxes]))
    return np.split(together, ends)[:-1]  # nothing comes after the last end


def overlaps(found: np.ndarray, objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how much of every detection and object is common to both.

    Args:
        found: (D, 4) of (x, y, width, height), as `in_coco_form` returns it, in the unit of `objects`.
        objects: (N, 4) in the same form.

    Returns:
        (D, N) float64 in [0, 1], intersection over union; (D, N) float64 in [0, 1], the share of the detection's own
        area that lies in the object. 0 where nothing is common.
    """
    found, objects = found[:, None], objects[None]  # (D, 1, 4), (1, N, 4)
    low = np.maximum(found[..., :2], objects[..., :2])
    high = np.minimum(found[..., :2] + found[..., 2:], objects[..., :2] + objects[..., 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)  # (D, N)
    area = found[..., 2] * found[..., 3]  # (D, 1)
    union = area + objects[..., 2] * objects[..., 3] - shared
    return tuple(
        np.divide(shared, whole, out=np.zeros_like(shared), where=shared > 0) for whole in (union, area)
    )

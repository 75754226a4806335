"""What detections have in common with objects, rounded as COCO's own code rounds.

COCO's boxes are (x, y, width, height), and its code (pycocotools, `maskApi.c`) takes areas from width and height and
ends from their sums. `common.boxes.iou` starts from corners, which differs in the last digit; where an IoU is a
threshold exactly, a measure that is to equal COCO's needs its rounding too.
"""

from __future__ import annotations

import numpy as np

from common import boxes as box_ops


def overlaps(found: np.ndarray, objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how much of every detection and object is common to both.

    Args:
        found: (D, 4) corner form, in the unit of `objects`.
        objects: (N, 4) corner form.

    Returns:
        (D, N) float64 in [0, 1], intersection over union; (D, N) float64 in [0, 1], the share of the detection's own
        area that lies in the object. 0 where nothing is common.
    """
    found, objects = box_ops.to_xywh(found)[:, None], box_ops.to_xywh(objects)[None]  # (D, 1, 4), (1, N, 4)
    low = np.maximum(found[..., :2], objects[..., :2])
    high = np.minimum(found[..., :2] + found[..., 2:], objects[..., :2] + objects[..., 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)  # (D, N)
    area = found[..., 2] * found[..., 3]  # (D, 1)
    union = area + objects[..., 2] * objects[..., 3] - shared
    return tuple(
        np.divide(shared, whole, out=np.zeros_like(shared), where=shared > 0) for whole in (union, area)
    )

"""A second oracle beside OpenCV: PriorBox and DetectionOutput in plain numpy, written from Caffe's source.

OpenCV's PriorBox clips where `clip` is not given and does not cut sizes to whole pixels; see the converter's reference.
"""

from __future__ import annotations

import numpy as np


def prior_box(
    cells, image, *, min_sizes, max_sizes=(), ratios=(), flip=True, clip=False, step=(0, 0), offset=0.5
):
    """Return Caffe's boxes, (N, 4) float32, box by box in loops as the layer has them; sizes in pixels, as given."""
    kept = [1.0]
    for ratio in ratios:
        if any(abs(ratio - other) < 1e-6 for other in kept):
            continue
        kept.append(ratio)
        if flip:
            kept.append(1.0 / ratio)
    (rows, columns), (height, width) = cells, image
    step_y, step_x = step if step[0] and step[1] else (height / rows, width / columns)
    boxes = []
    for row in range(rows):
        for column in range(columns):
            x, y = (column + offset) * step_x, (row + offset) * step_y
            for index, low in enumerate(min_sizes):
                sides = [(low, low)]
                if max_sizes:
                    sides.append((np.sqrt(low * max_sizes[index]),) * 2)
                sides += [(low * np.sqrt(r), low / np.sqrt(r)) for r in kept if abs(r - 1) >= 1e-6]
                for w, h in sides:
                    boxes.append(
                        [(x - w / 2) / width, (y - h / 2) / height, (x + w / 2) / width, (y + h / 2) / height]
                    )
    boxes = np.array(boxes, np.float32)
    return boxes.clip(0, 1) if clip else boxes


def decode(loc, boxes, variances):
    """Decode CENTER_SIZE: (N, 4) each."""
    sides, centers = boxes[:, 2:] - boxes[:, :2], (boxes[:, :2] + boxes[:, 2:]) / 2
    d = loc * variances
    centers, sides = centers + d[:, :2] * sides, sides * np.exp(d[:, 2:])
    return np.concatenate([centers - sides / 2, centers + sides / 2], axis=1)


def overlap(box, others):
    """IoU of a box with others, as Caffe computes it for normalised boxes."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=1)

    def area(boxes):
        return np.where(
            (boxes[..., 2:] < boxes[..., :2]).any(axis=-1),
            0,
            np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1),
        )

    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(both > 0, both / (area(box) + area(others) - both), 0)


def detection_output(
    loc, conf, boxes, variances, *, background=0, threshold=None, nms=0.3, top_k=-1, keep_top_k=-1, clip=False
):
    """Return the rows (label, score, xmin, ymin, xmax, ymax) of one image, the best first.

    Args:
        loc: (N, 4).
        conf: (N, classes).
        boxes: (N, 4).
        variances: (N, 4) or (4,).
    """
    decoded = decode(loc.astype(np.float64), boxes.astype(np.float64), np.asarray(variances, np.float64))
    decoded = decoded.clip(0, 1) if clip else decoded
    rows = []
    for label in range(conf.shape[1]):
        if label == background:
            continue
        scores = conf[:, label]
        index = np.nonzero(scores > (-np.inf if threshold is None else np.float32(threshold)))[0]
        index = index[np.argsort(-scores[index], kind="stable")]
        index = index[:top_k] if top_k > -1 else index
        kept = []
        for i in index:
            if not kept or (overlap(decoded[i], decoded[kept]) <= np.float32(nms)).all():
                kept.append(i)
        rows += [[label, scores[i], *decoded[i]] for i in kept]
    rows.sort(key=lambda row: -row[1])
    return np.array(rows[:keep_top_k] if keep_top_k > -1 else rows, np.float64).reshape(-1, 6)


def unmatched(found, expected, *, score=1e-5, box=2e-6):
    """Return the rows of each of two sets of detections that the other does not have.

    Args:
        found: (N, 6) of (label, score, box).
        expected: (M, 6).
        score: greatest difference of scores.
        box: greatest difference of coordinates; of boxes larger than the image, relative to them.
    """
    left, right, matched = [], list(range(len(expected))), np.asarray(expected, np.float64)
    for row in np.asarray(found, np.float64):
        close = [
            i
            for i in right
            if matched[i, 0] == row[0]
            and abs(matched[i, 1] - row[1]) <= score
            and np.abs(matched[i, 2:] - row[2:]).max() <= box * max(1, np.abs(row[2:]).max())
        ]
        if close:
            right.remove(close[0])
        else:
            left.append(row)
    return left, [matched[i] for i in right]

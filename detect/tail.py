"""The detection tail of a Detector: what survives the threshold, and nothing else, goes through NMS.

In a graph (symbol/detection.py) shapes are fixed, so every class of every default box goes through the operator
`MultiBoxDetection`: 4 ms for 20 classes of 8732 boxes, 15 ms for 80. Here a default box whose background leaves less
than the threshold for all classes together is left out first, since no class of it could be above, then those of which
none is. What is left goes through the same operator in the same order: of the same probabilities it makes the same
detections, to the last bit.

For class heads with softmax and the mode "per_class"; the other modes put one row for each default box through the
operator, which is fast in the graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.mx import mx
from symbol.detection import DetectionConfig, for_classes, one_class_per_anchor, operator_settings

# What rounding can take from a sum of probabilities in float32, with room.
_ROUNDING = 1e-4


def applies_to(config: DetectionConfig, num_classes: int) -> bool:
    """Tell whether this tail can stand in for the one in the graph."""
    config = for_classes(config, num_classes)
    return config.activation == "softmax" and not one_class_per_anchor(config, num_classes)


@dataclass(frozen=True)
class Tail:
    """Turns a network's class probabilities and encoded boxes into detections.

    Attributes:
        config: the settings; `applies_to` holds.
        variances: of the box encoding.
        boxes: (A, 4) float32, the default boxes, corner form, normalised.
    """

    config: DetectionConfig
    variances: tuple[float, ...]
    boxes: np.ndarray

    def detect(self, cls_prob: np.ndarray, loc_pred: np.ndarray) -> np.ndarray:
        """Find the detections of one image.

        Args:
            cls_prob: (A, C+1) float32, probabilities, class 0 is background.
            loc_pred: (4A,) float32, the encoded boxes.

        Returns:
            (K, 6) float32 rows (class id, score, xmin, ymin, xmax, ymax), the best first, K at most `keep_topk`.
        """
        threshold = self.config.score_threshold
        places = np.flatnonzero(cls_prob[:, 0] < 1 - threshold + _ROUNDING)
        scores = cls_prob[places, 1:]  # (M, C)
        above = scores > threshold
        some, classes = above.any(axis=1), np.flatnonzero(above.any(axis=0))
        if not len(classes):
            return np.zeros((0, 6), np.float32)
        places = places[some]
        rows = self._suppress(
            scores[some].T[classes], loc_pred.reshape(-1, 4)[places].reshape(-1), self.boxes[places]
        )
        return self._best(rows, classes)

    def _suppress(self, scores: np.ndarray, encoded: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Decode boxes and do NMS for each class on its own.

        Args:
            scores: (C', M) of the classes that have candidates.
            encoded: (4M,).
            boxes: (M, 4), the default boxes.

        Returns:
            (C', min(nms_topk, M), 6), the candidates of each class, the best first; the id is 0 for a detection.
        """
        both = np.zeros((len(scores), 2, scores.shape[1]), np.float32)  # a background of 0 beside each class
        both[:, 1] = scores
        rows = mx.nd.contrib.MultiBoxDetection(
            *map(mx.nd.from_numpy, (both, np.tile(encoded, (len(scores), 1)), boxes[None])),
            **operator_settings(self.config, self.variances),
        )
        return rows.asnumpy()[:, : self.config.nms_topk if self.config.nms_topk > 0 else None]

    def _best(self, rows: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Return the detections among the candidates (C', k, 6) of classes, the best `keep_topk`."""
        kept = rows[:, :, 0] >= 0  # (C', k)
        if self.config.image_topk > 0:
            ranked = np.sort(rows[:, :, 1], axis=None)[::-1]
            kept &= rows[:, :, 1] >= ranked[: self.config.image_topk][-1]
        found = rows[kept]  # a copy, (N, 6)
        found[:, 0] = np.repeat(classes, kept.sum(axis=1))
        order = np.argsort(-found[:, 1], kind="stable")
        return found[order[: self.config.keep_topk if self.config.keep_topk > 0 else None]]

"""What a graph answers for a batch, read image by image: rows of detections, and whether all values were finite.

Two kinds: a graph that holds its detection tail gives rows; an open one, which ends in probabilities, leaves them to
detect/tail.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detect.soft_nms import soft_nms
from detect.tail import Tail
from symbol.detection import DetectionConfig


@dataclass(frozen=True)
class Rows:
    """Reads graphs with the tail inside: outputs detection (B, K, 6), and loc_pred and cls_pred where there are heads.

    Attributes:
        config: the settings of the tail.
        soft_nms_sigma: of the soft-NMS that the rows, candidates then, still need; None for none.
    """

    config: DetectionConfig
    soft_nms_sigma: float | None = None

    def read(self, outputs: list) -> RowsAnswer:
        """Wait for a batch's outputs (NDArrays, or arrays of onnxruntime's)."""
        rows, *heads = map(_as_numpy, outputs)
        return RowsAnswer(self, rows, heads)


@dataclass(frozen=True)
class RowsAnswer:
    """A batch read by `Rows`."""

    reader: Rows
    all_rows: np.ndarray
    heads: list[np.ndarray]

    def is_finite(self, image: int) -> bool:
        """Tell whether the network gave finite values for an image."""
        return all(np.isfinite(values[image]).all() for values in self.heads)

    def rows(self, image: int) -> np.ndarray:
        """Return an image's detections, (K, 6); id -1 marks a void row."""
        config, sigma = self.reader.config, self.reader.soft_nms_sigma
        if sigma is None:
            return self.all_rows[image]
        limits = {
            "score_threshold": config.score_threshold,
            "keep_topk": config.keep_topk,
            "force": config.force,
        }
        return soft_nms(self.all_rows[image], sigma=sigma, **limits)

    def predictions(self, image: int) -> tuple[np.ndarray, ...]:
        """Return loc_pred (4A,) and cls_pred (C+1, A) of an image; () where the graph does not give them."""
        return tuple(values[image] for values in self.heads)


@dataclass(frozen=True)
class OpenGraph:
    """Reads graphs without a tail, that end as `symbol.detection.open_symbol` does.

    Attributes:
        tail: what finds the detections.
    """

    tail: Tail

    def read(self, outputs: list) -> OpenAnswer:
        """Wait for a batch's outputs."""
        return OpenAnswer(self.tail, *(output.asnumpy() for output in outputs))


@dataclass(frozen=True)
class OpenAnswer:
    """A batch read by `OpenGraph`.

    Attributes:
        tail: of the reader.
        cls_prob: (B, A, C+1).
        loc_pred: (B, 4A).
        cls_pred: (B, A, C+1), before the softmax.
    """

    tail: Tail
    cls_prob: np.ndarray
    loc_pred: np.ndarray
    cls_pred: np.ndarray

    def is_finite(self, image: int) -> bool:
        """Tell whether the network gave finite values for an image."""
        return bool(np.isfinite(self.loc_pred[image]).all() and np.isfinite(self.cls_pred[image]).all())

    def rows(self, image: int) -> np.ndarray:
        """Return an image's detections, (K, 6)."""
        return self.tail.detect(self.cls_prob[image], self.loc_pred[image])

    def predictions(self, image: int) -> tuple[np.ndarray, ...]:
        """Return loc_pred (4A,) and cls_pred (C+1, A) of an image."""
        return self.loc_pred[image], self.cls_pred[image].T


def _as_numpy(output) -> np.ndarray:
    """Wait for an output of MXNet's; those of onnxruntime are there."""
    return output if isinstance(output, np.ndarray) else output.asnumpy()

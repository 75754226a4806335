"""The training loss over the validation images, from the predictions that the validation computes anyway.

The images are whole, resized as the Detector does, without augmentation. Labels are matched on the host and go with the
heads' outputs through the loss of symbol/loss.py, so that the figures compare with training's (a smoothed label is
smoothed here too, a weighted part weighted); no second forward pass.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np

from common.mx import mx
from dataset.records import RecordDataset
from symbol.loss import TARGETS, LossConfig, matched_training_symbol
from symbol.matcher import targets
from train.devices import BatchLoss


@dataclass(frozen=True)
class ValidationLoss:
    """The loss over the validation images.

    Attributes:
        cls: cross-entropy of positives and mined negatives, divided by the positives of all images.
        loc: smooth L1 of the positives, divided likewise.
        positives: matched default boxes for each image.
    """

    cls: float
    loc: float
    positives: float

    def row(self) -> dict[str, str]:
        """Return the losses by the names of results.csv's columns."""
        return {"val_cls_loss": f"{self.cls:.5f}", "val_loc_loss": f"{self.loc:.5f}"}


def labels_of(dataset: RecordDataset) -> np.ndarray:
    """Return the labels of all records, (R, M, 6) float32, filled up with rows of -1."""
    scan = dataset.scan()
    labels = np.full((len(scan.counts), max(1, int(scan.counts.max(initial=0))), 6), -1, np.float32)
    rows = np.repeat(np.arange(len(scan.counts)), scan.counts)
    first = np.cumsum(scan.counts) - scan.counts
    labels[rows, np.arange(len(scan.objects)) - first[rows]] = scan.objects
    return labels


@dataclass
class LossMeter:
    """Sums the loss over images, some at a time.

    Attributes:
        boxes: (A, 4) the default boxes, corner form, normalised.
        variances: of the box encoding.
        labels: (R, M, 6) of all images, as `labels_of` gives them.
        num_classes: foreground classes.
        loss: matching and mining.
        at_once: images computed together; hard negatives "of the batch" are those of so many images.
    """

    boxes: np.ndarray
    variances: tuple
    labels: np.ndarray
    num_classes: int
    loss: LossConfig
    at_once: int = 16
    _waiting: list = field(default_factory=list)
    _sums: np.ndarray = field(default_factory=lambda: np.zeros(4))
    _images: int = 0
    _executors: dict = field(default_factory=dict)

    def add(self, index: int, predictions: tuple[np.ndarray, ...]) -> None:
        """Add an image.

        Args:
            index: of its record.
            predictions: loc_pred (4A,) and cls_pred (C+1, A).
        """
        self._waiting.append((index, *(values.copy() for values in predictions)))
        if len(self._waiting) == self.at_once:
            self._compute()

    def total(self) -> ValidationLoss:
        """Return the loss over all images added; the meter starts anew."""
        if self._waiting:
            self._compute()
        self._executors.clear()  # their memory is training's until the next validation
        cls, loc, positives, negatives = self._sums.tolist()
        images = max(1, self._images)
        self._sums, self._images = np.zeros(4), 0
        normaliser = BatchLoss(cls, loc, positives, negatives).normaliser(self.loss.negative_ratio)
        return ValidationLoss(cls / normaliser, loc / normaliser, positives / images)

    def _compute(self) -> None:
        indices, loc_pred, cls_pred = zip(*self._waiting)
        self._waiting = []
        inputs = {"loc_pred": np.stack(loc_pred), "cls_pred": np.stack(cls_pred)}  # (B, 4A), (B, C+1, A)
        rows = self.labels[list(indices)]
        thresholds = self.loss.match_threshold, self.loss.neutral_from
        inputs.update(targets(self.boxes, rows, self.variances, *thresholds))
        outputs = self._executor(inputs).forward(is_train=False, **inputs)
        sums = [out.asnumpy().astype(np.float64).sum() for out in outputs]
        self._sums += np.array(sums)
        self._images += len(indices)

    def _executor(self, inputs: dict[str, np.ndarray]):
        """Return the graph bound for so many images; it has no parameters that could grow old, all comes as inputs."""
        images = len(inputs["cls_pred"])
        if images not in self._executors:
            arrays = {name: mx.nd.zeros(value.shape) for name, value in inputs.items()}
            self._executors[images] = self._graph.bind(mx.cpu(), arrays)
        return self._executors[images]

    @functools.cached_property
    def _graph(self):
        """Return the loss of (loc_pred, cls_pred) and TARGETS."""
        loc_pred, cls_pred = mx.sym.Variable("loc_pred"), mx.sym.Variable("cls_pred")
        heads = mx.sym.Group([loc_pred, cls_pred, mx.sym.Variable("anchors")])
        graph = matched_training_symbol(heads, self.num_classes, self.loss)
        assert set(graph.list_arguments()) == {"loc_pred", "cls_pred", *TARGETS}
        return graph

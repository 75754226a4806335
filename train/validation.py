"""Validation inside training: the deployed graph over the validation records, by evaluate.py's own path."""

from __future__ import annotations

from dataclasses import dataclass, field

from dataset.records import RecordDataset
from detect.detector import Detector
from evaluate.findings import Findings
from evaluate.run import find, score
from evaluate.voc import VOCResult
from model.card import Card
from model.graph import anchors_of
from model.saved import SavedDetector
from symbol.loss import LossConfig
from train.validation_loss import LossMeter, ValidationLoss, labels_of


@dataclass(frozen=True)
class Validated:
    """What one validation found.

    Attributes:
        result: average precision of every class.
        findings: truth and detections of every validation image, in pixels.
        loss: over the same images.
        dataset: the validation records, for their pixels.
    """

    result: VOCResult
    findings: Findings
    loss: ValidationLoss
    dataset: RecordDataset


@dataclass
class Validation:
    """Scores a model in training.

    Attributes:
        dataset: the validation records.
        symbol: the training graph, which the Detector strips.
        card: of the run.
        context: the device.
        metric: "voc" or "voc07".
        overlap: IoU that a detection needs.
        use_difficult: count difficult objects.
        loss: matching and mining of the training loss, which is measured too.
        at_once: images of a training batch.
    """

    dataset: RecordDataset
    symbol: object
    card: Card
    context: object
    metric: str
    overlap: float
    use_difficult: bool = False
    loss: LossConfig = field(default_factory=LossConfig)
    at_once: int = 16
    _detector: Detector | None = None
    _meter: LossMeter | None = None

    def run(self, params: tuple[dict, dict]) -> Validated:
        """Score parameters.

        Args:
            params: (arg_params, aux_params).
        """
        if self._detector is None:
            saved = SavedDetector("", 0, self.symbol, *params, self.card)
            self._detector = Detector.from_saved(saved, context=self.context, predictions=True)
        else:
            self._detector.set_params(*params)
        meter = self._meter = self._meter or self._make_meter()
        findings = find(
            self._detector,
            self.dataset,
            on_result=lambda result: meter.add(result.index, result.predictions),
        )
        result = score(
            findings, metric=self.metric, iou_threshold=self.overlap, use_difficult=self.use_difficult
        )
        return Validated(result, findings, meter.total(), self.dataset)

    def _make_meter(self) -> LossMeter:
        """Return what sums the loss; the default boxes are the graph's own."""
        return LossMeter(
            anchors_of(self.symbol, {}, self.card.data_shape, "training graph"),
            self.card.anchors.variances,
            labels_of(self.dataset),
            self.card.num_classes,
            self.loss,
            self.at_once,
        )

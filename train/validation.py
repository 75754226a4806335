"""Validation inside training: the deployed graph over the validation records, by evaluate.py's own path."""

from __future__ import annotations

from dataclasses import dataclass

from dataset.records import RecordDataset
from detect.detector import Detector
from evaluate.findings import Findings
from evaluate.run import find, score
from evaluate.voc import VOCResult
from model.card import Card
from model.saved import SavedDetector


@dataclass(frozen=True)
class ValidationLoss:
    """The loss over the validation images, whole and without augmentation.

    Attributes:
        cls: classification loss, divided as in training by the positives of all images.
        loc: localisation loss.
    """

    cls: float
    loc: float

    def row(self) -> dict[str, str]:
        """Return the figures by the names of results.csv's columns."""
        return {"val_cls_loss": f"{self.cls:.5f}", "val_loc_loss": f"{self.loc:.5f}"}


@dataclass(frozen=True)
class Validated:
    """What one validation found.

    Attributes:
        result: average precision of every class.
        findings: truth and detections of every validation image, in pixels.
        loss: over the same images; None where the network's heads are not to be had.
        dataset: the validation records, for their pixels.
    """

    result: VOCResult
    findings: Findings
    loss: ValidationLoss | None
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
    """

    dataset: RecordDataset
    symbol: object
    card: Card
    context: object
    metric: str
    overlap: float
    use_difficult: bool = False
    _detector: Detector | None = None

    def run(self, params: tuple[dict, dict]) -> Validated:
        """Score parameters.

        Args:
            params: (arg_params, aux_params).
        """
        if self._detector is None:
            saved = SavedDetector("", 0, self.symbol, *params, self.card)
            self._detector = Detector.from_saved(saved, context=self.context)
        else:
            self._detector.set_params(*params)
        findings = find(self._detector, self.dataset)
        result = score(
            findings, metric=self.metric, iou_threshold=self.overlap, use_difficult=self.use_difficult
        )
        return Validated(result, findings, None, self.dataset)

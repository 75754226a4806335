"""Validation inside training: the deployed graph over the validation records, by evaluate.py's own path."""

from __future__ import annotations

from dataclasses import dataclass

from dataset.records import RecordDataset
from detect.detector import Detector
from evaluate.run import evaluate_records
from evaluate.voc import VOCResult
from model.card import Card
from model.saved import SavedDetector


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

    def run(self, params: tuple[dict, dict]) -> VOCResult:
        """Score parameters.

        Args:
            params: (arg_params, aux_params).
        """
        if self._detector is None:
            saved = SavedDetector("", 0, self.symbol, *params, self.card)
            self._detector = Detector.from_saved(saved, context=self.context)
        else:
            self._detector.set_params(*params)
        return evaluate_records(
            self._detector,
            self.dataset,
            metric=self.metric,
            iou_threshold=self.overlap,
            use_difficult=self.use_difficult,
        )

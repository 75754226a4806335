"""What TensorBoard is told of a run: values by their tags, curves, texts. Nothing of TensorBoard's is needed for it.

Tags: batch/... by batch, epoch/... by epoch (the columns of results.csv; the validation's losses under those of
training, so that one chart shows both), AP/CLASS and mAP, PR/CLASS, one picture for each of some validation images.
"""

from __future__ import annotations

import json

import numpy as np

from dataset.records import RecordDataset
from evaluate.voc import ClassResult, VOCResult
from model.card import Card
from train.log import EpochSums
from train.observers import EpochDone

THRESHOLDS = 101  # of a precision-recall curve: every hundredth; mxboard's message holds 127 at most
_NOT_CURVES = ("epoch", "mAP", "val_cls_loss", "val_loc_loss")  # columns that are told elsewhere


def texts_of(command: str, card: Card, train: RecordDataset, val: RecordDataset | None) -> dict[str, str]:
    """Return what a run is about, tag -> text: the command line, the card, the data's manifests."""
    texts = {"command": command, "card": _as_json(card.to_dict())}
    for name, dataset in (("train", train), ("validation", val)):
        if dataset is not None:
            about = _as_json(dataset.manifest) if dataset.manifest else "no manifest"
            texts[f"records/{name}"] = f"{dataset.path}\n{about}"
    return texts


def _as_json(values: dict) -> str:
    return json.dumps(values, indent=1, ensure_ascii=False)


def curve_table(result: ClassResult) -> np.ndarray:
    """Return a class's precision-recall curve at evenly spaced thresholds, as TensorBoard wants it.

    Args:
        result: of a class with objects.

    Returns:
        (6, THRESHOLDS) float64, by ascending threshold in [0, 1]: right detections of at least that score, wrong ones,
        wrong ones that the threshold keeps out, missed objects (those that nothing found included), precision, recall.
    """
    right = np.append(0, np.round(result.precision * np.arange(1, len(result.scores) + 1)))
    thresholds = np.linspace(0, 1, THRESHOLDS)
    found = np.searchsorted(-result.scores.astype(np.float64), -thresholds, side="right")
    true = right[found]
    false, missed = found - true, result.objects - true
    precision = true / np.maximum(1, found)
    return np.stack([true, false, false[0] - false, missed, precision, true / result.objects])


def window_values(window: EpochSums, rate: float) -> dict[str, float]:
    """Return a window's point of each curve, by its tag."""
    return {
        "batch/cls_loss": window.cls / window.batches,
        "batch/loc_loss": window.loc / window.batches,
        "batch/lr": rate,
        "batch/images_per_second": window.images / max(1e-9, window.seconds),
        "batch/positives_per_image": window.positives / max(1, window.images),
        "batch/negatives_per_image": window.negatives / max(1, window.images),
    }


def epoch_values(row: dict) -> dict[str, float]:
    """Return a row of results.csv, but for what validation found, by tag."""
    names = [name for name in row if name not in _NOT_CURVES and not name.startswith("AP_")]
    return {f"epoch/{name}": float(row[name]) for name in names if row[name] not in ("", None)}


def validation_values(done: EpochDone) -> dict[str, float]:
    """Return what validation found, by tag; losses under those of training, so that one chart shows both."""
    result: VOCResult = done.validated.result
    values = {f"AP/{one.name}": one.ap for one in result.classes if one.ap is not None}
    if result.mean is not None:
        values["mAP"] = result.mean
    loss = done.validated.loss
    return {**values, "epoch/cls_loss": loss.cls, "epoch/loc_loss": loss.loc}


def preformatted(text: str) -> str:
    """Return Markdown that shows a text as it stands, whatever is in it: lines indented by four."""
    return "\n".join(f"    {line}" for line in text.splitlines())

"""What GET /model tells of a detector: names and colours of its classes, sizes and limits, and no folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.drawing import class_colours, text_colour
from common.errors import ConfigError
from detect.detector import Detector


def describe(detector: Detector, threshold: float | Sequence[float] | np.ndarray, limit: int) -> dict:
    """Return what the page must know of a detector, ready for JSON.

    Args:
        detector: the detector.
        threshold: to begin with, one number or (C,) one for each class.
        limit: of an upload, in bytes.

    Raises:
        ConfigError: the threshold cannot be.
    """
    card, scores = detector.card, np.asarray(threshold, np.float64)
    if scores.shape not in ((), (card.num_classes,)) or not np.all((scores >= 0) & (scores < 1)):
        raise ConfigError(
            f"threshold is {threshold!r}, expected a number from 0 to below 1, or one for each of the"
            f" {card.num_classes} classes"
        )
    colours = class_colours(card.num_classes)
    return {
        "name": Path(detector.prefix).name,
        "epoch": detector.epoch,
        "network": card.network,
        "class_names": list(card.class_names),
        "colours": [_hex(colour) for colour in colours],
        "inks": [_hex(text_colour(colour)) for colour in colours],
        "input_size": list(card.data_shape[::-1]),
        "score_threshold": card.detection.score_threshold,
        "threshold": scores.tolist(),
        "max_upload_bytes": limit,
        "draws_scenes": _draws_scenes(card.class_names),
    }


def _hex(colour: tuple) -> str:
    """Return a colour (red, green, blue), each 0..255, as CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _draws_scenes(class_names: tuple[str, ...]) -> bool:
    """Tell whether the detector is for drawn scenes, so that the page can offer some."""
    from dataset.scenes import CLASS_NAMES

    return tuple(class_names) == tuple(CLASS_NAMES)

"""Score thresholds by class, in a small file: evaluate.py --report suggests them, demo.py --thresh takes them.

The file is JSON, {"format": "ssd-thresholds", "thresholds": {class name: score}}, and may be edited by hand.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import numpy as np

from common.errors import ConfigError, did_you_mean
from common.files import read_json, write_json

FORMAT = "ssd-thresholds"


def write_thresholds(path: str | os.PathLike, thresholds: dict[str, float], **about: object) -> None:
    """Write a file of thresholds.

    Args:
        path: of the file.
        thresholds: class name -> the score above which a detection counts.
        **about: JSON values that tell where they come from.
    """
    write_json(path, {"format": FORMAT, **about, "thresholds": thresholds})


def read_thresholds(path: str | os.PathLike, class_names: Sequence[str], default: float = 0.5) -> np.ndarray:
    """Read a file of thresholds.

    Args:
        path: of the file.
        class_names: of the detector, in the order of their ids.
        default: for classes that the file does not name.

    Returns:
        (C,) float64.

    Raises:
        ConfigError: the file is missing or something else, names another class, or a score cannot be.
    """
    values = read_json(path, "file of score thresholds", ConfigError)
    table = values.get("thresholds") if isinstance(values, dict) else None
    if not isinstance(table, dict):
        raise ConfigError(
            f'{path}: not a file of score thresholds: expected {{"thresholds": {{"class": 0.5, ...}}}}, as'
            " evaluate.py --report writes it"
        )
    for name, score in table.items():
        if name not in class_names:
            raise ConfigError(
                f"{path}: class {name!r} is not one of the detector's{did_you_mean(name, class_names)}"
            )
        number = isinstance(score, (int, float)) and not isinstance(score, bool) and math.isfinite(score)
        if not number or not 0 <= score < 1:
            raise ConfigError(
                f"{path}: the threshold of {name!r} is {score!r}, expected a number from 0 to below 1"
            )
    return np.array([float(table.get(name, default)) for name in class_names])

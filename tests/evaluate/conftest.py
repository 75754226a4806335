"""The toy detector of tests/detect, and records that it can be scored on."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from PIL import Image

from common.structures import Sample
from dataset.annotations import AnnotationSet
from dataset.pack import pack
from tests.detect.quarters import quarters

_TOY = runpy.run_path(str(Path(__file__).parent.parent / "detect" / "conftest.py"))
toy, toy_prefix = _TOY["toy"], _TOY["toy_prefix"]

NAMES = ("red", "green", "blue")
WORLD = [("red", "", "", "green"), ("blue", "blue", "", ""), ("", "", "", ""), ("", "red", "blue", "")]


def make_records(folder, class_names=NAMES, name="val"):
    """Pack one image for each row of WORLD, 120x80, with its true quarters; return the .rec path."""
    folder.mkdir(exist_ok=True)
    samples = []
    for number, row in enumerate(WORLD):
        path = folder / f"image{number}.jpg"
        Image.fromarray(quarters(*row, size=(120, 80))).save(path, quality=95)
        corners = [(0, 0, 60, 40), (60, 0, 120, 40), (0, 40, 60, 80), (60, 40, 120, 80)]
        there = [(class_names.index(colour), box) for colour, box in zip(row, corners) if colour]
        samples.append(
            Sample(
                path,
                (120, 80),
                [box for _, box in there],
                [class_id for class_id, _ in there],
                [False] * len(there),
                image_id=f"image{number}",
            )
        )
    pack(AnnotationSet(samples, tuple(class_names), []), folder / name)
    return folder / f"{name}.rec"


@pytest.fixture
def records(tmp_path):
    return make_records(tmp_path / "data")


@pytest.fixture
def records_in_other_order(tmp_path):
    return make_records(tmp_path / "data", ("blue", "green", "red"))

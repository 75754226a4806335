"""Converted Caffe models as ONNX files: onnxruntime finds what MXNet finds."""

from __future__ import annotations

import numpy as np
import prototxts
import pytest
from caffe_oracle import unmatched
from random_model import write_random_caffemodel

from common.mx import mx
from deploy.command import main as deploy
from detect.detector import Detector
from tools.caffe_converter.model_command import main as convert

DETECTORS = sorted(set(prototxts.ARCHITECTURES) - {"two_outputs"})


def pictures(count=3):
    """Return smooth random pictures of several sizes."""
    rng = np.random.default_rng(0)
    sizes = [(7, 9), (10, 8), (6, 12)][:count]
    return [
        rng.integers(0, 256, (*size, 3)).astype(np.uint8).repeat(40, axis=0).repeat(40, axis=1)
        for size in sizes
    ]


def rows(found):
    return np.column_stack([found.class_id, found.score, found.boxes / np.tile(found.size, 2)])


def assert_exported(tmp_path, name, options):
    prototxt, weights, prefix = tmp_path / "net.prototxt", tmp_path / "net.caffemodel", tmp_path / "ssd"
    prototxt.write_text(prototxts.ARCHITECTURES[name](**options))
    write_random_caffemodel(prototxt, weights, 2)
    assert convert([str(prototxt), str(weights), str(prefix)]) == 0
    assert deploy(["--prefix", str(prefix), "--onnx"]) == 0
    ours, theirs = Detector(str(prefix), context=mx.cpu()), Detector(f"{prefix}.onnx")
    assert theirs.class_names == ours.class_names
    for expected, found in zip(ours.detect(pictures(), 1), theirs.detect(pictures(), 1)):
        assert len(expected) > 5
        # oneDNN's LRN, like OpenCV's, takes its power by an approximation.
        within = 1e-3 if name == "everything" else 1e-4
        assert unmatched(rows(found), rows(expected), score=within, box=within) == ([], [])


@pytest.mark.parametrize("name", DETECTORS)
def test_thin_network(tmp_path, name):
    assert_exported(tmp_path, name, {} if name == "everything" else {"width": 0.125})


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_whole_network(tmp_path, name):
    assert_exported(tmp_path, name, {})

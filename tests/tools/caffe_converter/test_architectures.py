"""Every kind of Caffe SSD with random weights against OpenCV's DNN module; thin here, whole in the slow tests."""

from __future__ import annotations

import numpy as np
import prototxts
import pytest
from caffe_oracle import detection_output, unmatched
from random_model import write_random_caffemodel

from common.mx import mx
from tools.caffe_converter.compare_command import compare
from tools.caffe_converter.convert import convert_model
from tools.caffe_converter.opencv import OpenCVNet, detections_of

RAW, RAW_BLOBS = 5e-4, ("mbox_loc", "mbox_conf_flatten", "mbox_priorbox")
WITHIN = 2e-3  # of a blob's greatest value, inside the net: what a clipped activation hides can be large


def convert(tmp_path, text, seed=1, **options):
    """Write a net and random weights for it; return (the converted model, OpenCV's net)."""
    path, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    path.write_text(text)
    write_random_caffemodel(path, weights, seed)
    return convert_model(path, weights, every_layer=True, **options), OpenCVNet(path, weights)


def run(model, image):
    """Return (detections, loc (N, 4), scores (N, classes) after the activation, anchors) of the first image."""
    converted = model.converted
    heads = converted.heads
    group = mx.sym.Group(
        [converted.symbol, heads.loc_pred, converted.symbol.get_internals()["cls_prob_output"], heads.anchors]
    )
    executor = group.simple_bind(mx.cpu(), grad_req="null", data=image.shape)
    executor.copy_params_from(*model.params, allow_extra_params=True)
    rows, loc, scores, anchors = (
        output.asnumpy()[0] for output in executor.forward(is_train=False, data=mx.nd.array(image))
    )
    return rows, loc.reshape(-1, 4), scores.T, anchors


def picture(model, seed=0, batch=1):
    """A smooth random picture, (batch, 3, H, W) float32."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(-100, 100, (batch, 3, 12, 12)).repeat(60, axis=2).repeat(60, axis=3)
    height, width = model.converted.data_shape
    rows, columns = np.linspace(0, 719, height).astype(int), np.linspace(0, 719, width).astype(int)
    noise = rng.normal(0, 10, (batch, 3, height, width))
    return (coarse[:, :, rows][:, :, :, columns] + noise).astype(np.float32)


def caffe_rows(rows, labels):
    rows = rows[rows[:, 0] >= 0].copy()
    rows[:, 0] = np.array(labels)[rows[:, 0].astype(int)]
    return rows


def assert_equal_to_opencv(model, theirs, image, score=1e-5, box=2e-6):
    """Hold raw blobs to OpenCV's, and detections to OpenCV's and to Caffe's rule in numpy."""
    heads = model.converted.heads
    for row in compare(model, theirs, image):
        if row["type"] != "DetectionOutput":
            bound = RAW if row["name"] in RAW_BLOBS else WITHIN * max(row["greatest"], 1)
            assert row["difference"] < bound, row
    rows, loc, scores, anchors = run(model, image)
    mine = caffe_rows(rows, heads.labels)
    detections = detections_of(theirs.forward(image[:, ::-1], [theirs.name_of(heads.layer)])[0])
    assert len(mine) > 5
    assert unmatched(mine, detections, score=score, box=box) == ([], [])
    config = heads.detection
    by_rule = detection_output(
        loc,
        scores,
        anchors,
        heads.variances,
        threshold=config.score_threshold,
        nms=config.nms_threshold,
        top_k=config.nms_topk,
        keep_top_k=config.keep_topk,
        clip=config.clip,
    )
    by_rule[:, 0] = np.array(heads.labels)[by_rule[:, 0].astype(int) - 1]
    assert unmatched(mine, by_rule) == ([], [])


DETECTORS = sorted(set(prototxts.ARCHITECTURES) - {"two_outputs", "everything"})


@pytest.mark.parametrize("name", DETECTORS)
def test_thin_network_equals_opencv(tmp_path, name):
    model, theirs = convert(tmp_path, prototxts.ARCHITECTURES[name](width=0.125))
    assert_equal_to_opencv(model, theirs, picture(model))


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_whole_network_equals_opencv(tmp_path, name):
    model, theirs = convert(tmp_path, prototxts.ARCHITECTURES[name]())
    for seed in range(3):
        assert_equal_to_opencv(model, theirs, picture(model, seed))


def test_net_without_detections_keeps_its_outputs(tmp_path):
    model, theirs = convert(tmp_path, prototxts.ARCHITECTURES["two_outputs"](width=0.25))
    assert model.converted.heads is None
    assert model.converted.symbol.list_outputs() == [f"{name}_output" for name in model.converted.outputs]
    for row in compare(model, theirs, picture(model)):
        assert row["difference"] < WITHIN * max(row["greatest"], 1), row


def test_net_of_every_layer_equals_opencv(tmp_path):
    """OpenCV computes LRN's power by an approximation, which all that follows shows."""
    model, theirs = convert(tmp_path, prototxts.ARCHITECTURES["everything"]())
    assert_equal_to_opencv(model, theirs, picture(model), score=1e-4, box=1e-4)

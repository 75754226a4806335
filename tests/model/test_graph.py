"""Graph surgery: heads found by name, loss layers off, default boxes and classes read from the graph."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import CheckpointError
from common.mx import mx
from model.graph import (
    anchors_in_graph,
    anchors_of,
    has_heads,
    heads,
    inference_symbol,
    is_training,
    keep_used,
    load_symbol,
    num_classes_of,
)
from symbol.anchors import AnchorConfig, generate_anchors
from symbol.detection import DetectionConfig
from symbol.network import feature_shapes
from symbol.network import heads as network_heads
from symbol.presets import network_config

VARIANCES = (0.1, 0.1, 0.2, 0.2)


def test_training_graph_becomes_image_in_detections_out(small):
    symbol = inference_symbol(small.training_graph(), 3, VARIANCES, DetectionConfig(keep_topk=7))
    assert symbol.list_outputs() == ["detection_output"]
    assert not is_training(symbol)
    assert "label" not in symbol.list_arguments()
    assert symbol.infer_shape(data=(5, 3, 32, 32))[1] == [(5, 7, 6)]


def test_another_tail_on_the_result_is_as_if_it_were_the_first(small):
    training = small.training_graph()
    first = inference_symbol(training, 3, VARIANCES, DetectionConfig(nms_mode="multibox", keep_topk=3))
    config = DetectionConfig(score_threshold=0.3, force=True)
    assert (
        inference_symbol(first, 3, VARIANCES, config).tojson()
        == inference_symbol(training, 3, VARIANCES, config).tojson()
    )


def test_graph_is_not_changed(small):
    training = small.training_graph()
    before = training.tojson()
    inference_symbol(training, 3, VARIANCES, DetectionConfig())
    assert training.tojson() == before


def test_what_kind_a_graph_is(small):
    training, other = small.training_graph(), mx.sym.Variable("data")
    assert has_heads(training)
    assert is_training(training)
    assert has_heads(small.heads())
    assert not is_training(small.heads())
    assert not has_heads(other)
    with pytest.raises(
        CheckpointError, match=r"f\.json: not the graph of an SSD detector: it has no multibox_loc_pred"
    ):
        heads(other, "f.json")


@pytest.mark.parametrize("count", [1, 3, 20])
def test_classes_are_counted_in_the_graph(small, count):
    assert num_classes_of(small.training_graph(count), (32, 32), "f") == count
    with pytest.raises(CheckpointError, match=r"f: the graph does not take an input of \(3, 3\)"):
        num_classes_of(small.training_graph(count), (3, 3), "f")


def test_class_head_of_another_form_is_an_error(small):
    parts = list(small.heads())
    parts[1] = mx.sym.Flatten(parts[1][0].get_internals()["classes_rows_output"], name="multibox_cls_pred")
    with pytest.raises(CheckpointError, match=r"f: its class head gives \(1, 48\)"):
        num_classes_of(mx.sym.Group(parts), (32, 32), "f")


@pytest.mark.parametrize("network", ["ssd7_keras", "ssd300_tf", "mb2-ssd-lite"])
def test_order_clamping_and_aspect_are_read_from_the_graph(network):
    config = network_config(network, (400, 300), 2)
    symbol = mx.sym.load_json(network_heads(config).tojson())
    found = anchors_in_graph(symbol)
    assert (found.order, found.clamp) == (config.anchors.order, config.anchors.clamp)
    ran = anchors_of(symbol, {}, (400, 300), "f")
    np.testing.assert_allclose(generate_anchors(found, feature_shapes(config)), ran, atol=1e-6)


@pytest.mark.parametrize("network", ["ssd7", "vgg16_reduced", "mobilenet"])
def test_default_boxes_in_the_graph_are_those_it_was_built_with(network):
    config = network_config(network, (300, 300), 2)
    symbol = mx.sym.load_json(network_heads(config).tojson())
    found = anchors_in_graph(symbol)
    shapes = feature_shapes(config)
    np.testing.assert_allclose(
        generate_anchors(found, shapes), generate_anchors(config.anchors, shapes), atol=1e-6
    )
    if network == "ssd7":
        ran = anchors_of(symbol, {}, (300, 300), "f")
        np.testing.assert_allclose(generate_anchors(found, shapes), ran, atol=1e-5)


def test_variances_offsets_and_clip_come_from_the_graph(small):
    data = mx.sym.Variable("data")
    boxes = mx.sym.contrib.MultiBoxPrior(
        data, sizes=(0.1, 1e-3), offsets=(0.25, 0.75), steps=(0.5, 0.25), clip=True
    )
    found = anchors_in_graph(boxes)
    assert found == AnchorConfig(
        sizes=((0.1, 1e-3),), ratios=((1.0,),), steps=((0.5, 0.25),), offsets=(0.25, 0.75), clip=True
    )
    variances = (0.1, 0.2, 0.3, 0.4)
    tail = inference_symbol(small.heads(), 3, variances, DetectionConfig())
    assert anchors_in_graph(tail).variances == variances
    assert anchors_in_graph(small.training_graph()).variances == VARIANCES
    assert anchors_in_graph(data) is None


def test_only_used_parameters_are_kept(small):
    symbol = inference_symbol(small.training_graph(), 3, VARIANCES, DetectionConfig())
    args, states = small.params()
    kept = keep_used(symbol, {**args, "fc8_weight": mx.nd.ones(3)}, {**states, "old_mean": mx.nd.ones(3)})
    assert kept == (args, states)


def test_graph_comes_back_from_its_file(small, tmp_path):
    path = tmp_path / "größe-symbol.json"
    path.write_text(small.training_graph().tojson(), encoding="utf-8")
    assert load_symbol(path).tojson() == small.training_graph().tojson()

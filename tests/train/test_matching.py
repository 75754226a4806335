"""Matching in the graph (GPUs) and on the host (CPUs) train the same network."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import RecordError
from common.mx import mx
from symbol.loss import LossConfig, training_symbol
from symbol.network import heads
from symbol.presets import network_config
from train.devices import DeviceGroup
from train.matching import choose, in_graph, on_host
from train.start import initial_params

SHAPE, CLASSES, BATCH = (64, 96), 3, 4
LABEL_SHAPE = (BATCH, 3, 6)
CONFIG = network_config("ssd7", SHAPE, CLASSES)
SETTINGS = {"data_shape": SHAPE, "anchors": CONFIG.anchors, "loss": LossConfig(), "num_classes": CLASSES}


def graph(loss=LossConfig()):  # noqa: B008 (frozen)
    return training_symbol(heads(CONFIG), CLASSES, CONFIG.anchors.variances, loss)


def batches(count):
    rng = np.random.default_rng(0)
    for _ in range(count):
        label = np.full(LABEL_SHAPE, -1, np.float32)
        for image, objects in enumerate((2, 0, 3, 1)):
            corner, side = rng.uniform(0, 0.5, (objects, 2)), rng.uniform(0.2, 0.5, (objects, 2))
            label[image, :objects, 0] = rng.integers(0, CLASSES, objects)
            label[image, :objects, 1:5] = np.concatenate([corner, corner + side], axis=1)
            label[image, :objects, 5] = 0
        yield mx.nd.array(rng.normal(0, 1, (BATCH, 3, *SHAPE))), mx.nd.array(label)


def train(matching, count):
    """Train some batches; return the losses of each and the parameters at the end."""
    data_shape = (BATCH, 3, *SHAPE)
    params = initial_params(graph(), {"data": data_shape, "label": LABEL_SHAPE}, seed=1)
    inputs = {"data": data_shape, **matching.input_shapes}
    devices = DeviceGroup(matching.symbol, [mx.cpu()], inputs, *params)
    devices.init_optimizer("sgd", None, momentum=0.9, wd=0.0005, clip=5.0, updates_done=0)
    losses = []
    for data, label in batches(count):
        loss = devices.forward_backward({"data": data, **matching.feed(label)})
        devices.update(0.01, loss.normaliser(3.0))
        losses.append((loss.cls, loss.loc, loss.positives, loss.negatives))
    return np.array(losses), devices.params()


@pytest.mark.parametrize(
    ("loss", "count"),
    [
        (LossConfig(), 3),
        # One batch: after it a rounding may turn a ReLU or the choice of a pooling.
        (LossConfig(neutral_iou=0.25, label_smoothing=0.1, loc_weight=2.0), 1),
        (LossConfig(matching="bipartite", neutral_iou=0.4), 1),
    ],
    ids=["default", "band and smoothing", "bipartite"],
)
def test_matching_on_the_host_trains_as_matching_in_the_graph(loss, count):
    host_losses, host_params = train(on_host(graph(loss), LABEL_SHAPE, **{**SETTINGS, "loss": loss}), count)
    graph_losses, graph_params = train(in_graph(graph(loss), LABEL_SHAPE), count)
    np.testing.assert_array_equal(host_losses[:, 2:], graph_losses[:, 2:])
    np.testing.assert_allclose(host_losses[:, :2], graph_losses[:, :2], rtol=1e-4)
    for mine, theirs in zip(host_params, graph_params):
        for name, array in theirs.items():
            np.testing.assert_allclose(
                mine[name].asnumpy(), array.asnumpy(), rtol=1e-3, atol=1e-4, err_msg=name
            )


def test_cpu_matches_on_the_host_and_gpu_in_the_graph():
    assert "cls_target" in choose([mx.cpu()], graph(), LABEL_SHAPE, **SETTINGS).input_shapes
    assert choose([mx.gpu(0)], graph(), LABEL_SHAPE, **SETTINGS).input_shapes == {"label": LABEL_SHAPE}


def test_class_id_beyond_the_classes_is_an_error():
    label = np.full(LABEL_SHAPE, -1, np.float32)
    label[1, 0] = [CLASSES, 0.1, 0.1, 0.5, 0.5, 0]
    with pytest.raises(RecordError, match="class id 3, the model has 3 classes"):
        on_host(graph(), LABEL_SHAPE, **SETTINGS).feed(mx.nd.array(label))

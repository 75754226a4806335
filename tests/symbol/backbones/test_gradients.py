"""One training step of mxnet-ssd's and ssd_keras's networks from random weights."""

import json

import numpy as np
import pytest

from common.errors import ConfigError
from common.mx import mx
from symbol.anchors import generate_anchors
from symbol.loss import LossConfig, training_symbol
from symbol.network import feature_shapes, heads
from symbol.presets import keras, mxnet_ssd, network_config
from train.start import initial_params

# Those for COCO are the same graphs as those for VOC, with boxes of other sizes.
NETWORKS = [name for name in (*mxnet_ssd.PRESETS, *keras.PRESETS) if not name.endswith("_coco")]
CLASSES = 3
SIDES = (160, 320, 512)  # below, a BatchNorm of one image has too few cells to tell them apart


def smallest(network):
    """Return the configuration for the smallest square input of SIDES that the network takes."""
    for side in SIDES:
        config = network_config(network, (side, side), CLASSES)
        try:
            feature_shapes(config)
        except ConfigError:
            continue
        return config
    raise AssertionError(f"{network} takes none of {SIDES}")


def label_on_every_map(config):
    """Return (1, N, 5) objects: for every map one that is a default box in the middle, so that its heads learn."""
    shapes, rows = feature_shapes(config), []
    boxes = generate_anchors(config.anchors, shapes, config.data_shape)
    start = 0
    for index, ((height, width), count) in enumerate(zip(shapes, config.anchors.per_cell())):
        box = boxes[start + ((height // 2) * width + width // 2) * count]
        rows.append((index % CLASSES, *(box + (0.01, 0.01, -0.01, 0.02) * np.tile(box[2:] - box[:2], 2))))
        start += height * width * count
    return np.array([rows], np.float32)


def without_gradient(symbol):
    """Return (gammas that are fixed, biases that a BatchNorm takes away again): the gradient of both is 0."""
    nodes = json.loads(symbol.tojson())["nodes"]
    fixed, levelled = set(), set()
    for node in nodes:
        if node["op"] == "BatchNorm":
            # A missing attribute is the operator's default, which fixes gamma.
            if node.get("attrs", {}).get("fix_gamma", "True") in ("True", "1"):
                fixed.add(nodes[node["inputs"][1][0]]["name"])
            before = nodes[node["inputs"][0][0]]
            levelled |= {
                nodes[source[0]]["name"] for source in before["inputs"] if before["op"] == "Convolution"
            }
    return fixed, {name for name in levelled if name.endswith("_bias")}


@pytest.mark.parametrize("network", NETWORKS)
def test_every_parameter_gets_a_finite_gradient_that_is_not_zero(network):
    config = smallest(network)
    label = label_on_every_map(config)
    symbol = training_symbol(heads(config), CLASSES, config.anchors.variances, LossConfig())
    shapes = {"data": (1, 3, *config.data_shape), "label": label.shape}
    arguments, states = initial_params(symbol, shapes, 1)
    data = mx.nd.random.normal(0, 60, shapes["data"])
    gradients = {name: mx.nd.zeros(array.shape) for name, array in arguments.items()}
    values = {**arguments, "data": data, "label": mx.nd.array(label)}
    requests = {name: "write" if name in gradients else "null" for name in values}
    executor = symbol.bind(mx.cpu(), values, gradients, requests, states)
    executor.forward(is_train=True)
    executor.backward()
    mx.nd.waitall()
    fixed, levelled = without_gradient(symbol)
    largest = {name: np.abs(gradient.asnumpy()).max() for name, gradient in gradients.items()}
    assert np.isfinite(list(largest.values())).all()
    assert {name for name, value in largest.items() if value == 0} - levelled == fixed
    assert all(largest[name] < 1e-3 * largest[name.replace("_bias", "_weight")] for name in levelled)

"""ssd_keras's networks: default boxes equal to its own, layouts written out, SSD7 against numpy."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from common.mx import mx
from symbol.anchors import generate_anchors
from symbol.network import feature_maps, feature_shapes, heads
from symbol.presets import default_shape, network_config
from symbol.summary import count_parameters

GOLDEN = [
    ("ssd300_keras", "300_voc"),
    ("ssd300_keras_coco", "300_coco"),
    ("ssd512_keras", "512_voc"),
    ("ssd512_keras_coco", "512_coco"),
    ("ssd7_keras", "ssd7_300x480"),
]


@pytest.mark.parametrize(("network", "name"), GOLDEN)
def test_default_boxes_are_those_of_ssd_keras_in_its_order(shared_golden, network, name):
    expected = np.load(shared_golden / "anchors.npz")[f"ssd_keras_{name}"]
    shape = default_shape(network)
    config = network_config(network, shape, 20)
    boxes = generate_anchors(config.anchors, feature_shapes(config), shape)
    np.testing.assert_allclose(boxes, expected, atol=1e-6)
    symbol = heads(config)[2]
    executor = symbol.simple_bind(mx.cpu(), data=(1, 3, *shape), grad_req="null")
    np.testing.assert_allclose(executor.forward(is_train=False)[0].asnumpy()[0], expected, atol=1e-6)


@pytest.mark.parametrize("network", ["ssd300_keras", "ssd512_keras"])
def test_vgg16_s_pooling_always_rounds_up(network):
    # 333 -> 167 -> 84 -> 42 -> 21; rounding down anywhere before the last would end in 41 or 20.
    maps = feature_maps(network_config(network, (333, 521), 20))
    assert maps[0] == (512, 42, 66)
    assert maps[1] == (1024, 21, 33)


@pytest.mark.parametrize(
    ("network", "extras"),
    [
        ("ssd300_keras", ((256, 512, 3), (128, 256, 3), (128, 256, 3), (128, 256, 3))),
        ("ssd512_keras", ((256, 512, 3), (128, 256, 3), (128, 256, 3), (128, 256, 3), (128, 256, 4))),
    ],
)
def test_number_of_parameters_is_that_of_the_layout(network, extras):
    classes = 20
    stages = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
    layers = [(filters, 3) for stage in stages for filters in stage] + [(1024, 3), (1024, 1)]
    layers += [layer for middle, filters, side in extras for layer in ((middle, 1), (filters, side))]
    total, inputs = 512, 3  # 512: the scale of the L2 normalisation
    for filters, side in layers:
        total += filters * (inputs * side * side + 1)
        inputs = filters
    maps = (512, 1024, *(filters for _, filters, _ in extras))
    boxes = (4, *((6,) * (len(maps) - 3)), 4, 4)
    total += sum((9 * channels + 1) * count * (classes + 1 + 4) for channels, count in zip(maps, boxes))
    config = network_config(network, default_shape(network), classes)
    assert config.anchors.per_cell() == boxes
    assert count_parameters(config) == total


def test_ssd7_reads_pixels_from_minus_one_to_one_and_encodes_without_variances():
    config = network_config("ssd7_keras", (300, 480), 5)
    assert config.mean == config.std == (127.5, 127.5, 127.5)
    assert config.anchors.variances == (1, 1, 1, 1)
    assert feature_shapes(config) == [(37, 60), (18, 30), (9, 15), (4, 7)]


def convolve(x, weight, bias):
    """Return the convolution of (C, h, w) that keeps the size."""
    pad = weight.shape[-1] // 2
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    windows = sliding_window_view(padded, weight.shape[-2:], axis=(1, 2))  # (C, h, w, k, k)
    return np.einsum("chwij,fcij->fhw", windows, weight, optimize=True) + bias[:, None, None]


def halve(x):
    """Return the 2x2 max pooling of (C, h, w), rounded down."""
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    return x[:, :height, :width].reshape(len(x), height // 2, 2, width // 2, 2).max(axis=(2, 4))


def test_ssd7_computes_convolution_batch_norm_elu_and_pooling():
    rng = np.random.default_rng(0)
    config = network_config("ssd7_keras", (75, 100), 3)
    symbol = mx.sym.Group([config.backbone(mx.sym.Variable("data"))])
    shapes, _, states = symbol.infer_shape(data=(1, 3, 75, 100))
    values = dict(zip(symbol.list_arguments(), (rng.normal(0, 0.2, shape) for shape in shapes)))
    aux = dict(zip(symbol.list_auxiliary_states(), (rng.uniform(0.5, 1.5, shape) for shape in states)))
    x = values["data"][0]
    for number in range(1, 8):
        x = convolve(x, values[f"conv{number}_weight"], values[f"conv{number}_bias"])
        mean, var = (aux[f"bn{number}_moving_{kind}"][:, None, None] for kind in ("mean", "var"))
        gamma, beta = (values[f"bn{number}_{kind}"][:, None, None] for kind in ("gamma", "beta"))
        x = (x - mean) / np.sqrt(var + 1e-3) * gamma + beta
        x = np.where(x > 0, x, np.expm1(x))
        x = halve(x) if number < 7 else x
    arrays = [{name: mx.nd.array(array) for name, array in group.items()} for group in (values, aux)]
    executor = symbol.bind(mx.cpu(), arrays[0], aux_states=arrays[1], grad_req="null")
    found = executor.forward(is_train=False)[0].asnumpy()[0]
    assert found.shape == x.shape == (32, 1, 1)
    np.testing.assert_allclose(found, x, rtol=1e-4, atol=1e-6)

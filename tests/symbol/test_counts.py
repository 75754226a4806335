"""Multiply-adds and parameters: numbers by hand, MXNet's own shapes, and the figures that papers give."""

import math

import pytest

from common.errors import ConfigError
from common.mx import mx
from symbol.counts import layers, total_multiply_adds, total_parameters
from symbol.network import heads
from symbol.presets import network_config

DATA = mx.sym.Variable("data")


def one(symbol, **inputs):
    """Return (parameters, multiply-adds) of a graph."""
    counted = layers(symbol, **(inputs or {"data": (1, 3, 10, 12)}))
    return total_parameters(counted), total_multiply_adds(counted)


@pytest.mark.parametrize(
    ("symbol", "parameters", "multiply_adds"),
    [
        # 8x10 places, 4 filters of 3x3 over 3 channels.
        (mx.sym.Convolution(DATA, num_filter=4, kernel=(3, 3), name="c"), 4 * 27 + 4, 80 * 4 * 27),
        (
            mx.sym.Convolution(DATA, num_filter=4, kernel=(3, 3), no_bias=True, name="c"),
            4 * 27,
            80 * 4 * 27,
        ),
        # Stride 2, pad 1: 5x6 places; depthwise: one channel for each filter.
        (
            mx.sym.Convolution(
                DATA, num_filter=3, num_group=3, kernel=(3, 3), stride=(2, 2), pad=(1, 1), name="c"
            ),
            3 * 9 + 3,
            30 * 3 * 9,
        ),
        # A kernel of two sides, dilated: (10 - 4) x (12 - 0) places.
        (
            mx.sym.Convolution(DATA, num_filter=6, num_group=3, kernel=(3, 1), dilate=(2, 1), name="c"),
            6 * 3 + 6,
            72 * 6 * 3,
        ),
        (mx.sym.FullyConnected(DATA, num_hidden=7, name="f"), 7 * 360 + 7, 7 * 360),
        # Along the last axis alone: 30 rows of 12.
        (
            mx.sym.FullyConnected(DATA, num_hidden=7, flatten=False, no_bias=True, name="f"),
            7 * 12,
            30 * 7 * 12,
        ),
        # Each of 120 places of 3 channels is spread over 2x2 places of 5 channels.
        (
            mx.sym.Deconvolution(DATA, num_filter=5, kernel=(2, 2), stride=(2, 2), no_bias=True, name="d"),
            3 * 5 * 4,
            120 * 3 * 5 * 4,
        ),
        (
            mx.sym.Deconvolution(DATA, num_filter=6, num_group=3, kernel=(2, 2), no_bias=True, name="d"),
            3 * 2 * 4,
            120 * 3 * 2 * 4,
        ),
        (mx.sym.BatchNorm(DATA, name="b"), 6, 0),
        (mx.sym.Pooling(mx.sym.Activation(DATA, act_type="relu"), kernel=(2, 2), pool_type="max"), 0, 0),
    ],
)
def test_counts_are_those_by_hand(symbol, parameters, multiply_adds):
    assert one(symbol) == (parameters, multiply_adds)


def test_twice_the_images_are_twice_the_work_and_no_more_parameters():
    symbol = heads(network_config("ssd7", (64, 96), 3))
    (parameters, work), (same, double) = (one(symbol, data=(n, 3, 64, 96)) for n in (1, 2))
    assert (same, double) == (parameters, 2 * work)


def test_a_weight_that_two_layers_share_counts_once_and_works_twice():
    weight = mx.sym.Variable("w")
    shared = {"weight": weight, "num_filter": 3, "kernel": (1, 1), "no_bias": True}
    body = mx.sym.Convolution(mx.sym.Convolution(DATA, name="first", **shared), name="second", **shared)
    counted = layers(body, data=(1, 3, 4, 4))
    assert [(layer.name, layer.parameters, layer.multiply_adds) for layer in counted] == [
        ("first", 9, 144),
        ("second", 0, 144),
    ]
    assert [layer.inputs for layer in counted] == [("data",), ("first",)]


def classifier(name, side):
    """Return (parameters, multiply-adds) of a network of MXNet's own for pictures of that side."""
    from mxnet.gluon.model_zoo import vision

    return one(vision.get_model(name)(DATA), data=(1, 3, side, side))


@pytest.mark.parametrize(
    ("name", "side", "millions", "millions_of_parameters"),
    [
        ("vgg16", 224, 15470, 138.36),
        ("mobilenet1.0", 224, 569, 4.23),  # 569 million: table 4 of the paper
        # The paper's 300.8, and the first block's expansion to as many channels, which only Gluon's has: 112^2 * 32^2.
        ("mobilenetv2_1.0", 224, 300.8 + 112**2 * 32**2 / 1e6, 3.50),
        ("resnet18_v1", 224, 1814, 11.69),
        ("densenet121", 224, 2834, 7.98),
        ("squeezenet1.1", 224, 349, 1.24),
        ("inceptionv3", 299, 5713, 23.83),
    ],
)
def test_counts_are_those_published(name, side, millions, millions_of_parameters):
    parameters, work = classifier(name, side)
    assert work / 1e6 == pytest.approx(millions, rel=0.005)
    assert parameters / 1e6 == pytest.approx(millions_of_parameters, rel=0.005)


def test_ssd300_on_vgg16_costs_what_torchvision_says_of_its_own():
    # torchvision's ssd300_vgg16, 91 classes with background: 35.64 million parameters, 34.86 GFLOPS. Its parameters
    # are the same layers': the extra blocks and heads of the paper.
    symbol = heads(network_config("vgg16_reduced", (300, 300), 90))
    parameters, work = one(symbol, data=(1, 3, 300, 300))
    assert parameters / 1e6 == pytest.approx(35.64, abs=0.01)
    assert work / 1e9 == pytest.approx(34.86, abs=0.01)


def test_parameters_are_all_arguments_without_the_inputs():
    symbol = heads(network_config("mobilenet", (300, 300), 20))
    shapes, _, _ = symbol.infer_shape(data=(1, 3, 300, 300))
    expected = sum(math.prod(s) for n, s in zip(symbol.list_arguments(), shapes) if n != "data")
    assert one(symbol, data=(1, 3, 300, 300))[0] == expected


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"data": (1, 3, 2, 2)}, "does not take data 1x3x2x2: c cannot compute of it"),
        ({}, "needs more inputs"),
    ],
)
def test_inputs_that_do_not_fit_are_told(inputs, expected, capfd):
    symbol = mx.sym.Convolution(DATA, num_filter=4, kernel=(3, 3), name="c")
    with pytest.raises(ConfigError, match=expected):
        layers(symbol, **inputs)
    assert capfd.readouterr().out == ""

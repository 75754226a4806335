"""Backbones of pytorch-ssd and SSD-pytorch against MXNet's and gluoncv's own networks with the same weights."""

from __future__ import annotations

import numpy as np
import pytest
from mxnet.gluon.model_zoo import vision

from common.mx import mx
from symbol.backbones import mobilenet_v1, mobilenet_v2, resnet_v1, squeezenet


def drawn(symbol, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Return random values for a graph's arguments without data, then for its states, in its order."""
    rng = np.random.default_rng(1)
    shapes, _, states = symbol.infer_shape(data=shape)
    values = [
        rng.normal(0, np.sqrt(2 / np.prod(size[1:])), size) if len(size) > 1 else rng.uniform(0.5, 1.5, size)
        for name, size in zip(symbol.list_arguments(), shapes)
        if name != "data"
    ]
    return values + [rng.uniform(0.5, 1.5, size) for size in states]


def run(symbol, values: list[np.ndarray], data: np.ndarray) -> np.ndarray:
    arguments = [name for name in symbol.list_arguments() if name != "data"]
    arrays = [mx.nd.array(value) for value in values]
    args = {**dict(zip(arguments, arrays)), "data": mx.nd.array(data)}
    states = dict(zip(symbol.list_auxiliary_states(), arrays[len(arguments) :]))
    return symbol.bind(mx.cpu(), args, aux_states=states).forward(is_train=False)[0].asnumpy()


def hold(found, expected, side: int, also=lambda values: values) -> None:
    """Hold a graph to another one; their parameters stand in the order of the layers in both.

    Args:
        found: our graph.
        expected: the other one.
        side: of the input.
        also: our values -> the other graph's.
    """
    shape = (1, 3, side, side)
    values = drawn(found, shape)
    others = also(values)
    assert [value.shape for value in others] == [value.shape for value in drawn(expected, shape)]
    data = np.random.default_rng(2).normal(0, 1, shape)
    reference = run(expected, others, data)
    assert np.abs(reference).max() > 0.01
    np.testing.assert_allclose(run(found, values, data), reference, atol=1e-4 * np.abs(reference).max())


def last(symbol, ending: str):
    """Return the last layer of a graph whose output's name has that ending."""
    internals = symbol.get_internals()
    return internals[[name for name in internals.list_outputs() if name.endswith(ending)][-1]]


DATA = mx.sym.Variable("data")


@pytest.mark.parametrize("width", [1.0, 0.5])
def test_mobilenet_v1_is_the_one_of_mxnet_s_model_zoo(width):
    pooled = last(vision.get_mobilenet(width).features(DATA), "pool0_fwd_output")
    hold(mobilenet_v1.backbone(DATA, width=width), pooled.get_children()[0], 64)


def test_mobilenet_v2_is_the_one_of_mxnet_s_model_zoo():
    """Its first block expands 32 channels to 32; made to do nothing, for its input is a ReLU6 already."""
    pooled = last(vision.get_mobilenet_v2(1.0).features(DATA), "pool0_fwd_output")
    found = mobilenet_v2.backbone(DATA)
    arguments = len(found.list_arguments()) - 1

    def with_expansion(values):
        args, states = values[:arguments], values[arguments:]
        one = [np.eye(32).reshape(32, 32, 1, 1), np.full(32, np.sqrt(1 + 1e-5)), np.zeros(32)]
        return [*args[:3], *one, *args[3:], *states[:2], np.zeros(32), np.ones(32), *states[2:]]

    hold(found, pooled.get_children()[0], 64, also=with_expansion)


def test_squeezenet_is_the_one_of_mxnet_s_model_zoo_where_rounding_makes_no_difference():
    """A side of 63 has 31, 15, 7 and 3 cells, rounded down or up."""
    features = vision.squeezenet1_1().features(DATA)
    concats = [name for name in features.get_internals().list_outputs() if "concat" in name]
    fire9 = features.get_internals()[concats[-1]]
    hold(squeezenet.above_fire9(squeezenet.backbone(DATA), "extra", block=lambda data, name: data), fire9, 63)


def test_resnet50_is_gluoncv_s_with_stride_1_in_its_fourth_stage():
    zoo = pytest.importorskip("gluoncv.model_zoo")
    net = zoo.resnet50_v1b(pretrained=False, pretrained_base=False)
    for layer in (net.layer3[0].conv2, net.layer3[0].downsample[0]):
        layer._kwargs["stride"] = (1, 1)
    body = net.maxpool(net.relu(net.bn1(net.conv1(DATA))))
    hold(resnet_v1.backbone(DATA), net.layer3(net.layer2(net.layer1(body))), 64)

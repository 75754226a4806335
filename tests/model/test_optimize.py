"""A faster graph gives what the plain one gives; MXNet computes both."""

import json

import numpy as np
import pytest

from common.errors import CheckpointError
from common.mx import mx
from model.fold_batch_norm import fold_batch_norm
from model.graph import HEADS, inference_symbol
from model.merge_heads import merge_heads
from model.node_graph import NodeGraph
from model.optimize import largest_difference, optimize
from symbol.detection import DetectionConfig
from symbol.network import heads
from symbol.presets import default_shape, network_config, network_names

CLASSES = 4


def random_params(symbol, shape, seed=0):
    """Return parameters of sizes that keep activations in range, BatchNorm's statistics included."""
    rng = np.random.default_rng(seed)
    arguments, _, states = symbol.infer_shape(data=(1, 3, *shape))
    arg_params = {
        name: mx.nd.array(_value(rng, name, size))
        for name, size in zip(symbol.list_arguments(), arguments)
        if name != "data"
    }
    aux_params = {
        name: mx.nd.array(rng.uniform(0.5, 1.5, size) if name.endswith("var") else rng.normal(0, 0.1, size))
        for name, size in zip(symbol.list_auxiliary_states(), states)
    }
    return arg_params, aux_params


def _value(rng, name, size):
    if name.endswith("weight"):
        return rng.normal(0, np.sqrt(2 / np.prod(size[1:])), size)
    return rng.uniform(0.5, 1.5, size) if name.endswith(("gamma", "scale")) else rng.normal(0, 0.1, size)


def batch_of(shape, count=2):
    return np.random.default_rng(1).normal(0, 1, (count, 3, *shape)).astype(np.float32)


def operators(symbol):
    return [node["op"] for node in json.loads(symbol.tojson())["nodes"]]


def values_of(symbol, params, **inputs):
    arrays = {**{name: mx.nd.array(values) for name, values in params.items()}}
    arrays.update({name: mx.nd.array(values) for name, values in inputs.items()})
    arguments = {name: arrays[name] for name in symbol.list_arguments()}
    states = {name: arrays[name] for name in symbol.list_auxiliary_states()}
    executor = symbol.bind(mx.cpu(), arguments, aux_states=states, grad_req="null")
    return [output.asnumpy() for output in executor.forward(is_train=False)]


def check_network(network, shape):
    config = network_config(network, shape, CLASSES)
    symbol = inference_symbol(heads(config), CLASSES, config.anchors.variances, DetectionConfig())
    params = random_params(symbol, shape)
    before = {name: array.asnumpy() for part in params for name, array in part.items()}
    faster = optimize(symbol, params, shape, network)
    assert largest_difference((symbol, params), (faster.symbol, faster.params), batch_of(shape)) < 1e-4
    assert set(HEADS) <= set(faster.symbol.get_internals().list_outputs())
    assert faster.steps["anchors_constant"] == 1
    assert faster.steps["heads_merged"] >= 3
    assert "_contrib_MultiBoxPrior" not in operators(faster.symbol)
    filters = [
        int(node["attrs"]["num_filter"])
        for node in json.loads(faster.symbol.tojson())["nodes"]
        if node["op"] == "Convolution" and node["name"].endswith(("_merged", "_filled"))
    ]
    assert filters
    assert all(count % 32 == 0 for count in filters)
    for part in params:  # what was given stays as it was
        for name, array in part.items():
            assert np.array_equal(array.asnumpy(), before[name])
    return faster


@pytest.mark.parametrize(
    ("network", "shape"), [("ssd7", (96, 128)), ("mobilenet", (160, 160)), ("mb2-ssd-lite", (160, 160))]
)
def test_networks_give_the_same_faster(network, shape):
    faster = check_network(network, shape)
    assert faster.steps["batch_norm_folded"] > 5
    assert operators(faster.symbol).count("BatchNorm") == 0


@pytest.mark.slow
@pytest.mark.parametrize("network", network_names())
def test_every_network_gives_the_same_faster(network):
    check_network(network, default_shape(network))


def test_optimizing_twice_changes_nothing_more():
    config = network_config("ssd7", (96, 96), CLASSES)
    symbol = heads(config)
    once = optimize(symbol, random_params(symbol, (96, 96)), (96, 96), "x")
    twice = optimize(once.symbol, once.params, (96, 96), "x")
    assert twice.symbol.tojson() == once.symbol.tojson()
    assert twice.steps == {}


def test_another_input_size_is_refused_in_words():
    config = network_config("ssd7", (96, 96), CLASSES)
    symbol = heads(config)
    with pytest.raises(CheckpointError, match="x: .*does not take an input of"):
        optimize(symbol, random_params(symbol, (96, 96)), (4, 4), "x")


# ---- BatchNorm


def conv(body, name="conv", **settings):
    return mx.sym.Convolution(body, num_filter=6, kernel=(3, 3), name=name, **settings)


@pytest.mark.parametrize("fix_gamma", [True, False])
@pytest.mark.parametrize("no_bias", [True, False])
@pytest.mark.parametrize("num_group", [1, 3])
def test_batch_norm_goes_into_its_convolution(fix_gamma, no_bias, num_group):
    body = conv(mx.sym.Variable("data"), no_bias=no_bias, num_group=num_group)
    symbol = mx.sym.BatchNorm(body, fix_gamma=fix_gamma, eps=2e-3, name="bn")
    arg_params, aux_params = random_params(symbol, (12, 12))
    params = {name: array.asnumpy() for part in (arg_params, aux_params) for name, array in part.items()}
    graph, folded = NodeGraph(symbol), dict(params)
    assert fold_batch_norm(graph, folded) == 1
    (expected,), (found,) = (
        values_of(symbol, params, data=batch_of((12, 12))),
        values_of(graph.symbol(), folded, data=batch_of((12, 12))),
    )
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert operators(graph.symbol()).count("BatchNorm") == 0


def test_a_convolution_that_others_read_keeps_its_batch_norm():
    body = conv(mx.sym.Variable("data"))
    symbol = mx.sym.Group([mx.sym.BatchNorm(body, name="bn"), mx.sym.relu(body)])
    assert fold_batch_norm(NodeGraph(symbol), {}) == 0
    flat = mx.sym.BatchNorm(conv(mx.sym.Variable("data")), axis=3, name="bn")
    assert fold_batch_norm(NodeGraph(flat), {}) == 0


def test_weights_that_two_convolutions_share_stay_as_they_are_for_the_other():
    data, weight, bias = (mx.sym.Variable(name) for name in ("data", "shared_weight", "shared_bias"))
    one = mx.sym.BatchNorm(conv(data, "one", weight=weight, bias=bias), fix_gamma=False, name="bn")
    symbol = mx.sym.Group([one, conv(data, "two", weight=weight, bias=bias)])
    parts = random_params(symbol, (12, 12))
    params = {name: array.asnumpy() for part in parts for name, array in part.items()}
    graph, folded = NodeGraph(symbol), dict(params)
    assert fold_batch_norm(graph, folded) == 1
    for mine, theirs in zip(
        values_of(graph.symbol(), folded, data=batch_of((12, 12))),
        values_of(symbol, params, data=batch_of((12, 12))),
    ):
        np.testing.assert_allclose(mine, theirs, atol=2e-6)


# ---- heads


def head(body, filters, name, **settings):
    body = mx.sym.Convolution(body, num_filter=filters, kernel=(3, 3), pad=(1, 1), name=name, **settings)
    return mx.sym.transpose(body, axes=(0, 2, 3, 1))


def merged(symbol, shape=(9, 7)):
    parts = random_params(symbol, shape)
    params = {name: array.asnumpy() for part in parts for name, array in part.items()}
    graph, fuller = NodeGraph(symbol), dict(params)
    count = merge_heads(graph, fuller)
    for mine, theirs in zip(
        values_of(graph.symbol(), fuller, data=batch_of(shape)),
        values_of(symbol, params, data=batch_of(shape)),
    ):
        np.testing.assert_allclose(mine, theirs, atol=2e-6)
    return count, operators(graph.symbol()).count("Convolution")


def test_heads_of_one_map_become_one_convolution():
    data = mx.sym.Variable("data")
    symbol = mx.sym.Group([head(data, 16, "loc"), head(data, 84, "cls", no_bias=True), head(data, 3, "more")])
    assert merged(symbol) == (1, 1)


def test_a_head_that_fills_vectors_already_stays():
    assert merged(head(mx.sym.Variable("data"), 32, "only")) == (0, 1)
    assert merged(head(mx.sym.Variable("data"), 30, "only")) == (1, 1)


def test_convolutions_of_other_kinds_are_not_merged():
    data = mx.sym.Variable("data")
    other = head(data, 32, "dilated", dilate=(2, 2))
    groups = head(data, 15, "grouped", num_group=3)
    first = mx.sym.transpose(
        mx.sym.Convolution(data, num_filter=5, kernel=(1, 1), name="turned"), axes=(0, 1, 3, 2)
    )
    assert merged(mx.sym.Group([head(data, 32, "plain"), other, groups, first])) == (0, 4)

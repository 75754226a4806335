import numpy as np
import pytest

from common.mx import mx
from model.node_graph import Entry, Node, NodeGraph
from symbol.network import heads
from symbol.presets import network_config


def small():
    data = mx.sym.Variable("data")
    body = mx.sym.Convolution(data, num_filter=4, kernel=(3, 3), pad=(1, 1), name="conv")
    body = mx.sym.Activation(body, act_type="relu", name="relu")
    return mx.sym.Group([body, mx.sym.sum(body, name="total")])


@pytest.mark.parametrize("network", ["ssd7", "mobilenet"])
def test_taken_apart_and_joined_again_is_the_same_graph(network):
    symbol = heads(network_config(network, (128, 128), 3))
    again = NodeGraph(symbol).symbol()
    assert again.list_arguments() == symbol.list_arguments()
    assert again.list_outputs() == symbol.list_outputs()
    assert again.infer_shape(data=(1, 3, 128, 128)) == symbol.infer_shape(data=(1, 3, 128, 128))


def test_consumers_are_nodes_and_the_outputs():
    graph = NodeGraph(small())
    takers = graph.consumers()[Entry(graph.node("relu"))]
    assert [taker.name if taker else None for taker in takers] == ["total", None]


def test_a_replaced_output_is_replaced_everywhere_and_the_old_node_is_gone():
    graph = NodeGraph(small())
    relu = graph.node("relu")
    tanh = Node("Activation", "tanh", {"act_type": "tanh"}, list(relu.inputs))
    graph.replace(Entry(relu), Entry(tanh))
    symbol = graph.symbol()
    assert symbol.list_outputs() == ["tanh_output", "total_output"]
    values = mx.nd.array(np.random.default_rng(0).normal(size=(1, 2, 5, 5)))
    weight, bias = mx.nd.ones((4, 2, 3, 3)), mx.nd.zeros((4,))
    found = symbol.bind(mx.cpu(), {"data": values, "conv_weight": weight, "conv_bias": bias}).forward()
    plain = mx.nd.Convolution(values, weight, bias, num_filter=4, kernel=(3, 3), pad=(1, 1)).asnumpy()
    np.testing.assert_allclose(found[0].asnumpy(), np.tanh(plain), atol=1e-6)


def test_a_node_may_come_behind_the_one_that_it_replaces():
    graph = NodeGraph(small())
    relu = graph.node("relu")
    doubled = Node("_mul_scalar", "doubled", {"scalar": "2"}, [Entry(relu)])
    graph.replace(Entry(relu), Entry(doubled))
    assert graph.symbol().list_outputs() == ["doubled_output", "total_output"]
    assert graph.node("doubled").inputs == [Entry(relu)]


def test_deep_graphs_need_no_deep_stack():
    body = mx.sym.Variable("data")
    for index in range(3000):
        body = mx.sym.relu(body, name=f"relu{index}")
    assert len(NodeGraph(body).nodes()) == 3001

"""Operators in ONNX: what onnxruntime computes is what MXNet computes, for one image and for three at once."""

from __future__ import annotations

import json

import numpy as np
import pytest

from common.errors import ExportError
from common.mx import mx
from model.onnx_file import IR_VERSION, OPSET, open_session, require
from model.onnx_nodes import Nodes, heads_nodes
from model.onnx_operators import RULES
from model.onnx_rewrite import rewrite

SHAPE = (13, 18)
sym = mx.sym


def random_params(symbol, shape=SHAPE) -> dict:
    """Draw parameters of the right shapes; variances above 0."""
    rng = np.random.default_rng(3)
    arg_shapes, _, aux_shapes = symbol.infer_shape(data=(1, 3, *shape))
    names = [*symbol.list_arguments(), *symbol.list_auxiliary_states()]
    drawn = {
        name: rng.uniform(0.5, 1.5, size) if name.endswith("var") else rng.normal(0, 0.6, size)
        for name, size in zip(names, arg_shapes + aux_shapes)
        if name != "data"
    }
    return {name: mx.nd.array(value) for name, value in drawn.items()}


def in_mxnet(symbol, params: dict, images: np.ndarray) -> list[np.ndarray]:
    """Compute a graph with MXNet."""
    states = {name: params[name] for name in symbol.list_auxiliary_states()}
    args = {name: params[name] for name in symbol.list_arguments() if name != "data"}
    executor = symbol.bind(mx.cpu(), {**args, "data": mx.nd.array(images)}, aux_states=states)
    return [output.asnumpy() for output in executor.forward(is_train=False)]


def exported(symbol, params: dict, shape=SHAPE, batch="N") -> bytes:
    """Return a graph as an ONNX model."""
    onnx, into = require("onnx"), Nodes()
    outputs, free_batch = heads_nodes(symbol, params, shape, "data", into, "net")
    assert free_batch == (batch == "N")
    image = onnx.helper.make_tensor_value_info("data", onnx.TensorProto.FLOAT, [batch, 3, *shape])
    values = [onnx.helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = onnx.helper.make_graph(into.nodes, "net", [image], values, initializer=into.constants)
    opset = onnx.helper.make_operatorsetid("", OPSET)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(model), full_check=True)
    return model.SerializeToString()


def hold(symbol, params: dict | None = None, shape=SHAPE, batches=(1, 3), tolerance=1e-5) -> None:
    """Hold onnxruntime to MXNet."""
    params = random_params(symbol, shape) if params is None else params
    session = open_session(exported(symbol, params, shape, "N" if 3 in batches else 1))
    for batch in batches:
        images = np.random.default_rng(batch).normal(0, 1, (batch, 3, *shape)).astype(np.float32)
        for found, expected in zip(session.run(None, {"data": images}), in_mxnet(symbol, params, images)):
            assert found.shape == expected.shape
            np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def conv(data, filters=8, side=3, **kwargs):
    return sym.Convolution(data, num_filter=filters, kernel=(side, side), **{"name": "conv", **kwargs})


def deconv(data, filters=4, kernel=(4, 4), **kwargs):
    return sym.Deconvolution(data, num_filter=filters, kernel=kernel, name="up", **kwargs)


def pool(data, kernel=(3, 3), stride=(2, 2), **kwargs):
    return sym.Pooling(data, kernel=kernel, stride=stride, **kwargs)


CASES = {
    "convolution": lambda x: conv(x, pad=(1, 1), stride=(2, 2)),
    "convolution, groups, no bias": lambda x: conv(conv(x), 8, num_group=4, no_bias=True, name="conv2"),
    "convolution, dilated": lambda x: conv(x, dilate=(2, 3), pad=(2, 3)),
    "convolution, sides differ": lambda x: sym.Convolution(x, num_filter=4, kernel=(1, 5), pad=(0, 2), stride=(1, 2)),
    "deconvolution": lambda x: deconv(x, stride=(2, 2), pad=(1, 1)),
    "deconvolution, bias, adj": lambda x: deconv(x, stride=(2, 3), pad=(1, 1), adj=(1, 2), no_bias=False),
    "deconvolution, groups": lambda x: deconv(x, 6, num_group=3, stride=(2, 2)),
    "deconvolution, dilated": lambda x: deconv(x, kernel=(3, 3), dilate=(2, 2)),
    "deconvolution, target shape": lambda x: deconv(x, stride=(2, 2), target_shape=(28, 38)),
    "fully connected": lambda x: sym.FullyConnected(x, num_hidden=5),
    "fully connected, no bias": lambda x: sym.FullyConnected(x, num_hidden=5, no_bias=True),
    "fully connected, last axis": lambda x: sym.FullyConnected(x, num_hidden=5, flatten=False),
    "batch norm, gamma fixed by default": sym.BatchNorm,
    "batch norm, gamma free": lambda x: sym.BatchNorm(x, fix_gamma=False, eps=1e-5),
    "batch norm, global statistics": lambda x: sym.BatchNorm(x, use_global_stats=True, fix_gamma=1),
    "relu": lambda x: sym.Activation(x, act_type="relu"),
    "sigmoid": lambda x: sym.Activation(x, act_type="sigmoid"),
    "tanh": lambda x: sym.Activation(x, act_type="tanh"),
    "softrelu": lambda x: sym.Activation(x, act_type="softrelu"),
    "prelu": lambda x: sym.LeakyReLU(conv(x), act_type="prelu", name="slope"),
    "prelu, one slope": lambda x: sym.LeakyReLU(x, sym.Variable("g", shape=(1,)), act_type="prelu"),
    "prelu of rows": lambda x: sym.LeakyReLU(sym.Flatten(x), act_type="prelu", name="slope"),
    "elu": lambda x: sym.LeakyReLU(x, act_type="elu", slope=0.7),
    "leaky": sym.LeakyReLU,
    "rrelu": lambda x: sym.LeakyReLU(x, act_type="rrelu")[0],
    "gelu": lambda x: sym.LeakyReLU(x, act_type="gelu"),
    "clip": lambda x: sym.clip(x, a_min=-0.5, a_max=0.25),
    "concat": lambda x: sym.concat(x, conv(x, pad=(1, 1)), dim=1),
    "concat of rows": lambda x: sym.concat(sym.Flatten(x), sym.Flatten(conv(x)), dim=1),
    "transpose": lambda x: sym.transpose(x, axes=(0, 2, 3, 1)),
    "swap axes": lambda x: sym.SwapAxis(x, dim1=1, dim2=-1),
    "flatten": lambda x: sym.Flatten(sym.transpose(x, axes=(0, 3, 1, 2))),
    "reshape 0 -1": lambda x: sym.reshape(x, shape=(0, -1, 3)),
    "reshape -3 0": lambda x: sym.reshape(x, shape=(-3, 0, 0)),
    "reshape -4": lambda x: sym.reshape(x, shape=(0, -4, 1, 3, -2)),
    "reshape -4 of the batch": lambda x: sym.reshape(x, shape=(-4, -1, 1, -2)),
    "reshape, reversed": lambda x: sym.reshape(x, shape=(-1, 0, 18), reverse=True),
    "reshape there and back": lambda x: sym.reshape(sym.reshape(x, shape=(-3, -2)), shape=(-4, -1, 3, -2)),
    "expand dims": lambda x: sym.expand_dims(x, axis=-2),
    "squeeze": lambda x: sym.squeeze(sym.expand_dims(x, axis=1), axis=1),
    "slice axis": lambda x: sym.slice_axis(x, axis=-1, begin=2, end=-3),
    "slice axis to the end": lambda x: sym.slice_axis(x, axis=1, begin=-2, end=None),
    "slice": lambda x: sym.slice(x, begin=(None, 1, 0), end=(None, 3, 5)),
    "split": lambda x: sym.concat(*reversed(list(sym.SliceChannel(x, num_outputs=3, axis=1))), dim=2),
    "split, squeezed": lambda x: sym.SliceChannel(x, num_outputs=3, axis=1, squeeze_axis=True)[2],
    "crop like": lambda x: sym.Crop(x, conv(x), offset=(1, 2)),
    "crop to a size": lambda x: sym.Crop(x, h_w=(5, 6), offset=(2, 3), num_args=1),
    "crop, centred": lambda x: sym.Crop(x, conv(x), center_crop=True),
    "slice like": lambda x: sym.slice_like(x, conv(x), axes=(2, -1)),
    "softmax of an axis": lambda x: sym.softmax(50 * x, axis=1),
    "softmax of the last": sym.softmax,
    "softmax activation": lambda x: sym.SoftmaxActivation(x, mode="channel"),
    "softmax activation of rows": lambda x: sym.SoftmaxActivation(sym.Flatten(x)),
    "dropout": lambda x: sym.Dropout(x, p=0.5) + 1,
    "lrn, defaults": lambda x: sym.LRN(conv(x), nsize=5),
    "lrn": lambda x: sym.LRN(conv(x), nsize=3, alpha=0.3, beta=0.6, knorm=1.5),
    "l2 normalisation, channel": lambda x: sym.L2Normalization(x, mode="channel"),
    "l2 normalisation, small values": lambda x: sym.L2Normalization(1e-5 * x, mode="channel"),
    "l2 normalisation, instance": lambda x: sym.L2Normalization(x, mode="instance", eps=1e-3),
    "l2 normalisation, spatial": lambda x: sym.L2Normalization(x, mode="spatial"),
    "scale and bias": lambda x: sym.broadcast_add(
        sym.broadcast_mul(x, sym.Variable("s", shape=(1, 3, 1, 1))), sym.Variable("b", shape=(1, 3, 1, 1))
    ),
    "divided": lambda x: sym.broadcast_div(x, sym.Variable("a_var", shape=(1, 3, 1, 1))),
    "difference": lambda x: sym.broadcast_sub(x, sym.Variable("s", shape=(1, 3, 1, 1))),
    "largest": lambda x: sym.broadcast_maximum(x, sym.Variable("s", shape=(1, 3, 1, 1))),
    "smallest": lambda x: sym.broadcast_minimum(x, sym.Variable("s", shape=(1, 3, 1, 1))),
    "largest of two": lambda x: sym.maximum(x, sym.tanh(2 * x)),
    "sum of many": lambda x: sym.add_n(x, 2 * x, sym.tanh(x)),
    "product of two": lambda x: x * sym.tanh(x) - x / (2 + sym.sigmoid(x)),
    "scalars": lambda x: (3 - (2 * x + 1) / 4) * -1.5,
    "scalar over": lambda x: 3 / (2 + sym.abs(x)),
    "scalar minus, whatever its name": lambda x: sym._internal._rminus_scalar(x, scalar=2, name="shift"),
    "power": lambda x: (1 + sym.abs(x)) ** 1.7,
    "square of negatives": lambda x: x**2,
    "largest of a scalar": lambda x: sym._internal._maximum_scalar(x, scalar=0.1),
    "exp, log, root": lambda x: sym.log(1 + sym.exp(x)) + sym.sqrt(sym.abs(x)) + sym.rsqrt(1 + sym.square(x)),
    "global average": lambda x: sym.Pooling(x, global_pool=True, pool_type="avg"),
    "global largest": lambda x: sym.Pooling(x, global_pool=True, pool_type="max", kernel=(2, 2)),
    "nearest neighbour twice": lambda x: sym.UpSampling(x, scale=2, sample_type="nearest"),
    "identity": lambda x: sym.identity(conv(x)),
    "mean of an axis, dropped": lambda x: sym.mean(x, axis=(0, 2), exclude=True),
    "mean of an axis": lambda x: sym.mean(x, axis=(2, 3), keepdims=True),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_operator_is_what_it_is_in_mxnet(case):
    hold(CASES[case](sym.Variable("data")))


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("convention", ["valid", "full"])
@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize(
    ("kernel", "stride", "pad"), [(3, 2, 0), (3, 2, 1), (2, 2, 0), (2, 3, 1), (3, 1, 1), (5, 4, 2)]
)
def test_pooling_is_what_it_is_in_mxnet(kind, convention, include, kernel, stride, pad):
    for shape in ((13, 18), (10, 7), (8, 9)):
        pooled = pool(
            sym.Variable("data") - 5,
            (kernel, kernel),
            (stride, stride),
            pad=(pad, pad),
            pool_type=kind,
            pooling_convention=convention,
            count_include_pad=include,
        )
        hold(pooled, {}, shape, batches=(3,))


def test_average_is_over_the_cells_that_the_definition_counts():
    """Independent of MXNet: windows of 3 with steps of 2 on 4 cells, padding 1, full: the last reaches beyond."""
    pooled = pool(sym.Variable("data"), pad=(1, 1), pool_type="avg", pooling_convention="full")
    ones = np.ones((1, 3, 4, 4), np.float32)
    (found,) = open_session(exported(pooled, {}, (4, 4))).run(None, {"data": ones})
    side = np.array(
        [2 / 3, 1, 1 / 2]
    )  # ones in the window, over cells up to the end of the padding: 2/3, 3/3, 1/2
    np.testing.assert_allclose(found[0, 0], np.outer(side, side), rtol=1e-6)


def test_names_that_the_exporter_would_join_stay_apart():
    data = sym.Variable("data")
    one = sym.slice_axis(data, axis=1, begin=0, end=2, name="a")
    other = sym.Convolution(data, num_filter=2, kernel=(1, 1), name="a_begin")
    third = sym.relu(one, name="a_axis")
    hold(sym.Group([sym.concat(one, other, third, dim=1, name="a_end")]))


def test_same_name_twice_is_two_layers():
    data = sym.Variable("data")
    hold(sym.Group([sym.tanh(sym.relu(data, name="same") - 1, name="same")]))


def test_old_operators_load_too():
    body = sym.Pooling_v1(sym.Variable("data"), kernel=(2, 2), stride=(2, 2), pool_type="max")
    hold(sym.Convolution_v1(body, num_filter=3, kernel=(3, 3), name="c"))


def test_flags_written_as_numbers_count():
    net = sym.FullyConnected(conv(sym.Variable("data"), no_bias=True), num_hidden=3, no_bias=True, name="fc")
    graph = json.loads(net.tojson())
    for node in graph["nodes"]:
        if "no_bias" in node.get("attrs", {}):
            node["attrs"]["no_bias"] = "1"
    hold(sym.load_json(json.dumps(graph)))


def test_graph_for_one_image_is_exported_for_one_image():
    data = sym.reshape(sym.Variable("data"), shape=(1, 3, *SHAPE))
    hold(sym.concat(data, conv(data, pad=(1, 1)), sym.ones((1, 2, *SHAPE)), dim=1), batches=(1,))


def test_what_onnx_cannot_say_is_an_error_that_names_it():
    data = sym.Variable("data")
    with pytest.raises(ExportError, match="net: cannot be expressed in ONNX: .*GridGenerator"):
        exported(
            sym.GridGenerator(
                sym.slice_axis(sym.Flatten(data), axis=1, begin=0, end=6),
                transform_type="affine",
                target_shape=(4, 4),
            ),
            {},
        )
    with pytest.raises(ExportError, match="act0: SoftmaxActivation in mode instance on 4 axes"):
        exported(sym.SoftmaxActivation(data, name="act0"), {})
    with pytest.raises(ExportError, match="m: the mean of a whole batch"):
        exported(sym.broadcast_sub(data, sym.mean(data, axis=0, keepdims=True, name="m")), {})
    statistics = sym.BatchNorm(data, output_mean_var=True, name="bn")
    with pytest.raises(ExportError, match=r"takes output 1 of bn \(BatchNorm\)"):
        exported(sym.Group([sym.tanh(statistics[1])]), random_params(statistics))
    with pytest.raises(ExportError, match="parameter conv_bias is missing"):
        exported(conv(data), {"conv_weight": mx.nd.ones((8, 3, 3, 3))})


def test_what_was_given_is_not_changed():
    net = sym.BatchNorm(sym.LeakyReLU(conv(sym.Variable("data")), act_type="prelu", name="p"), name="bn")
    params, graph = random_params(net), net.tojson()
    before = {name: array.asnumpy() for name, array in params.items()}
    rewritten = rewrite(net, params, SHAPE, RULES, "net")
    assert net.tojson() == graph
    assert all(np.array_equal(params[name].asnumpy(), before[name]) for name in before)
    assert rewritten.free_batch

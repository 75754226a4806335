"""Heads: names, shapes and numbers of mxnet-ssd, any input size, no dependence on what was built before."""

import hashlib
import json
import os
import subprocess
import sys
import zlib

import numpy as np
import pytest

from common.errors import ConfigError
from common.mx import mx
from symbol.anchors import AnchorConfig, generate_anchors
from symbol.network import feature_shapes, heads
from symbol.presets import network_config, network_names

GOLDEN = [
    ("vgg16_reduced", 300),
    ("vgg16_reduced", 512),
    ("legacy_vgg16_ssd_300", 300),
    ("legacy_vgg16_ssd_512", 512),
    ("inceptionv3", 300),
    ("inceptionv3", 512),
    ("resnet50", 300),
    ("resnet50", 512),
    ("resnet101", 512),
    ("mobilenet", 300),
    ("mobilenet", 512),
    ("mobilenet", 608),
    ("densenet121", 300),
    ("densenet121", 512),
    ("densenet-tiny", 300),
]


def shapes_of(symbol, data_shape):
    """Return {name: shape} of the arguments without data, and of the auxiliary states."""
    arguments, _, states = symbol.infer_shape(data=(1, 3, *data_shape))
    found = {name: list(shape) for name, shape in zip(symbol.list_arguments(), arguments)}
    found.pop("data")
    return found, {name: list(shape) for name, shape in zip(symbol.list_auxiliary_states(), states)}


def weight(name, shape):
    """Return the values that the golden recipe gives a parameter."""
    z = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype("float32")
    if name.endswith("_weight"):
        return z * np.sqrt(2 / np.prod(shape[1:]))
    if name.endswith("_gamma"):
        return 1 + 0.1 * z
    if name.endswith("_moving_var"):
        return 1 + 0.1 * np.abs(z)
    return np.full(shape, 20.0) if name.endswith("_scale") else 0.1 * z


def run_golden(symbol, size):
    """Return the outputs (softmax over classes, boxes, anchors) for the golden weights and input."""
    loc_pred, cls_pred, anchors = symbol
    arguments, states = shapes_of(symbol, (size, size))
    values = {name: mx.nd.array(weight(name, tuple(shape))) for name, shape in arguments.items()}
    data = np.random.RandomState(7).standard_normal((1, 3, size, size)).astype("float32") * 64
    values["data"] = mx.nd.array(data)
    states = {name: mx.nd.array(weight(name, tuple(shape))) for name, shape in states.items()}
    group = mx.sym.Group([mx.sym.softmax(cls_pred, axis=1), loc_pred, anchors])
    executor = group.bind(mx.cpu(), values, aux_states=states, grad_req="null")
    return [output.asnumpy() for output in executor.forward(is_train=False)]


def test_every_golden_file_of_a_network_has_its_line_here(shared_golden):
    files = {path.stem for path in (shared_golden / "networks").iterdir()}
    assert files == {f"{network}_{size}" for network, size in GOLDEN}


@pytest.mark.parametrize(("network", "size"), GOLDEN)
def test_parameter_names_and_shapes_are_those_of_mxnet_ssd(shared_golden, network, size):
    expected = json.loads((shared_golden / "networks" / f"{network}_{size}.json").read_text())
    arguments, states = shapes_of(heads(network_config(network, (size, size), 20)), (size, size))
    for name in ("data", "label"):
        expected["arguments"].pop(name, None)
    assert arguments == expected["arguments"]
    assert states == expected["auxiliary_states"]


@pytest.mark.parametrize(("network", "size"), GOLDEN)
def test_outputs_are_those_of_mxnet_ssd(shared_golden, network, size):
    golden = np.load(shared_golden / "networks" / f"{network}_{size}.npz")
    config = network_config(network, (size, size), 20)
    outputs = run_golden(heads(config), size)
    for name, output in zip(("cls_prob", "loc_pred", "anchors"), outputs):
        error = np.abs(output.reshape(-1)[::101] - golden[name]).max()
        assert error <= 1e-4 * np.abs(golden[name]).max(), name
    assert outputs[0].shape == tuple(golden["cls_shape"])
    assert outputs[1].shape == tuple(golden["loc_shape"])
    assert outputs[2].shape == tuple(golden["anchors_shape"])
    in_numpy = generate_anchors(config.anchors, feature_shapes(config))
    np.testing.assert_allclose(in_numpy, outputs[2][0], atol=1e-6)
    np.testing.assert_allclose(in_numpy.reshape(-1)[::101], golden["anchors"], atol=1e-6)


@pytest.mark.parametrize("network", network_names())
def test_building_twice_gives_the_same_graph(network):
    config = network_config(network, (300, 300), 4)
    first = heads(config).tojson()
    mx.sym.Variable("x") + mx.sym.Variable("y")  # moves MXNet's own counter
    assert heads(config).tojson() == first


def digest(network):
    """Return a hash of a network's graph."""
    symbol = heads(network_config(network, (300, 300), 4))
    return hashlib.sha256(symbol.tojson().encode()).hexdigest()


def test_graphs_do_not_depend_on_what_the_process_built_before(project_root):
    script = (
        "from tests.symbol.test_network import digest\n"
        "from symbol.presets import network_names\n"
        "for name in reversed(network_names()): print(name, digest(name))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=project_root,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    other_order = dict(line.split() for line in run.stdout.splitlines())
    assert other_order == {name: digest(name) for name in network_names()}


@pytest.mark.parametrize("network", network_names())
@pytest.mark.parametrize("shape", [(300, 300), (300, 400), (500, 333), (480, 640)])
def test_heads_fit_inputs_of_any_shape(network, shape):
    config = network_config(network, shape, 3)
    count = len(generate_anchors(config.anchors, feature_shapes(config), shape))
    symbol = heads(config)
    assert symbol.list_outputs() == [
        f"multibox_{name}_output" for name in ("loc_pred", "cls_pred", "anchors")
    ]
    _, outputs, _ = symbol.infer_shape(data=(2, 3, *shape))
    assert outputs == [(2, 4 * count), (2, 4, count), (1, count, 4)]


def test_anchors_of_the_user_size_the_heads_and_come_out_of_the_graph():
    anchors = AnchorConfig(
        ((0.1,), (0.2, 0.3), (0.4,), (0.6, 0.8, 0.9)), ((1, 2), (1,), (1, 2, 0.5, 3), (1, 0.5))
    )
    config = network_config("ssd7", (96, 160), 2, anchors)
    loc_pred, cls_pred, boxes = heads(config)
    arguments, _ = shapes_of(cls_pred, (96, 160))
    assert arguments["relu5_cls_pred_conv_weight"] == [3 * 2, 48, 3, 3]
    assert arguments["relu7_cls_pred_conv_weight"] == [3 * 4, 32, 3, 3]
    executor = boxes.simple_bind(mx.cpu(), data=(1, 3, 96, 160), grad_req="null")
    found = executor.forward(is_train=False)[0].asnumpy()[0]
    np.testing.assert_allclose(found, generate_anchors(anchors, feature_shapes(config)), atol=1e-6)


def boxes_alone(config):
    """Return the graph of a network's default boxes with inputs in the place of its feature maps, and their shapes."""
    graph = json.loads(heads(config)[2].tojson())
    priors = [
        node for node in graph["nodes"] if node["op"] == "_contrib_MultiBoxPrior"
    ]  # the finest map's first
    read = [graph["nodes"][node["inputs"][0][0]] for node in priors]
    for node in read:
        node.update(op="null", attrs={}, inputs=[])
    graph["arg_nodes"] = [place for place, node in enumerate(graph["nodes"]) if node["op"] == "null"]
    shapes = {node["name"]: (1, 1, *cells) for node, cells in zip(read, feature_shapes(config))}
    return mx.sym.load_json(json.dumps(graph)), shapes


@pytest.mark.parametrize("network", network_names())
@pytest.mark.parametrize("shape", [(300, 300), (413, 277), (301, 512), (512, 512)])
def test_default_boxes_in_graph_and_numpy_are_equal(network, shape):
    config = network_config(network, shape, 2)
    symbol, inputs = boxes_alone(config)
    executor = symbol.simple_bind(mx.cpu(), grad_req="null", **inputs)
    found = executor.forward(is_train=False)[0].asnumpy()[0]
    expected = generate_anchors(config.anchors, feature_shapes(config), shape)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_batch_size_is_free():
    symbol = heads(network_config("ssd7", (64, 64), 2))
    assert symbol.infer_shape(data=(1, 3, 64, 64))[1][0][0] == 1
    assert symbol.infer_shape(data=(7, 3, 64, 64))[1][0][0] == 7


@pytest.mark.parametrize(("network", "shape"), [("ssd7", (20, 400)), ("vgg16_reduced", (400, 100))])
def test_too_small_an_input_names_the_layer_and_the_minimum_that_works(network, shape, capfd):
    with pytest.raises(ConfigError, match="would end below 1x1; give at least") as raised:
        heads(network_config(network, shape, 3))
    side = int(str(raised.value).split("at least ")[1].split()[0])
    feature_shapes(network_config(network, (side, side), 3))
    with pytest.raises(ConfigError, match="too small"):
        feature_shapes(network_config(network, (side - 1, side), 3))
    assert capfd.readouterr().out == ""


def test_new_layers_have_mxnet_ssd_s_initial_values_and_rates():
    attributes = heads(network_config("vgg16_reduced", (300, 300), 3)).attr_dict()
    assert attributes["relu4_3_scale"]["__wd_mult__"] == "0.1"
    assert "20.0" in attributes["relu4_3_scale"]["__init__"]
    for name in ("multi_feat_2_conv_1x1_conv_bias", "relu7_loc_pred_conv_bias"):
        assert attributes[name]["__lr_mult__"] == "2.0"
        assert "constant" in attributes[name]["__init__"]


def test_legacy_extra_blocks_start_like_the_named_ones():
    attributes = heads(network_config("legacy_vgg16_ssd_300", (300, 300), 3)).attr_dict()
    for name in ("conv8_1_bias", "conv11_2_bias", "relu11_2_loc_pred_conv_bias"):
        assert attributes[name]["__lr_mult__"] == "2.0"
        assert "constant" in attributes[name]["__init__"]
    assert "__lr_mult__" not in attributes.get("conv7_bias", {})


@pytest.mark.parametrize("network", ["vgg16_reduced_caffe", "legacy_vgg16_ssd_512"])
def test_ssd512_with_caffe_s_last_convolution_has_all_its_boxes_centred_on_the_image(network):
    config = network_config(network, (512, 512), 20)
    assert feature_shapes(config) == [(side, side) for side in (64, 32, 16, 8, 4, 2, 1)]
    boxes = generate_anchors(config.anchors, feature_shapes(config))
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert len(boxes) == 24564
    assert centres.min() > 0
    assert centres.max() < 1


def test_vgg16_at_512_keeps_the_boxes_that_old_weights_were_trained_with():
    config = network_config("vgg16_reduced", (512, 512), 20)
    boxes = generate_anchors(config.anchors, feature_shapes(config))
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert len(boxes) == 24576
    assert ((centres > 1).any(axis=1)).sum() == 3 * 4

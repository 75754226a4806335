"""The networks of pytorch-ssd and SSD-pytorch: layers, counts and default boxes are theirs; they run and export."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from common.errors import ConfigError
from common.mx import mx
from model.card import Card
from model.onnx_export import write_onnx
from model.onnx_file import ExportSettings
from model.saved import SavedDetector
from symbol.anchor_order import size_major
from symbol.anchors import generate_anchors
from symbol.features import feature_names
from symbol.network import feature_maps, feature_shapes, heads
from symbol.presets import network_config
from symbol.presets.options import NetworkOptions
from symbol.presets.pytorch_ssd import PRESETS as PYTORCH_SSD
from symbol.presets.ssd_pytorch import PRESETS as SSD_PYTORCH

NETWORKS = (*PYTORCH_SSD, *SSD_PYTORCH)
ANCHORS = {
    "vgg16-ssd": "pytorch_ssd_vgg300",
    "mb1-ssd": "pytorch_ssd_mobile300",
    "mb1-ssd-lite": "pytorch_ssd_mobile300",
    "mb2-ssd-lite": "pytorch_ssd_mobile300",
    "mb3-large-ssd-lite": "pytorch_ssd_mobile300",
    "mb3-small-ssd-lite": "pytorch_ssd_mobile300",
    "sq-ssd-lite": "pytorch_ssd_squeezenet300",
    "ssd-resnet50": "uvipen_resnet300",
    "ssdlite-mobilenetv2": "uvipen_ssdlite300",
}
# Small inputs on which every feature map has a cell.
SIDES = {"vgg16-ssd": 272, "ssd-resnet50": 272}
FIRST_MAPS = {  # channels, height, width of the two finest maps of an image of 300x300
    "ssd-resnet50": [(1024, 38, 38), (512, 19, 19)],
    "ssdlite-mobilenetv2": [(576, 19, 19), (1280, 10, 10)],
}


def config_of(network: str, side: int = 300, **options):
    return network_config(network, (side, side), 20, options=NetworkOptions(**options))


def learned_counts(config) -> dict[str, int]:
    """Return the number of learned values of every parameter."""
    symbol = heads(config)
    shapes, _, _ = symbol.infer_shape(data=(1, 3, *config.data_shape))
    sizes = {name: math.prod(shape) for name, shape in zip(symbol.list_arguments(), shapes)}
    sizes.pop("data")
    return sizes


def is_base(name: str) -> bool:
    return not any(part in name for part in ("multi_feat_", "_pred_", "_norm_"))


@pytest.mark.parametrize("network", PYTORCH_SSD)
def test_parameters_and_maps_are_those_of_pytorch_ssd(shared_golden, network):
    golden = json.loads((shared_golden / "pytorch_ssd_models.json").read_text())[network]
    config = config_of(network)
    sizes = learned_counts(config)
    assert sum(sizes.values()) == golden["params"]
    base = sum(size for name, size in sizes.items() if is_base(name))
    assert base == golden["trainable_params_backbone"]
    assert [list(shape) for shape in feature_maps(config)] == golden["feature_maps_c_h_w"]


@pytest.mark.parametrize("network", SSD_PYTORCH)
def test_finest_maps_are_those_of_ssd_pytorch(network):
    assert feature_maps(config_of(network))[:2] == FIRST_MAPS[network]


def test_resnet50_of_ssd_pytorch_has_the_parameters_that_its_layers_add_up_to():
    """torchvision's ResNet-50 has 25557032, of them 2049000 in its classifier and 14964736 in its last stage."""
    sizes = learned_counts(config_of("ssd-resnet50"))
    assert sum(size for name, size in sizes.items() if is_base(name)) == 25557032 - 2049000 - 14964736
    channels, middles = (1024, 512, 512, 256, 256, 256), (256, 256, 128, 128, 128)
    extras = sum(a * m + 2 * m + 9 * m * b + 2 * b for a, b, m in zip(channels, channels[1:], middles))
    assert (
        sum(size for name, size in sizes.items() if name.startswith("multi_feat_") and "_pred_" not in name)
        == extras
    )
    per_cell = (4, 6, 6, 6, 4, 4)
    predictors = sum(k * (4 + 21) * (9 * c + 1) for k, c in zip(per_cell, channels))
    assert sum(size for name, size in sizes.items() if "_pred_" in name) == predictors


@pytest.mark.parametrize("network", NETWORKS)
def test_default_boxes_are_the_system_s_own_in_numpy_and_in_the_graph(shared_golden, network):
    golden = np.load(shared_golden / "anchors.npz")[ANCHORS[network]]
    config = config_of(network)
    shapes = feature_shapes(config)
    graph = heads(config)["multibox_anchors_output"]
    executor = graph.simple_bind(mx.cpu(), data=(1, 3, 300, 300), grad_req="null")
    in_graph = executor.forward(is_train=False)[0].asnumpy()[0]
    for boxes in (generate_anchors(config.anchors, shapes, config.data_shape), in_graph):
        if network in SSD_PYTORCH:
            boxes = boxes[size_major(shapes, config.anchors.per_cell())]
        np.testing.assert_allclose(boxes, golden, atol=1e-6)


@pytest.mark.parametrize("network", NETWORKS)
def test_names_do_not_depend_on_what_was_built_before(network):
    first = heads(config_of(network)).tojson()
    mx.sym.Variable("x") + mx.sym.Variable("y")  # moves MXNet's own counter
    assert heads(config_of(network)).tojson() == first


@pytest.mark.parametrize("network", NETWORKS)
def test_every_parameter_s_name_begins_with_its_layer(network):
    config = config_of(network)
    names = feature_names(config)
    for feature, name in zip(config.features, names):
        assert name.startswith(feature.layer)
    predictors = {name for name in learned_counts(config) if "_pred_" in name}
    assert {name.split("_loc_pred_")[0].split("_cls_pred_")[0] for name in predictors} == set(names)
    assert all(f"{name}_{kind}_pred_conv_weight" in predictors for name in names for kind in ("loc", "cls"))


def random_params(symbol, side: int) -> tuple[dict, dict]:
    """Draw parameters by which signals keep their size; gammas and statistics that are not the neutral ones."""
    rng = np.random.default_rng(11)
    arg_shapes, _, aux_shapes = symbol.infer_shape(data=(1, 3, side, side))

    def draw(name, shape):
        if name.endswith("_weight"):
            return rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        return rng.uniform(0.5, 1.5, shape) if name.endswith(("gamma", "var")) else rng.normal(0, 0.2, shape)

    args = {name: mx.nd.array(draw(name, shape)) for name, shape in zip(symbol.list_arguments(), arg_shapes)}
    args.pop("data")
    states = zip(symbol.list_auxiliary_states(), aux_shapes)
    return args, {name: mx.nd.array(draw(name, shape)) for name, shape in states}


@pytest.mark.parametrize("network", NETWORKS)
def test_layers_folded_for_inference_give_what_they_give_apart(network):
    """oneDNN folds BatchNorm, ReLU6 and sums into convolutions; an executor with gradients computes each apart."""
    side = SIDES.get(network, 96)
    symbol = mx.sym.Group(list(heads(config_of(network, side)))[:2])
    args, states = random_params(symbol, side)
    args["data"] = mx.nd.array(np.random.default_rng(2).normal(0, 1, (1, 3, side, side)))
    gradients = {name: mx.nd.zeros(array.shape) for name, array in args.items()}
    folded = symbol.bind(mx.cpu(), args, aux_states=states, grad_req="null").forward(is_train=False)
    apart = symbol.bind(mx.cpu(), args, args_grad=gradients, aux_states=states).forward(is_train=False)
    for found, expected in zip(folded, apart):
        expected = expected.asnumpy()
        assert np.abs(expected).max() > 0.01
        np.testing.assert_allclose(found.asnumpy(), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("network", [n for n in NETWORKS if n not in ("vgg16-ssd", "ssd-resnet50")])
def test_gradient_reaches_every_parameter_but_constants_that_the_next_batch_norm_takes_out(network):
    """A constant added to a channel is lost in a BatchNorm that follows with nothing but a convolution between."""
    config = config_of(network, 128)
    symbol = mx.sym.Group(list(heads(config))[:2])
    args, states = random_params(symbol, 128)
    args["data"] = mx.nd.array(np.random.default_rng(2).normal(0, 1, (4, 3, 128, 128)))
    gradients = {name: mx.nd.zeros(array.shape) for name, array in args.items()}
    executor = symbol.bind(mx.cpu(), args, args_grad=gradients, aux_states=states)
    outputs = executor.forward(is_train=True)
    rng = np.random.default_rng(3)
    executor.backward([mx.nd.array(rng.normal(0, 1, output.shape)) for output in outputs])
    arrays = {name: array.asnumpy() for name, array in gradients.items() if name != "data"}
    assert not [name for name, array in arrays.items() if not np.isfinite(array).all()]
    normalised = any(feature.head == "separable_bn" for feature in config.features)
    lost = ("_pred_dw_bias", "_project_bn_beta", "_shortcut_bn_beta") if normalised else ()
    largest = {name: np.abs(array).max() for name, array in arrays.items() if not name.endswith(lost)}
    assert min(largest.values()) > 1e-4, min(largest, key=largest.get)


@pytest.mark.parametrize("network", [n for n in NETWORKS if n not in ("vgg16-ssd", "ssd-resnet50")])
def test_onnx_runtime_finds_what_mxnet_finds(network, tmp_path):
    config = config_of(network, 96)
    symbol = heads(config)
    args, states = random_params(symbol, 96)
    names = tuple(f"class{number}" for number in range(20))
    card = Card(network, config.data_shape, names, config.mean, config.std, config.anchors)
    saved = SavedDetector(str(tmp_path / "net"), 1, symbol, args, states, card)
    write_onnx(saved, card, tmp_path / "net.onnx", ExportSettings())  # compares the two before it writes
    assert (tmp_path / "net.onnx").stat().st_size > 4 * sum(learned_counts(config).values())


def test_gradient_of_the_first_head_reaches_the_layers_below_its_map():
    """In SSD-pytorch the map was detached."""
    config = config_of("ssdlite-mobilenetv2", 96)
    tap = feature_names(config)[0]
    head = heads(config).get_internals()[f"{tap}_loc_pred_flat_output"]
    executor = head.simple_bind(mx.cpu(), data=(1, 3, 96, 96), grad_req="write")
    for name, array in executor.arg_dict.items():
        array[:] = mx.nd.array(np.random.default_rng(len(name)).normal(0, 0.3, array.shape))
    output = executor.forward(is_train=True)[0]
    executor.backward(mx.nd.array(np.random.default_rng(1).normal(0, 1, output.shape)))
    for name in ("conv_0_conv_weight", "block_13_dw_conv_weight", "block_14_expand_conv_weight"):
        assert np.abs(executor.grad_dict[name].asnumpy()).max() > 1e-6, name


@pytest.mark.parametrize(
    ("network", "width", "expected"),
    [
        ("mb2-ssd-lite", 0.5, (288, 1280)),  # 48 * 6
        ("mb2-ssd-lite", 0.35, (198, 1280)),  # int(33.6) * 6
        ("mb2-ssd-lite", 1.4, (804, 1792)),  # int(134.4) * 6
        ("ssdlite-mobilenetv2", 0.35, (192, 1280)),  # 33.6 -> 32
        ("mb1-ssd", 0.25, (128, 256)),
        ("mb1-ssd-lite", 0.75, (384, 768)),
    ],
)
def test_width_multiplier_sets_the_channels_of_the_backbone_s_maps(network, width, expected):
    maps = feature_maps(config_of(network, width_mult=width))
    assert (maps[0][0], maps[1][0]) == expected
    assert maps[2:] == feature_maps(config_of(network))[2:]


@pytest.mark.parametrize("network", ["mb3-large-ssd-lite", "sq-ssd-lite", "ssd-resnet50", "vgg16-ssd"])
def test_network_of_one_width_refuses_the_multiplier(network):
    with pytest.raises(ConfigError, match="leave --width-mult out"):
        config_of(network, width_mult=0.5)


def test_other_sizes_take_the_steps_from_the_maps():
    assert network_config("mb2-ssd-lite", (300, 300), 3).anchors.steps[0] == pytest.approx(
        (16 / 300, 16 / 300)
    )
    assert network_config("mb2-ssd-lite", (320, 320), 3).anchors.steps == ()

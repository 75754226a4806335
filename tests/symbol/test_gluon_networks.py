"""Gluon's classification networks as detectors: every family is built, trained a step, deployed; names that stay."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from common.errors import ConfigError
from common.mx import mx
from dataset.scenes import draw_scene
from detect.detector import Detector
from model.card import Card
from model.saved import SavedDetector
from symbol.anchors import generate_anchors
from symbol.gluon_network import gluon_names, trace
from symbol.loss import LossConfig, training_symbol
from symbol.network import feature_maps, feature_shapes, heads
from symbol.presets import default_shape, is_known, network_config
from symbol.presets.options import NetworkOptions
from symbol.summary import count_anchors
from train.start import initial_params

CLASSES = ("disc", "ring", "square")
BATCH = 2
QUICK = (
    "resnet18_v1",
    "resnet18_v2",
    "resnet18_v1b",
    "se_resnet18_v1",
    "mobilenet0.25",
    "mobilenetv2_0.25",
    "mobilenetv3_small",
    "squeezenet1.1",
    "alexnet",
    "vgg11",
    "googlenet",
    "shufflenet_v2",
)
SLOW = (
    "mxnet:mobilenetv2_0.25",
    "vgg11_bn",
    "resnet50_v1d_0.11",
    "shufflenet_v1",
    "densenet121",
    "inceptionv3",
    "resnest14",
    "resnext50_32x4d",
    "se_resnext50_32x4d",
    "darknet53",
    "xception",
    "dla34",
    "hrnet_w18_small_v1_c",
    "senet_154",
    "cifar_resnet20_v1",
)


def config_of(name: str, side: int = 96):
    return network_config(f"gluon:{name}", (side, side), len(CLASSES))


def run(program: str, root) -> str:
    """Return what a program prints in a process of its own."""
    command = [sys.executable, "-c", program, str(root)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def learned(symbol, names) -> list[str]:
    """Return the parameters without inputs and without the gammas that a BatchNorm takes for 1."""
    nodes = json.loads(symbol.tojson())["nodes"]
    norms = [node for node in nodes if node["op"] == "BatchNorm"]
    fixed = [node for node in norms if node["attrs"].get("fix_gamma", "True") in ("True", "1")]
    gammas = {nodes[node["inputs"][1][0]]["name"] for node in fixed}
    return [name for name in names if name not in gammas | {"data", "label"}]


def objects(seed: int, config) -> np.ndarray:
    """Return label rows with an object for every feature map, shaped like one of its default boxes: (M, 5)."""
    rng = np.random.default_rng(seed)
    boxes = generate_anchors(config.anchors, feature_shapes(config), config.data_shape)
    ends = np.cumsum(count_anchors(config))
    chosen = [rng.integers(begin, end) for begin, end in zip([0, *ends], ends)]
    return np.array([[rng.integers(len(CLASSES)), *boxes[place]] for place in chosen], np.float32)


def train_a_step(config):
    """Return (training symbol, parameters, gradients) after one pass over drawn scenes."""
    symbol = training_symbol(heads(config), len(CLASSES), config.anchors.variances, LossConfig())
    height, width = config.data_shape
    label = np.stack([objects(seed, config) for seed in range(BATCH)])
    shapes = {"data": (BATCH, 3, height, width), "label": label.shape}
    arg_params, aux_params = initial_params(symbol, shapes, 1)
    for name, array in arg_params.items():
        if name.endswith("_gamma"):
            array[:] = 1  # ResNeXt's begin at 0 at the end of each branch: no gradient would pass
    pictures = [draw_scene(seed, (width, height))[0].transpose(2, 0, 1) for seed in range(BATCH)]
    values = {**arg_params, "data": mx.nd.array((np.stack(pictures) - 120) / 58), "label": mx.nd.array(label)}
    gradients = {name: mx.nd.zeros(values[name].shape) for name in arg_params}
    executor = symbol.bind(mx.cpu(), values, gradients, aux_states=aux_params)
    executor.forward(is_train=True)
    executor.backward()
    mx.nd.waitall()
    return symbol, (arg_params, aux_params), gradients


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_network_is_built_takes_a_step_of_training_and_detects(name):
    config = config_of(name)
    symbol, params, gradients = train_a_step(config)
    arrays = {name: gradients[name].asnumpy() for name in learned(symbol, gradients)}
    assert not [name for name, array in arrays.items() if not np.isfinite(array).all()]
    assert not [name for name, array in arrays.items() if not array.any()]
    check_detects(config, symbol, params)


def check_detects(config, symbol, params):
    """Deploy a network and check that it finds boxes in a drawn scene."""
    card = Card(config.network, config.data_shape, CLASSES, config.mean, config.std, config.anchors)
    detector = Detector.from_saved(SavedDetector(config.network, 1, symbol, *params, card), context=mx.cpu())
    found = detector.detect([draw_scene(0, (120, 100))[0]])
    assert len(found[0]) > 0
    assert np.isfinite(found[0].boxes).all()


@pytest.mark.slow
def test_nasnet_detects():
    # oneDNN cannot compute the backward pass of its slices, in Gluon neither: no step of training on a CPU.
    config = config_of("nasnet_4_1056")
    symbol = training_symbol(heads(config), len(CLASSES), config.anchors.variances, LossConfig())
    label = np.stack([objects(0, config)])
    shapes = {"data": (1, 3, *config.data_shape), "label": label.shape}
    check_detects(config, symbol, initial_params(symbol, shapes, 1))


@pytest.mark.parametrize("name", ["resnet18_v1b", "xception", "mobilenetv3_small", "nasnet_4_1056"])
def test_building_twice_gives_the_same_bytes_whatever_else_is_built(name):
    config = config_of(name, 300)
    first = heads(config).tojson()
    mx.gluon.model_zoo.vision.resnet18_v1()(mx.sym.Variable("x"))  # moves the counters of MXNet and of Gluon
    trace.cache_clear()
    assert heads(config_of(name, 300)).tojson() == first


def test_another_process_gives_the_same_graph(project_root):
    text = heads(config_of("resnet18_v1")).tojson()
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from symbol.network import heads\n"
        "from symbol.presets import network_config\n"
        "sys.stdout.write(heads(network_config('gluon:resnet18_v1', (96, 96), 3)).tojson())"
    )
    assert run(program, project_root) == text


# One of each way of building a stage; the layers were picked by hand from Gluon's code, as were their channels.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet50_v1", {"stage3_activation5": (1024, 19, 19), "stage4_activation2": (2048, 10, 10)}),
        ("resnet50_v1b", {"layers3_relu17": (1024, 19, 19), "layers4_relu8": (2048, 10, 10)}),
        ("resnet50_v2", {"stage4_activation0": (1024, 19, 19), "relu1": (2048, 10, 10)}),
        ("se_resnet18_v1", {"stage3_activation1": (256, 19, 19), "stage4_activation1": (512, 10, 10)}),
        (
            "mobilenetv2_1.0",  # the expansion before the stride: SSDLite's choice
            {
                "features_linearbottleneck13_relu60_relu6": (576, 19, 19),
                "features_relu61_relu6": (1280, 10, 10),
            },
        ),
        ("mobilenet1.0", {"relu22": (512, 19, 19), "relu26": (1024, 10, 10)}),
        ("densenet121", {"relu3": (1024, 18, 18), "relu4": (1024, 9, 9)}),
        ("inceptionv3", {"C4_concat0": (768, 17, 17), "E2_concat2": (2048, 8, 8)}),
        ("squeezenet1.0", {"concat6": (512, 36, 36), "concat7": (512, 18, 18)}),
        ("vgg16", {"relu9": (512, 37, 37), "relu12": (512, 18, 18)}),  # conv4_3, conv5_3
        ("darknet53", {"darknetbasicblockv318__plus0": (512, 19, 19), "darknetbasicblockv322__plus0": (1024, 10, 10)}),
        ("hrnet_w18_small_v1_c", {"_plus1": (512, 20, 20), "relu40": (2048, 10, 10)}),
        ("dla34", {"level4_tree_2_root_relu0": (256, 20, 20), "level5_root_relu0": (512, 10, 10)}),
    ],
)  # fmt: skip
def test_heads_read_the_last_layer_of_the_last_two_stages(name, expected):
    shape = default_shape(f"gluon:{name}")
    config = network_config(f"gluon:{name}", shape, 3)
    own = [feature.layer for feature in config.features if feature.extra is None]
    assert dict(zip(own, feature_maps(config))) == expected


@pytest.mark.slow
def test_every_name_that_mxnet_can_trace_makes_a_detector():
    untraceable = []
    small = [name for name in gluon_names() if not any(size in name for size in ("200", "236", "269", "452"))]
    for name in small:
        try:
            config = network_config(f"gluon:{name}", default_shape(f"gluon:{name}"), 3)
        except ConfigError:
            untraceable.append(name)
            continue
        rows, columns = feature_maps(config)[-1][1:]
        assert (rows, columns) == (1, 1), name
        assert config.mean == (123.675, 116.28, 103.53)
        assert config.std == (58.395, 57.12, 57.375)
    assert untraceable == ["resnet101_v1b_gn", "resnet50_v1b_gn"]


def test_small_inputs_get_a_finer_map_too():
    assert feature_maps(config_of("resnet18_v1", 255))[0][1:] == (32, 32)
    assert feature_maps(config_of("resnet18_v1", 256))[0][1:] == (16, 16)


def test_only_networks_without_normalising_layers_get_l2_before_the_first_head():
    assert config_of("vgg11", 300).features[0].norm == "l2"
    assert config_of("vgg11_bn", 300).features[0].norm == "none"


@pytest.mark.parametrize("shape", [(300, 300), (512, 512), (200, 320), (640, 480), (64, 1024)])
def test_maps_go_down_to_one_row_or_column_of_at_most_three_cells(shape):
    rows, columns = feature_maps(network_config("gluon:mobilenet0.25", shape, 3))[-1][1:]
    assert min(rows, columns) == 1
    assert max(rows, columns) <= 3


def test_layers_and_extra_blocks_can_be_asked_for():
    options = NetworkOptions(from_layers=("relu10", "relu22"), extra_layers=2)
    config = network_config("gluon:mobilenet0.25", (300, 300), 3, options=options)
    assert [feature.layer for feature in config.features] == [
        "relu10",
        "relu22",
        "multi_feat_2",
        "multi_feat_3",
    ]
    assert feature_maps(config)[0] == (64, 38, 38)
    assert len(config.anchors.sizes) == 4


def test_unknown_layer_suggests_known_ones():
    options = NetworkOptions(from_layers=("stage3_activation55",))
    with pytest.raises(ConfigError, match="no layer 'stage3_activation55'; did you mean stage3_activation"):
        network_config("gluon:resnet50_v1", (300, 300), 3, options=options)


def test_layers_from_coarse_to_fine_are_refused():
    options = NetworkOptions(from_layers=("relu22", "relu10"))
    with pytest.raises(ConfigError, match="from the finest to the coarsest"):
        network_config("gluon:mobilenet0.25", (300, 300), 3, options=options)


def test_layer_that_is_no_map_is_refused():
    names = [node["name"] for node in json.loads(trace("gluon:shufflenet_v1").json)["nodes"]]
    (name, *_) = [name for name in names if "swapaxes" in name]
    options = NetworkOptions(from_layers=(name,))
    with pytest.raises(ConfigError, match="expected a map of"):
        network_config("gluon:shufflenet_v1", (300, 300), 3, options=options)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("inceptionv3", (300, 60), "too small for gluon:inceptionv3: .* at least 75 pixels in height and in width"),
        ("dla34", (300, 400), "300x400 does not fit gluon:dla34.*give --data-shape 320,416"),
        ("residualattentionnet56", (300, 300), "give --data-shape 224,224"),
    ],
)  # fmt: skip
def test_input_that_does_not_fit_is_told_one_that_does(name, shape, message):
    with pytest.raises(ConfigError, match=message):
        network_config(f"gluon:{name}", shape, 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gluon:resnet18_v1x", "did you mean resnet18_v1 or"),
        ("resnet18_v1b", r"did you mean gluon:resnet18_v1b\?"),
        ("hrnet_w18_smal_v1", r"did you mean gluon:hrnet_w18_small_v1_c\?"),
        ("vgg16-reduced", r"did you mean vgg16_reduced or.*gluon:NAME takes"),
        ("gluon:ssd_300_vgg16_atrous_voc", "is unknown"),
        ("gluon:", "is unknown"),
        ("gluon:resnet50_v1b_gn", "cannot make a graph of it"),
    ],
)
def test_unknown_name_suggests_known_ones(name, message):
    assert not is_known(name)
    with pytest.raises(ConfigError, match=message):
        network_config(name, (300, 300), 3)


def test_biases_have_no_weight_decay_of_their_own():
    attributes = heads(config_of("mobilenet0.25")).attr_dict()
    found = {name for name, values in attributes.items() if values.get("__wd_mult__", "0.0") != "0.0"}
    assert not found


def test_gluoncv_does_not_change_pillow_for_the_process(project_root):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from PIL import ImageFile\n"
        "from symbol.gluon_network import gluon_names\n"
        "gluon_names(); print(ImageFile.LOAD_TRUNCATED_IMAGES)"
    )
    assert run(program, project_root).strip() == "False"


def test_presets_are_known_without_gluoncv(project_root):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.modules['gluoncv'] = None\n"
        "from common.errors import SSDError\n"
        "from symbol.presets import network_config\n"
        "network_config('ssd7', (96, 96), 3)\n"
        "for name in ('ssd8', 'gluon:resnet18_v1'):\n"
        "    try: network_config(name, (96, 96), 3)\n"
        "    except SSDError as error: print(error)"
    )
    first, second = run(program, project_root).splitlines()
    assert "did you mean ssd7" in first
    assert "pip install gluoncv" in second

"""A network's Python file: what it may give, what is derived, and what is told where it cannot be."""

from __future__ import annotations

import os

import numpy as np
import pytest

from common.errors import ConfigError
from common.mx import mx
from symbol.network import feature_maps, heads
from symbol.presets import default_shape, is_known, network_config
from symbol.presets.options import NetworkOptions

LAYERS = """
import mxnet as mx


def _block(data, filters, name):
    body = mx.sym.Convolution(data, num_filter=filters, kernel=(3, 3), stride=(2, 2), pad=(1, 1), name=name)
    return mx.sym.Activation(body, act_type="relu", name=f"{name}_relu")

"""
THREE = (
    LAYERS
    + """
def backbone(data):
    one = _block(data, 8, "one")
    two = _block(one + 0.0, 16, "two")
    three = _block(two, 24, "three")
    return [two, three]
"""
)


@pytest.fixture
def network(tmp_path):
    """Return a function that writes a file and gives its network's name."""

    def write(text: str, function: str = "") -> str:
        path = tmp_path / "net.py"
        path.write_text(text)
        return f"{path}:{function}" if function else str(path)

    return write


def config_of(network: str, shape=(96, 128), **options):
    return network_config(network, shape, 2, options=NetworkOptions(**options))


def test_list_of_symbols_becomes_feature_maps_with_extras_and_boxes(network):
    config = config_of(network(THREE))
    assert [feature.layer for feature in config.features[:2]] == ["two_relu", "three_relu"]
    assert feature_maps(config) == [
        (16, 24, 32),
        (24, 12, 16),
        (128, 6, 8),
        (128, 3, 4),
        (128, 2, 2),
        (128, 1, 1),
    ]
    assert config.mean == (123.675, 116.28, 103.53)
    assert default_shape(network(THREE)) == (300, 300)


@pytest.mark.parametrize(
    "returned", ["two", "[two]", "(two,)", "mx.sym.Group([two])"], ids=["symbol", "list", "tuple", "group"]
)
def test_single_map_may_stand_in_a_list_or_alone(network, returned):
    text = THREE.replace("[two, three]", returned)
    assert feature_maps(config_of(network(text)))[0] == (16, 24, 32)


def test_group_of_several_maps_is_a_list(network):
    text = THREE.replace("[two, three]", "mx.sym.Group([two, three])")
    assert heads(config_of(network(text))).tojson() == heads(config_of(network(THREE))).tojson()


def test_graph_is_the_same_whatever_was_built_before(network):
    first = heads(config_of(network(THREE))).tojson()
    mx.sym.Variable("x") + mx.sym.Variable("y")
    assert heads(config_of(network(THREE))).tojson() == first


def test_network_runs(network):
    symbol = heads(config_of(network(THREE)))
    executor = symbol.simple_bind(mx.cpu(), data=(1, 3, 96, 128), grad_req="null")
    outputs = executor.forward(is_train=False)
    assert all(np.isfinite(output.asnumpy()).all() for output in outputs)


def test_file_states_what_would_be_derived(network):
    stated = (
        "DATA_SHAPE = (96, 128)\nMEAN = (0, 0, 0)\nSTD = [255.0, 255.0, 255.0]\nEXTRAS = 1\nRATE = 0.01\n"
        "SCALES = (0.1, 0.3, 0.6, 0.9)\nRATIOS = ((1,), (1, 2), (1, 2, 0.5))\nSTEPS = (4, 8, 16)\n"
    )
    name = network(stated + THREE)
    assert default_shape(name) == (96, 128)
    config = config_of(name)
    assert (config.mean, config.std, config.rate) == ((0, 0, 0), (255, 255, 255), 0.01)
    assert [size[0] for size in config.anchors.sizes] == [0.1, 0.3, 0.6]
    assert config.anchors.ratios == ((1.0,), (1.0, 2.0), (1.0, 2.0, 0.5))
    assert config.anchors.steps[0] == (4 / 96, 4 / 128)
    assert len(feature_maps(config)) == 3


def test_options_take_other_layers_and_other_extras_than_the_file_says(network):
    stated = "EXTRAS = 1\nSCALES = (0.1, 0.3, 0.6, 0.9)\n"
    config = config_of(network(stated + THREE), from_layers=("one_relu", "two_relu"), extra_layers=2)
    assert [feature.layer for feature in config.features] == [
        "one_relu",
        "two_relu",
        "multi_feat_2",
        "multi_feat_3",
    ]
    assert config.anchors.sizes[3][0] == 0.9


def test_function_is_named_where_there_are_two(network):
    two = THREE + "\n\ndef other(data):\n    return _block(data, 8, 'only')\n"
    with pytest.raises(
        ConfigError, match=r"has the functions backbone, other: say which .*net\.py:backbone$"
    ):
        config_of(network(two))
    assert config_of(network(two, "other")).features[0].layer == "only_relu"
    with pytest.raises(ConfigError, match="has no function 'othr'; did you mean other"):
        config_of(network(two, "othr"))


def test_helpers_are_not_taken_for_the_network(network):
    helpers = "\n\ndef helper(data, name):\n    return data\n\n\ndef _private(data):\n    return data\n"
    assert config_of(network(THREE + helpers)).features[0].layer == "two_relu"


def test_modules_beside_the_file_can_be_imported(network, tmp_path):
    (tmp_path / "parts_of_mine.py").write_text("FILTERS = 16\n")
    text = "from parts_of_mine import FILTERS\n" + THREE.replace("16", "FILTERS")
    assert feature_maps(config_of(network(text)))[0] == (16, 24, 32)


def test_nothing_is_written_beside_the_file(network, tmp_path):
    config_of(network(THREE))
    assert os.listdir(tmp_path) == ["net.py"]


def test_gluon_block_inside_keeps_its_own_names(network):
    text = (
        "import mxnet as mx\n\n\ndef backbone(data):\n"
        "    block = mx.gluon.model_zoo.vision.mobilenet0_25(prefix='base_').features\n"
        "    maps = block(data).get_internals()\n"
        "    return [maps['base_relu22_fwd_output'], maps['base_relu26_fwd_output']]\n"
    )
    assert feature_maps(config_of(network(text)))[:2] == [(128, 6, 8), (256, 3, 4)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[two, three]", "None"), "it returns nothing, expected a Symbol or a list"),
        (("[two, three]", "[]"), "expected a Symbol or a list"),
        (("[two, three]", "[two, 3]"), "feature map 1 is int '3', expected a Symbol"),
        (("[two, three]", "[three, two]"), "the map of two_relu has 24x32 cells.*finest to the coarsest"),
        (("[two, three]", "[data]"), "feature map data is an input"),
        (("[two, three]", "mx.sym.split(two, num_outputs=2, name='s')"), "one of several outputs"),
        (("[two, three]", "[mx.sym.Flatten(two, name='flat')]"), "layer flat gives .*expected a map"),
        (("[two, three]", "[two, two + 1.0]"), "that MXNet calls '_plusscalar1' is a feature map and has no name"),
        ((', name=name)', ")"), "Convolution that MXNet calls 'convolution0' has parameters and has no name"),
        (('"three"', '"two"'), "two layers are called 'two'"),
        (("(data, 8", "(mx.sym.Variable('x'), 8"), "do not depend on its argument"),
        (("[two, three]", "[two, undefined]"), r"net.py, line 14: it fails: NameError: name 'undefined'"),
        (("def backbone", "def backbone:"), "line 10: not Python"),
        (("import mxnet as mx", "import mxnet_of_mine"), "line 2: it fails: ModuleNotFoundError"),
        (("def backbone", "def _backbone"), "no public function of one argument"),
        (("def backbone", "MEAN = (1, 2)\n\n\ndef backbone"), r"MEAN is \(1, 2\), expected 3 numbers of 0 or more"),
        (("def backbone", "STD = (1, 0, 1)\n\n\ndef backbone"), "STD is .*expected 3 numbers above 0"),
        (("def backbone", "STD = 58\n\n\ndef backbone"), "STD is 58, expected 3 numbers above 0"),
        (("def backbone", "EXTRAS = -1\n\n\ndef backbone"), "EXTRAS is -1, expected a number of extra blocks"),
        (("def backbone", "SCALES = (0.1, 0.2)\n\n\ndef backbone"), "scales has 2 entries, expected 7 for its 6 maps"),
        (("def backbone", "RATIOS = 3\n\n\ndef backbone"), "RATIOS is 3, expected a list with an entry"),
        (("def backbone", "DATA_SHAPE = (0.5, 300)\n\n\ndef backbone"), "DATA_SHAPE is .*expected whole"),
        (("def backbone", "raise SystemExit('enough')\n\n\ndef backbone"), "line 10: it fails: SystemExit: enough"),
        (("[two, three]", "exit()"), "line 14: it fails: SystemExit"),
        (("one + 0.0", "mx.sym.broadcast_add(one, mx.sym.Variable('x'))"), "among one_weight.* x, .*without a shape"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(network, change, message):
    assert change[0] in THREE
    with pytest.raises(ConfigError, match=message):
        config_of(network(THREE.replace(*change)))


def test_graph_that_differs_from_call_to_call_is_refused(network):
    text = THREE.replace("def backbone", "import itertools\n_count = itertools.count()\n\n\ndef backbone")
    text = text.replace('"three"', 'f"three{next(_count)}"')
    with pytest.raises(ConfigError, match="another graph each time it is called"):
        config_of(network(text))


def test_missing_file_is_told(tmp_path):
    name = str(tmp_path / "absent.py")
    assert not is_known(name)
    with pytest.raises(ConfigError, match=r"there is no file .*absent\.py"):
        config_of(name)


@pytest.mark.parametrize("name", ["multi_feat_2_conv_1x1_relu", "two_relu_loc_pred_conv_weight"])
def test_name_that_an_extra_block_or_a_head_has_too_is_told(network, name):
    text = THREE.replace("one + 0.0", f"mx.sym.identity(one, name='{name}')")
    with pytest.raises(ConfigError, match=f"two layers or parameters are called '{name}'.*rename"):
        heads(config_of(network(text)))


def test_input_that_branches_cannot_meet_at_is_not_called_too_small(network):
    text = THREE.replace(
        "return [two",
        "up = mx.sym.UpSampling(three, scale=2, sample_type='nearest', name='up')\n"
        "    two = mx.sym.concat(two, up, dim=1, name='two_up')\n    return [two",
    )
    assert feature_maps(config_of(network(text), (96, 64)))[0] == (40, 24, 16)
    with pytest.raises(
        ConfigError, match="data shape 300x301 does not fit .*320x320 does: give --data-shape 320,320"
    ):
        config_of(network(text), (300, 301))
    assert default_shape(network(text)) == (320, 320)
    stated = text.replace("def backbone", "DATA_SHAPE = (300, 301)\n\n\ndef backbone")
    assert default_shape(network(stated)) == (300, 301)


def test_too_small_an_input_is_told_the_least(network):
    text = THREE.replace("kernel=(3, 3), stride=(2, 2), pad=(1, 1)", "kernel=(5, 5), stride=(2, 2)")
    with pytest.raises(ConfigError, match="is too small for .*net.py: .* give at least 29 pixels"):
        config_of(network(text), (20, 100))


GLUON = """
from mxnet.gluon.model_zoo import vision

net = vision.mobilenet0_25(prefix="mn_")


def backbone(data):
    for layer in net.features[:-2]:
        data = layer(data)
    return data
"""


def test_a_gluon_block_may_stand_at_the_top_of_a_file(network):
    config = config_of(network(GLUON))
    assert config.features[0].layer.startswith("mn_")
    assert feature_maps(config)[0][1:] == (3, 4)


def test_a_name_that_counts_up_is_named(network):
    text = THREE.replace('_block(data, 8, "one")', '_block(data, 8, f"one{len(seen)}")')
    text = text.replace("def backbone(data):", "seen = []\n\n\ndef backbone(data):\n    seen.append(1)")
    with pytest.raises(ConfigError, match="another graph each time.*: first one1_weight, then one2_weight"):
        config_of(network(text))


def test_mxnets_reason_is_told_not_only_its_last_line(network):
    with pytest.raises(
        ConfigError, match="it fails: MXNetError: .*Cannot find argument 'num_filters'.*Convolution"
    ):
        config_of(network(THREE.replace("num_filter=filters", "num_filters=filters")))

"""Options of networks: every one on every network, and what each changes and leaves."""

import json

import numpy as np
import pytest

from common.errors import ConfigError
from common.mx import mx
from symbol.anchors import generate_anchors
from symbol.features import feature_names
from symbol.network import feature_shapes, heads
from symbol.presets import default_shape, find_preset, network_config, network_names
from symbol.presets.options import NetworkOptions
from symbol.summary import count_anchors, count_parameters

SEVERAL = ("vgg16_reduced", "mobilenet", "resnet50", "ssd7")
WIDE = ("vgg16_reduced", (512, 512))


def configured(network, shape=None, **options):
    """Return a network's configuration with options."""
    return network_config(network, shape or default_shape(network), 3, options=NetworkOptions(**options))


def arguments(config):
    """Return {name: shape} of a network's parameters; MXNet infers them, so the graph is whole."""
    symbol = heads(config)
    shapes, outputs, _ = symbol.infer_shape(data=(1, 3, *config.data_shape))
    count = len(generate_anchors(config.anchors, feature_shapes(config), config.data_shape))
    assert outputs == [(1, 4 * count), (1, 4, count), (1, count, 4)]
    assert json.loads(heads(config).tojson()) == json.loads(symbol.tojson())
    return dict(zip(symbol.list_arguments(), shapes))


def extras_of(config):
    return sum(feature.extra is not None for feature in config.features)


@pytest.mark.parametrize("network", network_names())
@pytest.mark.parametrize(
    "options",
    [
        {"heads": "plain"},
        {"heads": "separable"},
        {"norm": "none"},
        {"norm": "l2"},
        {"norm": "batch"},
        {"extra_layers": 0},
        {"extra_layers": 2},
        {"extra_layers": 7},
        {"heads": "separable", "norm": "batch", "extra_layers": 3},
    ],
    ids=str,
)
def test_every_network_takes_every_option(network, options):
    config = configured(network, **options)
    shapes = arguments(config)
    assert extras_of(config) == options.get("extra_layers", extras_of(configured(network)))
    kinds = {feature.head for feature in config.features}
    assert options.get("heads") != "plain" or kinds == {"plain"}
    assert options.get("heads") != "separable" or "plain" not in kinds
    norms = [feature.norm for feature in config.features if feature.norm != "none"]
    assert set(norms) <= {options.get("norm", norms[0] if norms else "")}
    assert options.get("norm") in (None, "none") or norms
    first = feature_names(config)[0]
    assert (f"{first}_scale" in shapes) == (config.features[0].norm == "l2")
    assert (f"{first}_norm_gamma" in shapes) == (config.features[0].norm == "batch")


@pytest.mark.parametrize("network", network_names())
def test_no_option_changes_nothing(network):
    plain = network_config(network, default_shape(network), 3)
    assert heads(configured(network)).tojson() == heads(plain).tojson()
    own = NetworkOptions(extra_layers=extras_of(plain))
    assert (
        heads(network_config(network, default_shape(network), 3, options=own)).tojson()
        == heads(plain).tojson()
    )


@pytest.mark.parametrize("network", SEVERAL)
def test_changed_network_computes(network):
    config = configured(network, (160, 192), heads="separable", norm="batch", extra_layers=3)
    symbol = heads(config)
    executor = symbol.simple_bind(mx.cpu(), data=(1, 3, 160, 192), grad_req="null")
    rng = np.random.default_rng(1)
    for name, array in executor.arg_dict.items():
        scale = 1 / np.sqrt(max(1, np.prod(array.shape[1:])))
        array[:] = np.ones(array.shape) if name.endswith("gamma") else rng.normal(0, scale, array.shape)
    for name, array in executor.aux_dict.items():
        array[:] = float(name.endswith("var"))
    outputs = [output.asnumpy() for output in executor.forward(is_train=False)]
    assert all(np.isfinite(output).all() for output in outputs)
    expected = generate_anchors(config.anchors, feature_shapes(config), config.data_shape)
    np.testing.assert_allclose(outputs[2][0], expected, atol=1e-6)


def test_separable_heads_of_vgg16_have_the_parameters_by_hand():
    plain, separable = (configured("vgg16_reduced", heads=style) for style in ("plain", "separable"))
    channels, boxes = (512, 1024, 512, 256, 256, 256), (4, 6, 6, 6, 4, 4)
    # Boxes and classes (4 with background): a 3x3 convolution each, against depthwise, BatchNorm and 1x1.
    before = sum((9 * c + 1) * k * 4 for c, k in zip(channels, boxes) for _ in range(2))
    after = sum(9 * c + c + 2 * c + (c + 1) * k * 4 for c, k in zip(channels, boxes) for _ in range(2))
    assert count_parameters(plain) - count_parameters(separable) == before - after


def test_heads_that_are_light_already_stay_with_separable_ones():
    light = [n for n in network_names() if "plain" not in {f.head for f in configured(n).features}]
    for network in light:
        assert heads(configured(network, heads="separable")).tojson() == heads(configured(network)).tojson()


def test_fewer_extra_blocks_leave_the_last_out_and_spread_the_scales():
    whole, less = configured("vgg16_reduced"), configured("vgg16_reduced", extra_layers=2)
    assert feature_names(less) == feature_names(whole)[:4]
    assert len(less.anchors.sizes) == 4
    assert less.anchors.sizes[0][0] == whole.anchors.sizes[0][0]
    firsts = [sizes[0] for sizes in less.anchors.sizes]
    assert firsts == sorted(firsts)
    # The greatest square reaches as near to the end of the progression as the step between maps lets it.
    assert less.anchors.sizes[-1][1] > 0.85
    assert less.anchors.steps == whole.anchors.steps[:4]
    assert less.anchors.ratios[0] == whole.anchors.ratios[0]
    assert less.anchors.ratios[-1] == whole.anchors.ratios[-1]


@pytest.mark.parametrize(("network", "shape"), [WIDE, *((network, None) for network in network_names())])
def test_more_extra_blocks_halve_the_map_or_stay_at_one_cell(network, shape):
    whole = configured(network, shape)
    more = configured(network, shape, extra_layers=extras_of(whole) + 2)
    cells, names = feature_shapes(more), feature_names(more)
    assert cells[: len(whole.features)] == feature_shapes(whole)
    for before, after in zip(cells[-3:], cells[-2:]):  # rounded up: one cell stays one cell
        assert after == tuple((side + 1) // 2 for side in before)
    assert len(set(names)) == len(names)
    assert more.anchors.steps == ()
    arguments(more)


def test_network_without_extra_blocks_gets_some():
    config = configured("ssd7", (300, 300), extra_layers=2)
    assert feature_shapes(config)[-3:] == [(5, 5), (3, 3), (2, 2)]
    assert arguments(config)["multi_feat_5_conv_3x3_conv_weight"] == (128, 128, 3, 3)


def test_normalisation_stands_where_the_network_has_one_else_before_the_first():
    norms = lambda config: [feature.norm for feature in config.features]  # noqa: E731
    assert norms(configured("vgg16_reduced", norm="batch")) == ["batch"] + ["none"] * 5
    assert norms(configured("mobilenet", norm="l2")) == ["l2"] + ["none"] * 6
    assert norms(configured("vgg16_reduced", norm="none")) == ["none"] * 6


def test_other_layers_of_the_backbone_keep_what_is_known_of_them():
    config = configured("vgg16_reduced", from_layers=("relu3_3", "relu4_3", "relu7"))
    assert [(f.layer, f.norm) for f in config.features[:3]] == [
        ("relu3_3", "l2"),
        ("relu4_3", "l2"),
        ("relu7", "none"),
    ]
    assert feature_shapes(config) == [(75, 75), (38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (1, 1)]
    arguments(config)


@pytest.mark.parametrize(
    ("network", "layers"),
    [
        ("vgg16_reduced", ("relu7",)),
        ("ssd7", ("relu5", "relu6")),
        ("ssd7", ("relu3", "relu4", "relu5", "relu6", "relu7")),
        ("mobilenet", ("conv_6_relu", "conv_12_relu", "conv_14_relu")),
        ("resnet50", ("_plus6", "_plus12")),
    ],
)
def test_fewer_or_more_layers_build_with_boxes_for_each(network, layers):
    config = configured(network, from_layers=layers)
    assert tuple(f.layer for f in config.features if f.extra is None) == layers
    assert len(config.anchors.sizes) == len(config.features) == len(count_anchors(config))
    arguments(config)


def test_steps_of_a_preset_do_not_outlive_its_layers():
    assert configured("ssd7").anchors.steps
    assert configured("ssd7", from_layers=("relu3", "relu4", "relu5", "relu6")).anchors.steps == ()
    assert configured("vgg16_reduced", from_layers=("relu3_3", "relu7")).anchors.steps == ()
    assert configured("vgg16_reduced", from_layers=("relu4_3", "relu7")).anchors.steps


@pytest.mark.parametrize("network", [n for n in network_names() if find_preset(n, default_shape(n)).widen])
def test_narrower_backbone_has_fewer_parameters_and_the_same_maps(network):
    half, whole = configured(network, width_mult=0.5), configured(network)
    assert feature_shapes(half) == feature_shapes(whole)
    assert count_parameters(half) < 0.7 * count_parameters(whole)
    arguments(half)


def test_network_of_one_width_says_so():
    with pytest.raises(ConfigError, match="resnet50: its backbone has one width: leave --width-mult out"):
        configured("resnet50", width_mult=0.5)


def test_unknown_layer_is_named_with_a_close_one():
    with pytest.raises(ConfigError, match=r"no layer 'relu4-3'; did you mean relu4_3"):
        heads(configured("vgg16_reduced", from_layers=("relu4-3",)))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"heads": "seperable"}, "heads 'seperable' is unknown; did you mean separable"),
        ({"heads": 3}, "heads 3 is unknown"),
        ({"norm": "l3"}, "norm 'l3' is unknown"),
        ({"extra_layers": -1}, "extra_layers is -1, expected a whole number from 0 to 12"),
        ({"extra_layers": 13}, "extra_layers is 13"),
        ({"extra_layers": "3"}, "extra_layers is '3'"),
        ({"extra_layers": True}, "extra_layers is True"),
        ({"width_mult": 0}, "width_mult is 0, expected a number from 0.1 to 4.0"),
        ({"width_mult": float("nan")}, "width_mult is nan"),
        ({"width_mult": "1"}, "width_mult is '1'"),
        ({"from_layers": ("a", "b", "a")}, "from_layers has the layer 'a' twice"),
        ({"from_layers": ("a", "")}, "from_layers has the layer '' twice, or without a name"),
        ({"from_layers": "relu7"}, "from_layers is 'relu7', expected names"),
        ({"from_layers": (1,)}, "expected names of layers"),
        ({"head": "plain"}, "unknown setting 'head'; did you mean heads"),
    ],
)
def test_impossible_options_are_refused(options, expected):
    with pytest.raises(ConfigError, match=expected):
        NetworkOptions.from_dict(options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"heads": "separable", "norm": "none"},
        {"extra_layers": 0},
        {"from_layers": ["a", "b"], "width_mult": 0.5},
    ],
)
def test_options_come_back_from_json_and_say_only_what_differs(options):
    assert NetworkOptions.from_dict(json.loads(json.dumps(options))).to_dict() == options

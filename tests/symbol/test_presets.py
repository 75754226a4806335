"""Presets: which variant an input gets, and what wrong values say."""

import dataclasses

import pytest

from common.errors import ConfigError
from symbol.anchors import AnchorConfig
from symbol.presets import PRESETS, network_config, network_names


def test_every_name_gives_a_configuration():
    assert set(network_names()) >= {"vgg16_reduced", "resnet50", "mobilenet", "ssd7"}
    for name in network_names():
        config = network_config(name, (300, 300), 20)
        assert config.network == name
        assert len(config.features) == len(config.anchors.sizes)


def test_last_variant_of_every_preset_takes_any_size():
    assert all(variants[-1].min_side == 0 for variants in PRESETS.values())


@pytest.mark.parametrize(
    ("shape", "maps"), [((300, 300), 6), ((447, 900), 6), ((448, 448), 7), ((448, 900), 7), ((900, 448), 7)]
)
def test_shorter_side_picks_the_variant_of_vgg16(shape, maps):
    assert len(network_config("vgg16_reduced", shape, 20).features) == maps


def test_vgg16_has_fixed_steps_only_at_its_own_sizes():
    assert network_config("vgg16_reduced", (300, 300), 20).anchors.steps[4] == pytest.approx((1 / 3, 1 / 3))
    assert network_config("vgg16_reduced", (512, 512), 20).anchors.steps[0] == (8 / 512, 8 / 512)
    assert network_config("vgg16_reduced", (300, 301), 20).anchors.steps == ()


def test_ssd7_steps_are_its_strides_in_both_directions():
    config = network_config("ssd7", (300, 400), 3)
    assert config.anchors.steps[0] == (8 / 300, 8 / 400)
    assert config.anchors.per_cell() == (4, 4, 4, 4)
    assert config.std == (58.0, 58.0, 58.0)


def test_anchors_of_the_user_replace_those_of_the_preset():
    anchors = AnchorConfig(((0.1, 0.2),) * 4, ((1, 2),))
    assert network_config("ssd7", (300, 400), 3, anchors).anchors == anchors


def test_anchors_for_another_number_of_maps_say_found_and_expected():
    with pytest.raises(ConfigError, match="sizes has 3 lists, expected 4"):
        network_config("ssd7", (300, 400), 3, AnchorConfig(((0.1,),) * 3))


def test_unknown_network_suggests_a_known_one():
    with pytest.raises(ConfigError, match=r"'vgg16-reduced' is unknown; did you mean vgg16_reduced"):
        network_config("vgg16-reduced", (300, 300), 20)


@pytest.mark.parametrize("shape", [300, (300,), (300, 300, 3), ("a", "b"), None])
def test_data_shape_must_be_a_height_and_a_width(shape):
    with pytest.raises(ConfigError, match="data_shape"):
        network_config("ssd7", shape, 3)


@pytest.mark.parametrize("count", [0, -1])
def test_number_of_classes_must_be_positive(count):
    with pytest.raises(ConfigError, match=f"num_classes is {count}"):
        network_config("ssd7", (300, 300), count)


def test_lists_of_different_length_are_refused():
    config = network_config("ssd7", (300, 300), 3)
    with pytest.raises(ConfigError, match="sizes has 4 lists, expected 3"):
        dataclasses.replace(config, features=config.features[:3])

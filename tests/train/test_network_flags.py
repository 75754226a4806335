"""Flags of a network: its options, its own input, and what is taken from a card where flags say nothing."""

import dataclasses

import pytest

from common.errors import ConfigError
from model.card import Card
from symbol.features import feature_names
from symbol.presets import default_shape, network_config, network_names
from symbol.presets.options import NetworkOptions
from train.flags import build_parser
from train.network_flags import changed_options, chosen_network, chosen_options


def parsed(*flags):
    return build_parser().parse_args(list(flags))


def chosen(*flags, source=None):
    return chosen_network(parsed(*flags), 3, source=source)


@pytest.mark.parametrize("network", network_names())
def test_input_is_the_network_s_own_where_nobody_says_another(network):
    assert chosen("--network", network).data_shape == default_shape(network)
    assert chosen("--network", network, "--data-shape", "512,640").data_shape == (512, 640)


def test_network_is_mxnet_ssd_s_where_nobody_says_another():
    assert (chosen().network, chosen().data_shape) == ("vgg16_reduced", (300, 300))


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        (("--heads", "separable"), {"heads": "separable"}),
        (("--norm", "bn"), {"norm": "batch"}),
        (("--norm", "BatchNorm"), {"norm": "batch"}),
        (("--norm", "none"), {"norm": "none"}),
        (("--extra-layers", "0"), {"extra_layers": 0}),
        (("--from-layers", "relu3_3, relu7"), {"from_layers": ["relu3_3", "relu7"]}),
        (("--width-mult", "1"), {}),
        ((), {}),
    ],
)
def test_flag_reaches_the_option_and_the_network(flags, options):
    assert chosen_options(parsed(*flags)).to_dict() == options
    expected = network_config("vgg16_reduced", (300, 300), 3, options=NetworkOptions.from_dict(options))
    assert chosen(*flags) == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--heads", "plane"), "--heads 'plane' is unknown; did you mean plain"),
        (("--norm", "l3"), "--norm 'l3' is unknown"),
        (("--extra-layers", "-1"), "--extra-layers is -1, expected a whole number from 0"),
        (("--width-mult", "9"), "--width-mult is 9.0, expected a number from"),
        (("--width-mult", "0.5"), "vgg16_reduced: its backbone has one width: leave --width-mult out"),
        (("--from-layers", "relu7,relu7"), "--from-layers has the layer 'relu7' twice"),
        (("--from-layers", "relu77"), "--from-layers relu77: .*no layer 'relu77'; did you mean relu7"),
        (
            ("--from-layers", "relu7,relu4_3"),
            "relu4_3 has 38x38 cells, more than .*19x19: give the finest first",
        ),
    ],
)
def test_wrong_option_names_its_flag(flags, expected):
    with pytest.raises(ConfigError, match=expected):
        chosen(*flags)


def card_of(config, options=None, **changes):
    """Return the card of a detector of that network."""
    card = Card(
        network=config.network,
        data_shape=config.data_shape,
        class_names=("a", "b", "c"),
        mean=config.mean,
        std=config.std,
        anchors=config.anchors,
        network_options=options or {},
    )
    return dataclasses.replace(card, **changes)


def test_source_gives_network_options_input_and_boxes_where_flags_say_nothing():
    flags = ("--network", "ssd7", "--data-shape", "128,160", "--heads", "separable", "--anchor-ratios", "1,3")
    config = chosen(*flags)
    source = card_of(config, {"heads": "separable"})
    assert chosen(source=source) == config
    assert chosen_options(parsed(), source).to_dict() == {"heads": "separable"}
    changed = chosen("--heads", "plain", "--anchor-clip", source=source)
    assert {feature.head for feature in changed.features} == {"plain"}
    assert changed.anchors == dataclasses.replace(config.anchors, clip=True)


def test_source_of_another_network_gives_nothing():
    source = card_of(
        chosen("--network", "ssd7", "--data-shape", "128,160", "--heads", "separable"), {"heads": "separable"}
    )
    assert chosen("--network", "vgg16_reduced", source=source) == chosen("--network", "vgg16_reduced")


def test_boxes_of_a_source_at_fixed_steps_do_not_go_to_another_input():
    source = card_of(chosen("--network", "vgg16_reduced"))
    assert chosen("--data-shape", "320", source=source) == chosen("--data-shape", "320")
    assert len(feature_names(chosen("--data-shape", "512", source=source))) == 7


def test_options_of_a_run_are_compared_by_flag():
    card = card_of(chosen(), {"heads": "separable", "extra_layers": 3})
    found = changed_options(parsed("--heads", "plain", "--extra-layers", "3"), card)
    assert found["heads"] == ("separable", "plain")
    assert found["extra-layers"] == (3, 3)
    assert found["norm"] == ("", None)

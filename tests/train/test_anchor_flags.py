"""Flags and files of default boxes: what each changes, what stays, and what a wrong one says."""

import dataclasses
import json
import math

import numpy as np
import pytest

from common.errors import ConfigError
from symbol.anchors import AnchorConfig, FixedAnchors
from symbol.presets import network_config
from train.anchor_flags import anchor_changes, changed_anchors
from train.flags import build_parser

SHAPE = (300, 400)
OWN = AnchorConfig(
    sizes=((0.1, 0.2), (0.3, 0.4)),
    ratios=((1, 2, 0.5), (1, 2, 0.5)),
    steps=((0.1, 0.1), (0.2, 0.2)),
    order=(1, 0, 2, 3),
)


def changed(*flags, anchors=OWN):
    return changed_anchors(build_parser().parse_args([*map(str, flags)]), anchors, SHAPE)


@pytest.mark.parametrize(
    ("flags", "name", "value"),
    [
        (("--anchor-sizes", "0.2,0.3;0.5,0.6"), "sizes", ((0.2, 0.3), (0.5, 0.6))),
        # The second square is the geometric mean with the next scale.
        (("--anchor-scales", "0.1,0.4,0.9"), "sizes", ((0.1, 0.2), (0.4, 0.6))),
        # Two numbers are the paper's least and greatest; one step more ends the progression: 0.2, 0.8, 1.4.
        (("--anchor-scales", "0.2,0.8"), "sizes", ((0.2, 0.4), (0.8, math.sqrt(0.8 * 1.4)))),
        (("--anchor-ratios", "1,3,4"), "ratios", ((1, 3, 4), (1, 3, 4))),
        (("--anchor-ratios", "1,3,4;1,5,6"), "ratios", ((1, 3, 4), (1, 5, 6))),
        (("--anchor-steps", "0.05,1"), "steps", ((0.05, 0.05), (1, 1))),
        (("--anchor-steps", "8,100"), "steps", ((8 / 300, 8 / 400), (100 / 300, 100 / 400))),
        (("--anchor-steps", "auto"), "steps", ()),
        (("--anchor-offsets", "0.25,0.75"), "offsets", (0.25, 0.75)),
        (("--anchor-clip",), "clip", True),
        (("--anchor-clip", "True"), "clip", True),
        (("--anchor-variances", "1,1,2,2"), "variances", (1, 1, 2, 2)),
        (("--anchor-variances", "0.1,0.2"), "variances", (0.1, 0.1, 0.2, 0.2)),
    ],
)  # fmt: skip
def test_flag_changes_its_setting_and_no_other(flags, name, value):
    found = changed(*flags)
    expected = np.array(value, np.float64)
    assert np.shape(getattr(found, name)) == expected.shape
    np.testing.assert_allclose(np.array(getattr(found, name), np.float64), expected, rtol=1e-12)
    rest = {
        field: getattr(OWN, field)
        for field in ("sizes", "ratios", "steps", "offsets", "clip", "variances", "order")
    }
    rest.pop(name)
    assert {field: getattr(found, field) for field in rest} == rest


def test_no_flag_changes_nothing():
    assert changed() is OWN
    fixed = FixedAnchors(10)
    assert changed(anchors=fixed) is fixed
    with pytest.raises(ConfigError, match="stand in the graph"):
        changed("--anchor-clip", anchors=fixed)


def test_clip_can_be_switched_off():
    clipped = AnchorConfig(((0.1,),), ((1,),), clip=True)
    assert changed("--no-anchor-clip", anchors=clipped).clip is False


def test_order_of_the_squares_alone_stays_with_a_flag_that_leaves_the_number_of_boxes():
    own = network_config("ssd300_tf", (300, 300), 3).anchors
    found = changed("--anchor-variances", "0.1,0.2", "--anchor-clip", anchors=own)
    assert found == dataclasses.replace(own, variances=(0.1, 0.1, 0.2, 0.2), clip=True)
    assert found.order == (1, 0)


def test_order_goes_where_a_cell_has_another_number_of_boxes():
    assert changed("--anchor-ratios", "1,2,0.5,3").order == ()


@pytest.fixture
def file_of(tmp_path):
    def write(values):
        path = tmp_path / "anchors.json"
        path.write_text(values if isinstance(values, str) else json.dumps(values))
        return path

    return write


def test_file_goes_over_the_network_and_flags_over_the_file(file_of):
    path = file_of({"sizes": [[0.5], [0.6]], "ratios": [[1, 2]], "clip": True})
    found = changed("--anchors", path)
    assert (found.sizes, found.ratios, found.clip) == (((0.5,), (0.6,)), ((1, 2), (1, 2)), True)
    assert (found.steps, found.order) == (OWN.steps, ())
    found = changed("--anchors", path, "--no-anchor-clip", "--anchor-sizes", "0.7;0.8")
    assert (found.sizes, found.ratios, found.clip) == (((0.7,), (0.8,)), ((1, 2), (1, 2)), False)


@pytest.mark.parametrize("network", ["vgg16_reduced", "ssd7", "mobilenet"])
def test_default_boxes_of_a_card_serve_as_file(file_of, network):
    anchors = network_config(network, SHAPE, 3).anchors
    other = AnchorConfig(((0.1, 0.2),) * len(anchors.sizes), ((1, 2, 4),))
    assert changed("--anchors", file_of(anchors.to_dict()), anchors=other) == anchors


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("<html>", "not a file of default boxes: it is an HTML page"),
        ([1], "expected names and values, the names out of sizes, ratios"),
        ({"size": [[0.1], [0.2]]}, "size: unknown; did you mean sizes"),
        ({"sizes": [[0.1]]}, "sizes has 1 lists, expected 2, one for each feature map"),
        ({"sizes": [[30], [60]]}, "found 60, expected sides relative to the image's height"),
        ({"sizes": "a"}, "sizes: expected a list of numbers"),
        ({"sizes": [[0.1], []]}, "sizes: expected one or more numbers above 0"),
        ({"sizes": [[0.1], [float("nan")]]}, "sizes: expected finite numbers"),
        ({"ratios": [[1], [2], [3]]}, "ratios has 3 entries, expected 2"),
        ({"ratios": None}, "ratios: expected a list of numbers"),
        ({"steps": [[0.1, 0.1]]}, "steps has 1 entries, expected 2"),
        ({"steps": [0.1, [0.1, 0.2, 0.3]]}, "steps: expected (step_y, step_x)"),
        ({"clip": "no"}, "clip is 'no', expected true or false"),
        ({"offsets": [0.5]}, "offsets has 1 numbers, expected 2"),
        ({"variances": [0.1, -1, 1, 1]}, "variances: expected one or more numbers above 0"),
        ({"order": [0, 2]}, "order is [0, 2]"),
        ({"ratios": [[1, 2]], "order": [0, 1, 2, 3]}, "the maps have 3, 3"),
    ],
)  # fmt: skip
def test_wrong_file_says_what_is_wrong(file_of, values, expected):
    path = file_of(values)
    with pytest.raises(ConfigError) as raised:
        changed("--anchors", path)
    assert str(path) in str(raised.value)
    assert expected in str(raised.value)


def test_everything_that_is_wrong_in_a_file_is_told_at_once(file_of):
    path = file_of({"size": 1, "clip": "no", "variances": [1], "ratios": [[1, 2]]})
    with pytest.raises(
        ConfigError, match=r"3 things are wrong: size: unknown.*clip is 'no'.*variances has 1"
    ):
        changed("--anchors", path)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            ("--anchor-scales", "0.1,0.2,0.3,0.4"),
            "--anchor-scales: found 4 numbers, expected 3, .* or 2, the least",
        ),
        (("--anchor-scales", "0.9,0.2"), "found 0.9,0.2, expected the least before the greatest"),
        (("--anchor-scales", "0,0.2,0.5"), "--anchor-scales: found 0, expected numbers above 0"),
        (("--anchor-scales", ""), "--anchor-scales: found 0 numbers"),
        (("--anchor-scales", "30,60,90"), "--anchor-scales: found .*relative to the image's height"),
        (("--anchor-scales", "0.2,0.9", "--anchor-sizes", "0.1;0.2"), "say the same twice"),
        (("--anchor-steps", "0.5,8"), "found 0.5, 8: all above 1 .pixels., or none"),
        (("--anchor-steps", "8"), "--anchor-steps: found 1 entries, expected 2"),
        (("--anchor-steps", "0,0.1"), "--anchor-steps: expected .step_y, step_x., both above 0"),
        (("--anchor-offsets", "0.5"), "--anchor-offsets has 1 numbers, expected 2"),
        (("--anchor-variances", "1,2,3"), "--anchor-variances has 3 numbers, expected 4"),
        (("--anchor-variances", "0,1"), "--anchor-variances: expected one or more numbers above 0"),
        (("--anchor-ratios", "1;2;3"), "--anchor-ratios has 3 entries, expected 2"),
        (("--anchors", "nowhere.json"), "nowhere.json: file of default boxes cannot be read"),
    ],
)
def test_wrong_flag_is_named(flags, expected):
    with pytest.raises(ConfigError, match=expected):
        changed(*flags)


def test_changes_are_told_by_the_flag_that_makes_them(file_of):
    path = file_of({"clip": True, "variances": list(OWN.variances)})
    args = build_parser().parse_args(
        ["--anchors", str(path), "--anchor-scales", "0.1,0.4,0.9", "--anchor-steps", "0.1,0.2"]
    )
    changes = anchor_changes(args, OWN, SHAPE)
    assert set(changes) == {"anchor-scales", f"anchors {path}: clip"}
    assert changes[f"anchors {path}: clip"] == (False, True)

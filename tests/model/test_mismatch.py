"""Default boxes that are not those asked for: both sides in words."""

import pytest

from model.mismatch import boxes_differ
from symbol.presets import network_config


@pytest.mark.parametrize(
    ("has", "asked", "expected"),
    [
        (
            ("ssd7", (64, 96)),
            ("mobilenet", (64, 96)),
            (
                "not those of mobilenet at 64x96: it has 4 feature maps with 4, 4, 4, 4 default boxes a cell, not 7"
                " feature maps with 4, 6, 6, 6, 6, 4, 4 default boxes a cell: check --network and --data-shape"
            ),
        ),
        (
            ("ssd7", (64, 96)),
            ("ssd7", (128, 128)),
            "not those of ssd7 at 128x128: they are laid out for an input of 64x96: check --data-shape and --network",
        ),
        # Their strides are not the same, so no input fits.
        (("vgg16_reduced", (300, 300)), ("resnet50", (512, 512)), "laid out for another network or input"),
    ],
)
def test_both_sides_are_told(has, asked, expected):
    anchors = network_config(*has, 3).anchors
    assert expected in boxes_differ(anchors, network_config(*asked, 3))

"""The table of a network: counts that agree with the golden ones."""

import json

import pytest

from common.errors import ConfigError
from symbol.presets import network_config
from symbol.summary import count_anchors, count_parameters, summary


@pytest.mark.parametrize(("network", "size"), [("vgg16_reduced", 300), ("resnet50", 512), ("mobilenet", 608)])
def test_counts_agree_with_the_golden_ones(shared_golden, network, size):
    golden = json.loads((shared_golden / "networks" / f"{network}_{size}.json").read_text())
    assert sum(count_anchors(network_config(network, (size, size), 20))) == golden["num_anchors"]


def test_table_has_a_line_for_each_map_and_the_totals():
    text = summary(network_config("ssd7", (300, 400), 3))
    lines = text.splitlines()
    assert lines[0] == "ssd7, input 300x400 (height x width), 3 classes"
    assert [line.split()[0] for line in lines[4:8]] == ["relu4", "relu5", "relu6", "relu7"]
    assert lines[4].split()[1:7] == ["38", "50", "8", "8", "4", "7600"]
    # The seven convolutions and the heads by hand: places times filters times values that each sees.
    cells, filters = (38 * 50, 19 * 25, 10 * 13, 5 * 7), (3, 32, 48, 64, 64, 48, 48, 32)
    places = (300 * 400, 150 * 200, 75 * 100, *cells)
    body = sum(p * a * b * (25 if a == 3 else 9) for p, a, b in zip(places, filters, filters[1:]))
    work = body + sum(p * 9 * f * 32 for p, f in zip(cells, filters[4:]))
    assert lines[-1] == (
        f"10160 default boxes, 199,040 parameters, {work / 1e9:.3g} billion multiply-adds for an image"
    )


def test_parameters_are_counted_without_running_statistics():
    # Seven convolutions, gamma and beta of each filter, and heads of (3 + 1 + 4) * 4 filters with bias.
    filters = [3, 32, 48, 64, 64, 48, 48, 32]
    body = sum(a * b * (25 if a == 3 else 9) + 2 * b for a, b in zip(filters, filters[1:]))
    head = sum((f * 9 + 1) * 32 for f in filters[4:])
    assert count_parameters(network_config("ssd7", (300, 400), 3)) == body + head


def test_too_small_an_input_is_a_config_error():
    with pytest.raises(ConfigError, match="too small"):
        summary(network_config("ssd7", (30, 400), 3))

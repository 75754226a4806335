"""The table of networks: every variant is there, with the numbers of its own summary."""

import pytest

from common.errors import ConfigError
from symbol.network_list import listed_networks, network_page, network_table, preprocessing
from symbol.presets import PRESETS, network_config, network_names
from symbol.summary import count_anchors


@pytest.fixture(scope="module")
def networks():
    return listed_networks(20)


@pytest.fixture(scope="module")
def table(networks):
    return network_table(networks)


def test_every_variant_has_a_line(networks, table):
    assert len(networks) == sum(len({v.data_shape for v in variants}) for variants in PRESETS.values())
    lines = table.splitlines()
    assert [line.split()[0] for line in lines[2:]] == [name for name, _ in networks]
    assert set(network_names()) == {name for name, _ in networks}


def test_line_of_vgg16_says_what_the_paper_says(table):
    line = next(
        line for line in table.splitlines() if line.startswith("vgg16_reduced  ") and "300x300" in line
    )
    cells = [cell.strip() for cell in line.split("  ") if cell.strip()]
    assert cells == [
        "vgg16_reduced",
        "300x300",
        "38 19 10 5 3 1",
        "8732",
        "26.29 M",
        "31.37 G",
        "RGB - 123,117,104",
        "mxnet-ssd vgg16_reduced",
    ]


def test_columns_stand_below_their_titles(table):
    title, line, *rows = table.splitlines()
    for start in (title.index("input"), title.index("feature maps"), title.index("source")):
        assert all(row[start - 1] == " " != row[start] for row in rows)
        assert line[start] == "-"


def test_markdown_has_as_many_cells_in_every_line(networks):
    lines = network_table(networks, markdown=True).splitlines()
    assert {line.count(" | ") for line in lines} == {7}
    assert all(line.startswith("| ") and line.endswith(" |") for line in lines)
    assert len(lines) == len(networks) + 2


def test_input_that_is_too_small_stands_in_the_line():
    table = network_table(listed_networks(3, (64, 64)))
    line = next(line for line in table.splitlines() if line.startswith("vgg16_reduced "))
    assert "give at least" in line
    assert next(line for line in table.splitlines() if line.startswith("ssd7 ")).split()[2:7] == [
        "8",
        "4",
        "2",
        "1",
        "340",
    ]


def test_page_of_one_network_has_its_table_and_its_source():
    config = network_config("ssd7", (300, 480), 3)
    page = network_page(config)
    assert f"{sum(count_anchors(config))} default boxes" in page
    assert "input: (RGB - 123,117,104) / 58" in page
    assert "source: this project" in page
    assert "learning rate from random weights: 0.02" in page
    assert "extra blocks: 0" in page
    assert "made to start from trained weights" in network_page(network_config("resnet50", (300, 300), 3))


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [
        ((0, 0, 0), (1, 1, 1), "RGB"),
        ((127.5,) * 3, (127.5,) * 3, "(RGB - 127.5) / 127.5"),
        ((0, 0, 0), (255,) * 3, "RGB / 255"),
        ((123, 117, 104), (1, 1, 1), "RGB - 123,117,104"),
        ((123.7, 116.3, 103.5), (58.4, 57.1, 57.4), "(RGB - 123.7,116.3,103.5) / 58.4,57.1,57.4"),
    ],
)
def test_preprocessing_reads_as_a_formula(mean, std, text):
    import dataclasses

    config = network_config("ssd7", (300, 300), 3)
    assert preprocessing(dataclasses.replace(config, mean=mean, std=std)) == text


def test_number_of_classes_is_checked():
    with pytest.raises(ConfigError, match="num_classes is 0"):
        listed_networks(0)

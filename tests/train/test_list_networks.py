"""train.py --list-networks: a table, and nothing else happens."""

import os

import pytest

from symbol.presets import network_names
from train.command import main


@pytest.fixture
def listed(tmp_path, monkeypatch, capfd):
    """Runs the command in an empty folder, which stays empty; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*flags):
        code = main(["--list-networks", *flags])
        assert os.listdir(tmp_path) == []
        return (code, *capfd.readouterr())

    return run


def test_all_networks_are_listed_with_a_word_on_the_others(listed):
    code, out, err = listed()
    assert (code, err) == (0, "")
    names = [line.split()[0] for line in out.splitlines() if line.strip()]
    assert set(network_names()) <= set(names)
    assert "gluon:NAME" in out
    assert "PATH.py" in out
    assert "For 20 classes" in out


def test_markdown_is_a_table_alone(listed):
    code, out, _ = listed("--markdown")
    assert code == 0
    assert all(line.startswith("|") for line in out.splitlines())


@pytest.mark.parametrize("flags", [("ssd7",), ("--network", "ssd7"), ("ssd7", "--network", "ssd7")])
def test_one_network_is_shown_with_its_options(listed, flags):
    options = (
        "--data-shape",
        "128,160",
        "--num-class",
        "3",
        "--heads",
        "separable",
        "--anchor-ratios",
        "1,2",
    )
    code, out, _ = listed(*flags, *options)
    assert code == 0
    assert out.startswith("ssd7, input 128x160 (height x width), 3 classes")
    assert "heads: separable_bn" in out
    # 16x20, 8x10, 4x5 and 2x3 cells, with two squares and one ratio.
    assert f"{3 * (320 + 80 + 20 + 6)} default boxes" in out


def test_class_names_count_too(listed):
    assert "2 classes" in listed("ssd7", "--class-names", "cat,dog")[1]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("sdd7",), "network 'sdd7' is unknown; did you mean ssd7"),
        (("ssd7", "--network", "resnet50"), "--list-networks ssd7: --network says resnet50"),
        (("--heads", "plain"), "--heads: is for one network: give --list-networks NAME"),
        (("--anchor-clip",), "--anchor-clip: is for one network"),
        (("--num-class", "0"), "num_classes is 0"),
    ],
)
def test_wrong_request_is_one_line(listed, flags, expected):
    code, out, err = listed(*flags)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert expected in err
    assert err.count("\n") == 1

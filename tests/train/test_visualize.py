"""tools/visualize_net.py: table and picture of a network by name and of a saved detector, with and without graphviz."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from common.files import write_json
from model.saved import symbol_path
from symbol.network import heads
from symbol.presets import network_config
from symbol.summary import figures
from train.visualize import main

TINY = ("--network", "ssd7", "--data-shape", "64,96", "--num-classes", "3")
PNG = b"\x89PNG"


@pytest.fixture
def shown(tmp_path, capfd):
    """Runs the command; returns (exit code, stdout, stderr, names of the files it wrote)."""

    def run(*flags):
        folder = tmp_path / "pictures"
        capfd.readouterr()  # what came before
        code = main([*flags, "--output-dir", str(folder)])
        return (code, *capfd.readouterr(), sorted(os.listdir(folder)) if folder.exists() else [])

    return run


@pytest.fixture
def no_graphviz(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)


needs_graphviz = pytest.mark.skipif(
    not shutil.which("dot"), reason="no graphviz here: apt-get install graphviz"
)


def totals(out):
    """Return the last line of the table as numbers."""
    line = next(line for line in out.splitlines() if line.startswith("total "))
    return [int(cell.replace(",", "")) for cell in line.split()[1:]]


def test_table_has_the_network_s_totals(shown, no_graphviz):
    code, out, err, _ = shown(*TINY)
    found = figures(network_config("ssd7", (64, 96), 3))
    assert (code, err) == (0, "")
    assert totals(out) == [found.parameters, found.multiply_adds]


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (TINY, "ssd_ssd7_64x96_test"),
        ((*TINY, "--train"), "ssd_ssd7_64x96_train"),
        ((*TINY, "--train", "True"), "ssd_ssd7_64x96_train"),
        ((*TINY, "--train", "False"), "ssd_ssd7_64x96_test"),
        (("--network", "ssd7", "--data-shape", "64"), "ssd_ssd7_64_test"),
    ],
)
def test_files_have_mxnet_ssd_s_names(shown, no_graphviz, flags, name):
    code, out, _, files = shown(*flags)
    assert (code, files) == (0, [f"{name}.dot"])
    assert "no picture: graphviz is not installed (apt-get install graphviz), then: dot -Tpng" in out


@pytest.mark.parametrize(
    ("flags", "there"), [((), False), (("--print-net",), True), (("--print-net", "False"), False)]
)
def test_graph_is_printed_where_asked_for(shown, no_graphviz, flags, there):
    out = shown(*TINY, *flags)[1]
    assert ('"nodes": [' in out) == there
    if there:
        graph = json.loads(out[: out.index("ssd7, 64x96")])
        assert "relu7" in {node["name"] for node in graph["nodes"]}


def test_training_graph_has_losses_and_the_other_has_a_tail(shown, no_graphviz):
    assert "cls_loss" in shown(*TINY, "--train")[1]
    assert "box_nms" in shown(*TINY)[1]


def test_options_of_training_count(shown, no_graphviz):
    out = shown(*TINY, "--heads", "separable", "--extra-layers", "1")[1]
    assert "multi_feat_4_conv_3x3_conv" in out
    assert "relu4_loc_pred_dw" in out


@needs_graphviz
@pytest.mark.parametrize(("kind", "start"), [("png", PNG), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_picture_is_drawn_in_the_format_asked_for(shown, tmp_path, kind, start):
    code, out, _, files = shown(*TINY, "--format", kind)
    assert (code, files) == (0, ["ssd_ssd7_64x96_test.dot", f"ssd_ssd7_64x96_test.{kind}"])
    assert (tmp_path / "pictures" / files[1]).read_bytes().startswith(start)
    assert f"written: {tmp_path}/pictures/{files[1]}" in out


@pytest.mark.skipif(os.name != "posix", reason="a shell script stands for graphviz")
def test_graphviz_that_fails_is_told_and_the_text_is_kept(shown, tmp_path, monkeypatch):
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\necho no fonts >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda name: str(program))
    code, _, err, files = shown(*TINY)
    assert (code, files) == (2, ["ssd_ssd7_64x96_test.dot"])
    assert "dot: no fonts; the graph itself is kept in" in err


@pytest.fixture
def saved(trainer):
    """The prefix of a run of one epoch, with separable heads and an extra block."""
    flags = ("--heads", "separable", "--extra-layers", "1", "--norm", "batch")
    assert trainer.new("run", *flags, "--end-epoch", "1") == 0
    return trainer.prefix("run")


def test_saved_detector_is_shown_as_it_is_and_as_it_detects(shown, saved, no_graphviz):
    options = ("--network", "ssd7", "--data-shape", "64,96", "--num-classes", "5")
    options += ("--heads", "separable", "--extra-layers", "1", "--norm", "batch")
    for kind, flags in (("test", ()), ("train", ("--train",))):
        code, out, err, _ = shown("--prefix", saved, *flags)
        assert (code, err) == (0, "")
        assert out.splitlines()[0] == f"ssd (ssd7), 64x96, 5 classes ({kind})"
        assert totals(out) == totals(shown(*options, *flags)[1])


def test_extra_blocks_of_a_saved_detector_have_their_colour(shown, saved, no_graphviz, tmp_path):
    shown("--prefix", saved)
    text = (tmp_path / "pictures" / "ssd_64x96_test.dot").read_text()
    assert "colour of extra" in text


def test_old_file_without_card_needs_its_input(shown, tmp_path, no_graphviz):
    prefix = tmp_path / "old"
    symbol_path(prefix).write_text(heads(network_config("ssd7", (64, 64), 4)).tojson())
    code, _, err, _ = shown("--prefix", str(prefix))
    assert code == 2
    assert "has no card that says its input: give --data-shape" in err
    code, out, _, files = shown("--prefix", str(prefix), "--data-shape", "64")
    assert (code, files) == (0, ["old_64_test.dot"])
    assert totals(out)[0] == figures(network_config("ssd7", (64, 64), 4)).parameters


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--network", "sdd7"), "network 'sdd7' is unknown; did you mean ssd7"),
        (("--network", "ssd7", "--data-shape", "32"), "too small for ssd7"),
        (("--prefix", "nowhere/ssd"), "nowhere/ssd-symbol.json: symbol cannot be read"),
        (("--prefix", "ssd.onnx"), "--prefix ssd.onnx: is an ONNX file"),
        ((*TINY, "--heads", "flat"), "--heads 'flat' is unknown"),
    ],
)
def test_wrong_request_is_one_line(shown, no_graphviz, flags, expected):
    code, _, err, files = shown(*flags)
    assert (code, files) == (2, [])
    assert expected in err
    assert err.count("\n") == 1


def test_graph_without_losses_has_no_training_graph(shown, tmp_path, no_graphviz):
    symbol_path(tmp_path / "x").write_text(heads(network_config("ssd7", (64, 64), 4)).tojson())
    code, _, err, _ = shown("--prefix", str(tmp_path / "x"), "--data-shape", "64", "--train")
    assert code == 2
    assert "x-symbol.json: has no losses in it" in err


def test_damaged_card_is_told(shown, tmp_path, no_graphviz):
    write_json(tmp_path / "x.json", {"format_version": 1})
    assert "x.json: damaged card" in shown("--prefix", str(tmp_path / "x"))[2]


def test_script_runs_from_anywhere(project_root, tmp_path):
    script = project_root / "tools" / "visualize_net.py"
    command = [sys.executable, str(script), *TINY]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "output" / "ssd_ssd7_64x96_test.dot").exists()

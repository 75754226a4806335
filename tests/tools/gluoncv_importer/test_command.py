"""import_gluoncv.py from the command line, and what the other commands make of its detectors."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from common.mx import mx
from deploy.command import main as deploy_main
from detect.detector import Detector
from model import zoo
from model.card import read_card, write_card
from model.graph import heads
from model.saved import load, params_path
from symbol.gluon_ssd import MEAN, STD
from symbol.loss import LossConfig, training_symbol
from tools.gluoncv_importer.command import main

NAME = "ssd_300_mobilenet0.25_custom"
SHAPE = ("--data-shape", "128,160")
CLASSES = ("ant", "bee", "cat")
IMAGE = np.random.default_rng(0).integers(0, 256, (200, 220, 3), dtype=np.uint8)


def run(*flags) -> int:
    return main([str(flag) for flag in flags])


@pytest.fixture
def prefix(small_file, tmp_path, capfd) -> str:
    """An imported detector."""
    out = tmp_path / "imported" / "ssd"
    assert run(NAME, "--params", small_file, "--out", out, *SHAPE, "--class-names", ",".join(CLASSES)) == 0
    capfd.readouterr()
    return str(out)


def test_card_says_what_the_detector_is(prefix, small_file):
    card = read_card(prefix)
    assert (card.class_names, card.data_shape, card.graph) == (CLASSES, (128, 160), "deployed")
    assert (card.mean, card.std) == (MEAN, STD) == ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    tail = card.detection
    assert (tail.nms_threshold, tail.keep_topk, tail.image_topk, tail.clip) == (0.45, 100, 400, False)
    assert card.source["gluoncv"] == NAME
    assert card.anchors.variances == (0.1, 0.1, 0.2, 0.2)
    assert card.anchors.sizes[0] == pytest.approx((21 / 128, np.sqrt(21 * 45) / 128))


def test_summary_tells_input_classes_and_preprocessing(small_file, tmp_path, capfd):
    flags = ("--params", small_file, "--class-names", "ant,bee,cat", "--epoch", 7, *SHAPE)
    assert run(NAME, *flags, "--out", tmp_path / "ssd") == 0
    assert params_path(tmp_path / "ssd", 7).exists()
    out = capfd.readouterr().out
    assert "128x160, 3 classes (ant, bee, cat)" in out
    assert "mean 123.675,116.28,103.53, std 58.395,57.12,57.375" in out


def test_deployed_detector_finds_the_same(prefix):
    assert deploy_main(["--prefix", prefix]) == 0
    found, expected = (Detector(p, context=mx.cpu()).detect(IMAGE) for p in (f"{prefix}-deploy", prefix))
    assert len(expected) > 20
    np.testing.assert_array_equal(found.class_id, expected.class_id)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)


def test_onnx_file_finds_the_same(prefix):
    """deploy.py itself compares the file with MXNet before it keeps it."""
    pytest.importorskip("onnxruntime")
    assert deploy_main(["--prefix", prefix, "--onnx"]) == 0
    found, expected = (Detector(p).detect(IMAGE, normalised=True) for p in (f"{prefix}.onnx", prefix))
    assert len(found) == len(expected) > 20
    np.testing.assert_allclose(found.score, expected.score, atol=1e-4)


@pytest.mark.parametrize("name", ["ssd_300_vgg16_atrous_voc", "ssd_300_mobilenet1.0_lite_coco"])
def test_networks_with_rare_layers_become_onnx(name, tmp_path):
    pytest.importorskip("onnxruntime")
    assert run(name, "--random", 3, "--out", tmp_path / "ssd", "--data-shape", "300") == 0
    assert deploy_main(["--prefix", str(tmp_path / "ssd"), "--onnx"]) == 0


@pytest.mark.parametrize("name", ["ssd_300_mobilenet0.25_custom", "ssd_300_mobilenet1.0_lite_coco"])
def test_training_graph_on_its_heads_learns(name, tmp_path):
    flags = ("--class-names", "ant,bee,cat") if name.endswith("custom") else ()
    assert run(name, "--random", 1, "--out", tmp_path / "ssd", *SHAPE, *flags) == 0
    saved = load(tmp_path / "ssd")
    parts = heads(saved.symbol, "imported")
    graph = training_symbol(parts, saved.card.num_classes, saved.card.anchors.variances, LossConfig())
    data = np.random.default_rng(0).normal(0, 1, (2, 3, 128, 160)).astype("float32")
    label = np.array([[[0, 0.1, 0.1, 0.6, 0.7, 0]], [[2, 0.4, 0.3, 0.9, 0.8, 0]]], "float32")
    module = mx.mod.Module(graph, data_names=["data"], label_names=["label"], context=mx.cpu())
    module.bind([("data", data.shape)], [("label", label.shape)])
    module.init_params(arg_params=saved.arg_params, aux_params=saved.aux_params, allow_missing=False)
    module.init_optimizer(optimizer_params={"learning_rate": 0.02, "rescale_grad": 0.1})
    batch = mx.io.DataBatch([mx.nd.array(data)], [mx.nd.array(label)])
    losses = []
    for _ in range(6):
        module.forward_backward(batch)
        losses.append(sum(float(output.asnumpy().sum()) for output in module.get_outputs()[:2]))
        module.update()
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.8 * losses[0]


def test_random_weights_are_equal_for_equal_seeds(tmp_path, capfd):
    for number, seed in enumerate((5, 5, 6)):
        assert run("ssd_300_mobilenet0.25_voc", "--random", seed, "--out", tmp_path / f"ssd{number}") == 0
    assert "the weights are random (seed 5)" in capfd.readouterr().out
    first, second, other = (params_path(tmp_path / f"ssd{number}", 0).read_bytes() for number in range(3))
    assert first == second != other


def test_import_replaces_its_own_and_nothing_else(prefix, small_file, tmp_path, capfd):
    flags = (NAME, "--params", small_file, *SHAPE, "--class-names", ",".join(CLASSES), "--out")
    assert run(*flags, prefix) == 0
    card = read_card(prefix)
    write_card(prefix, dataclasses.replace(card, source={"prefix": "mine", "epoch": 0}))
    assert run(*flags, prefix) == 2
    assert "was not written by this command: give another place by --out" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "NAME: which detector of gluoncv? --list"),
        (("ssd_300_vgg_atrous_voc",), "did you mean ssd_300_vgg16_atrous_voc"),
        (
            ("ssd_300_mobilenet0.25_voc", "--params", "none.params"),
            "--params none.params: there is no such file",
        ),
        (("ssd_300_mobilenet0.25_voc", "--params", "a", "--random", "1"), "--params and --random: give one"),
        (("ssd_300_mobilenet0.25_voc", "--random", "1", "--out", "a.onnx"), "is the name of an ONNX file"),
        (("ssd_300_mobilenet0.25_custom",), "gluoncv publishes no weights for it"),
        (("ssd_300_mobilenet0.25_custom", "--random", "1"), "name them by --class-names"),
    ],
)
def test_wrong_flags_are_one_line(flags, words, capfd):
    assert run(*flags) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert words in err


def test_weights_that_were_not_downloaded_say_how(capfd, monkeypatch, tmp_path):
    monkeypatch.setattr("tools.gluoncv_importer.command.MODEL_FOLDER", tmp_path)
    assert run("ssd_512_resnet50_v1_voc") == 2
    assert (
        "run `python model/download.py ssd_512_resnet50_v1_voc`, or give a file by --params"
        in capfd.readouterr().err
    )


def test_downloaded_weights_are_found_where_the_zoo_puts_them(gluon, monkeypatch, tmp_path):
    name = "ssd_300_vgg16_atrous_voc"
    monkeypatch.setattr("tools.gluoncv_importer.command.MODEL_FOLDER", tmp_path)
    gluon.build(name).save_parameters(str(zoo.local_path(zoo.find(name), tmp_path)))
    assert run(name) == 0
    assert read_card(tmp_path / name).data_shape == (300, 300)


def test_script_runs_from_anywhere(project_root, tmp_path):
    script = str(project_root / "tools" / "import_gluoncv.py")
    done = subprocess.run(
        [sys.executable, script, "--list"], check=False, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "ssd_512_resnet50_v1_coco\n" in done.stdout
    assert "int8" not in done.stdout

"""deploy.py --onnx: from flags to a file that finds what the checkpoint finds, and evaluate.py on it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from common.mx import cv2, mx
from dataset.prepare_command import main as prepare
from dataset.scenes import draw_scene
from dataset.scenes_command import main as make_scenes
from deploy.command import main
from detect.detector import Detector
from evaluate.command import main as evaluate
from model import SHIPPED_MODEL
from model.card import card_path, read_card
from model.onnx_file import open_session
from model.saved import load, save

pytest.importorskip("onnx")


def run(*flags) -> int:
    return main([str(flag) for flag in flags])


def found_by_onnx(tools, path) -> list:
    """Return what a Detector on an ONNX file finds in the images of the helpers."""
    return Detector(path).detect(tools.images(), 2, normalised=True)


def test_file_finds_what_the_checkpoint_finds(checkpoint, tools, capfd):
    assert run("--prefix", checkpoint, "--onnx") == 0
    out, err = capfd.readouterr()
    assert out.startswith(
        f"{checkpoint}.onnx: epoch 3 of {checkpoint}, 96x64, 3 classes; score > 0.02, NMS per_class"
    )
    assert (out.count("\n"), err) == (1, "")
    tools.assert_equal(found_by_onnx(tools, f"{checkpoint}.onnx"), tools.detect(checkpoint))
    card = Detector(f"{checkpoint}.onnx").card
    before = read_card(checkpoint)
    assert card.source == {"prefix": "ssd", "epoch": 3}
    assert (card.class_names, card.anchors, card.detection) == (
        before.class_names,
        before.anchors,
        before.detection,
    )
    assert read_card(checkpoint) == before
    assert not card_path(f"{checkpoint}-deploy").exists()


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        (("--force",), {"force": True}),
        (("--nms-mode", "multibox", "--keep-topk", "-1"), {"nms_mode": "multibox", "keep_topk": -1}),
        (("--score-threshold", 0.3, "--topk", 20, "--keep-topk", 5, "--nms", 0.3),
         {"score_threshold": 0.3, "nms_topk": 20, "keep_topk": 5, "nms_threshold": 0.3}),
    ],
)  # fmt: skip
def test_flags_of_the_tail_are_built_in(checkpoint, tools, flags, settings):
    run("--prefix", checkpoint, "--onnx", *flags, "--dynamic-batch", "--onnx-input", "uint8")
    expected = tools.detect(checkpoint, **settings)
    tools.assert_equal(found_by_onnx(tools, f"{checkpoint}.onnx"), expected)
    config = Detector(f"{checkpoint}.onnx").card.detection
    assert config == dataclasses.replace(read_card(checkpoint).detection, **settings)


def test_deployed_detector_is_a_source_too(checkpoint, tools, tmp_path):
    run("--prefix", checkpoint)
    assert run("--prefix", f"{checkpoint}-deploy", "--onnx", "--out", tmp_path / "new" / "net.onnx") == 0
    tools.assert_equal(found_by_onnx(tools, tmp_path / "new" / "net.onnx"), tools.detect(checkpoint))


@pytest.mark.parametrize("kind", ["deployed", "training"])
def test_old_files_without_a_card_become_onnx(tmp_path, tools, kind):
    from symbol.network import heads
    from symbol.presets import network_config

    parts = heads(network_config("ssd7", tools.shape, 3))
    graph = tools.old_deployed_graph(parts) if kind == "deployed" else tools.old_training_graph(parts)
    prefix = tools.write_old(tmp_path / "old", graph, tools.golden_params(parts, tools.shape))
    stated = ("--network", "ssd7", "--data-shape", "96,64", "--class-names", "a,b,c", "--mean-r", 120)
    assert run("--prefix", prefix, "--onnx", *stated) == 0
    about = {
        "network": "ssd7",
        "data_shape": tools.shape,
        "class_names": ("a", "b", "c"),
        "mean": (120, 117, 104),
    }
    expected = tools.detect(prefix, **about, score_threshold=0.01)
    tools.assert_equal(found_by_onnx(tools, f"{prefix}.onnx"), expected)


def test_outside_gives_scores_and_boxes(checkpoint):
    assert run("--prefix", checkpoint, "--onnx", "--onnx-nms", "outside") == 0
    names = [output.name for output in open_session(f"{checkpoint}.onnx").get_outputs()]
    assert names == ["scores", "boxes"]


def test_own_file_is_replaced_and_a_foreign_one_is_not(checkpoint, capfd):
    assert run("--prefix", checkpoint, "--onnx") == 0
    assert run("--prefix", checkpoint, "--onnx", "--dynamic-batch") == 0
    with open(f"{checkpoint}.onnx", "wb") as stream:
        stream.write(b"mine")
    assert run("--prefix", checkpoint, "--onnx") == 2
    assert "was not written by deploy.py --onnx: give another name by --out" in capfd.readouterr().err
    with open(f"{checkpoint}.onnx", "rb") as stream:
        assert stream.read() == b"mine"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--onnx-nms", "inside"), "are for ONNX files: give --onnx too"),
        (("--dynamic-batch",), "are for ONNX files: give --onnx too"),
        (("--onnx", "--out", "net"), "--out net: expected a name that ends in .onnx"),
        (("--onnx", "--nms", "1.5"), "--nms is 1.5"),
        (("--out", "net.onnx"), "--out net.onnx: is the name of an ONNX file: give --onnx too"),
        (("--onnx", "--class-names", "a,b"), "made for 3 classes, there are 2 names"),
    ],
)
def test_flags_that_cannot_be_are_one_line_and_write_nothing(check_refused, flags, words):
    check_refused(*flags, words=words)


def test_onnx_file_is_no_source(checkpoint, capfd):
    run("--prefix", checkpoint, "--onnx")
    assert run("--prefix", f"{checkpoint}.onnx") == 2
    assert "is an ONNX file: give the prefix that it was made from" in capfd.readouterr().err


def test_quantised_detector_is_refused(checkpoint, tmp_path, capfd):
    saved = load(checkpoint)
    data = mx.sym.contrib.quantize_v2(mx.sym.Variable("data"), min_calib_range=-3.0, max_calib_range=3.0)
    back = mx.sym.contrib.dequantize(data[0], data[1], data[2])
    card = dataclasses.replace(saved.card, source={"prefix": "ssd", "epoch": 3}, epochs={})
    save(tmp_path / "int8", 3, saved.symbol(data=back), (saved.arg_params, saved.aux_params), card)
    capfd.readouterr()
    assert run("--prefix", tmp_path / "int8", "--onnx") == 2
    assert "is quantised or fused" in (err := capfd.readouterr().err)
    assert "made from, ssd: give that by --prefix" in err


def test_script_at_the_root_runs_it(checkpoint, project_root):
    script = [sys.executable, str(project_root / "deploy.py"), "--prefix", checkpoint, "--onnx"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_recipe_for_onnxruntime_in_the_docs_runs(tmp_path, project_root):
    picture = draw_scene(7, (200, 150), empty_share=0.0)[0]
    cv2.imwrite(str(tmp_path / "photo.jpg"), picture[:, :, ::-1])
    assert run("--prefix", SHIPPED_MODEL, "--onnx", "--out", tmp_path / "model.onnx") == 0
    recipe = (project_root / "docs" / "onnx.md").read_text().split("```python\n")[1].split("```")[0]
    script = [sys.executable, "-c", recipe]
    done = subprocess.run(script, capture_output=True, text=True, timeout=120, check=True, cwd=tmp_path)
    found = Detector(SHIPPED_MODEL, context=mx.cpu()).detect(tmp_path / "photo.jpg")
    printed = [line.split()[:2] for line in done.stdout.splitlines()]
    assert printed == [[found.name(i), f"{found.score[i]:.2f}"] for i in range(len(found))]
    assert len(printed) > 0


def test_shipped_detector_scores_the_same(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("detect.flags.use_synchronous_engine", lambda devices: None)
    prefix, scenes = str(SHIPPED_MODEL), tmp_path / "scenes"
    assert make_scenes(["--root", str(scenes), "--train", "1", "--test", "40"]) == 0
    packed = ["--root", str(scenes), "--set", "test", "--target", str(scenes / "test.lst")]
    assert prepare(packed) == 0
    assert run("--prefix", prefix, "--onnx", "--out", tmp_path / "net.onnx") == 0
    results = []
    for model in (prefix, tmp_path / "net.onnx"):
        flags = ["--prefix", str(model), "--rec-path", str(scenes / "test.rec"), "--cpu"]
        assert evaluate([*flags, "--save-json", str(tmp_path / "result.json")]) == 0
        results.append(json.loads((tmp_path / "result.json").read_text()))
    assert results[0]["mAP"] > 0.5
    assert abs(results[0]["mAP"] - results[1]["mAP"]) < 0.001
    assert results[1]["model"] == str(tmp_path / "net.onnx")

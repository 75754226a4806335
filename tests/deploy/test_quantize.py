"""deploy.py --quantize: from flags to a detector that loads like any other, and what is printed on the way."""

from __future__ import annotations

import re

import numpy as np
import pytest

from common.mx import mx
from dataset.prepare_command import main as prepare
from dataset.records import RecordDataset
from dataset.scenes_command import main as make_scenes
from deploy.chosen_records import ChosenRecords
from deploy.command import main
from deploy.processor import computes_bfloat16, processor_flags
from detect.detector import Detector
from evaluate.command import main as evaluate
from evaluate.run import evaluate_records
from model import SHIPPED_MODEL
from model.card import DEPLOYED, card_path, read_card
from model.quantize_graph import is_quantised
from model.saved import load, params_path

IMAGES = 24


def run(*flags) -> int:
    return main([str(flag) for flag in flags])


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Records of drawn scenes, which the detector that ships was trained on."""
    folder = tmp_path_factory.mktemp("scenes")
    root = str(folder / "scenes")
    assert make_scenes(["--root", root, "--train", "1", "--test", str(IMAGES), "--seed", "7"]) == 0
    packed = ["--dataset", "voc", "--root", root, "--set", "test", "--target", str(folder / "val.lst")]
    assert prepare(packed) == 0
    return folder / "val.rec"


@pytest.fixture(scope="module")
def deployed(scenes, tmp_path_factory):
    """The shipped detector in int8, and what was printed."""
    out = tmp_path_factory.mktemp("int8") / "ssd-int8"
    return out, run("--prefix", SHIPPED_MODEL, "--out", out, "--quantize", "int8", "--calib-path", scenes)


def test_shipped_detector_in_int8_loses_little_on_scenes(deployed, scenes):
    out, code = deployed
    assert code == 0
    with RecordDataset(scenes) as dataset:
        before, after = (
            evaluate_records(Detector(prefix, context=mx.cpu()), dataset).mean
            for prefix in (SHIPPED_MODEL, out)
        )
    done = read_card(out).quantization
    assert before > 0.5
    assert (done["mAP_before"], done["mAP_after"]) == pytest.approx((before, after), abs=1e-4)
    assert after >= before - 0.005
    assert is_quantised(load(out).symbol)
    assert not is_quantised(load(SHIPPED_MODEL).symbol)


def test_card_says_what_was_done(deployed, scenes):
    card, before = read_card(deployed[0]), read_card(SHIPPED_MODEL)
    done = card.quantization
    assert (done["dtype"], done["images"]) == ("int8", IMAGES)
    assert done["calib_mode"] in ("naive", "entropy")
    assert done["mAP_on"] == {"file": "val.rec", "images": IMAGES}
    assert card.graph == DEPLOYED
    assert (card.class_names, card.detection, card.anchors) == (
        before.class_names,
        before.detection,
        before.anchors,
    )
    assert before.quantization == {}


def test_every_command_takes_it(deployed, scenes, capfd):
    assert evaluate(["--prefix", str(deployed[0]), "--rec-path", str(scenes), "--cpu"]) == 0
    assert f"mAP {read_card(deployed[0]).quantization['mAP_after']:.4f}" in capfd.readouterr().out


def test_other_tail_goes_on_an_int8_detector(deployed, tmp_path):
    assert run("--prefix", deployed[0], "--out", tmp_path / "again", "--keep-topk", 3) == 0
    images = [np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)]
    found = Detector(tmp_path / "again", context=mx.cpu()).detect(images)[0]
    expected = Detector(deployed[0], context=mx.cpu(), keep_topk=3).detect(images)[0]
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    assert read_card(tmp_path / "again").quantization == read_card(deployed[0]).quantization


def test_lines_say_drop_speed_and_size(scenes, tmp_path, capfd):
    flags = ("--prefix", SHIPPED_MODEL, "--out", tmp_path / "x", "--quantize", "int8", "--calib-path", scenes)
    assert run(*flags, "--calib-mode", "naive", "--calib-images", 5, "--val-images", 12, "--max-drop", 1) == 0
    lines = capfd.readouterr().out.splitlines()
    assert re.fullmatch(rf"float32: mAP 0\.\d{{4}} on 12 of {IMAGES} images of {scenes}", lines[0])
    assert re.fullmatch(r"naive, all layers in int8: mAP 0\.\d{4} \([-+]0\.\d{4}\)", lines[1])
    assert re.fullmatch(
        rf"int8: naive calibration on 5 of {IMAGES} images of {scenes}; 0 of \d+ layers left in float",
        lines[2],
    )
    pattern = r"int8: mAP 0\.\d+ -> 0\.\d+, \d+\.\d -> \d+\.\d frames/s \(\d+\.\d\d times, .*\), \d\.\d -> \d\.\d MB"
    assert re.fullmatch(pattern, lines[3])
    assert lines[4].startswith(f"{tmp_path / 'x'}: epoch 9 of {SHIPPED_MODEL}")
    assert len(lines) == 5


def test_what_loses_too_much_is_not_written(scenes, tmp_path, capfd, monkeypatch):
    """No detector is better than itself by a tenth; the scores are turned so that none keeps the mAP."""
    real = evaluate_records
    monkeypatch.setattr("deploy.quantize.evaluate_records", _worse_in_int8(real))
    flags = ("--prefix", SHIPPED_MODEL, "--out", tmp_path / "x", "--quantize", "int8", "--calib-path", scenes)
    assert run(*flags, "--calib-mode", "naive", "--calib-images", 4, "--val-images", 4) == 1
    last = capfd.readouterr().out.splitlines()[-1]
    assert last.startswith(f"no int8 detector loses at most 0.005 mAP on 4 of {IMAGES} images")
    assert "--max-drop" in last
    assert list(tmp_path.iterdir()) == []


def _worse_in_int8(real):
    """Return an `evaluate_records` that gives int8 detectors half of their mAP."""

    class Half:
        def __init__(self, mean):
            self.mean = mean

    def score(detector, *args, **kwargs):
        share = 0.5 if is_quantised(detector._plan.symbol) else 1
        return Half(real(detector, *args, **kwargs).mean * share)

    return score


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ("--quantize", "int8"),
            "needs images to find the ranges of values on: give packed records by --calib-path",
        ),
        (
            ("--calib-mode", "naive"),
            "--calib-mode is for a quantised detector: give --quantize int8 (or bfloat16) too",
        ),
        (("--val-images", "3"), "--val-images is for a quantised detector"),
        (
            ("--quantize", "bfloat16"),
            "--quantize bfloat16 is measured before it is written: give records by --val-path",
        ),
        (("--quantize", "bfloat16", "--calib-path", "x.rec"), "--calib-path is for int8"),
        (("--quantize", "int8", "--calib-path", "x.rec", "--onnx"), "--onnx cannot express --quantize int8"),
        (("--quantize", "int8", "--calib-path", "x.rec"), "x.rec"),
        (("--quantize", "int8", "--calib-path", "x.rec", "--max-drop", "2"), "--max-drop is 2.0, expected"),
        (
            ("--quantize", "int8", "--calib-path", "x.rec", "--quantize-exclude", "("),
            "--quantize-exclude is '('",
        ),
    ],
)
def test_flags_that_cannot_be_are_one_line_and_write_nothing(check_refused, flags, words):
    check_refused(*flags, words=words)


def test_records_of_other_classes_are_refused(checkpoint, scenes, capfd):
    assert run("--prefix", checkpoint, "--quantize", "int8", "--calib-path", scenes) == 2
    assert "disc" in capfd.readouterr().err
    assert not card_path(f"{checkpoint}-deploy-int8").exists()


def test_int8_detector_is_not_quantised_again_nor_exported(deployed, scenes, tmp_path, capfd):
    flags = ("--prefix", deployed[0], "--out", tmp_path / "x", "--quantize", "int8", "--calib-path", scenes)
    assert run(*flags) == 2
    assert "is quantised already" in capfd.readouterr().err
    assert run("--prefix", deployed[0], "--onnx", "--out", tmp_path / "x.onnx") == 2
    err = capfd.readouterr().err
    assert "is quantised to int8" in err
    assert "export the float detector that it was made from, " in err


def test_excluded_layers_are_left_in_float(scenes, tmp_path):
    flags = ("--prefix", SHIPPED_MODEL, "--out", tmp_path / "x", "--quantize", "int8", "--calib-path", scenes)
    tries = ("--calib-mode", "naive", "--calib-images", 4, "--val-images", 4, "--max-drop", 1)
    assert run(*flags, *tries, "--quantize-exclude", "^conv1$") == 0
    assert read_card(tmp_path / "x").quantization["left_in_float"] == ["conv1"]


def test_chosen_records_are_spread_over_the_file(scenes):
    with RecordDataset(scenes) as dataset:
        chosen = ChosenRecords(dataset, 4)
        assert [chosen.truth(i).image_path for i in range(4)] == [
            dataset.truth(i).image_path for i in (0, 8, 15, 23)
        ]
        assert chosen.image_ids == tuple(dataset.image_ids[i] for i in (0, 8, 15, 23))
        assert (len(ChosenRecords(dataset)), len(ChosenRecords(dataset, 1000))) == (IMAGES, IMAGES)
        assert str(chosen) == f"4 of {IMAGES} images of {scenes}"
        found = evaluate_records(Detector(SHIPPED_MODEL, context=mx.cpu()), ChosenRecords(dataset))
        assert found.mean == evaluate_records(Detector(SHIPPED_MODEL, context=mx.cpu()), dataset).mean


needs_bfloat16 = pytest.mark.skipif(
    not computes_bfloat16(processor_flags()), reason="this processor does not compute with bfloat16"
)


@needs_bfloat16
def test_bfloat16_finds_what_float_finds_in_half_the_size(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr("deploy.quantize._Bench.seconds", lambda self, graphs: [0.02, 0.01])
    out = tmp_path / "ssd-bfloat16"
    flags = ("--prefix", SHIPPED_MODEL, "--out", out, "--quantize", "bfloat16", "--val-path", scenes)
    assert run(*flags) == 0
    with RecordDataset(scenes) as dataset:
        before, after = (
            evaluate_records(Detector(prefix, context=mx.cpu()), dataset).mean
            for prefix in (SHIPPED_MODEL, out)
        )
    done = read_card(out).quantization
    assert (done["dtype"], done["mAP_after"]) == ("bfloat16", pytest.approx(after, abs=1e-4))
    assert after >= before - 0.005
    # Filters that fill the heads up, and default boxes in float32, weigh in so small a network.
    assert params_path(out, 9).stat().st_size < 0.7 * params_path(SHIPPED_MODEL, 9).stat().st_size
    assert run("--prefix", out, "--out", tmp_path / "again", "--nms-mode", "multibox") == 0
    assert len(Detector(tmp_path / "again", context=mx.cpu()).detect(np.zeros((50, 60, 3), np.uint8))) >= 0


@needs_bfloat16
def test_bfloat16_that_gains_nothing_is_not_written(scenes, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("deploy.quantize._Bench.seconds", lambda self, graphs: [0.01, 0.02])
    flags = (
        "--prefix",
        SHIPPED_MODEL,
        "--out",
        tmp_path / "x",
        "--quantize",
        "bfloat16",
        "--val-path",
        scenes,
    )
    assert run(*flags, "--val-images", 4) == 1
    assert "runs at 50.0 in place of 100.0 frames/s; nothing is written" in capfd.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_processor_without_bfloat16_is_told_so(checkpoint, capfd, monkeypatch):
    monkeypatch.setattr("deploy.quantize.processor_flags", lambda: frozenset({"avx2"}))
    assert run("--prefix", checkpoint, "--quantize", "bfloat16", "--val-path", "x.rec") == 2
    assert "this processor is not known to compute with it" in capfd.readouterr().err


def test_processor_without_vnni_is_quantised_for_all_the_same(scenes, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("deploy.quantize.processor_flags", lambda: frozenset({"avx2"}))
    flags = ("--prefix", SHIPPED_MODEL, "--out", tmp_path / "x", "--quantize", "int8", "--calib-path", scenes)
    tries = ("--calib-mode", "naive", "--calib-images", 4, "--val-images", 4, "--max-drop", 1)
    assert run(*flags, *tries) == 0
    assert "no instructions for int8 (VNNI)" in caplog.text

"""A Detector on an ONNX file: the same API, the same detections, and one line for everything that cannot be."""

from __future__ import annotations

import dataclasses
import json
import sys

import numpy as np
import pytest
from PIL import Image

from common.errors import CheckpointError, ConfigError, DependencyError
from common.mx import mx
from detect.command import main
from detect.detector import Detector
from model.onnx_export import write_onnx
from model.onnx_file import ExportSettings
from symbol.detection import DetectionConfig

onnx = pytest.importorskip("onnx")
COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)], np.uint8)


def scene(*colours: int, size=(160, 120)) -> np.ndarray:
    """Draw four quarters by the numbers of their colours, 3 for none."""
    width, height = size
    grid = COLOURS[list(colours)].reshape(2, 2, 3)
    return grid.repeat(height // 2, 0).repeat(width // 2, 1)


SCENES = [scene(0, 3, 3, 1), scene(2, 2, 3, 3, size=(90, 130)), scene(3, 3, 3, 3), scene(3, 0, 2, 3)]


@pytest.fixture
def path(toy, tmp_path):
    """The toy as an ONNX file."""
    write_onnx(toy, toy.card, tmp_path / "toy.onnx")
    return tmp_path / "toy.onnx"


def assert_equal(found: list, expected: list) -> None:
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one.class_id, other.class_id)
        np.testing.assert_allclose(one.score, other.score, atol=1e-6)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-4)
        assert (one.size, one.class_names) == (other.size, other.class_names)


@pytest.mark.parametrize("layout", ["float", "uint8"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_it_finds_what_mxnet_finds_in_any_batch(toy, tmp_path, layout, dynamic):
    write_onnx(toy, toy.card, tmp_path / "toy.onnx", ExportSettings("inside", dynamic, layout))
    detector, reference = Detector(tmp_path / "toy.onnx"), Detector.from_saved(toy, context=mx.cpu())
    expected = reference.detect(SCENES)
    assert [len(found) for found in expected] == [2, 2, 0, 2]
    for batch_size in (None, 1, 3):
        assert_equal(detector.detect(SCENES, batch_size), expected)
    assert_equal(
        [detector.detect(SCENES[0], normalised=True)], [reference.detect(SCENES[0], normalised=True)]
    )


def test_it_says_what_it_is(toy, path):
    detector = Detector(str(path))
    assert (detector.prefix, detector.name, detector.epoch) == (str(path), str(path), 1)
    assert detector.class_names == toy.card.class_names
    assert detector.card.data_shape == toy.card.data_shape
    assert detector.card.detection == toy.card.detection
    with pytest.raises(ConfigError, match="parameters of an ONNX file cannot be replaced"):
        detector.set_params({}, {})


def test_stream_leaves_out_what_cannot_be_decoded(path, tmp_path):
    bad, failed = tmp_path / "bad.jpg", []
    bad.write_bytes(b"no picture")
    results = list(
        Detector(path).stream([SCENES[0], bad, SCENES[1]], on_error=lambda *entry: failed.append(entry))
    )
    assert [result.index for result in results] == [0, 2]
    assert [index for index, _ in failed] == [1]


def test_higher_score_threshold_is_a_filter(toy, path):
    blurred = scene(0, 3, 3, 1)
    blurred[:60, :80, 1:] = 60
    plain, strict = Detector(path).detect(blurred), Detector(path, score_threshold=0.99).detect(blurred)
    assert len(plain) == 2
    assert len(strict) == 1
    assert strict.score[0] > 0.99 > plain.score[1]
    assert Detector(path, score_threshold=0.1).detect(blurred).as_records() == plain.as_records()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"nms_threshold": 0.3}, "nms_threshold is 0.3, but 0.45 is built into"),
        ({"score_threshold": 0.05}, "score_threshold is 0.05, but 0.1 is built into"),
        ({"force": True}, "force is True, but False is built into"),
        ({"keep_topk": 3}, "keep_topk is 3"),
        ({"nms_mode": "multibox"}, "nms_mode is 'multibox'"),
        ({"data_shape": 128}, r"data_shape is \(128, 128\), but \(64, 64\)"),
        ({"mean": (1, 2, 3)}, "mean is"),
        ({"class_names": ("a", "b", "c")}, "class_names is"),
        ({"nms_treshold": 0.3}, "unknown setting 'nms_treshold' of a detector; did you mean nms_threshold"),
        ({"mean": (1, 2)}, "mean is .*, expected 3 numbers"),
        ({"score_threshold": 1.5}, "score_threshold is 1.5, expected"),
    ],
)
def test_settings_that_are_built_in_cannot_be_changed(path, settings, words):
    with pytest.raises(ConfigError, match=words):
        Detector(path, **settings)


def test_settings_that_are_as_built_in_may_be_stated(toy, path):
    card = toy.card
    Detector(
        path,
        nms_threshold=0.45,
        force=False,
        data_shape=64,
        mean=[0, 0, 0],
        class_names=list(card.class_names),
    )


def test_unknown_provider_is_an_error_that_names_those_there_are(path, toy_prefix):
    with pytest.raises(ConfigError, match="--providers CPU: .*CPUExecutionProvider"):
        Detector(path, providers=["CPU"])
    with pytest.raises(
        ConfigError, match="--providers TensorrtExecutionProvider: .*: install onnxruntime-gpu"
    ):
        Detector(path, providers=["TensorrtExecutionProvider"])
    assert len(Detector(path, providers=["CPUExecutionProvider"]).detect(SCENES[0])) == 2
    assert (
        len(Detector(path, nms_threshold=0.45, score_threshold=0.1).detect(SCENES[0])) == 2
    )  # the file's own
    assert len(Detector(path, providers="CPUExecutionProvider").detect(SCENES[0])) == 2
    with pytest.raises(ConfigError, match="providers are for ONNX files"):
        Detector(toy_prefix, providers=["CPUExecutionProvider"])


def test_values_that_are_not_finite_are_an_error(toy, tmp_path):
    write_onnx(toy, toy.card, tmp_path / "toy.onnx")
    model = onnx.load(tmp_path / "toy.onnx")
    for tensor in model.graph.initializer:
        if tensor.name.endswith("/classes_bias"):
            values = onnx.numpy_helper.to_array(tensor) * np.float32(np.nan)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    kept = [entry for entry in model.metadata_props if entry.key != "checksum"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, tmp_path / "toy.onnx")
    with pytest.raises(CheckpointError, match="values that are not finite on image 0"):
        Detector(tmp_path / "toy.onnx").detect(SCENES[0])


def foreign(path) -> bytes:
    """Return a sound model of somebody else."""
    model = onnx.load(path)
    del model.metadata_props[:]
    return model.SerializeToString()


BAD = {
    "html": (lambda path: b"<!DOCTYPE html><html>", "not an ONNX file: it is an HTML page"),
    "lfs": (lambda path: b"version https://git-lfs.github.com/spec/v1\n", "it is a git-lfs pointer"),
    "empty": (lambda path: b"", "it is empty"),
    "picture": (lambda path: b"\xff\xd8\xff\xe0" + bytes(40), "it is a JPEG image"),
    "half": (lambda path: path.read_bytes()[: path.stat().st_size // 2], "toy.onnx: "),
    "cut at the end": (lambda path: path.read_bytes()[:-3], "toy.onnx: "),
    "junk behind the first byte": (lambda path: b"\x08" + bytes(range(200)), "not an ONNX model"),
    "somebody else's": (foreign, "without a detector's card"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_one_line(path, case, capfd):
    make, words = BAD[case]
    path.write_bytes(make(path))
    with pytest.raises(CheckpointError) as caught:
        Detector(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_missing_file_and_missing_package_are_errors(path, tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match=r"no\.onnx: ONNX file cannot be read \(No such file"):
        Detector(tmp_path / "no.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(CheckpointError, match="cannot be read"):
        Detector(tmp_path / "folder.onnx")

    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # what Python takes for a module that is not there
    with pytest.raises(DependencyError, match="onnxruntime.*pip install 'onnxruntime'"):
        Detector(path)


def test_one_changed_bit_is_noticed(path):
    data, rng = path.read_bytes(), np.random.default_rng(0)
    for position in rng.integers(0, len(data), 40):
        changed = bytearray(data)
        changed[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(changed))
        with pytest.raises(CheckpointError):
            Detector(path)


def test_file_without_nms_and_another_epoch_are_refused(toy, path, tmp_path):
    write_onnx(toy, toy.card, tmp_path / "outside.onnx", ExportSettings("outside"))
    with pytest.raises(CheckpointError, match="exported without NMS, .*--onnx-nms inside"):
        Detector(tmp_path / "outside.onnx")
    assert Detector(path, 1).epoch == 1
    for epoch in (2, "best"):
        with pytest.raises(CheckpointError, match=f"was made from epoch 1, not {epoch}"):
            Detector(path, epoch)


def test_detections_of_every_rule_are_those_of_mxnet(toy, tmp_path):
    for number, rule in enumerate(
        ({"nms_mode": "multibox"}, {"force": True}, {"keep_topk": -1, "nms_topk": -1})
    ):
        card = dataclasses.replace(toy.card, detection=DetectionConfig(score_threshold=1e-4, **rule))
        write_onnx(toy, card, tmp_path / f"{number}.onnx")
        changed = dataclasses.replace(toy, card=card)
        expected = Detector.from_saved(changed, context=mx.cpu(), **rule).detect(SCENES)
        assert_equal(Detector(tmp_path / f"{number}.onnx").detect(SCENES), expected)


def demo(prefix, *flags) -> int:
    return main(["--prefix", str(prefix), *map(str, flags)])


def test_demo_takes_the_file(path, tmp_path, capsys):
    Image.fromarray(SCENES[0]).save(tmp_path / "a.png")
    flags = ("--images", tmp_path / "a.png", "--out", tmp_path / "out")
    assert demo(path, *flags, "--providers", "CPUExecutionProvider") == 0
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert (results["model"], results["epoch"]) == (str(path), 1)
    assert sorted(entry["class_name"] for entry in results["images"][0]["detections"]) == ["green", "red"]
    assert "1 green, 1 red" in capsys.readouterr().out
    assert demo(path, *flags, "--cpu", "--thresh", 0.9, "--nms", 0.45, "--gpus", "") == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--thresh", 0.05), "--thresh is 0.05, but 0.1 is built into"),
        (("--nms", 0.3), "--nms is 0.3, but 0.45 is built into"),
        (("--keep-topk", 5), "--keep-topk is 5"),
        (("--force",), "--force is True"),
        (("--data-shape", 128), "--data-shape is (128, 128)"),
        (("--mean-r", 3), "mean is (3.0, 0.0, 0.0)"),
        (("--class-names", "a,b,c"), "names the classes red,green,blue"),
        (("--gpus", 0), "--gpus 0: is for MXNet"),
        (("--providers", "TPU"), "--providers TPU: this onnxruntime has none of that name"),
        (("--epoch", 7), "was made from epoch 1, not 7"),
    ],
)
def test_flags_that_do_not_fit_are_one_line(path, tmp_path, capsys, flags, words):
    Image.fromarray(SCENES[0]).save(tmp_path / "a.png")
    assert demo(path, "--images", tmp_path / "a.png", "--out", tmp_path / "out", *flags) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert (printed.out, printed.err.count("\n")) == ("", 1)


def test_providers_are_not_for_files_of_mxnet(toy_prefix, tmp_path, capsys):
    Image.fromarray(SCENES[0]).save(tmp_path / "a.png")
    flags = (
        "--images",
        tmp_path / "a.png",
        "--out",
        tmp_path / "out",
        "--cpu",
        "--providers",
        "CPUExecutionProvider",
    )
    assert demo(toy_prefix, *flags) == 2
    assert "--providers is for ONNX files" in capsys.readouterr().err

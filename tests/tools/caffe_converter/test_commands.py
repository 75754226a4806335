"""convert_model.py and convert_symbol.py from flags to files, and one line for whatever is wrong."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import prototxts
import pytest
from PIL import Image
from prototxts import Options
from random_model import write_random_caffemodel

from common.mx import mx
from deploy.command import main as deploy
from detect.command import main as demo
from detect.detector import Detector
from model.card import read_card, write_card
from model.graph import load_symbol
from model.saved import load
from tools.caffe_converter.compare_command import forward
from tools.caffe_converter.convert import convert_model
from tools.caffe_converter.model_command import main
from tools.caffe_converter.symbol_command import main as convert_symbol

OPTIONS = Options(num_classes=4, width=0.125)
TRAIN = """
name: "train"
layer {{ name: "data" type: "AnnotatedData" top: "data" top: "label" include {{ phase: TRAIN }}
  transform_param {{ {params} resize_param {{ prob: 1 resize_mode: WARP height: 300 width: 300 }} }} }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param {{ num_output: 1 kernel_size: 1 }} }}
"""
LABELS = "\n".join(
    f'item {{ name: "n{label}" label: {label} display_name: "{name}" }}'
    for label, name in enumerate(("background", "cat", "dog", "bird"))
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with net.prototxt, its net.caffemodel, a training net, a labelmap, and a net without detections."""
    place = tmp_path_factory.mktemp("caffe")
    for name, kind in (("net", "mobilenet_ssd"), ("raw", "two_outputs"), ("norm", "res10_ssd")):
        (place / f"{name}.prototxt").write_text(prototxts.ARCHITECTURES[kind](OPTIONS))
        write_random_caffemodel(place / f"{name}.prototxt", place / f"{name}.caffemodel", 1)
    means = "mean_value: 104 mean_value: 117 mean_value: 123.5 scale: 0.25"
    (place / "train.prototxt").write_text(TRAIN.format(params=means))
    (place / "labelmap.prototxt").write_text(LABELS)
    return place


def convert(folder, prefix, *flags, net="net"):
    return main(
        [str(folder / f"{net}.prototxt"), str(folder / f"{net}.caffemodel"), str(prefix), *map(str, flags)]
    )


def picture(side=(200, 260)):
    return np.random.default_rng(0).integers(0, 256, (*side, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("flags", "mean"),
    [
        ((), (123.0, 117.0, 104.0)),
        (("--mean", "1,2,3"), (1.0, 2.0, 3.0)),
        (("--mean", "127.5"), (127.5,) * 3),
        (("--train-prototxt", "TRAIN"), (123.5, 117.0, 104.0)),
        (("--train-prototxt", "TRAIN", "--mean", "0,0,0"), (0.0, 0.0, 0.0)),
    ],
)
def test_mean_stands_in_the_card_as_rgb(folder, tmp_path, flags, mean):
    flags = [folder / "train.prototxt" if flag == "TRAIN" else flag for flag in flags]
    assert convert(folder, tmp_path / "ssd", *flags) == 0
    assert load(tmp_path / "ssd").card.mean == mean


def test_mean_of_the_net_itself_is_taken(folder, tmp_path, capsys):
    """A test.prototxt, and some deploy.prototxt, say it in their own data layer."""
    data = 'layer { name: "d" type: "Data" top: "data" include { phase: TRAIN }'
    data += " transform_param { mean_value: 127.5 scale: 0.007843 } }\n"
    (tmp_path / "own.prototxt").write_text((folder / "net.prototxt").read_text() + data)
    assert main([str(tmp_path / "own.prototxt"), str(folder / "net.caffemodel"), str(tmp_path / "ssd")]) == 0
    assert load(tmp_path / "ssd").card.mean == (127.5,) * 3
    assert "scale 0.007843" in capsys.readouterr().out
    assert convert(folder, tmp_path / "other") == 0
    assert "a guess, SSD's usual mean" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("layers", "mean"),
    [
        ("TEST 10 | TRAIN 20", 20.0),
        ("TRAIN 20 | TEST 10", 20.0),
        ("LABEL | TRAIN 20", 20.0),
        ("TRAIN FILE | TEST 10", 10.0),
        ("TEST 10", 10.0),
    ],
)
def test_mean_is_the_training_layers_before_the_test_layers(folder, tmp_path, layers, mean):
    text = ""
    for number, part in enumerate(layers.split(" | ")):
        phase, _, value = part.partition(" ")
        params = {"": "scale: 1", "FILE": 'mean_file: "mean.binaryproto"'}.get(value, f"mean_value: {value}")
        rule = "" if phase == "LABEL" else f"include {{ phase: {phase} }}"
        text += f'layer {{ name: "d{number}" type: "Data" top: "d{number}" {rule} transform_param {{ {params} }} }}\n'
    (tmp_path / "train.prototxt").write_text(text)
    assert convert(folder, tmp_path / "ssd", "--train-prototxt", tmp_path / "train.prototxt") == 0
    assert load(tmp_path / "ssd").card.mean == (mean,) * 3


def test_scale_of_the_input_is_folded_into_the_first_convolution(folder, tmp_path):
    image = np.random.default_rng(0).normal(0, 50, (1, 3, 300, 300)).astype(np.float32)
    paths = (folder / "net.prototxt", folder / "net.caffemodel")
    plain, scaled = convert_model(*paths), convert_model(*paths, input_scale=0.007843)
    assert scaled.converted.input_scale == 1
    expected = forward(plain.converted.heads.loc_pred, plain.params, image * np.float32(0.007843))[0]
    found = forward(scaled.converted.heads.loc_pred, scaled.params, image)[0]
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert convert(folder, tmp_path / "ssd", "--train-prototxt", folder / "train.prototxt") == 0
    assert load(tmp_path / "ssd").card.std == (1.0, 1.0, 1.0)


def test_scale_goes_into_the_card_where_no_convolution_comes_first(folder, tmp_path):
    assert convert(folder, tmp_path / "ssd", "--scale", 0.5, "--mean", "0", net="norm") == 0
    card = load(tmp_path / "ssd").card
    assert card.std == (2.0, 2.0, 2.0)
    image = np.random.default_rng(0).normal(0, 50, (1, 3, *card.data_shape)).astype(np.float32)
    paths = (folder / "norm.prototxt", folder / "norm.caffemodel")
    scaled, plain = convert_model(*paths, input_scale=0.5), convert_model(*paths)
    found, expected = (forward(m.converted.heads.loc_pred, m.params, image / 2)[0] for m in (scaled, plain))
    np.testing.assert_array_equal(found, expected)


def test_class_names_come_from_a_labelmap_a_list_or_are_the_labels(folder, tmp_path):
    for flags, names in (
        ((), ("1", "2", "3")),
        (("--class-names", "a,b,c"), ("a", "b", "c")),
        (("--class-names", folder / "labelmap.prototxt"), ("cat", "dog", "bird")),
    ):
        assert convert(folder, tmp_path / "ssd", *flags) == 0
        assert load(tmp_path / "ssd").card.class_names == names


def test_other_input_size_lays_the_boxes_out_anew(folder, tmp_path, capsys):
    assert convert(folder, tmp_path / "ssd", "--data-shape", "300,420") == 0
    assert "300x420" in capsys.readouterr().out
    detector = Detector(str(tmp_path / "ssd"), context=mx.cpu())
    assert detector.card.data_shape == (300, 420)
    assert len(detector.detect(picture())) > 0


def test_converted_detector_can_be_deployed_with_other_settings(folder, tmp_path):
    assert convert(folder, tmp_path / "ssd") == 0
    assert deploy(["--prefix", str(tmp_path / "ssd"), "--nms", "0.2", "--keep-topk", "5"]) == 0
    found = Detector(f"{tmp_path / 'ssd'}-deploy", context=mx.cpu()).detect(picture())
    expected = Detector(str(tmp_path / "ssd"), context=mx.cpu(), nms_threshold=0.2, keep_topk=5).detect(
        picture()
    )
    assert 0 < len(found) <= 5
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)  # pixels


def test_input_size_cannot_be_changed_afterwards(folder, tmp_path, capsys):
    assert convert(folder, tmp_path / "ssd") == 0
    assert deploy(["--prefix", str(tmp_path / "ssd"), "--data-shape", "400"]) == 2
    assert "(a Caffe model: convert it) for the other size" in capsys.readouterr().err


def test_net_without_detections_gives_symbol_and_parameters(folder, tmp_path, capsys):
    assert convert(folder, tmp_path / "raw", net="raw") == 0
    assert "no DetectionOutput, so no detector and no card; outputs:" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw-0000.params", "raw-symbol.json"]
    symbol = load_symbol(tmp_path / "raw-symbol.json")
    assert symbol.infer_shape(data=(2, 3, 300, 300))[1][0][0] == 2
    assert convert(folder, tmp_path / "raw", net="raw") == 2
    assert convert(folder, tmp_path / "raw", "--overwrite", net="raw") == 0


def test_symbol_of_a_prototxt_alone_is_that_of_the_model(folder, tmp_path, capsys):
    path = tmp_path / "net-symbol.json"
    assert convert_symbol([str(folder / "net.prototxt"), str(path)]) == 0
    assert "data (N, 3, 300, 300) to detection" in capsys.readouterr().out
    assert convert(folder, tmp_path / "ssd") == 0
    assert path.read_bytes() == (tmp_path / "ssd-symbol.json").read_bytes()
    assert convert_symbol([str(folder / "net.prototxt"), str(path)]) == 2
    assert "is there: give another name" in capsys.readouterr().err


def test_graph_is_the_same_each_time(folder):
    one, other = (convert_model(folder / "norm.prototxt", folder / "norm.caffemodel") for _ in range(2))
    assert one.converted.symbol.tojson() == other.converted.symbol.tojson()


def test_script_runs_from_any_folder(folder, project_root, tmp_path):
    command = [sys.executable, str(project_root / "tools" / "caffe_converter" / "convert_model.py")]
    paths = [str(folder / "net.prototxt"), str(folder / "net.caffemodel"), "ssd"]
    done = subprocess.run(
        [*command, *paths], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "ssd.json").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--mean", "1,2"), "--mean: found 2 numbers, expected R,G,B or one for all"),
        (("--mean", "a"), "expected numbers"),
        (("--scale", "0"), "--scale 0.0: expected a number above 0"),
        (("--class-names", "a,b"), "--class-names: 2 names, expected 3"),
        (("--train-prototxt", "net.prototxt"), "no data layer has a transform_param with a mean"),
        (("--train-prototxt", "none.prototxt"), "none.prototxt"),
        (("--class-names", "none.prototxt"), "none.prototxt"),
        (("--data-shape", "16"), "32 to 8192"),
        (("--truncate", "yes"), "unknown argument --truncate"),
    ],
)
def test_wrong_flag_is_one_line(folder, tmp_path, monkeypatch, capfd, flags, words):
    monkeypatch.chdir(folder)
    try:
        code = convert(folder, tmp_path / "ssd", *flags)
    except SystemExit as error:
        code = error.code
    error = capfd.readouterr().err
    assert (code, error.count("\n")) == (2, 1), error
    assert words in error
    assert list(tmp_path.iterdir()) == []


def damaged(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize("which", ["prototxt", "caffemodel"])
@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html>\n<html><body>404</body></html>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "not a "),
        (b"\x00" * 1000, ""),
        (b"\xff" * 1000, ""),
        (b"name: 'net'\n", ""),
        (b'{"nodes": []}', ""),
    ],
)
def test_other_file_in_its_place_is_one_line(folder, tmp_path, capfd, which, data, word):
    files = {kind: str(folder / f"net.{kind}") for kind in ("prototxt", "caffemodel")}
    files[which] = damaged(tmp_path, f"bad.{which}", data)
    assert main([files["prototxt"], files["caffemodel"], str(tmp_path / "out" / "ssd")]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1, error
    assert error.startswith("error: ")
    assert files[which] in error
    assert word.lower() in error.lower()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_caffemodel_that_is_cut_short_is_one_line(folder, tmp_path, capfd, share):
    whole = (folder / "net.caffemodel").read_bytes()
    path = damaged(tmp_path, "cut.caffemodel", whole[: int(len(whole) * share)])
    assert main([str(folder / "net.prototxt"), path, str(tmp_path / "ssd")]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert path in error


def test_weights_of_another_net_are_refused_by_layer(folder, tmp_path, capfd):
    other = tmp_path / "other.prototxt"
    other.write_text(prototxts.ARCHITECTURES["mobilenet_ssd"](Options(num_classes=4, width=0.25)))
    assert main([str(other), str(folder / "net.caffemodel"), str(tmp_path / "ssd")]) == 2
    error = capfd.readouterr().err
    assert "blob 0: shape" in error
    assert "it is the caffemodel of another net" in error
    assert main([str(folder / "net.prototxt"), str(folder / "norm.caffemodel"), str(tmp_path / "ssd")]) == 2
    assert "has no weights for layer" in capfd.readouterr().err


def test_layer_with_more_blobs_than_the_net_asks_for_is_refused(folder, tmp_path, capfd):
    """A bias that the prototxt switches off would be lost without a word."""
    text = (folder / "raw.prototxt").read_text()
    assert "num_output" in text
    other = tmp_path / "raw.prototxt"
    other.write_text(text.replace("convolution_param {", "convolution_param {\n    bias_term: false", 1))
    assert main([str(other), str(folder / "raw.caffemodel"), str(tmp_path / "x")]) == 2
    assert "has 2 blobs, the prototxt asks for 1" in capfd.readouterr().err


def test_other_outputs_beside_the_detections_are_told(folder, tmp_path, capsys):
    text = (folder / "net.prototxt").read_text()
    extra = 'layer { name: "extra" type: "ReLU" bottom: "mbox_loc" top: "landmarks" }\n'
    (tmp_path / "net.prototxt").write_text(text + extra)
    assert main([str(tmp_path / "net.prototxt"), str(folder / "net.caffemodel"), str(tmp_path / "x")]) == 0
    assert "its other outputs are left out: landmarks" in capsys.readouterr().out
    after = 'layer { name: "after" type: "ReLU" bottom: "detection_out" top: "x" }\n'
    (tmp_path / "net.prototxt").write_text(text + after)
    assert main([str(tmp_path / "net.prototxt"), str(folder / "net.caffemodel"), str(tmp_path / "y")]) == 2
    assert "reads detection_out, the detections: nothing may follow them" in capsys.readouterr().err


def test_training_run_and_sources_are_never_written_over(folder, tmp_path, capfd):
    assert convert(folder, tmp_path / "run") == 0
    card = read_card(tmp_path / "run")
    write_card(tmp_path / "run", dataclasses.replace(card, graph="training", source={}))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for net in ("net", "raw"):
        assert convert(folder, tmp_path / "run", "--overwrite", net=net) == 2
        assert "is a training run's, which would be lost" in capfd.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    source = tmp_path / "x-symbol.json"
    source.write_bytes((folder / "net.prototxt").read_bytes())
    flags = [str(source), str(folder / "net.caffemodel"), str(tmp_path / "x"), "--overwrite"]
    assert main(flags) == 2
    assert f"{source}: would be written over, and is read" in capfd.readouterr().err
    assert convert_symbol([str(source), str(source), "--overwrite"]) == 2
    assert source.read_bytes() == (folder / "net.prototxt").read_bytes()


def test_net_without_detections_leaves_a_detector_alone(folder, tmp_path, capfd):
    assert convert(folder, tmp_path / "ssd") == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for flags in ((), ("--overwrite",)):
        assert convert(folder, tmp_path / "ssd", *flags, net="raw") == 2
        assert "no DetectionOutput, so no card: give another PREFIX" in capfd.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("prefix", ["", "folder/"])
@pytest.mark.parametrize("flags", [(), ("--overwrite",)])
def test_prefix_without_a_name_is_refused(folder, tmp_path, monkeypatch, capfd, prefix, flags):
    monkeypatch.chdir(tmp_path)
    assert convert(folder, prefix, *flags) == 2
    assert "expected a path that ends in a name" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_net_without_detections_is_no_detector(folder, tmp_path, capfd):
    """Flags that would say what a card says cannot make one of it."""
    assert convert(folder, tmp_path / "raw", net="raw") == 0
    photo = tmp_path / "x.png"
    Image.fromarray(picture()).save(photo)
    for flags in ((), ("--network", "ssd7", "--data-shape", "300", "--class-names", "a")):
        capfd.readouterr()
        assert demo(["--prefix", str(tmp_path / "raw"), "--images", str(photo), "--cpu", *flags]) == 2
        assert "not the graph of an SSD detector: it has no multibox_loc_pred" in capfd.readouterr().err


def test_numbers_in_the_card_are_the_prototxts(folder, tmp_path):
    data = 'layer { name: "d" type: "Data" top: "data" include { phase: TRAIN }'
    data += " transform_param { mean_value: 103.94 mean_value: 116.78 mean_value: 123.68 scale: 0.017 } }\n"
    (tmp_path / "net.prototxt").write_text((folder / "net.prototxt").read_text() + data)
    assert main([str(tmp_path / "net.prototxt"), str(folder / "net.caffemodel"), str(tmp_path / "ssd")]) == 0
    card = load(tmp_path / "ssd").card
    assert card.mean == (123.68, 116.78, 103.94)
    assert (card.detection.score_threshold, card.detection.nms_threshold) == (0.01, 0.45)


def test_graph_of_a_detector_is_not_replaced_by_a_bare_one(folder, tmp_path, capfd):
    assert convert(folder, tmp_path / "ssd") == 0
    path = tmp_path / "ssd-symbol.json"
    before = path.read_bytes()
    assert convert_symbol([str(folder / "net.prototxt"), str(path), "--overwrite"]) == 2
    assert "is the graph of a detector" in capfd.readouterr().err
    assert path.read_bytes() == before
    assert convert(folder, tmp_path / "face.onnx") == 2
    assert "is the name of an ONNX file: give it without .onnx" in capfd.readouterr().err

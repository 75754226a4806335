"""A trained Caffe SSD on photos, at square and other input sizes, against OpenCV's DNN module and Caffe's rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from caffe_oracle import detection_output, unmatched
from PIL import Image

from common.mx import cv2, mx
from detect.detector import Detector
from model.saved import load
from tools.caffe_converter.compare_command import compare as compare_blobs
from tools.caffe_converter.compare_command import main as compare
from tools.caffe_converter.convert import convert_model
from tools.caffe_converter.model_command import main
from tools.caffe_converter.opencv import OpenCVNet, detections_of

SIZES = [
    (240, 320), (320, 320), (256, 256), (512, 512), (480, 640), (300, 300), (227, 401), (720, 1280),
]  # fmt: skip
RAW = 5e-4
_NAMES = ("mbox_loc", "mbox_conf_flatten", "mbox_priorbox", "detection_out")


@pytest.fixture(scope="session")
def face(shared_data):
    """The prototxt and the caffemodel of the trained model."""
    folder = shared_data / "caffe"
    return tuple(str(folder / f"yufacedetectnet-open-v1.{ending}") for ending in ("prototxt", "caffemodel"))


@pytest.fixture(scope="session")
def photos(shared_data) -> dict:
    """Name -> RGB pixels of every photo."""
    paths = sorted((shared_data / "photos").glob("*.jpg"))
    return {path.name: np.asarray(Image.open(path).convert("RGB")) for path in paths}


def network_input(pixels, size):
    """Return (1, 3, H, W) float32 RGB, SSD's usual mean away."""
    resized = cv2.resize(pixels, (size[1], size[0])).astype(np.float32) - (123, 117, 104)
    return resized.transpose(2, 0, 1)[None].astype(np.float32)


def caffe_rows(rows):
    """Return our detections as Caffe's rows: labels count the background."""
    rows = rows[rows[:, 0] >= 0].copy()
    rows[:, 0] += 1
    return rows


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_raw_blobs_and_detections_equal_opencv(face, photos, size, capsys):
    model = convert_model(*face, data_shape=size)
    heads, theirs = model.converted.heads, OpenCVNet(*face)
    group = mx.sym.Group([model.converted.symbol, heads.loc_pred, heads.cls_pred, heads.anchors])
    executor = group.simple_bind(mx.cpu(), grad_req="null", data=(1, 3, *size))
    executor.copy_params_from(*model.params)
    found = 0
    for name, pixels in photos.items():
        image = network_input(pixels, size)
        rows, loc, scores, anchors = (
            output.asnumpy()[0] for output in executor.forward(is_train=False, data=mx.nd.array(image))
        )
        probabilities = np.exp(scores - scores.max(axis=0)) / np.exp(scores - scores.max(axis=0)).sum(axis=0)
        their_loc, their_conf, priors, detections = theirs.forward(image[:, ::-1], _NAMES)
        assert np.abs(loc - their_loc.ravel()).max() < RAW
        assert np.abs(probabilities.T.ravel() - their_conf.ravel()).max() < RAW
        assert np.abs(anchors.ravel() - priors[0, 0]).max() < 1e-6
        np.testing.assert_allclose(
            priors[0, 1].reshape(-1, 4), np.tile(heads.variances, (heads.count, 1)), atol=1e-7
        )
        mine = caffe_rows(rows)
        left, right = unmatched(mine, detections_of(detections))
        if left or right:  # only where two scores are equal to the eighth digit may their order be another
            settings = {"threshold": 0.01, "nms": 0.15, "top_k": 100, "keep_top_k": 50}
            by_rule = detection_output(
                loc.reshape(-1, 4), probabilities.T, anchors, heads.variances, **settings
            )
            again = unmatched(mine, by_rule)
            with capsys.disabled():
                print(f"\n{name} at {size}: {len(left)} more, {len(right)} fewer than OpenCV: {left} {right}")
            assert again == ([], [])
            assert len(left) + len(right) <= 3
        found += len(mine)
    assert found > 100


def test_priors_are_an_operator_only_where_that_is_exact(face):
    square, oblong = (convert_model(*face, data_shape=size).converted for size in ((512, 512), (227, 401)))
    assert "MultiBoxPrior" in square.symbol.tojson()
    assert square.constant_shapes() == {}
    assert sum(shape[1] for shape in oblong.constant_shapes().values()) == oblong.heads.count
    assert "MultiBoxPrior" not in oblong.symbol.tojson()


def test_command_writes_a_detector_that_the_others_take(face, photos, tmp_path, capsys):
    prefix = str(tmp_path / "model" / "face")
    assert main([*face, prefix, "--class-names", "face"]) == 0
    printed = capsys.readouterr().out
    assert "240x320, 1 classes, 4420 default boxes" in printed
    assert "mean 123.68,116.78,103.94 (R,G,B), scale 1" in printed  # the prototxt's own
    card = load(prefix).card
    assert (card.class_names, card.data_shape, card.mean, card.std) == (
        ("face",), (240, 320), pytest.approx((123.68, 116.78, 103.94), abs=1e-4), (1.0, 1.0, 1.0),
    )  # fmt: skip
    pixels = photos["004545.jpg"]
    found = Detector(prefix, context=mx.cpu()).detect(pixels)
    assert len(found.above(0.9)) >= 1
    assert found.name(0) == "face"
    again = Detector(prefix, context=mx.cpu(), nms_threshold=0.01, score_threshold=0.5).detect(pixels)
    assert 0 < len(again) <= len(found)
    assert main([*face, prefix, "--class-names", "face"]) == 0  # its own may be replaced


def test_foreign_files_are_not_written_over(face, tmp_path, capsys):
    prefix = tmp_path / "ssd"
    for name in ("ssd-symbol.json", "ssd-0000.params"):
        path = tmp_path / name
        path.write_text("mine")
        assert main([*face, str(prefix)]) == 2
        assert f"error: {path}: is there" in capsys.readouterr().err
        assert path.read_text() == "mine"
        path.unlink()


def test_compare_layers_finds_no_difference(face, capsys):
    assert compare([*face]) == 0
    assert "76 blobs, 0 differ" in capsys.readouterr().out


def test_compare_layers_tells_a_difference(face, tmp_path):
    other = tmp_path / "other.prototxt"
    other.write_text(Path(face[0]).read_text().replace("nms_threshold: 0.15", "nms_threshold: 0.9"))
    image = np.random.default_rng(0).uniform(-128, 128, (1, 3, 240, 320)).astype(np.float32)
    rows = compare_blobs(convert_model(str(other), face[1]), OpenCVNet(*face), image)
    differ = [row["name"] for row in rows if row["difference"] > 1e-3 * row["greatest"]]
    assert differ == ["detection_out"]

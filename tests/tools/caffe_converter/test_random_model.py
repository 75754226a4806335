"""The tests' own generator of models, against OpenCV: every net loads there, has our shapes, and finds something."""

import cv2
import numpy as np
import pytest
from caffe_shapes import net_shapes
from prototxts import ARCHITECTURES, Options, Output, Priors, mobilenet_ssd, vgg_ssd300
from random_model import noise_pictures, write_random_caffemodel

from tools.caffe_converter.caffemodel import read_caffemodel
from tools.caffe_converter.net import read_net


def build(folder, text, seed=1, **form):
    """Write a net with random weights; return its two paths."""
    paths = str(folder / "net.prototxt"), str(folder / "net.caffemodel")
    (folder / "net.prototxt").write_text(text)
    weights = write_random_caffemodel(*paths, seed, **form)
    return paths, weights


def detections(paths, net, seed=2):
    """Return OpenCV's detections (K, 7) on a picture of noise; it pads with empty rows."""
    judge = cv2.dnn.readNetFromCaffe(*paths)
    judge.setInput(noise_pictures(net.inputs["data"], seed))
    rows = judge.forward("detection_out").reshape(-1, 7)
    return rows[rows[:, 2] > 0]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_net_loads_in_opencv_with_our_shapes_and_detects(tmp_path, name):
    paths, weights = build(tmp_path, ARCHITECTURES[name](width=0.125))
    net = read_net(paths[0])
    judge = cv2.dnn.readNetFromCaffe(*paths)
    judge.setInput(noise_pictures(net.inputs["data"], 2))
    blobs = net_shapes(net)[1]
    for blob in ("mbox_loc", "mbox_conf", "mbox_priorbox", "scores", "boxes", "prob"):
        if blob in blobs:
            assert judge.forward(blob).shape == blobs[blob], blob
    if "detection_out" in net.outputs:
        rows = detections(paths, net)
        assert 20 < len(rows) <= 200
        assert len(np.unique(rows[:, 1])) > (0 if name == "res10_ssd" else 1)  # that one has a single class
        assert 0.1 < rows[:, 2].max() < 0.99999
    assert np.isfinite([blob.sum() for _, _, arrays in weights for blob in arrays]).all()


def test_file_holds_what_was_drawn_and_the_seed_decides(tmp_path):
    paths, weights = build(tmp_path, ARCHITECTURES["res10_ssd"](width=0.125))
    found = read_caffemodel(paths[1])
    assert list(found) == [name for name, _, _ in weights]
    assert all(np.array_equal(a, b) for name, _, blobs in weights for a, b in zip(found[name], blobs))
    first = (tmp_path / "net.caffemodel").read_bytes()
    write_random_caffemodel(*paths, 1)
    assert (tmp_path / "net.caffemodel").read_bytes() == first
    write_random_caffemodel(*paths, 2)
    assert (tmp_path / "net.caffemodel").read_bytes() != first


def test_halves_load_in_opencv_as_they_do_here(tmp_path):
    paths, weights = build(tmp_path, mobilenet_ssd(width=0.125), values="raw_f2")
    assert len(detections(paths, read_net(paths[0])))
    found = read_caffemodel(paths[1])
    assert all(
        np.allclose(a, b, rtol=1e-3, atol=1e-6)
        for name, _, blobs in weights
        for a, b in zip(found[name], blobs)
    )


@pytest.mark.parametrize(
    "options",
    [
        Options(size=(300, 500), num_classes=2, width=0.125),
        Options(size=(480, 320), width=0.125, output=Output(nms_threshold=0.3, top_k=100, keep_top_k=10)),
        Options(width=0.125, priors=Priors(max_sizes=False, step=False, offset=0.25, clip=True)),
        Options(
            width=0.125, priors=Priors(min_sizes=((30.0, 50.0), (80.0,)), ratios=(2, 3, 0.5), flip=False)
        ),
        Options(width=0.125, priors=Priors(variances=(0.1,), other_variances=(0.1, 0.1, 0.2, 0.2))),
    ],
)
def test_options_reach_the_net(tmp_path, options):
    paths, _ = build(tmp_path, vgg_ssd300(options))
    net = read_net(paths[0])
    assert net.inputs["data"] == (1, 3, *options.size)
    rows = detections(paths, net)
    assert 0 < len(rows) <= options.output.keep_top_k
    judge = cv2.dnn.readNetFromCaffe(*paths)
    judge.setInput(noise_pictures(net.inputs["data"], 2))
    assert judge.forward("mbox_priorbox").shape == net_shapes(net)[1]["mbox_priorbox"]


def test_widths_of_the_paper():
    text = vgg_ssd300()
    assert 'name: "VGG_SSD"' in text
    assert text.count('type: "PriorBox"') == 6
    assert "num_output: 1024" in text
    assert "min_size: 30\n" in text
    assert vgg_ssd300(num_classes=2) != text


def test_output_can_be_left_out(tmp_path):
    paths, _ = build(tmp_path, vgg_ssd300(width=0.125, output=None))
    assert read_net(paths[0]).outputs == ("mbox_loc", "mbox_priorbox", "mbox_conf_flatten")

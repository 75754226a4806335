"""Detectors with random weights, and how a network is handed over: held to ONNX Runtime and to numpy."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import ConfigError
from common.mx import mx
from dataset.records import RecordDataset
from model.graph import heads
from model.saved import load
from tools.benchmarks import random_detector
from tools.benchmarks.heads_onnx import write_heads
from tools.benchmarks.prepare import Prepare, class_names, parse_network


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict:
    """A small detector with BatchNorm, described."""
    folder = tmp_path_factory.mktemp("made")
    return Prepare().do_make("ssd7_100", 3, 0, str(folder))


def raw_outputs(made: dict, images: np.ndarray) -> list[np.ndarray]:
    """Run the plain graph in MXNet: loc_pred (B, 4A), and cls_pred as (B, A, C+1)."""
    saved = load(made["prefix"])
    group = mx.sym.Group(heads(saved.symbol, "test")[:2])
    arrays = {name: array for name, array in saved.arg_params.items() if name in group.list_arguments()}
    executor = group.bind(
        mx.cpu(), {**arrays, "data": mx.nd.array(images)}, grad_req="null", aux_states=saved.aux_params
    )
    loc_pred, cls_pred = (output.asnumpy() for output in executor.forward(is_train=False))
    return [loc_pred, cls_pred.transpose(0, 2, 1)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vgg16_reduced_300", ("vgg16_reduced", (300, 300))),
        ("ssd7_300x480", ("ssd7", (300, 480))),
        ("ssd7", ("ssd7", (300, 300))),
        ("vgg16_reduced", ("vgg16_reduced", (300, 300))),
    ],
)
def test_network_is_read_with_its_input_size(text, expected):
    assert parse_network(text) == expected


@pytest.mark.parametrize("text", ["mobilenett_300", "mobilenett"])
def test_unknown_network_names_the_closest(text):
    with pytest.raises(ConfigError, match="mobilenet"):
        parse_network(text)


def test_input_size_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="--networks ssd7_8"):
        parse_network("ssd7_8")


def test_detector_is_described(made):
    assert made["name"] == "ssd7_100"
    assert (made["shape"], made["classes"]) == ([100, 100], 3)
    assert made["anchors"] == raw_outputs(made, np.zeros((1, 3, 100, 100), np.float32))[0].shape[1] // 4


def test_random_detector_has_scores_like_a_trained_one(made, tmp_path):
    Prepare().do_images(made["prefix"], 1, 4, 0, str(tmp_path), None)
    loc_pred, cls_pred = raw_outputs(made, np.load(tmp_path / "inputs.npy"))
    exponents = np.exp(cls_pred - cls_pred.max(axis=2, keepdims=True))
    scores = (exponents / exponents.sum(axis=2, keepdims=True))[:, :, 1:]
    wanted = random_detector.CANDIDATES * made["anchors"]
    assert 0.5 * wanted < (scores > 0.01).sum() / 4 < 2 * wanted
    assert 0.1 < loc_pred.std() < 2.5
    assert (cls_pred.argmax(axis=2) == 0).mean() > 0.9


def test_equal_seeds_give_equal_detectors_and_others_do_not(made, tmp_path):
    def weights(seed: int) -> dict:
        folder = tmp_path / str(seed)
        folder.mkdir()
        return load(Prepare().do_make("ssd7_100", 3, seed, str(folder))["prefix"]).arg_params

    first, same, other = load(made["prefix"]).arg_params, weights(0), weights(1)
    assert all(np.array_equal(first[name].asnumpy(), same[name].asnumpy()) for name in first)
    assert not any(
        np.array_equal(first[n].asnumpy(), other[n].asnumpy()) for n in first if n.endswith("_weight")
    )


def test_batch_norm_statistics_come_from_images(made):
    variances = {n: a.asnumpy() for n, a in load(made["prefix"]).aux_params.items() if n.endswith("_var")}
    assert variances
    assert all(np.isfinite(values).all() and not np.allclose(values, 1) for values in variances.values())


@pytest.mark.parametrize("batch", [1, 3])
def test_handed_over_heads_give_what_mxnet_gives(made, tmp_path, batch):
    onnxruntime = pytest.importorskip("onnxruntime")
    saved, path = load(made["prefix"]), tmp_path / "heads.onnx"
    params = (saved.arg_params, saved.aux_params)
    write_heads(saved.symbol, params, (100, 100), batch, path, name="test")
    images = np.random.default_rng(0).normal(0, 50, (batch, 3, 100, 100)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(["loc_pred", "cls_pred"], {"data": images})
    for mine, theirs in zip(raw_outputs(made, images), found):
        np.testing.assert_allclose(theirs, mine, rtol=1e-3, atol=1e-3 * np.abs(mine).max())


def test_images_of_a_folder_are_taken_and_repeated_where_they_are_few(made, tmp_path):
    from common.images import encode_jpeg

    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(2):
        pixels = np.full((60, 80, 3), 100 * number + 20, np.uint8)
        (folder / f"{number}.jpg").write_bytes(encode_jpeg(pixels))
    Prepare().do_images(made["prefix"], 1, 3, 0, str(tmp_path), str(folder))
    pixels, inputs = np.load(tmp_path / "pixels.npy"), np.load(tmp_path / "inputs.npy")
    assert pixels.shape == (3, 100, 100, 3)
    assert [round(float(image.mean())) for image in pixels] == pytest.approx([20, 120, 20], abs=1)
    assert inputs.shape == (3, 3, 100, 100)
    with pytest.raises(ConfigError, match="^--images .*no such folder"):
        Prepare().do_images(made["prefix"], 1, 3, 0, str(tmp_path), str(tmp_path / "absent"))


def test_calibration_records_have_the_classes_of_the_detector(made, tmp_path):
    found = Prepare().do_records(made["prefix"], 1, 0, str(tmp_path), None)
    with RecordDataset(found["records"]) as dataset:
        assert dataset.class_names == class_names(3)
    assert np.load(found["inputs"]).shape[1:] == (3, 100, 100)


def test_default_boxes_of_a_cell_can_be_stated(tmp_path):
    few, many = (Prepare().do_make("ssd7_100", 2, 0, str(tmp_path), count)["anchors"] for count in (2, 6))
    assert many == 3 * few

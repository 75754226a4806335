"""Detectors to deploy: a small one of this project, and mxnet-ssd's own kind of files."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from common.mx import mx
from deploy.command import main
from detect.detector import Detector
from model.card import Card
from model.saved import params_path, save, symbol_path
from symbol.detection import DetectionConfig
from symbol.loss import LossConfig, training_symbol
from symbol.network import heads
from symbol.presets import network_config

CLASSES = ("ant", "bee", "cat")
SHAPE = (96, 64)  # height, width
VARIANCES = (0.1, 0.1, 0.2, 0.2)


def golden_array(name: str, shape: tuple) -> np.ndarray:
    """Return the value of a parameter by the recipe of ../shared/golden/README.md."""
    z = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype("float32")
    if name.endswith("_weight"):
        return z * np.sqrt(2 / np.prod(shape[1:]))
    if name.endswith("_gamma"):
        return 1 + 0.1 * z
    if name.endswith("_moving_var"):
        return 1 + 0.1 * np.abs(z)
    return np.full(shape, 20, "float32") if name.endswith("_scale") else 0.1 * z


def golden_params(graph, data_shape: tuple[int, int]) -> tuple[dict, dict]:
    """Return the parameters of a graph by that recipe."""
    arg_shapes, _, aux_shapes = graph.infer_shape(data=(1, 3, *data_shape))
    args, states = zip(graph.list_arguments(), arg_shapes), zip(graph.list_auxiliary_states(), aux_shapes)
    return (
        {name: mx.nd.array(golden_array(name, shape)) for name, shape in args if name != "data"},
        {name: mx.nd.array(golden_array(name, shape)) for name, shape in states},
    )


def old_deployed_graph(parts):
    """Put mxnet-ssd's test tail on heads (symbol/symbol_builder.py, get_symbol)."""
    loc_pred, cls_pred, anchors = parts
    cls_prob = mx.sym.SoftmaxActivation(data=cls_pred, mode="channel", name="cls_prob")
    return mx.sym.contrib.MultiBoxDetection(
        cls_prob,
        loc_pred,
        anchors,
        name="detection",
        nms_threshold=0.5,
        force_suppress=False,
        variances=VARIANCES,
        nms_topk=400,
    )


def old_training_graph(parts):
    """Put mxnet-ssd's losses on heads (symbol/symbol_builder.py, get_symbol_train)."""
    loc_pred, cls_pred, anchors = parts
    loc_target, loc_target_mask, cls_target = mx.sym.contrib.MultiBoxTarget(
        anchors,
        mx.sym.Variable(name="label"),
        cls_pred,
        overlap_threshold=0.5,
        ignore_label=-1,
        negative_mining_ratio=3,
        minimum_negative_samples=0,
        negative_mining_thresh=0.5,
        variances=VARIANCES,
        name="multibox_target",
    )
    cls_prob = mx.sym.SoftmaxOutput(
        data=cls_pred,
        label=cls_target,
        ignore_label=-1,
        use_ignore=True,
        grad_scale=1.0,
        multi_output=True,
        normalization="valid",
        name="cls_prob",
    )
    loc_loss = mx.sym.smooth_l1(data=loc_target_mask * (loc_pred - loc_target), scalar=1.0, name="loc_loss_")
    found = mx.sym.contrib.MultiBoxDetection(
        cls_prob, loc_pred, anchors, name="detection", nms_threshold=0.5, variances=VARIANCES, nms_topk=400
    )
    return mx.sym.Group(
        [
            cls_prob,
            mx.sym.MakeLoss(loc_loss, grad_scale=1.0, normalization="valid", name="loc_loss"),
            mx.sym.MakeLoss(data=cls_target, grad_scale=0, name="cls_label"),
            mx.sym.MakeLoss(data=found, grad_scale=0, name="det_out"),
        ]
    )


def write_old(prefix: Path, graph, params: tuple[dict, dict], epoch: int = 0) -> str:
    """Write a detector as mxnet-ssd does: no card."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    symbol_path(prefix).write_text(graph.tojson())
    arrays = {f"arg:{name}": array for name, array in params[0].items()}
    arrays.update({f"aux:{name}": array for name, array in params[1].items()})
    mx.nd.save(str(params_path(prefix, epoch)), arrays)
    return str(prefix)


def write_checkpoint(prefix: Path, epoch: int = 3, **changes) -> str:
    """Write a training checkpoint of ssd7 with random parameters, as train.py does."""
    config = network_config("ssd7", SHAPE, len(CLASSES))
    parts = heads(config)
    graph = training_symbol(parts, len(CLASSES), config.anchors.variances, LossConfig())
    values = {
        "network": "ssd7",
        "data_shape": SHAPE,
        "class_names": CLASSES,
        "mean": config.mean,
        "std": config.std,
        "anchors": config.anchors,
        "detection": DetectionConfig(score_threshold=0.02, nms_threshold=0.4, keep_topk=50),
        "training": {"settings": {"lr": 0.1}},
        "epochs": {epoch: {"mAP": 0.25, "states_sha256": "0" * 64}},
    }
    save(prefix, epoch, graph, golden_params(parts, SHAPE), Card(**{**values, **changes}))
    return str(prefix)


class Tools:
    """The helpers, for tests."""

    classes, shape = CLASSES, SHAPE
    golden_params = staticmethod(golden_params)
    old_deployed_graph = staticmethod(old_deployed_graph)
    old_training_graph = staticmethod(old_training_graph)
    write_old = staticmethod(write_old)
    write_checkpoint = staticmethod(write_checkpoint)

    @staticmethod
    def images(count: int = 3) -> list[np.ndarray]:
        """Draw noise images of several sizes."""
        rng = np.random.default_rng(1)
        return [rng.integers(0, 256, (90 + 20 * i, 140 - 10 * i, 3), dtype=np.uint8) for i in range(count)]

    @staticmethod
    def detect(prefix, epoch=None, **settings) -> list:
        """Return what a Detector finds in the images, boxes normalised."""
        return Detector(prefix, epoch, context=mx.cpu(), **settings).detect(
            Tools.images(), 2, normalised=True
        )

    @staticmethod
    def assert_equal(found: list, expected: list) -> None:
        """Hold detections to others within 1e-5."""
        assert sum(map(len, expected)) > 10
        for one, other in zip(found, expected):
            np.testing.assert_array_equal(one.class_id, other.class_id)
            np.testing.assert_allclose(one.score, other.score, atol=1e-5)
            np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-5)


@pytest.fixture(scope="session")
def tools() -> type[Tools]:
    """Helpers that make detectors and compare what they find."""
    return Tools


@pytest.fixture
def checkpoint(tmp_path) -> str:
    """A training checkpoint of one epoch, number 3."""
    return write_checkpoint(tmp_path / "model" / "ssd")


@pytest.fixture
def check_refused(checkpoint, capfd, tmp_path) -> Callable:
    """A function that holds deploy.py, with flags, to one line of error with some words, and to writing nothing."""

    def check(*flags, words: str) -> None:
        before = sorted(tmp_path.rglob("*"))
        assert main(["--prefix", checkpoint, *map(str, flags)]) == 2
        out, err = capfd.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert words in err
        assert sorted(tmp_path.rglob("*")) == before

    return check

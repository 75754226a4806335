"""A small detector that no preset knows, with random parameters: what model/ does must not depend on a network."""

from __future__ import annotations

import numpy as np
import pytest

from common.mx import mx
from model.card import Card, card_path
from model.graph import inference_symbol, keep_used
from model.parameters import check_fit
from model.saved import load, save
from symbol.anchors import AnchorConfig
from symbol.detection import DetectionConfig
from symbol.loss import LossConfig, training_symbol

SIDE = 32  # of the input, in pixels
ANCHORS = AnchorConfig(sizes=((0.4, 0.5),), ratios=((1.0, 2.0),))  # three to a cell
VARIANCES = ANCHORS.variances


def small_heads(num_classes: int = 3, filters: int = 4):
    """Build a graph up to its heads: a convolution, a BatchNorm, 2x2 cells of three default boxes."""
    body = mx.sym.Convolution(
        mx.sym.Variable("data"), num_filter=filters, kernel=(3, 3), stride=(2, 2), pad=(1, 1), name="conv1"
    )
    body = mx.sym.Activation(
        mx.sym.BatchNorm(body, fix_gamma=False, name="bn1"), act_type="relu", name="relu1"
    )
    body = mx.sym.Pooling(body, kernel=(8, 8), stride=(8, 8), pool_type="avg", name="pool1")
    boxes = mx.sym.Convolution(body, num_filter=12, kernel=(1, 1), name="boxes")
    classes = mx.sym.Convolution(body, num_filter=3 * (num_classes + 1), kernel=(1, 1), name="classes")
    anchors = mx.sym.contrib.MultiBoxPrior(body, sizes=(0.4, 0.5), ratios=(1.0, 2.0), name="pool1_anchors")
    boxes = mx.sym.transpose(boxes, axes=(0, 2, 3, 1), name="boxes_nhwc")
    classes = mx.sym.transpose(classes, axes=(0, 2, 3, 1), name="classes_nhwc")
    classes = mx.sym.reshape(classes, shape=(0, -1, num_classes + 1), name="classes_rows")
    return mx.sym.Group(
        [
            mx.sym.Flatten(boxes, name="multibox_loc_pred"),
            mx.sym.transpose(classes, axes=(0, 2, 1), name="multibox_cls_pred"),
            mx.sym.reshape(anchors, shape=(1, -1, 4), name="multibox_anchors"),
        ]
    )


class Small:
    """The detector, on disk or in memory; tests take it apart from here."""

    side = SIDE
    heads = staticmethod(small_heads)

    @staticmethod
    def training_graph(num_classes: int = 3, filters: int = 4):
        """Return the graph with loss layers."""
        return training_symbol(small_heads(num_classes, filters), num_classes, VARIANCES, LossConfig())

    @staticmethod
    def params(num_classes: int = 3, filters: int = 4, seed: int = 0) -> tuple[dict, dict]:
        """Draw parameters of the right shapes."""
        graph, rng = small_heads(num_classes, filters), np.random.default_rng(seed)
        arg_shapes, _, aux_shapes = graph.infer_shape(data=(1, 3, SIDE, SIDE))
        args = zip(graph.list_arguments(), arg_shapes)
        states = zip(graph.list_auxiliary_states(), aux_shapes)
        return (
            {name: mx.nd.array(rng.normal(0, 0.5, shape)) for name, shape in args if name != "data"},
            {name: mx.nd.array(rng.uniform(0.5, 1.5, shape)) for name, shape in states},
        )

    @staticmethod
    def card(**changes) -> Card:
        """Return its card."""
        values = {
            "network": "",
            "data_shape": (SIDE, SIDE),
            "class_names": ("ant", "bee", "größe"),
            "mean": (123.0, 117.0, 104.0),
            "std": (58.0, 57.5, 1.0),
            "anchors": ANCHORS,
            "detection": DetectionConfig(score_threshold=0.05),
            "training": {"settings": {"lr": 0.001}, "note": None},
        }
        return Card(**{**values, **changes})

    @staticmethod
    def run(prefix, epoch=None) -> np.ndarray:
        """Load a detector, check it as commands do, and return its detections (2, K, 6) on fixed noise."""
        saved = load(prefix, epoch)
        card = saved.card or Small.card()
        symbol = inference_symbol(
            saved.symbol, card.num_classes, card.anchors.variances, card.detection, "small"
        )
        params = keep_used(symbol, saved.arg_params, saved.aux_params)
        check_fit(symbol, *params, card.data_shape, "small")
        noise = np.random.default_rng(5).normal(0, 1, (2, 3, *card.data_shape))
        data = {**params[0], "data": mx.nd.array(noise / np.array(card.std)[:, None, None])}
        return symbol.bind(mx.cpu(), data, aux_states=params[1]).forward(is_train=False)[0].asnumpy()


@pytest.fixture
def small() -> type[Small]:
    """The detector's parts."""
    return Small


@pytest.fixture
def prefix(tmp_path) -> str:
    """The detector on disk: a training checkpoint of one epoch, number 3."""
    path = tmp_path / "model" / "ssd"
    save(path, 3, Small.training_graph(), Small.params(), Small.card())
    return str(path)


@pytest.fixture
def bare_prefix(prefix) -> str:
    """The same without a card, as mxnet-ssd's own files are."""
    card_path(prefix).unlink()
    return prefix

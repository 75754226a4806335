"""A detector made by hand, whose answers can be told in advance.

It looks at the four quarters of an image and finds red (class 0), green (class 1) and blue (class 2) ones, each with
the quarter as its box. Its only layer with parameters compares the mean colours.
"""

from __future__ import annotations

import numpy as np
import pytest

from common.mx import mx
from model.card import Card
from model.saved import SavedDetector, save
from symbol.anchors import AnchorConfig
from symbol.detection import DetectionConfig
from symbol.loss import LossConfig, training_symbol
from tests.detect.quarters import COLOURS

SIDE = 64  # of the input, in pixels


def toy_heads(prefix: str = "multibox") -> list:
    """The graph up to its heads; `prefix` begins their names."""
    pooled = mx.sym.Pooling(
        mx.sym.Variable("data"), kernel=(32, 32), stride=(32, 32), pool_type="avg", name="pool"
    )
    classes = mx.sym.Convolution(
        pooled, num_filter=4, kernel=(1, 1), name="classes"
    )  # (B, 3, 2, 2) -> (B, 4, 2, 2)
    boxes = mx.sym.Convolution(pooled, num_filter=4, kernel=(1, 1), name="boxes")
    boxes = mx.sym.Flatten(mx.sym.transpose(boxes, axes=(0, 2, 3, 1)))
    anchors = mx.sym.contrib.MultiBoxPrior(pooled, sizes=(0.5,), ratios=(1.0,), name="pool_anchors")
    return [
        mx.sym.identity(boxes, name=f"{prefix}_loc_pred"),
        mx.sym.reshape(classes, shape=(0, 0, -1), name=f"{prefix}_cls_pred"),
        mx.sym.reshape(anchors, shape=(1, -1, 4), name=f"{prefix}_anchors"),
    ]


def toy_params() -> tuple[dict, dict]:
    """Scores: 10 for the class whose colour fills the quarter, -10 for the others, 0 for the background."""
    weight = np.zeros((4, 3, 1, 1), np.float32)
    for class_id in range(3):
        weight[class_id + 1, :, 0, 0] = -10
        weight[class_id + 1, class_id, 0, 0] = 10
    bias = np.array([0, -5, -5, -5], np.float32)
    arrays = {
        "classes_weight": weight,
        "classes_bias": bias,
        "boxes_weight": np.zeros((4, 3, 1, 1), np.float32),
        "boxes_bias": np.zeros(4, np.float32),
    }
    return {name: mx.nd.array(array) for name, array in arrays.items()}, {}


def toy_card(**changes) -> Card:
    """The card of the toy."""
    values = {
        "network": "",
        "data_shape": (SIDE, SIDE),
        "class_names": tuple(COLOURS),
        "mean": (0.0, 0.0, 0.0),
        "std": (255.0, 255.0, 255.0),
        "anchors": AnchorConfig(sizes=((0.5,),), ratios=((1.0,),)),
        "detection": DetectionConfig(score_threshold=0.1),
    }
    return Card(**{**values, **changes})


def training_graph():
    """The toy with loss layers."""
    heads = mx.sym.Group(toy_heads())
    return training_symbol(heads, 3, (0.1, 0.1, 0.2, 0.2), LossConfig())


@pytest.fixture
def toy() -> SavedDetector:
    """A training checkpoint in memory."""
    return SavedDetector("toy", 1, training_graph(), *toy_params(), toy_card())


@pytest.fixture
def toy_prefix(tmp_path) -> str:
    """The same on disk."""
    prefix = tmp_path / "model" / "toy"
    save(prefix, 3, training_graph(), toy_params(), toy_card())
    return str(prefix)

"""gluoncv's own detectors with random weights, whose heads are scaled so that there is much to find."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from common.mx import mx

CUSTOM = ("ant", "bee", "cat")


def value_of(key: str, shape: tuple, rng) -> np.ndarray:
    """Draw one parameter of gluoncv's."""
    if key.endswith("weight"):
        return rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    if key.endswith(("gamma", "var")):
        return rng.uniform(0.8, 1.2, shape)
    return np.full(shape, 20.0) if key.endswith("scale") else rng.normal(0, 0.1, shape)


class Gluon:
    """gluoncv's networks, as oracles."""

    classes = CUSTOM

    @staticmethod
    def build(name: str, data_shape: tuple[int, int] | None = None, seed: int = 1):
        """Return a network with random weights; its class scores spread by 3, its box offsets by 1."""
        model_zoo = pytest.importorskip("gluoncv.model_zoo")
        stated = {"classes": list(CUSTOM)} if name.endswith("_custom") else {}
        make = model_zoo.get_model if name in model_zoo.get_model_list() else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = (
                make(name, pretrained=False, pretrained_base=False, **stated)
                if make
                else getattr(model_zoo, name)(pretrained_base=False, **stated)
            )
        side = int(net.anchor_generators[0]._im_size[0])
        data = Gluon.data(data_shape or (side, side))
        net.initialize()
        net(data)
        rng = np.random.default_rng(seed)
        for key, parameter in net._collect_params_with_prefix().items():
            if not hasattr(parameter, "value"):
                parameter.set_data(mx.nd.array(value_of(key, parameter.shape, rng)))
        maps = net.features(data)
        for layer, *heads in zip(maps, net.class_predictors, net.box_predictors):
            for head, spread in zip(heads, (3.0, 1.0)):
                weight = head.predictor.weight
                weight.set_data(weight.data() * (spread / float(head(layer).asnumpy().std())))
        return net

    @staticmethod
    def data(data_shape: tuple[int, int], images: int = 2) -> mx.nd.NDArray:
        """Draw inputs as the networks take them."""
        return mx.nd.array(np.random.default_rng(7).normal(0, 1, (images, 3, *data_shape)).astype("float32"))

    @staticmethod
    def rows(net, data) -> list[np.ndarray]:
        """Return what gluoncv finds: for each image rows (class id, score, box relative to the image)."""
        height, width = data.shape[2:]
        ids, scores, boxes = (output.asnumpy() for output in net(data))
        joined = np.concatenate([ids, scores, boxes / np.array((width, height) * 2)], axis=2)
        return [rows[rows[:, 0] >= 0] for rows in joined]

    @staticmethod
    def found(symbol, params: tuple[dict, dict], data) -> list[np.ndarray]:
        """Return what an imported graph finds, in the same form."""
        executor = symbol.bind(mx.cpu(), {**params[0], "data": data}, grad_req="null", aux_states=params[1])
        output = executor.forward(is_train=False)[0].asnumpy()
        return [rows[rows[:, 0] >= 0] for rows in output]

    @staticmethod
    def save(net, folder: Path) -> str:
        """Write a network's weights as gluoncv does; returns the file."""
        path = str(folder / "weights.params")
        net.save_parameters(path)
        return path


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    """Hold rows to others within 1e-4; scores that are equal may have changed places."""
    assert len(found) == len(expected) > 20
    np.testing.assert_allclose(found[:, 1], expected[:, 1], atol=1e-4)
    left = list(range(len(found)))
    for row in expected:
        near = [i for i in left if found[i, 0] == row[0] and np.abs(found[i] - row).max() <= 1e-4]
        assert near, f"{row} was not found"
        left.remove(near[0])


@pytest.fixture(scope="session")
def gluon() -> type[Gluon]:
    """gluoncv's networks, and what they find."""
    return Gluon


@pytest.fixture(scope="session")
def same():
    """The comparison of detections."""
    return assert_same


@pytest.fixture(scope="session")
def small_net():
    """The smallest of gluoncv's detectors, for classes of its own, with weights for an input of 128x160."""
    return Gluon.build("ssd_300_mobilenet0.25_custom", (128, 160))


@pytest.fixture
def small_file(small_net, tmp_path) -> str:
    """Its weights in a file."""
    return Gluon.save(small_net, tmp_path)

"""Every preset from random weights: it is built, its gradients reach every parameter, it learns a batch, it detects."""

from __future__ import annotations

import json

import numpy as np
import pytest

from common.errors import ConfigError
from common.mx import mx
from dataset.scenes import draw_scene
from detect.detector import Detector
from detect.preprocess import network_input
from model.card import Card
from model.saved import SavedDetector
from symbol.anchors import generate_anchors
from symbol.loss import LossConfig, training_symbol
from symbol.network import feature_maps, feature_shapes, heads
from symbol.presets import network_config, network_names
from symbol.summary import count_anchors
from train.devices import DeviceGroup
from train.matching import choose
from train.start import initial_params

CLASSES = ("disc", "ring", "square", "star", "triangle")
SIDES = (96, 128, 160, 192, 256, 320, 512)
BATCH = 2
STEPS = 30
# One of each kind of block in every run; all of them together take minutes.
QUICK = ("ssd7", "ssd7_keras", "mobilenet", "mb1-ssd-lite", "resnet18", "densenet-tiny", "sq-ssd-lite")
SLOW = pytest.mark.slow
_ADAM = ("adam", 0.0003)


def smallest_shape(network: str) -> tuple[int, int]:
    """Return the smallest square input of SIDES that a network takes, and whose maps BatchNorm can work on.

    A map of 1x1 leaves a BatchNorm two values of a channel; what comes before is then without a gradient: constants to
    be taken off again.
    """
    normalised = any(f.head == "separable_bn" for f in network_config(network, (300, 300), 2).features)
    for side in (300,) if normalised else SIDES:
        try:
            feature_maps(network_config(network, (side, side), len(CLASSES)))
            return side, side
        except ConfigError:
            continue
    raise AssertionError(f"{network} takes none of {SIDES}")


class Bench:
    """A network from random weights with one batch of drawn scenes."""

    def __init__(self, network: str):
        self.config = network_config(network, smallest_shape(network), len(CLASSES))
        self.loss = LossConfig()
        variances = self.config.anchors.variances
        self.symbol = training_symbol(heads(self.config), len(CLASSES), variances, self.loss)
        pictures = [picture(seed, self.config) for seed in range(BATCH)]
        label = np.stack([objects(seed, self.config) for seed in range(BATCH)])
        shapes = {"data": (BATCH, 3, *self.config.data_shape), "label": label.shape}
        self.params = initial_params(self.symbol, shapes, 1)
        matching = choose(
            [mx.cpu()],
            self.symbol,
            label.shape,
            data_shape=self.config.data_shape,
            anchors=self.config.anchors,
            loss=self.loss,
            num_classes=len(CLASSES),
        )
        self.batch = {"data": np.stack(pictures), **matching.feed(mx.nd.array(label))}
        inputs = {"data": shapes["data"], **matching.input_shapes}
        self.devices = DeviceGroup(matching.symbol, [mx.cpu()], inputs, *self.params)

    def saved(self) -> SavedDetector:
        """Return the network as a checkpoint."""
        config = self.config
        card = Card(config.network, config.data_shape, CLASSES, config.mean, config.std, config.anchors)
        return SavedDetector(config.network, 1, self.symbol, *self.devices.params(), card)


def picture(seed: int, config) -> np.ndarray:
    """Return a drawn scene as the network's input, (3, H, W)."""
    height, width = config.data_shape
    return network_input(draw_scene(seed, (width, height))[0], config.data_shape, config.mean, config.std)


def objects(seed: int, config) -> np.ndarray:
    """Return label rows with an object for every feature map, shaped like one of its default boxes: (M, 5)."""
    rng = np.random.default_rng(seed)
    boxes = generate_anchors(config.anchors, feature_shapes(config), config.data_shape)
    ends = np.cumsum(count_anchors(config))
    chosen = [rng.integers(begin, end) for begin, end in zip([0, *ends], ends)]
    return np.array([[rng.integers(len(CLASSES)), *boxes[place]] for place in chosen], np.float32)


def learned(symbol, names: list[str]) -> list[str]:
    """Return the parameters without the gammas that a BatchNorm takes for 1."""
    nodes = json.loads(symbol.tojson())["nodes"]
    norms = [node for node in nodes if node["op"] == "BatchNorm"]
    fixed = [node for node in norms if node["attrs"].get("fix_gamma", "True") in ("True", "1")]
    gammas = {nodes[node["inputs"][1][0]]["name"] for node in fixed}
    return [name for name in names if name not in gammas]


@pytest.mark.parametrize(
    "network", [pytest.param(n, marks=[] if n in QUICK else SLOW) for n in network_names()]
)
def test_every_parameter_gets_a_gradient_and_the_loss_of_one_batch_halves(network):
    bench = Bench(network)
    # A network that wants weights to start from learns a single batch by Adam alone in so few steps.
    devices, (optimizer, rate) = bench.devices, ("sgd", bench.config.rate) if bench.config.rate else _ADAM
    devices.init_optimizer(optimizer, None, momentum=0.9, wd=0.0005, clip=5.0, updates_done=0)
    losses = []
    for step in range(STEPS):
        loss = devices.forward_backward(bench.batch)
        mx.nd.waitall()
        if step == 0:
            names = learned(bench.symbol, devices.trainable)
            gradients = {name: devices.first.grad_dict[name].asnumpy() for name in names}
            assert not [name for name, array in gradients.items() if not np.isfinite(array).all()]
            assert not [name for name, array in gradients.items() if not array.any()]
        normaliser = loss.normaliser(bench.loss.negative_ratio)
        losses.append((loss.cls + loss.loc) / normaliser)
        if losses[-1] <= losses[0] / 2:
            break
        devices.update(rate * min(1, (step + 1) / 5), normaliser)
    assert losses[-1] <= losses[0] / 2, losses
    detector = Detector.from_saved(bench.saved(), context=mx.cpu())
    found = detector.detect([draw_scene(0, (200, 150))[0]])
    assert np.isfinite(found[0].boxes).all()
    assert len(found[0]) > 0

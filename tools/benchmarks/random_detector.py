"""A detector with random weights that computes like a trained one: to measure speed where nobody has trained.

He et al.'s initialisation, BatchNorm's statistics from a batch of images, so that activations neither die nor explode
through many layers; head weights scaled, and the background's bias raised, so that as many scores pass the threshold
as a trained detector has: the detection tail's time depends on that.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass

import numpy as np

from common.mx import mx
from symbol.config import NetworkConfig
from symbol.features import features
from symbol.network import feature_maps, heads
from train.start import initial_params

# (default box, class) pairs above 0.01 for each default box; SSD300 trained on VOC has a few hundred of 8732.
CANDIDATES = 0.04
THRESHOLD = 0.01
_LOGIT_SPREAD, _LOC_SPREAD = 1.5, 0.5  # standard deviations that the heads' outputs get
_SETTLING = 4  # images that BatchNorm's statistics are taken from


@dataclass(frozen=True)
class RandomDetector:
    """A network with its parameters.

    Attributes:
        config: what it was built from.
        heads: its graph, a group of loc_pred, cls_pred and anchors.
        arg_params: name -> NDArray.
        aux_params: name -> NDArray.
    """

    config: NetworkConfig
    heads: object
    arg_params: dict
    aux_params: dict


def make(config: NetworkConfig, seed: int, images: np.ndarray) -> RandomDetector:
    """Make a detector.

    Args:
        config: of the network.
        seed: equal seeds give equal detectors.
        images: (N, 3, H, W) float32, ready for the network.
    """
    graph = heads(config)
    parts = mx.sym.Group([graph[0], graph[1]])
    args, states = initial_params(parts, {"data": (1, *images.shape[1:])}, seed)
    for name, array in args.items():
        if name.endswith("_weight"):
            rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
            array[:] = rng.normal(0, np.sqrt(2 / np.prod(array.shape[1:])), array.shape)
    states = _settled(parts, args, states, images[:_SETTLING])
    loc_pred, cls_pred = _forward(parts, args, states, images[:_SETTLING])
    layers, counts = [layer.name for layer in features(config)], _boxes_of_maps(config)
    cls_pred = _scale_heads(args, layers, counts, loc_pred, cls_pred)
    raise_background(args, layers, cls_pred, config.num_classes)
    return RandomDetector(config, graph, args, states)


def candidates(cls_pred: np.ndarray) -> float:
    """Return how many scores of an image are above the threshold, on the average.

    Args:
        cls_pred: (B, C+1, A), before the softmax.
    """
    return float((_softmax(cls_pred)[:, 1:] > THRESHOLD).sum() / len(cls_pred))


def raise_background(args: dict, layers: list[str], cls_pred: np.ndarray, num_classes: int) -> None:
    """Set the background's bias of every head, in place, so that as many scores pass as a trained detector has.

    Args:
        args: parameters.
        layers: names of the feature layers.
        cls_pred: (B, C+1, A) that the heads give with no such bias.
        num_classes: foreground classes.
    """
    low, high = -20.0, 40.0
    wanted = CANDIDATES * cls_pred.shape[2]
    for _ in range(30):
        bias = (low + high) / 2
        shifted = cls_pred.copy()
        shifted[:, 0] += bias
        low, high = (bias, high) if candidates(shifted) > wanted else (low, bias)
    for layer in layers:
        array = args[f"{layer}_cls_pred_conv_bias"]
        values = array.asnumpy()
        values[:: num_classes + 1] += (
            bias  # a cell's filters go default box by default box, the background first
        )
        array[:] = values


def _boxes_of_maps(config: NetworkConfig) -> list[int]:
    """Return the number of default boxes of each feature map."""
    return [
        rows * columns * per_cell
        for (_, rows, columns), per_cell in zip(feature_maps(config), config.anchors.per_cell())
    ]


def _scale_heads(args: dict, layers: list[str], counts: list[int], loc_pred, cls_pred) -> np.ndarray:
    """Scale each map's heads to the spread that is wanted, in place; return what cls_pred becomes."""
    cls_pred, begin = cls_pred.copy(), 0
    for layer, count in zip(layers, counts):
        part = slice(begin, begin + count)
        factor = _LOGIT_SPREAD / max(float(cls_pred[:, :, part].std()), 1e-12)
        cls_pred[:, :, part] *= factor
        args[f"{layer}_cls_pred_conv_weight"][:] *= factor
        spread = float(loc_pred[:, 4 * begin : 4 * (begin + count)].std())
        args[f"{layer}_loc_pred_conv_weight"][:] *= _LOC_SPREAD / max(spread, 1e-12)
        begin += count
    return cls_pred


def _settled(parts, args: dict, states: dict, images: np.ndarray) -> dict:
    """Return BatchNorm's statistics as a batch of images has them.

    MXNet writes them in the backward pass, mixed with the old ones by the momentum, which is taken out for that.
    """
    if not states:
        return states
    graph = json.loads(parts.tojson())
    for node in graph["nodes"]:
        if node["op"] == "BatchNorm":
            node.setdefault("attrs", {})["momentum"] = "0.0"
    symbol = mx.sym.load_json(json.dumps(graph))
    executor = symbol.simple_bind(mx.cpu(), grad_req="write", data=images.shape)
    executor.copy_params_from(args, states, allow_extra_params=True)
    outputs = executor.forward(is_train=True, data=mx.nd.array(images))
    executor.backward([mx.nd.zeros(output.shape) for output in outputs])
    mx.nd.waitall()  # the engine does not know that the backward pass writes the statistics
    return {name: array.copy() for name, array in executor.aux_dict.items()}


def _forward(parts, args: dict, states: dict, images: np.ndarray) -> list[np.ndarray]:
    """Return a graph's outputs for images."""
    executor = parts.bind(mx.cpu(), {**args, "data": mx.nd.array(images)}, grad_req="null", aux_states=states)
    return [output.asnumpy() for output in executor.forward(is_train=False)]


def _softmax(values: np.ndarray) -> np.ndarray:
    """Return the softmax over the second axis."""
    exponents = np.exp(values - values.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)

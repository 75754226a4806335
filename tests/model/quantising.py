"""What the tests of quantisation share: small networks, and a float reference that is MXNet's plain executor."""

from __future__ import annotations

import numpy as np

from common.mx import mx

SIDE = 64  # of the input, in pixels
CELLS = 8  # of the one feature map, each way; two default boxes to a cell
CLASSES = 3


def network(*, relu: bool = True):
    """Build four convolutions in a row, a sum around the fourth, and heads of both kinds."""
    data = mx.sym.Variable("data")

    def layer(body, name: str, filters: int, stride: int):
        body = mx.sym.Convolution(
            body, num_filter=filters, kernel=(3, 3), pad=(1, 1), stride=(stride, stride), name=name
        )
        return mx.sym.Activation(body, act_type="relu", name=f"{name}_relu") if relu else body

    first = layer(data, "conv1", 16, 2)
    second = layer(first, "conv2", 16, 2)
    third = layer(second, "conv3", 16, 1)
    fourth = layer(third, "conv4", 16, 1)
    body = mx.sym.Pooling(third + fourth, kernel=(2, 2), stride=(2, 2), pool_type="max", name="pool")
    boxes = mx.sym.Convolution(body, num_filter=8, kernel=(3, 3), pad=(1, 1), name="boxes")
    classes = mx.sym.Convolution(
        body, num_filter=2 * (CLASSES + 1), kernel=(3, 3), pad=(1, 1), name="classes"
    )
    anchors = mx.sym.contrib.MultiBoxPrior(body, sizes=(0.2, 0.3), name="priors")
    classes = mx.sym.transpose(classes, axes=(0, 2, 3, 1), name="classes_nhwc")
    classes = mx.sym.reshape(classes, shape=(0, -1, CLASSES + 1), name="classes_rows")
    return mx.sym.Group(
        [
            mx.sym.Flatten(mx.sym.transpose(boxes, axes=(0, 2, 3, 1), name="nhwc"), name="multibox_loc_pred"),
            mx.sym.transpose(classes, axes=(0, 2, 1), name="multibox_cls_pred"),
            mx.sym.reshape(anchors, shape=(1, -1, 4), name="multibox_anchors"),
        ]
    )


LAYERS = ("conv1", "conv2", "conv3", "conv4", "boxes", "classes")


def params(symbol, seed: int = 0) -> tuple[dict, dict]:
    """Draw weights by He's rule and small biases."""
    rng = np.random.default_rng(seed)
    shapes, _, _ = symbol.infer_shape(data=(1, 3, SIDE, SIDE))
    arrays = {}
    for name, shape in zip(symbol.list_arguments(), shapes):
        if name != "data":
            spread = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
            arrays[name] = mx.nd.array(rng.normal(0, spread, shape))
    return arrays, {}


def batches(count: int = 6, size: int = 1, seed: int = 1) -> list[np.ndarray]:
    """Draw inputs, smooth as images are: (B, 3, SIDE, SIDE)."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 1, (count, 3, SIDE // 8, SIDE // 8)).astype(np.float32)
    images = coarse.repeat(8, axis=2).repeat(8, axis=3)
    return [images[begin : begin + size] for begin in range(0, count, size)]


def outputs(symbol, weights: tuple[dict, dict], batch: np.ndarray) -> list[np.ndarray]:
    """Return what a graph gives, bound as any user of MXNet would bind it."""
    arguments = {name: weights[0][name] for name in symbol.list_arguments() if name != "data"}
    states = {name: weights[1][name] for name in symbol.list_auxiliary_states()}
    executor = symbol.bind(
        mx.cpu(), {**arguments, "data": mx.nd.array(batch)}, grad_req="null", aux_states=states
    )
    return [output.asnumpy() for output in executor.forward(is_train=False)]


def with_outlier(weights: tuple[dict, dict]) -> tuple[dict, dict]:
    """Return parameters with one channel of conv2 a thousand times as large, which conv3 does not look at.

    In float nothing changes but that channel. In int8 the range of conv2's output, and so its step, grows a
    thousandfold for all channels.
    """
    arrays = {name: array.asnumpy().copy() for name, array in weights[0].items()}
    arrays["conv2_weight"][5] *= 1000
    arrays["conv3_weight"][:, 5] = 0
    return {name: mx.nd.array(array) for name, array in arrays.items()}, weights[1]

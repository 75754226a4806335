"""The training graph that is fed targets equals the one that holds MultiBoxTarget: losses, counts, gradients."""

from __future__ import annotations

import numpy as np
import pytest

from common.mx import mx
from symbol.loss import LossConfig, matched_training_symbol, training_symbol
from symbol.matcher import targets
from symbol.network import heads
from symbol.presets import network_config

SHAPE, CLASSES, BATCH = (64, 96), 3, 4


def labels(rng):
    label = np.full((BATCH, 5, 6), -1, np.float32)
    for image, count in enumerate((3, 0, 5, 1)):
        corner, side = rng.uniform(0, 0.5, (count, 2)), rng.uniform(0.1, 0.5, (count, 2))
        label[image, :count, 0] = rng.integers(0, CLASSES, count)
        label[image, :count, 1:5] = np.concatenate([corner, corner + side], axis=1)
        label[image, :count, 5] = 0
    return label


def run(symbol, inputs, params):
    """Return the outputs and the gradient of every parameter."""
    shapes = {name: value.shape for name, value in inputs.items()}
    requests = {name: "null" if name in inputs else "write" for name in symbol.list_arguments()}
    executor = symbol.simple_bind(mx.cpu(), grad_req=requests, **shapes)
    for name, value in {**params, **inputs}.items():
        if name in executor.arg_dict:
            executor.arg_dict[name][:] = value
    for array in executor.aux_dict.values():
        array[:] = 1
    executor.forward(is_train=True)
    executor.backward()
    gradients = {name: executor.grad_dict[name].asnumpy() for name in params if name in executor.grad_dict}
    return [output.asnumpy() for output in executor.outputs], gradients


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mining": "batch"},
        {"neutral_iou": 0.2, "label_smoothing": 0.1},
        {"matching": "bipartite", "neutral_iou": 0.3, "mining": "batch"},
    ],
    ids=str,
)
def test_targets_from_outside_give_the_same_losses_and_gradients(settings):
    rng = np.random.default_rng(0)
    config, loss = network_config("ssd7", SHAPE, CLASSES), LossConfig(**settings)
    group = heads(config)
    label = labels(rng)
    data = rng.normal(0, 1, (BATCH, 3, *SHAPE)).astype(np.float32)
    inside = training_symbol(group, CLASSES, config.anchors.variances, loss)
    shapes, _, _ = inside.infer_shape(data=data.shape, label=label.shape)
    params = {
        name: rng.normal(0, 0.1, shape).astype(np.float32)
        for name, shape in zip(inside.list_arguments(), shapes)
        if name not in ("data", "label")
    }
    anchors = group[2].simple_bind(mx.cpu(), data=data.shape).forward()[0].asnumpy()[0]
    made = targets(anchors, label, config.anchors.variances, loss.match_threshold, loss.neutral_from)
    assert (made["cls_target"] == -1).any() == bool(loss.neutral_from)
    expected = run(inside, {"data": data, "label": label}, params)
    found = run(matched_training_symbol(group, CLASSES, loss), {"data": data, **made}, params)
    for one, other in zip(found[0], expected[0]):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    assert set(found[1]) == set(expected[1])
    for name, gradient in expected[1].items():
        np.testing.assert_allclose(
            found[1][name], gradient, rtol=1e-3, atol=1e-5 * np.abs(gradient).max() + 1e-7
        )

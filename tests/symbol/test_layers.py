"""Shared layers against numpy: activations with their gradients, and initial values."""

from __future__ import annotations

import numpy as np
import pytest

from common.mx import mx
from symbol.backbones.mobilenet_v1 import round_channels
from symbol.backbones.mobilenet_v3 import squeeze_excitation
from symbol.layers import activation, convolution

X = np.array([-7.5, -3.5, -2.0, -0.5, 0.5, 2.5, 3.5, 5.5, 6.5, 9.0], np.float32)


def relu6(x):
    return np.minimum(np.maximum(x, 0), 6)


def slope_of(function, x):
    return (function(x + 1e-3) - function(x - 1e-3)) / 2e-3


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("relu", lambda x: np.maximum(x, 0)),
        ("relu6", relu6),
        ("hsigmoid", lambda x: relu6(x + 3) / 6),
        ("hswish", lambda x: x * relu6(x + 3) / 6),
        ("none", lambda x: x),
    ],
)
def test_activation_and_its_gradient_are_those_of_the_formula(kind, expected):
    symbol = activation(mx.sym.Variable("data") * 1, kind, "act")
    data, gradient = mx.nd.array(X), mx.nd.zeros(X.shape)
    executor = symbol.bind(mx.cpu(), {"data": data}, args_grad={"data": gradient})
    found = executor.forward(is_train=True)[0].asnumpy()
    executor.backward(mx.nd.ones(X.shape))
    np.testing.assert_allclose(found, expected(X), atol=1e-6)
    np.testing.assert_allclose(gradient.asnumpy(), slope_of(expected, X.astype(np.float64)), atol=1e-4)


def test_squeeze_and_excitation_scales_channels_by_a_function_of_their_means():
    rng = np.random.default_rng(3)
    data = rng.normal(1, 2, (2, 8, 3, 5)).astype(np.float32)
    symbol = squeeze_excitation(mx.sym.Variable("data"), "se", 8)
    shapes, _, states = symbol.infer_shape(data=data.shape)
    args = {n: rng.normal(0.5, 1, s).astype(np.float32) for n, s in zip(symbol.list_arguments(), shapes)}
    aux = {
        n: rng.uniform(0.5, 2, s).astype(np.float32) for n, s in zip(symbol.list_auxiliary_states(), states)
    }
    args["data"] = data
    arrays = [{name: mx.nd.array(value) for name, value in values.items()} for values in (args, aux)]
    found = symbol.bind(mx.cpu(), arrays[0], aux_states=arrays[1]).forward(is_train=False)[0].asnumpy()

    def normalised(x, name):
        mean, var = aux[f"{name}_bn_moving_mean"], aux[f"{name}_bn_moving_var"]
        return (x - mean) / np.sqrt(var + 1e-5) * args[f"{name}_bn_gamma"] + args[f"{name}_bn_beta"]

    reduced = normalised(data.mean((2, 3)) @ args["se_reduce_conv_weight"][:, :, 0, 0].T, "se_reduce")
    factors = np.maximum(reduced, 0) @ args["se_restore_conv_weight"][:, :, 0, 0].T
    factors = relu6(normalised(factors, "se_restore") + 3) / 6
    np.testing.assert_allclose(found, data * factors[:, :, None, None], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("groups", [1, 64])
def test_initial_weights_keep_the_variance_of_a_rectified_signal(groups):
    symbol = convolution(mx.sym.Variable("data"), "c", filters=64, side=3, groups=groups)
    weight = mx.nd.zeros((64, 64 // groups, 3, 3))
    mx.random.seed(5)
    mx.init.Xavier()(mx.init.InitDesc("c_weight", symbol.attr_dict()["c_weight"]), weight)
    inputs = 9 * 64 // groups
    assert weight.asnumpy().std() == pytest.approx(np.sqrt(2 / inputs), rel=0.1)


@pytest.mark.parametrize(
    ("channels", "expected"), [(3, 8), (11, 16), (12, 16), (33.6, 32), (18, 24), (1024, 1024)]
)
def test_channels_are_rounded_to_eights_and_never_below_nine_tenths(channels, expected):
    assert round_channels(channels) == expected
